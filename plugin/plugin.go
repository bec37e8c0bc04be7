// Package plugin is the openid-connect plugin itself: it compiles a configuration
// into an Instance and tells each request's story (access.go). Methods live in
// package authn, rules in authz, calls to Kong in package kong; here they meet.
package plugin

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// What Kong is told of the plugin. The priority is that of Kong's own plugin since 3.0.
const (
	Name     = "openid-connect"
	Version  = "0.1.0"
	Priority = 1050
)

// Bounds of the process's caches, in entries; those in bytes are settings.
const (
	maxTokens   = 20_000
	maxRefusals = 50_000
)

// The default bounds of the caches, in bytes.
const (
	DefaultTokenCacheBytes   = 64 << 20
	DefaultRefusalCacheBytes = 16 << 20
)

// Dump is what `-dump` prints: all that Kong must know of the plugin, as one JSON
// document.
func Dump(socketPath string) ([]byte, error) {
	info := pluginserver.Info{
		Name: Name, Version: Version, Priority: Priority, Phases: []string{"access"}, Schema: config.SchemaJSON(),
	}
	return info.Dump(socketPath)
}

// Options are the settings of the process, as opposed to a configuration's.
type Options struct {
	// RootCAs are all the authorities trusted for providers; nil is the system's.
	RootCAs *x509.CertPool
	// Resolve maps "host:port" to "address:port" before DNS is asked.
	Resolve map[string]string
	// Logger is where the operator reads; nil discards.
	Logger *slog.Logger
	// TokenCacheBytes and RefusalCacheBytes bound what the caches of tokens and of refusals keep
	// alive; 0 is the default.
	TokenCacheBytes, RefusalCacheBytes int64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Plugin holds what outlives every configuration: caches, providers, connections.
type Plugin struct {
	env *authn.Env
	log *refusalLog
}

// New starts the plugin. Close it when the server has ended.
func New(o Options) *Plugin {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	sizes := authn.Sizes{
		Values:   cache.Bounds{Entries: maxTokens, Bytes: cmp.Or(o.TokenCacheBytes, DefaultTokenCacheBytes)},
		Refusals: cache.Bounds{Entries: maxRefusals, Bytes: cmp.Or(o.RefusalCacheBytes, DefaultRefusalCacheBytes)},
	}
	log := newRefusalLog(o.Logger, o.Now)
	return &Plugin{
		env: &authn.Env{
			Results:    authn.NewKeeper(sizes, (*authn.Result).Cost, o.Now),
			ProcessKey: cache.NewKeyer(nil),
			Registry:   oidc.NewRegistry(oidc.RegistryOptions{Now: o.Now}),
			Egress:     egress.NewPool(egress.Options{RootCAs: o.RootCAs, Resolve: o.Resolve}),
			Logger:     o.Logger,
			Due:        log.due,
			Now:        o.Now,
		},
		log: log,
	}
}

// Close ends background renewals and closes the connections to providers.
func (p *Plugin) Close() {
	p.env.Results.Close()
	p.env.Registry.Close()
	p.env.Egress.Close()
}

// SetRootCAs replaces Options.RootCAs: connections to providers are made anew.
func (p *Plugin) SetRootCAs(roots *x509.CertPool) { p.env.Egress.SetRootCAs(roots) }

// NewInstance compiles a configuration without any I/O. One that cannot work yields
// an instance that refuses every request and says why in the log, once.
func (p *Plugin) NewInstance(raw json.RawMessage) pluginserver.Instance {
	i, err := p.compile(raw)
	if err != nil {
		i = &Instance{plugin: p, issuer: issuerOf(raw), broken: err, render: newRenderer(&config.Config{}, nil)}
		if p.firstTime(raw) {
			p.env.Logger.Error("configuration cannot work: every request gets 500", "issuer", i.issuer, "error", err)
		}
	}
	return i
}

// issuerOf says whose a broken configuration is, without the credentials that may be
// what breaks it.
func issuerOf(raw json.RawMessage) string {
	var known struct{ Issuer string }
	if json.Unmarshal(raw, &known) != nil {
		return ""
	}
	return config.IssuerName(known.Issuer)
}

// firstTime reports whether this configuration's warnings are still to be given:
// 200 routes times 4 workers are not 800 lines, nor is a reload.
func (p *Plugin) firstTime(raw json.RawMessage) bool {
	return p.log.due(warnedAgain, "configuration", string(raw))
}
