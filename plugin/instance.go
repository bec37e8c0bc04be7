package plugin

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/authz"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// Instance is one configuration, compiled once and never changed.
type Instance struct {
	plugin *Plugin
	issuer string // for the log
	// broken is why this configuration cannot work; everything below is nil then.
	broken error

	cfg     *config.Config
	methods *authn.Methods
	policy  *authz.Policy
	headers *headerPlan
	render  *renderer
	login   loginResponse
}

// Close implements pluginserver.Instance. What is worth keeping belongs to Plugin.
func (i *Instance) Close() {}

func (p *Plugin) compile(raw json.RawMessage) (*Instance, error) {
	cfg, problems, err := config.Decode(raw)
	if invalid := config.Invalid(nil); errors.As(err, &invalid) {
		return nil, refused(invalid)
	} else if err != nil {
		return nil, err
	}
	var broken, warnings []config.Problem
	for _, problem := range slices.Concat(problems, cfg.Check(), unbuilt(cfg)) {
		if problem.Warning {
			warnings = append(warnings, problem)
		} else {
			broken = append(broken, problem)
		}
	}
	if len(broken) > 0 {
		return nil, refused(broken)
	}
	methods, err := authn.Compile(cfg, p.env, p.provider(cfg))
	if err != nil {
		return nil, err
	}
	i := &Instance{
		plugin: p, issuer: config.IssuerName(cfg.Issuer), cfg: cfg, methods: methods,
		policy: authz.Compile(cfg), headers: compileHeaders(cfg), render: newRenderer(cfg, methods.Schemes),
		login: loginResponse{cfg: cfg},
	}
	if p.firstTime(raw) {
		i.warn(warnings)
	}
	return i, nil
}

// refused is what a configuration cannot work with, each named as in Kong's answers.
func refused(problems []config.Problem) error {
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = strings.TrimSuffix("config."+p.Field, ".") + ": " + p.Message
	}
	return errors.New(strings.Join(lines, "; "))
}

func (i *Instance) warn(warnings []config.Problem) {
	log := i.plugin.env.Logger.With("issuer", i.issuer)
	for _, w := range warnings {
		log.Warn("configuration", "field", "config."+w.Field, "warning", w.Message)
	}
	if passed := i.methods.PassedOver; len(passed) > 0 {
		level := log.Warn
		if i.methods.All {
			level = log.Info
		}
		level("authentication methods passed over", "methods", strings.Join(passed, "; "))
	}
}

// provider returns the identity provider of cfg, shared by all configurations that
// reach it in the same way.
func (p *Plugin) provider(cfg *config.Config) *authn.Provider {
	client := p.env.Egress.Client(egress.Settings{
		VerifyTLS: cfg.SSLVerify, HTTPVersion: httpVersion(cfg.HTTPVersion), Keepalive: cfg.Keepalive,
		HTTPProxy: cfg.HTTPProxy, HTTPProxyAuthorization: string(cfg.HTTPProxyAuthorization),
		HTTPSProxy: cfg.HTTPSProxy, HTTPSProxyAuthorization: string(cfg.HTTPSProxyAuthorization),
		NoProxy: cfg.NoProxy,
	})
	headers := http.Header{}
	for i, name := range cfg.DiscoveryHeadersNames {
		headers.Add(name, string(cfg.DiscoveryHeadersValues[i]))
	}
	return &authn.Provider{
		Client: client,
		Load:   p.env.Loads.Of(cfg.Issuer + " " + cfg.TokenEndpoint),
		Provider: p.env.Registry.Provider(oidc.ProviderConfig{
			Issuer: cfg.Issuer, Pseudo: cfg.UsingPseudoIssuer, AnyDocumentIssuer: len(cfg.IssuersAllowed) > 0, DiscoveryHeaders: headers,
			JWKSEndpoint: cfg.JWKSEndpoint, ExtraJWKSURIs: cfg.ExtraJWKSURIs,
			RediscoveryLifetime: cfg.RediscoveryLifetime.Duration(), MaxAge: cfg.CacheTTL.Duration(),
			Timeout: cfg.Timeout.Duration(), Client: client,
		}),
	}
}

func httpVersion(v float64) string {
	if v == 1 {
		return egress.HTTP10
	}
	return egress.HTTP11
}
