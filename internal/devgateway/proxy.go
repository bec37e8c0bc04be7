package devgateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// onlyOnce are the request headers that nginx refuses to see twice.
var onlyOnce = []string{
	"Authorization", "Content-Length", "Content-Range", "Expect", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
	"If-Unmodified-Since", "Range",
}

// ProxyHandler serves the clients: it finds the route, lets the plugins decide, and sends the request to the upstream.
func (g *Gateway) ProxyHandler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      g.transport,
		ModifyResponse: modifyResponse,
		ErrorHandler:   g.upstreamFailed,
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.requests.Add(1)
		x := newExchange(r)
		defer x.close()
		if !g.access(w, x) {
			return
		}
		ctx := context.WithValue(r.Context(), exchangeKey{}, x)
		proxy.ServeHTTP(w, r.WithContext(ctx))
	})
}

type exchangeKey struct{}

// access is all that happens before the upstream: it answers itself and returns false, or leaves x ready to be sent.
func (g *Gateway) access(w http.ResponseWriter, x *exchange) bool {
	for _, name := range onlyOnce {
		if len(x.in.Header[name]) > 1 {
			return x.fail(w, http.StatusBadRequest, "Bad request")
		}
	}
	state := g.current.Load()
	path := normalizePath(x.rawPath())
	route, matched := state.router.match(x.in, path)
	if route == nil {
		return x.fail(w, http.StatusNotFound, "no Route matched with those values")
	}
	if !slices.Contains(route.protocols, x.clientScheme()) {
		x.response.Set("Connection", "Upgrade")
		x.response.Set("Upgrade", "TLS/1.2, HTTP/1.1")
		return x.fail(w, http.StatusUpgradeRequired, "Please use HTTPS protocol")
	}
	if route.service == nil {
		return x.fail(w, http.StatusServiceUnavailable, "the route has no service")
	}
	x.toUpstream(route, matched, path)
	// Kong takes the client's Connection from a copy made before the plugins, and applies it after them.
	connection, _ := x.getHeader("connection")
	for _, p := range g.plugins {
		c := state.pluginFor(p.info.Name, route)
		if c == nil || !slices.Contains(p.info.Phases, "access") {
			continue
		}
		if err := g.runPlugin(x, p, c); err != nil {
			if x.in.Context().Err() == nil { // else the client has gone, and nothing failed
				g.log.Error("a plugin failed: the request is refused", "plugin", p.info.Name, "request_id", x.id, "error", err)
			}
			x.exit = nil
			return x.fail(w, http.StatusInternalServerError, "An unexpected error occurred")
		}
		if x.exit != nil {
			x.writeExit(w)
			return false
		}
	}
	if x.hostBroken {
		return x.fail(w, http.StatusBadRequest, "Bad request")
	}
	x.dropHopByHop(connection)
	return true
}

// runPlugin runs one plugin; a panic in what answers it is an error of this request alone.
func (g *Gateway) runPlugin(x *exchange, p *pluginHost, c *configured) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("devgateway: panic: %v\n%s", v, debug.Stack())
		}
	}()
	return p.handle(x.in.Context(), c, &pdk{x: x, gw: g, plugin: p.info.Name})
}

// toUpstream sets what the route and its service say about the request.
func (x *exchange) toUpstream(route *compiledRoute, matched, path string) {
	x.route = route
	host, _ := route.service["host"].(string)
	port, _ := route.service["port"].(float64)
	x.scheme, _ = route.service["protocol"].(string)
	x.target = net.JoinHostPort(host, strconv.Itoa(int(port)))
	if route.preserveHost {
		x.host = x.in.Host
	}
	x.path = escapePath(route.upstreamPath(matched, path))
	if route.stripPath && matched != "" && matched != "/" {
		x.prefix = matched
	}
}

// dropHopByHop removes what Kong removes after all plugins: the headers that the client's Connection names, and some of the proxy's own.
func (x *exchange) dropHopByHop(connection string) {
	if connection != "keep-alive" && connection != "close" && connection != "upgrade" {
		for name := range strings.SplitSeq(connection, ",") {
			if name = strings.TrimSpace(name); name != "" {
				setHeader(x.header, name, nil)
			}
		}
	}
	for _, name := range []string{"Proxy", "Proxy-Connection", "Keep-Alive", "Te", "Transfer-Encoding"} {
		setHeader(x.header, name, nil)
	}
}

// rewrite makes the request to the upstream out of the exchange.
func rewrite(pr *httputil.ProxyRequest) {
	x := pr.In.Context().Value(exchangeKey{}).(*exchange)
	out := pr.Out
	upgrade := out.Header.Get("Upgrade") // ReverseProxy leaves it only where the client really asks for it
	out.Header = x.header
	host := x.host
	if host == "" {
		host = strings.TrimSuffix(x.target, map[string]string{"http": ":80", "https": ":443"}[x.scheme])
	}
	out.Host = host
	delete(out.Header, "Host")
	out.Method, out.Body, out.ContentLength = x.method, x.body, x.bodySize
	if x.bodySize == 0 {
		out.Body = http.NoBody
	}
	path, err := url.PathUnescape(x.path)
	if err != nil {
		path = x.path
	}
	out.URL = &url.URL{Scheme: x.scheme, Host: x.target, Path: path, RawPath: x.path, RawQuery: x.query}
	out.URL.ForceQuery = strings.HasSuffix(x.uri, "?")
	x.setOwn(upgrade)
}

// setOwn sets the headers that Kong's own configuration of nginx sets over the client's.
func (x *exchange) setOwn(upgrade string) {
	ip, _ := x.remote()
	forwarded := ip
	if old, ok := x.getHeader("x-forwarded-for"); ok {
		forwarded = old + ", " + ip
	}
	via := fmt.Sprintf("%d.%d %s", x.in.ProtoMajor, x.in.ProtoMinor, serverName)
	if old, ok := x.getHeader("via"); ok {
		via = old + ", " + via
	}
	for name, v := range map[string]string{
		"Via": via, "X-Forwarded-For": forwarded, "X-Forwarded-Proto": x.clientScheme(), "X-Forwarded-Host": x.clientHost(),
		"X-Forwarded-Port": strconv.Itoa(x.serverPort()), "X-Forwarded-Path": x.rawPath(), "X-Forwarded-Prefix": x.prefix,
		"X-Real-Ip": ip, "X-Kong-Request-Id": x.id, "Upgrade": upgrade,
	} {
		delete(x.header, name)
		if v != "" {
			x.header[name] = []string{v}
		}
	}
	delete(x.header, "Connection")
	if upgrade != "" {
		x.header["Connection"] = []string{"keep-alive, Upgrade"}
	}
	if _, ok := x.header["User-Agent"]; !ok {
		x.header["User-Agent"] = []string{""} // or net/http would introduce itself
	}
	x.sent = time.Now()
}

func modifyResponse(res *http.Response) error {
	x := res.Request.Context().Value(exchangeKey{}).(*exchange)
	for name, values := range x.response {
		res.Header[name] = append(res.Header[name], values...)
	}
	res.Header.Set("X-Kong-Upstream-Latency", milliseconds(time.Since(x.sent)))
	res.Header.Set("X-Kong-Proxy-Latency", milliseconds(x.sent.Sub(x.started)))
	res.Header.Add("Via", fmt.Sprintf("%d.%d %s", res.ProtoMajor, res.ProtoMinor, serverName))
	res.Header.Set("X-Kong-Request-Id", x.id)
	return nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// upstreamFailed answers when there is no answer to pass on.
func (g *Gateway) upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	x := r.Context().Value(exchangeKey{}).(*exchange)
	g.log.Warn("the upstream did not answer", "request_id", x.id, "error", err)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		x.fail(w, http.StatusGatewayTimeout, "The upstream server is timing out")
		return
	}
	x.fail(w, http.StatusBadGateway, "An invalid response was received from the upstream server")
}

// fail answers with an error of the gateway itself, in Kong's shape. It returns false, for access.
func (x *exchange) fail(w http.ResponseWriter, status int, text string) bool {
	x.exit = &exitAnswer{
		status: status,
		header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		body:   fmt.Appendf(nil, "{\n  \"message\":%q,\n  \"request_id\":%q\n}", text, x.id),
	}
	x.writeExit(w)
	return false
}

// writeExit sends the answer of kong.response.exit, with what other plugins have set before.
func (x *exchange) writeExit(w http.ResponseWriter) {
	h := w.Header()
	for _, headers := range []http.Header{x.response, x.exit.header} {
		for name, values := range headers {
			h[name] = values
		}
	}
	h.Del("Content-Length")
	if x.in.Method != http.MethodHead {
		h.Set("Content-Length", strconv.Itoa(len(x.exit.body)))
	}
	if h.Get("Content-Type") == "" {
		h["Content-Type"] = nil // net/http would guess one
	}
	h.Set("Server", serverName)
	h.Set("X-Kong-Response-Latency", milliseconds(time.Since(x.started)))
	h.Set("X-Kong-Request-Id", x.id)
	if x.body != nil { // a body that nobody read keeps the connection from being used again
		_, _ = io.CopyN(io.Discard, x.body, 256<<10)
	}
	w.WriteHeader(x.exit.status)
	_, _ = w.Write(x.exit.body) // a client that has gone needs no answer
}
