// Package devgateway is an embedded development gateway: it speaks Kong's side of the plugin
// protocol, holds as much of Kong's Admin API as the documented commands need, and proxies HTTP. It
// exists so that the plugin can be seen and tested on a machine with nothing but Go.
//
// It is not Kong and not fit for production: one plugin server per plugin, only the access phase,
// no TLS listener, no database, none of Kong's own plugins, no balancing, no gRPC, errors always as
// JSON, and header names in Go's canonical spelling (values are kept byte for byte). Where it does
// imitate Kong 3.9 it follows measurements and Kong's sources, also where Kong is harsh: instances
// per worker and the claim that a failed send leaves behind, the PDK's strictness and its losses,
// response headers that come before the upstream's, nginx's limits and refusals, trusted addresses,
// forms and PATCH. It never lets a request through when a plugin fails.
package devgateway

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

const (
	serverName = "devgateway/3.9"
	protocolOf = "3.9" // the version of Kong whose behaviour is followed
)

// Options say what the gateway runs. Only Plugins is needed for plugins to work; the zero value
// proxies.
type Options struct {
	Plugins []Plugin
	KongYML []byte            // a declarative file, or nil
	Resolve map[string]string // "host:port" of an upstream -> the address to dial, as curl --resolve
	Logger  *slog.Logger      // nil: nothing is logged

	Workers    int      // nginx's worker processes: each has its own instances and connections to the plugin server; 0 = 1
	TrustedIPs []string // Kong's trusted_ips: addresses and networks whose X-Forwarded-* and X-Real-IP headers are believed

	// ReadTimeout is how long a plugin may be silent (Kong's lua_socket_read_timeout); 0 = 60 s.
	ReadTimeout time.Duration
	// ClaimStep is how long a request waits before it looks again at an instance that another
	// request starts. It looks 100 times. 0 = 100 ms.
	ClaimStep time.Duration
}

// Plugin is one plugin server.
type Plugin struct {
	Dump    []byte    // what its -dump prints
	Socket  string    // the Unix socket it listens on; "" = the one that the dump names
	Command []string  // started by the gateway with an empty environment, and again when it dies; nil = somebody else runs it
	Output  io.Writer // what the command prints; nil = the gateway's log, as in Kong
}

// Gateway is a running gateway. Its handlers may be used with any server.
type Gateway struct {
	log     *slog.Logger
	nodeID  string
	store   *store
	plugins []*pluginHost // by priority, highest first
	current atomic.Pointer[snapshot]

	trusted   []netip.Prefix
	seed      maphash.Seed // spreads connections over the workers
	transport *http.Transport
	requests  atomic.Int64
	seq       int64 // guarded by the store's lock

	cancel    context.CancelFunc
	processes sync.WaitGroup
}

// snapshot is what a request needs, built anew when an entity changes.
type snapshot struct {
	router  *router
	plugins map[string][]*configured // by name
}

// New loads the declarative file and starts the plugin servers that have a command. Close ends
// them.
func New(opts Options) (*Gateway, error) {
	g := &Gateway{log: opts.Logger, nodeID: newUUID(), seed: maphash.MakeSeed()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if opts.ReadTimeout == 0 {
		opts.ReadTimeout = 60 * time.Second
	}
	if opts.ClaimStep == 0 {
		opts.ClaimStep = claimStep
	}
	var err error
	if g.trusted, err = parseTrusted(opts.TrustedIPs); err != nil {
		return nil, err
	}
	schemas := map[string]*kongschema.Field{}
	for _, p := range opts.Plugins {
		info, socket, err := parseDump(p.Dump)
		if err != nil {
			return nil, err
		}
		if p.Socket != "" {
			socket = p.Socket
		}
		if schemas[info.Name], err = pluginSchema(info.Schema); err != nil {
			return nil, err
		}
		h := &pluginHost{info: info, socket: socket, log: g.log, readTimeout: opts.ReadTimeout, claimStep: opts.ClaimStep}
		for range max(1, opts.Workers) {
			h.workers = append(h.workers, &worker{host: pluginserver.NewHost(socket), instances: map[string]*instance{}})
		}
		g.plugins = append(g.plugins, h)
	}
	slices.SortStableFunc(g.plugins, func(a, b *pluginHost) int { return b.info.Priority - a.info.Priority })
	if g.store, err = newStore(schemas, g.rebuild); err != nil {
		return nil, err
	}
	g.rebuild("plugins")
	if len(opts.KongYML) > 0 {
		if err := g.store.load(opts.KongYML); err != nil {
			return nil, err
		}
	}
	g.transport = newTransport(opts.Resolve)
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	for _, p := range opts.Plugins {
		if len(p.Command) > 0 {
			g.processes.Go(func() { g.keepRunning(ctx, p) })
		}
	}
	return g, nil
}

// Close ends the plugin servers that the gateway started and closes its connections. The handlers
// must not be in use any more.
func (g *Gateway) Close() {
	g.cancel()
	g.processes.Wait()
	for _, p := range g.plugins {
		for _, w := range p.workers {
			w.host.Close()
		}
	}
	g.transport.CloseIdleConnections()
}

// Ready waits until every plugin server accepts connections. Kong does not wait: requests that come
// earlier get 500.
func (g *Gateway) Ready(ctx context.Context) error {
	var dialer net.Dialer
	for _, p := range g.plugins {
		for {
			conn, err := dialer.DialContext(ctx, "unix", p.socket)
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("devgateway: plugin server %s is not ready: %w", p.info.Name, errors.Join(ctx.Err(), err))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// InstanceStarts is how many StartInstance calls a plugin's server has had.
func (g *Gateway) InstanceStarts(plugin string) int {
	for _, p := range g.plugins {
		if p.info.Name == plugin {
			return int(p.starts.Load())
		}
	}
	return 0
}

// rebuild makes a new snapshot; the store calls it with its lock held. Any change of any plugin
// gives all of them new sequence numbers, and with them new instances.
func (g *Gateway) rebuild(kindName string) {
	next := &snapshot{plugins: map[string][]*configured{}}
	if old := g.current.Load(); old != nil {
		*next = *old
	}
	if kindName != "plugins" || next.router == nil {
		next.router = newRouter(g.store.enabled("routes"), g.store.enabled("services"))
	}
	if kindName == "plugins" {
		next.plugins = map[string][]*configured{}
		all := g.store.enabled("plugins")
		for _, id := range sortedKeys(all) {
			g.seq++
			c, err := newConfigured(all[id], g.seq)
			if err != nil {
				g.log.Error("a plugin cannot run", "error", err)
				continue
			}
			next.plugins[c.name] = append(next.plugins[c.name], c)
		}
	}
	g.current.Store(next)
}

// enabled returns the entities that are not switched off; the lock is held.
func (s *store) enabled(kindName string) map[string]map[string]any {
	out := map[string]map[string]any{}
	for id, e := range s.entities[kindName] {
		if e["enabled"] != false {
			out[id] = e
		}
	}
	return out
}

// pluginFor is the configuration of a plugin for a route and a consumer ("" = none): the most
// particular one counts, and only that.
func (s *snapshot) pluginFor(name string, r *compiledRoute, consumer string) *configured {
	route, _ := r.entity["id"].(string)
	service, _ := r.service["id"].(string)
	var best *configured
	rank := -1
	for _, c := range s.plugins[name] {
		if c.route != "" && c.route != route || c.service != "" && c.service != service || c.consumer != "" && c.consumer != consumer {
			continue
		}
		n := 0
		if c.consumer != "" {
			n += 4
		}
		if c.route != "" {
			n += 2
		}
		if c.service != "" {
			n++
		}
		if n > rank {
			best, rank = c, n
		}
	}
	return best
}

// newTransport dials upstreams, some of them elsewhere than their names say.
func newTransport(resolve map[string]string) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if to, ok := resolve[addr]; ok {
				addr = to
			}
			return dialer.DialContext(ctx, network, addr)
		},
		DisableCompression:    true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       60 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
	}
}
