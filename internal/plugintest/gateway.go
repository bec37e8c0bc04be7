// Package plugintest runs the plugin the way Kong does: a real plugin server on a
// real Unix socket, the development gateway in front of it, an upstream behind it
// that records what reached it. A test configures it through the Admin API and sends
// plain HTTP.
package plugintest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/internal/devgateway"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

// The story's client, which the demonstration's provider knows.
const (
	ClientID     = "service"
	ClientSecret = "cf4c655a-0622-4ce6-a0de-d3353ef0b714"
)

// PluginID is the id under which Start configures the plugin.
const PluginID = "5f35b796-ced6-4c00-9b2a-90eef745f4f9"

// dump is what the plugin tells Kong of itself: a tenth of a test's time, were it made
// for each.
var dump = sync.OnceValues(func() ([]byte, error) { return plugin.Dump("unused") })

// Options say what runs. The zero value has no plugin configured.
type Options struct {
	// Config is the plugin's configuration; nil leaves the route open.
	Config map[string]any
	// RootCAs and Resolve are settings of the plugin's process.
	RootCAs *x509.CertPool
	Resolve map[string]string
	// Now is the plugin's clock; nil is time.Now.
	Now func() time.Time
	// Wrap stands between the server and the real plugin, for faults that it does not have.
	Wrap func(pluginserver.Plugin) pluginserver.Plugin
}

// Gateway is a running gateway with the plugin.
type Gateway struct {
	URL      string // of the proxy
	Socket   string // of the plugin server, for a pluginserver.Host
	Upstream *Upstream
	Log      *Log

	admin http.Handler
	addr  string
}

// Start runs everything and stops it with the test.
func Start(t testing.TB, o Options) *Gateway {
	t.Helper()
	g := &Gateway{Upstream: newUpstream(t), Log: &Log{}}
	logger := slog.New(slog.NewTextHandler(g.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))

	real := plugin.New(plugin.Options{RootCAs: o.RootCAs, Resolve: o.Resolve, Logger: logger, Now: o.Now})
	t.Cleanup(real.Close)
	var served pluginserver.Plugin = real
	if o.Wrap != nil {
		served = o.Wrap(real)
	}
	socket := Serve(t, served, logger)
	g.Socket = socket
	dump, err := dump()
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := devgateway.New(devgateway.Options{
		Plugins: []devgateway.Plugin{{Dump: dump, Socket: socket}}, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gateway.Close)
	proxy := httptest.NewUnstartedServer(nil)
	proxy.Config = gateway.ProxyServer()
	proxy.Start()
	t.Cleanup(proxy.Close)
	g.URL, g.addr, g.admin = proxy.URL, proxy.Listener.Addr().String(), gateway.AdminHandler()

	g.Admin(t, http.MethodPut, "/services/openid-connect", map[string]any{"url": g.Upstream.URL + "/anything"})
	g.Admin(t, http.MethodPut, "/services/openid-connect/routes/openid-connect", map[string]any{"paths": []string{"/"}})
	if o.Config != nil {
		g.Configure(t, o.Config)
	}
	return g
}

// Serve runs p's server on a socket until the test ends; a nil logger discards.
func Serve(t testing.TB, p pluginserver.Plugin, logger *slog.Logger) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "oidc") // t.TempDir may be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	listener, err := pluginserver.Listen(pluginserver.SocketOptions{Path: socket, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	server := pluginserver.NewServer(pluginserver.Options{Plugin: p, Info: pluginserver.Info{Name: plugin.Name}, Logger: logger})
	go func() { served <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("plugin server: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the plugin server does not end")
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return socket
}

// Configure replaces the plugin's configuration.
func (g *Gateway) Configure(t testing.TB, config map[string]any) {
	t.Helper()
	g.Admin(t, http.MethodPut, "/plugins/"+PluginID, map[string]any{
		"name": plugin.Name, "service": map[string]any{"name": "openid-connect"}, "config": config,
	})
}

// Patch changes some fields of it.
func (g *Gateway) Patch(t testing.TB, config map[string]any) {
	t.Helper()
	g.Admin(t, http.MethodPatch, "/plugins/"+PluginID, map[string]any{"config": config})
}

// Admin sends one request to the Admin API, which must accept it.
func (g *Gateway) Admin(t testing.TB, method, path string, body map[string]any) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(method, path, bytes.NewReader(encoded))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	g.admin.ServeHTTP(answer, request)
	var decoded map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &decoded); answer.Code >= 300 || err != nil {
		t.Fatalf("%s %s: %d %s", method, path, answer.Code, answer.Body)
	}
	return decoded
}

// Response is an answer of the gateway, read whole.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Get sends GET / with the headers, given as name and value in turn.
func (g *Gateway) Get(t testing.TB, headers ...string) Response {
	t.Helper()
	raw := "GET / HTTP/1.1\r\nHost: gateway\r\n"
	for i := 0; i < len(headers); i += 2 {
		raw += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	return g.Raw(t, raw+"\r\n")
}

// Raw sends one request byte for byte and reads the answer.
func (g *Gateway) Raw(t testing.TB, request string) Response {
	t.Helper()
	answer, err := g.Send(request)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return answer
}

// Send is Raw for goroutines other than the test's.
func (g *Gateway) Send(request string) (Response, error) {
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		return Response{}, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil { // only against a hanging test
		return Response{}, err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return Response{}, err
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return Response{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Response{}, err
	}
	return Response{Status: response.StatusCode, Header: response.Header, Body: string(body)}, nil
}

// Seen is a request that reached the upstream.
type Seen struct {
	Method, URI, Body string
	Header            http.Header
}

// Upstream records what reaches it.
type Upstream struct {
	URL string

	mu   sync.Mutex // guards seen
	seen []Seen
}

func newUpstream(t testing.TB) *Upstream {
	u := &Upstream{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		u.seen = append(u.seen, Seen{Method: r.Method, URI: r.RequestURI, Body: string(body), Header: r.Header.Clone()})
		fmt.Fprint(w, "upstream")
	}))
	t.Cleanup(server.Close)
	u.URL = server.URL
	return u
}

// Seen returns all requests so far.
func (u *Upstream) Seen() []Seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]Seen(nil), u.seen...)
}

// Last returns the newest request; the test fails when there is none.
func (u *Upstream) Last(t testing.TB) Seen {
	t.Helper()
	seen := u.Seen()
	if len(seen) == 0 {
		t.Fatal("nothing reached the upstream")
	}
	return seen[len(seen)-1]
}

// Log collects what is logged.
type Log struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all of it.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
