package devgateway

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Who sent the request, and to where: by the connection, or by what a proxy in front says if its
// address is trusted.

// parseTrusted reads Kong's trusted_ips.
func parseTrusted(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if addr, aerr := netip.ParseAddr(text); err != nil && aerr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("devgateway: trusted address: %w", err)
		}
		out = append(out, prefix)
	}
	return out, nil
}

// trusts tells whether an address is among the trusted ones.
func (g *Gateway) trusts(ip string, _ int) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, p := range g.trusted {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// clientScheme is the scheme of the client's own connection.
func (x *exchange) clientScheme() string {
	if x.in.TLS != nil {
		return "https"
	}
	return "http"
}

// clientHost is nginx's $host: lower case, without port and final dot.
func (x *exchange) clientHost() string {
	host := x.in.Host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.Contains(host[i:], "]") {
		host = host[:i]
	}
	if host == "" {
		return "kong" // the server's name, for HTTP/1.0 without Host
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// serverPort is the port on which the request came in.
func (x *exchange) serverPort() int {
	if addr, ok := x.in.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(addr.String()); err == nil {
			n, _ := strconv.Atoi(port)
			return n
		}
	}
	return 0
}

// peer is the other end of the connection.
func (x *exchange) peer() (ip string, port int) {
	host, p, err := net.SplitHostPort(x.in.RemoteAddr)
	if err != nil {
		return x.in.RemoteAddr, 0
	}
	port, _ = strconv.Atoi(p)
	return host, port
}

// client is the peer, or whom a trusted peer names in X-Real-IP; then the port is 0 unless it is
// named, too.
func (x *exchange) client() (ip string, port int) {
	if real := x.in.Header.Get("X-Real-Ip"); x.trusted && real != "" {
		if addr, err := netip.ParseAddr(real); err == nil {
			return addr.String(), 0
		}
		if addr, err := netip.ParseAddrPort(real); err == nil {
			return addr.Addr().String(), int(addr.Port())
		}
	}
	return x.peer()
}

// forwardedScheme is not checked: a trusted peer may say anything.
func (x *exchange) forwardedScheme() string {
	if v, ok := x.getHeader("x-forwarded-proto"); ok && x.trusted {
		return strings.ToLower(v)
	}
	return x.clientScheme()
}

func (x *exchange) forwardedHost() string {
	v, ok := x.getHeader("x-forwarded-host")
	if !ok || !x.trusted {
		return x.clientHost()
	}
	host, _, _ := strings.Cut(v[strings.IndexByte(v, '@')+1:], ":")
	return strings.ToLower(host)
}

func (x *exchange) forwardedPort() int {
	if !x.trusted {
		return x.serverPort()
	}
	port, _ := x.getHeader("x-forwarded-port")
	host, _ := x.getHeader("x-forwarded-host")
	_, portOfHost, _ := strings.Cut(host[strings.IndexByte(host, '@')+1:], ":")
	for _, text := range []string{port, portOfHost} {
		if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= 65535 {
			return n
		}
	}
	return x.serverPort()
}

// protocol is kong.client.get_protocol; terminated allows for TLS that ends at a trusted peer.
func (x *exchange) protocol(terminated bool) (string, error) {
	lines := x.header["X-Forwarded-Proto"]
	switch {
	case x.clientScheme() == "https" || !terminated || !x.trusted:
		return x.clientScheme(), nil
	case len(lines) > 1:
		return "", errors.New("devgateway: Only one X-Forwarded-Proto header allowed")
	case len(lines) == 1 && strings.EqualFold(lines[0], "https"):
		return "https", nil
	}
	return "http", nil
}

// setForwarded sets what the upstream is told in X-Forwarded-*, before any plugin runs.
func (x *exchange) setForwarded(route *compiledRoute, matched string) {
	ip, _ := x.client()
	x.forwarded = map[string]string{
		"for": ip, "proto": x.clientScheme(), "host": x.clientHost(), "port": strconv.Itoa(x.serverPort()), "path": x.rawPath(), "prefix": "",
	}
	if route.stripPath && matched != "/" {
		x.forwarded["prefix"] = matched
	}
	if old, there := x.headerVariable("x-forwarded-for"); there {
		peer, _ := x.peer()
		x.forwarded["for"] = old + ", " + peer
	}
	if !x.trusted {
		return
	}
	for _, what := range []string{"proto", "host", "port", "path", "prefix"} {
		if v, there := x.headerVariable("x-forwarded-" + what); there {
			x.forwarded[what] = v
		}
	}
}
