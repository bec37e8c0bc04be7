package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A Client makes exchanges with one set of Settings. It is safe for concurrent use.
type Client struct {
	pool         *Pool
	proxies      *proxies
	broken       *Error // the settings cannot work
	newTransport func() *http.Transport
	transport    atomic.Pointer[http.Transport] // holds the kept connections
}

// Request is one exchange to make. Header members that belong to the connection
// (Connection, Accept-Encoding, Expect …) are dropped.
type Request struct {
	Method string // "" is GET
	URL    string
	Header http.Header
	Body   []byte // nil: none
	// Again says that the provider may see the request twice, and makes it anew, for the same
	// address. A kept connection then has at most half of the time to begin an answer: if it
	// does not, or breaks before, the request is made once more over a new one. nil: a GET
	// without a body is made again as it is, nothing else is.
	Again func() (Request, error)
}

// Response is a whole answer; its status may be any but 1xx.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // at most MaxBody bytes, decompressed
}

// Format prints nothing of the settings' credentials.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "egress client") }

// Format prints nothing of query, header and body, which may hold credentials.
func (r Request) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s request", r.Method) }

// Format prints nothing of header and body, which may hold tokens.
func (r Response) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "status %d, %d bytes", r.Status, len(r.Body))
}

func newClient(p *Pool, s Settings) *Client {
	c := &Client{pool: p}
	c.proxies, c.broken = newProxies(s)
	switch s.HTTPVersion {
	case "", HTTP10, HTTP11, HTTP2:
	default:
		c.broken = &Error{Kind: BadRequest, reason: "no such HTTP version"}
	}
	d := &dialer{pool: p, proxies: c.proxies, tls: tlsConfig(s)}
	c.newTransport = func() *http.Transport {
		return &http.Transport{
			Proxy:                  c.proxies.ofPlain,
			DialContext:            d.dial,
			DialTLSContext:         d.dialTLS,
			TLSClientConfig:        d.tls.Clone(),
			DisableKeepAlives:      !s.Keepalive || s.HTTPVersion == HTTP10,
			ForceAttemptHTTP2:      s.HTTPVersion == HTTP2,
			MaxIdleConns:           8 * p.opts.MaxCalls,
			MaxIdleConnsPerHost:    p.opts.MaxCalls,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxHeader,
		}
	}
	c.transport.Store(c.newTransport())
	return c
}

// leaveBehind makes no more use of the connections that old keeps, busy ones included: in
// HTTP/2 they would be shared on.
func (c *Client) leaveBehind(old *http.Transport) {
	c.transport.CompareAndSwap(old, c.newTransport())
	old.CloseIdleConnections()
}

// tlsConfig is all but the roots, see Pool.trusting.
func tlsConfig(s Settings) *tls.Config {
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: !s.VerifyTLS, //nolint:gosec // the operator's own choice, ssl_verify: false
		NextProtos:         []string{"http/1.1"},
	}
	if s.HTTPVersion == HTTP2 {
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	if s.VerifyTLS {
		cfg.VerifyConnection = refuseWeakKeys
	}
	return cfg
}

// Do makes one exchange: no redirect is followed, no cookie kept. It ends with ctx, or
// after a minute if ctx has no deadline. The error is an *Error, or that of req.Again.
func (c *Client) Do(ctx context.Context, req Request) (*Response, error) {
	u, err := parseURL(req.URL, nil)
	if err != nil {
		return nil, err
	}
	host := hostPort(u)
	if c.broken != nil {
		return nil, &Error{Kind: c.broken.Kind, Host: host, reason: c.broken.reason}
	}
	if !c.pool.begin() {
		return nil, &Error{Kind: Canceled, Host: host, reason: "the process is ending"}
	}
	defer c.pool.running.Done()
	ctx, cancel := c.pool.bounded(ctx, maxExchange)
	defer cancel()

	leave, err := c.pool.lines.enter(ctx, u.Scheme+"://"+host)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &Error{Kind: Busy, Host: host, reason: "too many calls at once, no place in time", cause: err}
	} else if err != nil {
		return nil, &Error{Kind: Canceled, Host: host, reason: "given up by the caller", cause: err}
	}
	defer leave()

	again := req.Again
	if again == nil && (req.Method == "" || req.Method == http.MethodGet) && req.Body == nil {
		again = func() (Request, error) { return req, nil }
	}
	transport := c.transport.Load()
	resp, err := c.exchange(ctx, transport, req, again != nil)
	var e *Error
	if !errors.As(err, &e) || !e.stale {
		return resp, err
	}
	// The other kept connections are most likely dead too: the next try must not use them.
	c.leaveBehind(transport)
	if again == nil {
		return nil, err
	}
	if req, err = again(); err != nil {
		return nil, err
	}
	return c.exchange(ctx, c.transport.Load(), req, false)
}

// build makes the request as it goes out.
func (c *Client) build(ctx context.Context, u *url.URL, req Request) (*http.Request, error) {
	var body io.Reader
	if req.Body != nil {
		body = bytes.NewReader(req.Body)
	}
	r, err := http.NewRequestWithContext(ctx, req.Method, u.String(), body)
	if err != nil {
		return nil, &Error{Kind: BadRequest, Host: hostPort(u), reason: "the request cannot be built", cause: err}
	}
	// net/http itself would send a body again that was read, if the header has an Idempotency-Key.
	r.GetBody = nil
	r.Header = ownHeader(req.Header, c.pool.opts.UserAgent)
	for name, values := range r.Header {
		ok := httpguts.ValidHeaderFieldName(name)
		for _, v := range values {
			ok = ok && httpguts.ValidHeaderFieldValue(v)
		}
		if !ok {
			return nil, &Error{Kind: BadRequest, Host: hostPort(u), reason: "a header of the request cannot be sent"}
		}
	}
	if proxy, auth := c.proxies.of(u); u.Scheme == "http" && proxy != nil && auth != "" {
		r.Header.Set("Proxy-Authorization", auth)
	}
	return r, nil
}

// exchange sends req by transport and reads the whole answer. With halve, it ends at half
// of the time if a kept connection has not begun to answer.
func (c *Client) exchange(ctx context.Context, transport *http.Transport, req Request, halve bool) (*Response, error) {
	u, err := parseURL(req.URL, nil)
	if err != nil {
		return nil, err
	}
	host := hostPort(u)
	within, giveUp := context.WithCancel(ctx)
	defer giveUp()
	silence := time.AfterFunc(maxExchange, giveUp)
	defer silence.Stop()

	var connected, reused, answered atomic.Bool
	r, err := c.build(httptrace.WithClientTrace(within, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			connected.Store(true)
			reused.Store(i.Reused)
			silence.Stop()
			if end, ok := ctx.Deadline(); ok && halve && i.Reused {
				silence.Reset(time.Until(end) / 2)
			}
		},
		GotFirstResponseByte: func() { answered.Store(true); silence.Stop() },
	}), u, req)
	if err != nil {
		return nil, err
	}
	fail := func(err error) *Error {
		return classify(host, err, ctx.Err(), phase{connected: connected.Load(), reused: reused.Load(), answered: answered.Load()})
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return nil, fail(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if proxy, _ := c.proxies.ofPlain(r); proxy != nil && resp.StatusCode == http.StatusProxyAuthRequired {
		return nil, &Error{Kind: Proxy, Host: host, reason: "the proxy wants other credentials (407)"}
	}
	if resp.StatusCode < 200 {
		// 101: the body would be the bare connection, which no ctx ends.
		return nil, &Error{Kind: Malformed, Host: host, reason: "the answer switches protocols"}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	switch {
	case len(body) > MaxBody:
		return nil, &Error{Kind: TooLarge, Host: host, reason: "the answer's body is above 1 MiB"}
	case err != nil:
		return nil, fail(err)
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// ownHeader is the caller's header without what is the connection's.
func ownHeader(h http.Header, userAgent string) http.Header {
	out := h.Clone()
	if out == nil {
		out = http.Header{}
	}
	for _, name := range connectionHeaders {
		out.Del(name)
	}
	if out.Get("User-Agent") == "" {
		out.Set("User-Agent", userAgent)
	}
	return out
}

// connectionHeaders would change how the exchange itself works: decompression, framing, a
// protocol switch, the proxy's login.
var connectionHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}
