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
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ProxyServer is a server for ProxyHandler that speaks HTTP/1 and, without TLS, HTTP/2, as one of
// Kong's listeners with http2 does.
func (g *Gateway) ProxyServer() *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: g.ProxyHandler(), Protocols: protocols, ReadHeaderTimeout: time.Minute}
}

// ProxyHandler serves the clients: it finds the route, lets the plugins decide, and sends the
// request to the upstream.
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
		x.trusted = g.trusts(x.peer())
		defer x.close()
		if !g.access(w, x) {
			return
		}
		ctx := context.WithValue(r.Context(), exchangeKey{}, x)
		proxy.ServeHTTP(w, r.WithContext(ctx))
	})
}

type exchangeKey struct{}

// access is all that happens before the upstream: it answers itself and returns false, or leaves x
// ready to be sent.
func (g *Gateway) access(w http.ResponseWriter, x *exchange) bool {
	if status, text := x.nginxRefuses(); status != 0 {
		return x.fail(w, status, text)
	}
	state := g.current.Load()
	path := normalizePath(x.rawPath())
	if !utf8.ValidString(path) {
		return x.fail(w, http.StatusNotFound, "no Route matched with those values")
	}
	route, matched := state.router.match(x.in, path)
	if route == nil {
		return x.fail(w, http.StatusNotFound, "no Route matched with those values")
	}
	x.setForwarded(route, matched)
	if !slices.Contains(route.protocols, x.clientScheme()) && !slices.Contains(route.protocols, x.forwarded["proto"]) {
		x.response.Set("Connection", "Upgrade")
		x.response.Set("Upgrade", "TLS/1.2, HTTP/1.1")
		return x.fail(w, http.StatusUpgradeRequired, "Please use HTTPS protocol")
	}
	if route.service == nil {
		return x.fail(w, http.StatusServiceUnavailable, "the route has no service")
	}
	x.toUpstream(route, matched, path)
	// Kong takes the client's Connection from a copy made before the plugins, and applies it after
	// them.
	connection, _ := x.getHeader("connection")
	number := int(maphash.String(g.seed, x.in.RemoteAddr) >> 33) // a connection stays with its worker
	for _, p := range g.plugins {
		c := state.pluginFor(p.info.Name, route, x.consumerID())
		if c == nil || !slices.Contains(p.info.Phases, "access") {
			continue
		}
		if err := g.runPlugin(x, p, p.workers[number%len(p.workers)], c); err != nil {
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
	// With request_buffering nginx sends a body only once it has all of it, and then with its
	// length.
	if x.bodySize < 0 && route.entity["request_buffering"] != false {
		switch err := x.loadBody(); {
		case errors.Is(err, errBodyTooLarge):
			return x.fail(w, http.StatusRequestEntityTooLarge, "Payload too large")
		case err != nil:
			return x.fail(w, http.StatusBadRequest, "Bad request")
		}
	}
	return true
}

// runPlugin runs one plugin; a panic in what answers it is an error of this request alone.
func (g *Gateway) runPlugin(x *exchange, p *pluginHost, w *worker, c *configured) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("devgateway: panic: %v\n%s", v, debug.Stack())
		}
	}()
	return p.handle(x.in.Context(), w, c, &pdk{x: x, gw: g, plugin: p.info.Name})
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
}

// dropHopByHop removes what Kong removes after all plugins: the headers that the client's
// Connection names, and some of the proxy's own.
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
	out.Method, out.Body, out.ContentLength, out.TransferEncoding = x.method, x.body, x.bodySize, nil
	if x.bodySize == 0 {
		out.Body = http.NoBody
	}
	path, err := url.PathUnescape(x.path)
	if err != nil {
		path = x.path
	}
	out.URL = &url.URL{Scheme: x.scheme, Host: x.target, Path: path, RawPath: x.path, RawQuery: x.query}
	if strings.Contains(x.path, "?") {
		out.URL.Opaque = x.path // or net/url would escape it
	}
	out.URL.ForceQuery = strings.HasSuffix(x.uri, "?")
	x.setOwn(upgrade)
}

// setOwn sets the headers that Kong's own configuration of nginx sets over the client's.
func (x *exchange) setOwn(upgrade string) {
	via := fmt.Sprintf("%d.%d %s", x.in.ProtoMajor, x.in.ProtoMinor, serverName)
	if old, ok := x.getHeader("via"); ok {
		via = old + ", " + via
	}
	ip, _ := x.client()
	own := map[string]string{"Via": via, "X-Real-Ip": ip, "X-Kong-Request-Id": x.id, "Upgrade": upgrade}
	for what, v := range x.forwarded {
		own[textproto.CanonicalMIMEHeaderKey("X-Forwarded-"+what)] = v
	}
	for name, v := range own {
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

// modifyResponse puts what plugins have set before what the upstream has sent, of which it replaces
// nothing but the length.
func modifyResponse(res *http.Response) error {
	x := res.Request.Context().Value(exchangeKey{}).(*exchange)
	for name, values := range x.response {
		switch old := res.Header[name]; {
		case name == "Content-Type" && len(old) > 0:
		case name == "Content-Length":
			res.Header[name] = values
		default:
			res.Header[name] = slices.Concat(values, old)
		}
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
	if status := x.exit.status; status < 200 || status == 444 || status == 499 {
		panic(http.ErrAbortHandler) // nginx closes the connection without an answer
	}
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
	switch kind := h.Get("Content-Type"); {
	case kind == "":
		h["Content-Type"] = nil // net/http would guess one
	case strings.HasPrefix(strings.ToLower(kind), "text/") && !strings.Contains(strings.ToLower(kind), "charset="):
		h.Set("Content-Type", kind+"; charset=UTF-8")
	}
	h.Set("Server", serverName)
	h.Set("X-Kong-Response-Latency", milliseconds(time.Since(x.started)))
	h.Set("X-Kong-Request-Id", x.id)
	if x.body != nil { // a body that nobody read keeps the connection from being used again
		_, _ = io.CopyN(io.Discard, x.body, 256<<10)
	}
	w.WriteHeader(x.exit.status)
	_, _ = w.Write(x.exit.body) // a client that has gone needs no answer, and a 204 has no body
}
