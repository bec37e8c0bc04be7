package devgateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// patience ends every wait that a fault would make endless.
const patience = time.Minute

// probeSchema has one field of each sort that forms and PATCH treat differently.
const probeSchema = `{"name":"probe","fields":[
	{"consumer":{"type":"foreign","reference":"consumers","eq":null}},
	{"protocols":{"type":"set","required":true,"default":["grpc","grpcs","http","https"],"elements":{"type":"string","one_of":["grpc","grpcs","http","https"]}}},
	{"config":{"type":"record","required":true,"fields":[
		{"issuer":{"type":"string","required":true}},
		{"methods":{"type":"array","required":false,"default":["a","b"],"elements":{"type":"string","one_of":["a","b","c"]}}},
		{"scopes":{"type":"set","elements":{"type":"string"}}},
		{"timeout":{"type":"number","default":10000}},
		{"retries":{"type":"integer","between":[0,5]}},
		{"verify":{"type":"boolean","default":true}},
		{"labels":{"type":"map","keys":{"type":"string"},"values":{"type":"string"}}},
		{"redis":{"type":"record","required":true,"fields":[
			{"host":{"type":"string","default":"127.0.0.1"}},
			{"port":{"type":"integer","default":6379,"between":[0,65535]}}
		]}},
		{"keys":{"type":"array","elements":{"type":"record","fields":[
			{"kid":{"type":"string"}},
			{"ops":{"type":"array","elements":{"type":"string"}}}
		]}}}
	]}}
]}`

const probeYML = `
_format_version: "3.0"
services:
- id: 5fa9e468-0007-4d7e-9aeb-49ca9edd6ccd
  name: up
  url: http://httpbin.org/anything
  routes:
  - id: ac1e86bd-4bce-4544-9b30-746667aaa74a
    name: all
    paths: [/]
plugins:
- id: 5f35b796-ced6-4c00-9b2a-90eef745f4f9
  name: probe
  service: up
  config:
    issuer: http://idp
    scopes: [openid]
`

// probe is a plugin whose Access is the test's.
type probe struct {
	mu      sync.Mutex // guards what follows
	access  func(ctx context.Context, config string, e *pluginserver.Event)
	started []string
	closed  int
}

func (p *probe) NewInstance(config json.RawMessage) pluginserver.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = append(p.started, string(config))
	return &probeInstance{p, string(config)}
}

type probeInstance struct {
	p      *probe
	config string
}

func (i *probeInstance) Access(ctx context.Context, e *pluginserver.Event) {
	i.p.mu.Lock()
	access := i.p.access
	i.p.mu.Unlock()
	if access == nil {
		e.Pass()
		return
	}
	access(ctx, i.config, e)
}

func (i *probeInstance) Close() {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	i.p.closed++
}

func (p *probe) do(f func(ctx context.Context, config string, e *pluginserver.Event)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.access = f
}

// world is a gateway with the probe behind a real socket and an upstream that remembers.
type world struct {
	t      *testing.T
	gw     *Gateway
	probe  *probe
	admin  http.Handler
	proxy  *httptest.Server
	socket string
	stop   func()       // ends the plugin server
	ended  <-chan error // … which it tells here

	mu    sync.Mutex // guards what follows
	seen  []*http.Request
	body  string
	sends http.Header // what the upstream answers beside X-Up
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, Options{})
}

// newWorldWith is newWorld with some settings of the gateway.
func newWorldWith(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t, probe: &probe{}, socket: filepath.Join(t.TempDir(), "s")}
	upstream := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.seen, w.body = append(w.seen, r), string(body)
		w.mu.Unlock()
		rw.Header().Set("X-Up", "1")
		w.mu.Lock()
		maps.Copy(rw.Header(), w.sends)
		w.mu.Unlock()
		_, _ = io.WriteString(rw, "upstream")
	}))
	t.Cleanup(upstream.Close)
	info := pluginserver.Info{Name: "probe", Version: "1.0.0", Priority: 1000, Phases: []string{"access"}, Schema: json.RawMessage(probeSchema)}
	w.serve(info)
	dump, err := info.Dump(w.socket)
	if err != nil {
		t.Fatal(err)
	}
	o.Plugins, o.KongYML = []Plugin{{Dump: dump, Socket: w.socket}}, []byte(probeYML)
	o.Resolve = map[string]string{"httpbin.org:80": upstream.Listener.Addr().String()}
	w.gw, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.admin = w.gw.AdminHandler()
	w.proxy = httptest.NewUnstartedServer(nil)
	w.proxy.Config = w.gw.ProxyServer()
	w.proxy.Start()
	w.proxy.Client().Timeout = patience
	t.Cleanup(func() { w.proxy.Close(); w.gw.Close(); w.stop() })
	return w
}

// serve starts a plugin server on the socket, for the first time, after stop, or as a successor.
// ended gets Serve's error.
func (w *world) serve(info pluginserver.Info) {
	w.t.Helper()
	l, err := pluginserver.Listen(pluginserver.SocketOptions{Path: w.socket})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	srv := pluginserver.NewServer(pluginserver.Options{Plugin: w.probe, Info: info, WatchInterval: time.Millisecond})
	go func() { ended <- srv.Serve(ctx, l) }()
	w.ended = ended
	w.stop = sync.OnceFunc(func() {
		cancel()
		w.endOf(ended)
	})
}

// endOf waits for a plugin server that is told to end, or that has a successor.
func (w *world) endOf(server <-chan error) {
	w.t.Helper()
	select {
	case err := <-server:
		if err != nil {
			w.t.Errorf("plugin server: %v", err)
		}
	case <-time.After(patience):
		w.t.Error("the plugin server does not end")
	}
}

// call asks the Admin API.
func (w *world) call(method, path, contentType, body string) (int, map[string]any) {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	rec := httptest.NewRecorder()
	w.admin.ServeHTTP(rec, r)
	var out map[string]any
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, rec.Body)
		}
	}
	return rec.Code, out
}

// raw sends bytes to the proxy and returns the answer: what a client writes is not touched.
func (w *world) raw(request string) (*http.Response, string) {
	w.t.Helper()
	conn, err := net.DialTimeout("tcp", w.proxy.Listener.Addr().String(), patience)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		w.t.Fatal(err)
	}
	return readResponse(w.t, conn)
}

func (w *world) get(path string, header http.Header) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodGet, w.proxy.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	return w.send(r)
}

func (w *world) send(r *http.Request) (*http.Response, string) {
	w.t.Helper()
	res, err := w.proxy.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(body)
}

// sendHTTP2 is send by HTTP/2 without TLS.
func (w *world) sendHTTP2(r *http.Request) (*http.Response, string) {
	w.t.Helper()
	res, body, err := w.askHTTP2(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, body
}

func (w *world) askHTTP2(r *http.Request) (*http.Response, string, error) {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: patience}).Do(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// upstream is the last request that the upstream has seen, and how many there were.
func (w *world) upstream() (*http.Request, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return nil, 0
	}
	return w.seen[len(w.seen)-1], len(w.seen)
}

func compact(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

func readResponse(t *testing.T, conn net.Conn) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}
