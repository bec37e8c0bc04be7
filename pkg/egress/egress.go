// Package egress is the only way out to an identity provider: one bounded HTTP exchange
// at a time, over connections that are shared by equal settings.
//
// It bounds what a provider can cost (time, bytes, calls at once), refuses addresses that
// no provider has (link-local, cloud metadata), follows no redirect and names the cause of
// a failure without naming a secret.
//
// Not its job: what the bytes mean, which status is good, whether a request may be made
// twice, and to keep answers.
package egress

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of one exchange.
const (
	MaxBody   = 1 << 20  // of an answer's body, after decompression, in bytes
	maxHeader = 64 << 10 // of an answer's header, in bytes

	defaultMaxCalls       = 32
	defaultConnectTimeout = 2 * time.Second
	defaultUserAgent      = "kong-openid-connect"
	maxExchange           = time.Minute // where the caller's ctx has no deadline
	maxClients            = 256         // distinct Settings that a Pool keeps
)

// HTTP versions of Settings.HTTPVersion.
const (
	HTTP10 = "1.0" // spoken as 1.1 with one exchange a connection: Go's client has no 1.0
	HTTP11 = "1.1"
	HTTP2  = "2" // offered in TLS, with 1.1 behind it
)

// Settings are what an operator decides about the way to a provider. They are comparable:
// equal Settings share connections. They hold credentials and print without them.
type Settings struct {
	VerifyTLS   bool   // false: any certificate is taken
	HTTPVersion string // HTTP10, HTTP11, HTTP2; "" is HTTP11
	Keepalive   bool   // false: a new connection for each exchange

	// HTTPProxy and HTTPSProxy are http:// or https:// URLs of the proxies for http and https
	// targets; "" is none, whatever the environment says. TLS with a proxy is verified as with
	// a provider. The authorizations are whole values of the Proxy-Authorization header; without
	// one, a user in the URL is sent as Basic.
	HTTPProxy, HTTPProxyAuthorization   string
	HTTPSProxy, HTTPSProxyAuthorization string
	// NoProxy is a comma-separated list of hosts, domains, addresses and networks reached
	// directly. localhost and loopback addresses always are.
	NoProxy string
}

// String tells the settings without the proxies' credentials.
func (s Settings) String() string {
	version := s.HTTPVersion
	if version == "" {
		version = HTTP11
	}
	return fmt.Sprintf("verify_tls=%t http=%s keepalive=%t http_proxy=%t https_proxy=%t",
		s.VerifyTLS, version, s.Keepalive, s.HTTPProxy != "", s.HTTPSProxy != "")
}

// Format prints String whatever the verb.
func (s Settings) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText gives encoders String.
func (s Settings) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue gives slog String.
func (s Settings) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Options are what a process decides. The zero value is usable.
type Options struct {
	// RootCAs is the whole set of trusted roots; nil is the system's. See Roots and
	// Pool.SetRootCAs.
	RootCAs *x509.CertPool
	// Resolve maps "host:port" to "ip:port" before DNS is asked, as curl's --resolve. The
	// address it leads to is checked as any other.
	Resolve map[string]string
	// MaxCalls bounds the exchanges at once with one provider (scheme, host and port). 0 is 32.
	MaxCalls int
	// ConnectTimeout bounds DNS, TCP, proxy and TLS together. 0 is 2 s.
	ConnectTimeout time.Duration
	// UserAgent is sent where a request has none. "" is "kong-openid-connect".
	UserAgent string
}

// A Pool owns the connections of a process and its limits. Close ends it.
type Pool struct {
	opts   Options
	roots  atomic.Pointer[x509.CertPool]
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	lines  lines
	stop   context.CancelFunc
	ended  context.Context // done from Close on: part of the Pool's life, no request's context

	running sync.WaitGroup // exchanges and dials

	mu      sync.Mutex            // guards below
	clients map[Settings]*Client  // equal settings, one Client
	conns   map[*tracked]struct{} // open ones, of Clients that are no longer shared too
	closed  bool
}

// NewPool returns a Pool without connections.
func NewPool(o Options) *Pool {
	if o.MaxCalls <= 0 {
		o.MaxCalls = defaultMaxCalls
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = defaultConnectTimeout
	}
	if o.UserAgent == "" {
		o.UserAgent = defaultUserAgent
	}
	resolve := make(map[string]string, len(o.Resolve))
	for name, addr := range o.Resolve {
		resolve[strings.ToLower(name)] = addr
	}
	o.Resolve = resolve
	p := &Pool{opts: o, lookup: lookupSystem, clients: map[Settings]*Client{}, conns: map[*tracked]struct{}{}}
	p.lines.max = o.MaxCalls
	p.roots.Store(o.RootCAs)
	p.ended, p.stop = context.WithCancel(context.Background())
	return p
}

// Format prints nothing of the clients' credentials.
func (p *Pool) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "egress pool") }

// Client returns the Client of these settings, the same one for equal settings. It does no
// I/O and cannot fail: settings that cannot work make every Do fail.
func (p *Pool) Client(s Settings) *Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[s]; c != nil {
		return c
	}
	if len(p.clients) >= maxClients {
		// A forgotten Client goes on working for who holds it; it merely is no longer shared.
		for old, c := range p.clients {
			delete(p.clients, old)
			c.transport.Load().CloseIdleConnections()
			break
		}
	}
	c := newClient(p, s)
	p.clients[s] = c
	return c
}

// Close ends the exchanges under way, waits for them, and closes all connections.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.running.Wait()
	p.mu.Lock()
	conns := maps.Clone(p.conns)
	p.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

// tracked is a connection that its Pool knows while it is open.
type tracked struct {
	net.Conn
	pool *Pool
}

func (p *Pool) track(c net.Conn) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &tracked{Conn: c, pool: p}
	p.conns[t] = struct{}{}
	return t
}

func (c *tracked) Close() error {
	c.pool.mu.Lock()
	delete(c.pool.conns, c)
	c.pool.mu.Unlock()
	return c.Conn.Close()
}

// begin counts one exchange or dial that Close has to wait for.
func (p *Pool) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.running.Add(1)
	return true
}

// bounded returns ctx with an end no later than d, and at the Pool's end.
func (p *Pool) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	unhook := context.AfterFunc(p.ended, cancel)
	return ctx, func() { unhook(); cancel() }
}

// lines bounds the calls at once to each provider. An entry lives while it is used, so
// that the map is no larger than the calls under way.
type lines struct {
	max int

	mu     sync.Mutex // guards below
	byHost map[string]*line
}

type line struct {
	slots chan struct{}
	users int
}

// enter waits for a place at host until ctx is done; leave gives it back.
func (l *lines) enter(ctx context.Context, host string) (leave func(), err error) {
	l.mu.Lock()
	if l.byHost == nil {
		l.byHost = map[string]*line{}
	}
	ln := l.byHost[host]
	if ln == nil {
		ln = &line{slots: make(chan struct{}, l.max)}
		l.byHost[host] = ln
	}
	ln.users++
	l.mu.Unlock()

	forget := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if ln.users--; ln.users == 0 {
			delete(l.byHost, host)
		}
	}
	select {
	case ln.slots <- struct{}{}:
		return func() { <-ln.slots; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
