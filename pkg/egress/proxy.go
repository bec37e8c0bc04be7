package egress

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// proxies chooses the proxy of a target. It is held by pointer only, so that nothing that
// is printed from outside reaches the credentials.
type proxies struct {
	choose    func(*url.URL) (*url.URL, error)
	plain     *url.URL // for http targets, without user
	secure    *url.URL // for https targets
	plainAuth string
	tlsAuth   string
}

func newProxies(s Settings) (*proxies, *Error) {
	p := &proxies{}
	var err1, err2 *Error
	p.plain, p.plainAuth, err1 = parseProxy(s.HTTPProxy, s.HTTPProxyAuthorization)
	p.secure, p.tlsAuth, err2 = parseProxy(s.HTTPSProxy, s.HTTPSProxyAuthorization)
	cfg := &httpproxy.Config{NoProxy: s.NoProxy}
	if p.plain != nil {
		cfg.HTTPProxy = p.plain.String()
	}
	if p.secure != nil {
		cfg.HTTPSProxy = p.secure.String()
	}
	p.choose = cfg.ProxyFunc()
	if err1 != nil {
		return p, err1
	}
	return p, err2
}

// parseProxy takes the user out of the proxy's URL and makes it an authorization.
func parseProxy(raw, auth string) (*url.URL, string, *Error) {
	if raw == "" {
		return nil, "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		// err would repeat the URL, which may hold a password.
		return nil, "", &Error{Kind: Proxy, reason: "the proxy is no http:// or https:// URL"}
	}
	if u.User != nil && auth == "" {
		password, _ := u.User.Password()
		auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	return &url.URL{Scheme: u.Scheme, Host: hostPort(u)}, auth, nil
}

// of returns the proxy of a target and its authorization; nil if it is reached directly.
func (p *proxies) of(target *url.URL) (*url.URL, string) {
	proxy, err := p.choose(target)
	if err != nil || proxy == nil {
		return nil, ""
	}
	if target.Scheme == "https" {
		return p.secure, p.tlsAuth
	}
	return p.plain, p.plainAuth
}

// ofPlain is http.Transport's Proxy, for http targets only. The dialer makes the tunnels for https,
// so that they count in the time for connecting.
func (p *proxies) ofPlain(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "http" {
		return nil, nil
	}
	proxy, _ := p.of(r.URL)
	return proxy, nil
}

// plainAt returns the proxy for http targets if it is what http.Transport dials.
func (p *proxies) plainAt(scheme, addr string) *url.URL {
	if p.plain == nil || p.plain.Scheme != scheme || p.plain.Host != strings.ToLower(addr) {
		return nil
	}
	return p.plain
}

// tunnel asks the proxy at conn for a connection to target (RFC 9110 §9.3.6).
func tunnel(ctx context.Context, conn net.Conn, target, auth string) error {
	unhook := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer unhook()
	fail := func(reason string, cause error) error {
		return &Error{Kind: Proxy, Host: target, reason: reason, cause: cause}
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{}}
	if auth != "" {
		req.Header.Set("Proxy-Authorization", auth)
	}
	if err := req.Write(conn); err != nil {
		return fail("the proxy did not take the request", err)
	}
	br := bufio.NewReader(io.LimitReader(conn, maxHeader))
	status, err := readStatus(textproto.NewReader(br))
	if err != nil {
		return fail("the proxy gave no answer", err)
	}
	if status < 200 || status > 299 {
		return fail("the proxy answered "+strconv.Itoa(status), nil)
	}
	if br.Buffered() > 0 {
		return fail("the proxy sent bytes ahead of the tunnel", nil)
	}
	return nil
}

// readStatus reads the header of an answer to CONNECT. http.ReadResponse would read a body
// where it has Content-Length or Transfer-Encoding; this answer has none (RFC 9110 §9.3.6).
func readStatus(r *textproto.Reader) (status int, err error) {
	for status < 200 {
		line, err := r.ReadLine()
		if err != nil {
			return 0, err
		}
		version, rest, _ := strings.Cut(line, " ")
		code, _, _ := strings.Cut(rest, " ")
		if status, err = strconv.Atoi(code); err != nil || status < 100 || status > 999 || !strings.HasPrefix(version, "HTTP/1.") {
			return 0, errors.New("no HTTP")
		}
		if _, err := r.ReadMIMEHeader(); err != nil {
			return 0, err
		}
	}
	return status, nil
}
