package egress

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	// stagger is the head start of one address over the next (RFC 8305 §5): one that hangs
	// must leave time for the others.
	stagger      = 250 * time.Millisecond
	maxAddresses = 8
)

// dialer connects, within the Pool's time for it: DNS, TCP, proxy and TLS together.
type dialer struct {
	pool    *Pool
	proxies *proxies
	tls     *tls.Config
}

// lookupSystem asks the system's resolver.
func lookupSystem(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// dial is for http targets: http.Transport has chosen the proxy, if any, as addr.
func (d *dialer) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	return d.within(ctx, addr, func(ctx context.Context) (net.Conn, error) {
		if proxy := d.proxies.plainAt("http", addr); proxy != nil {
			return d.dialProxy(ctx, proxy)
		}
		return d.race(ctx, addr, d.dialOne)
	})
}

// dialTLS is for https targets, through their proxy if they have one, and for an https
// proxy of http targets.
func (d *dialer) dialTLS(ctx context.Context, _, addr string) (net.Conn, error) {
	return d.within(ctx, addr, func(ctx context.Context) (net.Conn, error) {
		if proxy := d.proxies.plainAt("https", addr); proxy != nil {
			return d.dialProxy(ctx, proxy)
		}
		proxy, auth := d.proxies.of(&url.URL{Scheme: "https", Host: addr})
		if proxy == nil {
			return d.race(ctx, addr, d.inTLS(d.pool.trusting(d.tls)))
		}
		conn, err := d.dialProxy(ctx, proxy)
		if err != nil {
			return nil, err
		}
		if err := tunnel(ctx, conn, addr, auth); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure(ctx, conn, addr, d.pool.trusting(d.tls))
	})
}

// dialProxy connects to a proxy, in TLS if that is how it is addressed.
func (d *dialer) dialProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	connect := d.dialOne
	if proxy.Scheme == "https" {
		cfg := d.pool.trusting(d.tls)
		cfg.NextProtos = []string{"http/1.1"} // whatever is spoken with the target
		connect = d.inTLS(cfg)
	}
	conn, err := d.race(ctx, proxy.Host, connect)
	if err != nil {
		return nil, proxyUnreachable(proxy.Host, err)
	}
	return conn, nil
}

// within runs connect as one of the Pool's dials. http.Transport has detached ctx from the
// request that wants the connection, so nothing else would end it.
func (d *dialer) within(ctx context.Context, addr string, connect func(context.Context) (net.Conn, error)) (net.Conn, error) {
	if !d.pool.begin() {
		return nil, &Error{Kind: Canceled, Host: addr, reason: "the process is ending"}
	}
	defer d.pool.running.Done()
	ctx, cancel := d.pool.bounded(ctx, d.pool.opts.ConnectTimeout)
	defer cancel()
	return connect(ctx)
}

// attempt is one address of a host to try.
type attempt struct {
	host string // "host:port", as asked for
	addr netip.AddrPort
}

// race tries the addresses of a host one after the other, each with a short head start,
// and returns the first connection. The error is that of the first address.
func (d *dialer) race(ctx context.Context, host string, connect func(context.Context, attempt) (net.Conn, error)) (net.Conn, error) {
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	type result struct {
		nth  int
		conn net.Conn
		err  error
	}
	// Ends the attempts that lost. The connection that won no longer depends on it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	start := func(nth int) {
		defer d.pool.running.Done()
		conn, err := connect(ctx, attempt{host: host, addr: addrs[nth]})
		select {
		case results <- result{nth: nth, conn: conn, err: err}:
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
	head := time.NewTimer(0)
	defer head.Stop()
	failed, first := 0, error(nil)
	for next := 0; ; {
		select {
		case <-head.C:
			if next < len(addrs) && d.pool.begin() {
				go start(next)
				next++
				head.Reset(stagger)
			}
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			if failed++; r.nth == 0 || first == nil {
				first = r.err
			}
			if failed == len(addrs) {
				return nil, first
			}
			head.Reset(0)
		case <-ctx.Done():
			if first == nil {
				first = dialError(host, addrs[0].String(), ctx.Err())
			}
			return nil, first
		}
	}
}

// dialOne opens one TCP connection.
func (d *dialer) dialOne(ctx context.Context, a attempt) (net.Conn, error) {
	nd := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		// What is checked is the address that is dialled, whatever a name said before.
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return &Error{Kind: RefusedAddress, Host: a.host, reason: "the address is no IP address"}
			}
			return checkAddr(a.host, ap.Addr())
		},
	}
	conn, err := nd.DialContext(ctx, "tcp", a.addr.String())
	if err != nil {
		return nil, dialError(a.host, a.addr.String(), err)
	}
	return d.pool.track(conn), nil
}

// inTLS returns what opens one TLS connection.
func (d *dialer) inTLS(cfg *tls.Config) func(context.Context, attempt) (net.Conn, error) {
	return func(ctx context.Context, a attempt) (net.Conn, error) {
		conn, err := d.dialOne(ctx, a)
		if err != nil {
			return nil, err
		}
		return secure(ctx, conn, a.host, cfg)
	}
}

// secure makes a TLS client's connection of conn, which it closes on failure.
func secure(ctx context.Context, conn net.Conn, host string, cfg *tls.Config) (net.Conn, error) {
	cfg = cfg.Clone()
	cfg.ServerName, _, _ = net.SplitHostPort(host)
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, tlsError(host, err)
	}
	return tc, nil
}

// addresses are what "host:port" stands for, families taking turns.
func (d *dialer) addresses(ctx context.Context, hostport string) ([]netip.AddrPort, error) {
	fail := func(reason string, cause error) ([]netip.AddrPort, error) {
		return nil, &Error{Kind: DNS, Host: hostport, reason: reason, cause: cause}
	}
	if to, ok := d.pool.opts.Resolve[strings.ToLower(hostport)]; ok {
		ap, err := netip.ParseAddrPort(to)
		if err != nil {
			return fail("its entry in the resolve map is no ip:port", err)
		}
		return []netip.AddrPort{ap}, nil
	}
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return []netip.AddrPort{ap}, nil
	}
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return fail("no host and port", err)
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", portText)
	if err != nil {
		return fail("no such port", err)
	}
	ips, err := d.pool.lookup(ctx, host)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fail("name not resolved in time", err)
	case err != nil:
		return fail("name cannot be resolved", err)
	case len(ips) == 0:
		return fail("name has no address", nil)
	}
	addrs := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range takeTurns(ips) {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port))) //nolint:gosec // LookupPort answers 0..65535
	}
	return addrs[:min(len(addrs), maxAddresses)], nil
}

// takeTurns keeps the resolver's order within a family and alternates the families, so
// that one broken family costs one head start (RFC 8305 §4).
func takeTurns(ips []netip.Addr) []netip.Addr {
	var fam [2][]netip.Addr
	for _, ip := range ips {
		other := 0
		if ip.Unmap().Is4() != ips[0].Unmap().Is4() {
			other = 1
		}
		fam[other] = append(fam[other], ip)
	}
	out := make([]netip.Addr, 0, len(ips))
	for i := 0; len(out) < len(ips); i++ {
		for _, f := range fam {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}

func proxyUnreachable(proxy string, err error) error {
	e := &Error{Kind: Proxy, Host: proxy, reason: "the proxy cannot be reached", cause: err}
	var why *Error
	if errors.As(err, &why) {
		e.reason += ": " + why.reason
	}
	return e
}

// refuseWeakKeys refuses RSA keys that crypto/x509 still takes.
func refuseWeakKeys(cs tls.ConnectionState) error {
	for _, cert := range cs.PeerCertificates {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 2048 {
			return errWeakKey
		}
	}
	return nil
}
