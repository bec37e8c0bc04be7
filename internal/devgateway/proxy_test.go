package devgateway

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

const pluginID = "5f35b796-ced6-4c00-9b2a-90eef745f4f9"

// Kong takes the client's Connection from before the plugins and applies it after them: what a
// plugin sets under such a name is lost.
func TestHopByHop(t *testing.T) {
	for name, c := range map[string]struct{ connection, want string }{
		"none":                {"", "set by the plugin"},
		"keep-alive":          {"Connection: keep-alive\n", "set by the plugin"},
		"named":               {"Connection: keep-alive, x-user\n", ""},
		"in any case":         {"connection: X-USER\n", ""},
		"only the first line": {"Connection: keep-alive\nConnection: x-user\n", "set by the plugin"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.handle(func(e *pluginserver.Event) error {
				if err := e.Tell("kong.service.request.clear_header", str("connection")); err != nil {
					return err
				}
				return e.Tell("kong.service.request.set_header", kv("X-User", "set by the plugin"))
			})
			res, body := w.raw("GET / HTTP/1.1\nHost: gw\n" + c.connection + "\n")
			if res.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
			if up, _ := w.upstream(); up.Header.Get("X-User") != c.want {
				t.Errorf("X-User %q, want %q", up.Header.Get("X-User"), c.want)
			}
		})
	}
}

func TestWhatNginxRefuses(t *testing.T) {
	w := newWorld(t)
	for name, request := range map[string]string{
		"two Authorization": "GET / HTTP/1.1\nHost: gw\nAuthorization: Basic a\nAuthorization: Bearer b\n\n",
		"two Host":          "GET / HTTP/1.1\nHost: gw\nHost: other\n\n",
	} {
		if res, body := w.raw(request); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
	}
	if _, n := w.upstream(); n != 0 {
		t.Error("the upstream was asked")
	}
}

func TestClientsBytesArrive(t *testing.T) {
	w := newWorld(t)
	res, _ := w.raw("GET /p?q=\xe9 HTTP/1.1\nHost: gw\nX_Consumer_ID: a\nX-Latin: caf\xe9\n\n")
	up, _ := w.upstream()
	if res.StatusCode != http.StatusOK || up.Header.Get("X-Latin") != "caf\xe9" || len(up.Header["X_consumer_id"]) != 1 {
		t.Errorf("%d %v", res.StatusCode, up.Header)
	}
}

func TestPaths(t *testing.T) {
	w := newWorld(t)
	if status, got := w.call(http.MethodPost, "/services/up/routes", "application/json", `{"paths":["/api/","/kept"],"strip_path":false,"methods":["GET"]}`); status != 201 {
		t.Fatal(got)
	}
	if status, got := w.call(http.MethodPost, "/services/up/routes", "application/json", `{"paths":["/short","~/v\\d+"],"hosts":["*.example.org"],"preserve_host":true}`); status != 201 {
		t.Fatal(got)
	}
	for _, c := range []struct{ host, path, want, wantHost string }{
		{"gw", "/", "/anything", "httpbin.org"},
		{"gw", "/get", "/anything/get", "httpbin.org"},
		{"gw", "/get/", "/anything/get/", "httpbin.org"},
		{"gw", "/a/../b//c/%41%2f", "/anything/b/c/A%2F", "httpbin.org"},
		{"gw", "/kept/x?y=1", "/anything/kept/x?y=1", "httpbin.org"},
		{"gw", "/short/x", "/anything/short/x", "httpbin.org"},
		{"a.example.org", "/short/x", "/anything/x", "a.example.org"},
		{"a.example.org", "/short", "/anything", "a.example.org"},
		{"a.example.org", "/v12/x", "/anything/x", "a.example.org"},
		{"gw", "/?", "/anything?", "httpbin.org"},
	} {
		res, body := w.raw("GET " + c.path + " HTTP/1.1\nHost: " + c.host + "\n\n")
		up, _ := w.upstream()
		if res.StatusCode != http.StatusOK || up.RequestURI != c.want || up.Host != c.wantHost {
			t.Errorf("%s%s: %d %s\n got %s %s\nwant %s %s", c.host, c.path, res.StatusCode, body, up.Host, up.RequestURI, c.wantHost, c.want)
		}
	}
}

func TestNoRoute(t *testing.T) {
	gw, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	w := &world{t: t, admin: gw.ProxyHandler()}
	status, body := w.call(http.MethodGet, "/", "", "")
	if status != http.StatusNotFound || body["message"] != "no Route matched with those values" {
		t.Errorf("%d %v", status, body)
	}
}

// The plugin's server gets Kong's own members beside the configuration, no nulls, and defaults
// filled in.
func TestConfigurationAsKongSendsIt(t *testing.T) {
	w := newWorld(t)
	w.get("/", nil)
	var c *configured
	for _, c = range w.gw.current.Load().plugins["probe"] {
	}
	var got map[string]any
	if err := json.Unmarshal(c.config, &got); err != nil {
		t.Fatal(err)
	}
	if seq, _ := got["__seq__"].(float64); seq < 1 {
		t.Errorf("__seq__ %v", got["__seq__"])
	}
	delete(got, "__seq__")
	want := `{"__key__":"plugins:probe::5fa9e468-0007-4d7e-9aeb-49ca9edd6ccd:::` + workspaceID + `","__plugin_id":"` + pluginID + `","__ws_id":"` + workspaceID + `",` +
		`"issuer":"http://idp","methods":["a","b"],"redis":{"host":"127.0.0.1","port":6379},"scopes":["openid"],` +
		`"service_id":"5fa9e468-0007-4d7e-9aeb-49ca9edd6ccd","timeout":10000,"verify":true}`
	if c := compact(t, got); c != want {
		t.Errorf("\n got %s\nwant %s", c, want)
	}
}

// An instance starts once and lazily; any change of any plugin starts all anew and closes the old;
// a change of a service does not.
func TestRestartOnChange(t *testing.T) {
	w := newWorld(t)
	if n := w.gw.InstanceStarts("probe"); n != 0 {
		t.Fatalf("%d instances before the first request", n)
	}
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			res, err := http.Get(w.proxy.URL)
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
		})
	}
	clients.Wait()
	http.DefaultClient.CloseIdleConnections()
	if n := w.gw.InstanceStarts("probe"); n != 1 {
		t.Fatalf("%d instances for one configuration", n)
	}
	steps := []struct {
		method, path, body string
		want               int
	}{
		{http.MethodPatch, "/services/up", `{"retries":1}`, 1},
		{http.MethodPatch, "/plugins/" + pluginID, `{"config":{"timeout":5}}`, 2},
		{http.MethodPatch, "/plugins/" + pluginID, `{"tags":["x"]}`, 3},
		{http.MethodPost, "/plugins", `{"name":"probe","instance_name":"global","config":{"issuer":"other"}}`, 4},
		{http.MethodDelete, "/plugins/global", ``, 5},
	}
	for _, s := range steps {
		if status, got := w.call(s.method, s.path, "application/json", s.body); status >= 300 {
			t.Fatalf("%s %s: %d %v", s.method, s.path, status, got)
		}
		if res, body := w.get("/", nil); res.StatusCode != http.StatusOK {
			t.Fatalf("after %s %s: %d %s", s.method, s.path, res.StatusCode, body)
		}
		if n := w.gw.InstanceStarts("probe"); n != s.want {
			t.Errorf("after %s %s: %d instances, want %d", s.method, s.path, n, s.want)
		}
	}
}

func TestMostParticularPluginWins(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{
		`{"name":"probe","config":{"issuer":"global"}}`,
		`{"name":"probe","config":{"issuer":"route"},"route":{"name":"all"}}`,
	} {
		if status, got := w.call(http.MethodPost, "/plugins", "application/json", body); status != 201 {
			t.Fatal(got)
		}
	}
	var mu sync.Mutex
	issuer := ""
	w.probe.do(func(_ context.Context, config string, e *pluginserver.Event) {
		mu.Lock()
		defer mu.Unlock()
		issuer = config
		e.Pass()
	})
	w.get("/", nil)
	if mu.Lock(); !strings.Contains(issuer, `"issuer":"route"`) {
		t.Errorf("ran with %s", issuer)
	}
	mu.Unlock()
}

// A plugin server that is gone is a 500 for the request, never a pass; its successor works without
// help.
func TestServerGoesAndComes(t *testing.T) {
	w := newWorld(t)
	if res, _ := w.get("/", nil); res.StatusCode != http.StatusOK {
		t.Fatalf("%d", res.StatusCode)
	}
	w.stop()
	_, before := w.upstream()
	if res, body := w.get("/", nil); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("without a server: %d %s", res.StatusCode, body)
	}
	if _, after := w.upstream(); after != before {
		t.Error("the upstream was asked")
	}
	w.serve(pluginserver.Info{Name: "probe"})
	if res, body := w.get("/", nil); res.StatusCode != http.StatusOK {
		t.Errorf("with a new server: %d %s", res.StatusCode, body)
	}
	if n := w.gw.InstanceStarts("probe"); n != 2 {
		t.Errorf("%d instances", n)
	}
}

// A plugin that panics or says nothing is denied by its own server; the gateway passes the answer
// on.
func TestHandlerThatFails(t *testing.T) {
	w := newWorld(t)
	w.probe.do(func(context.Context, string, *pluginserver.Event) { panic("boom") })
	if res, body := w.get("/", nil); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if _, n := w.upstream(); n != 0 {
		t.Error("the upstream was asked")
	}
}

func TestUpstreamGone(t *testing.T) {
	w := newWorld(t)
	if status, got := w.call(http.MethodPatch, "/services/up", "application/json", `{"host":"127.0.0.1","port":1}`); status != 200 {
		t.Fatal(got)
	}
	if res, body := w.get("/", nil); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, "invalid response") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// A plugin server that hangs is a 500 when Kong's read timeout is over.
func TestServerThatHangs(t *testing.T) {
	w := newWorld(t)
	released := make(chan struct{})
	defer close(released)
	w.probe.do(func(context.Context, string, *pluginserver.Event) { <-released })
	dump, err := pluginserver.Info{Name: "probe", Version: "1.0.0", Phases: []string{"access"}, Schema: json.RawMessage(probeSchema)}.Dump(w.socket)
	if err != nil {
		t.Fatal(err)
	}
	gw, err := New(Options{Plugins: []Plugin{{Dump: dump}}, KongYML: []byte(probeYML), ReadTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	rec := httptest.NewRecorder()
	gw.ProxyHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	if rec.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
