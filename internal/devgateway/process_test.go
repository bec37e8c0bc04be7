package devgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

// TestMain is also a plugin server: the gateway starts this binary with "serve-probe SOCKET" and an
// empty environment.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve-probe" {
		if err := serveProbe(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func serveProbe(socket string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("pid", os.Getpid(), "variables", len(os.Environ()))
	l, err := pluginserver.Listen(pluginserver.SocketOptions{Path: socket})
	if err != nil {
		return err
	}
	err = pluginserver.NewServer(pluginserver.Options{Plugin: &probe{}}).Serve(ctx, l)
	fmt.Println("drained")
	return err
}

// said collects what the plugin server prints.
type said struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSpace(s.text.String()), "\n")
}

// The gateway runs a plugin server with an empty environment, starts it again when it dies, and
// ends it by SIGTERM.
func TestPluginServerProcess(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer upstream.Close()
	socket := filepath.Join(t.TempDir(), "s")
	info := pluginserver.Info{Name: "probe", Version: "1.0.0", Phases: []string{"access"}, Schema: json.RawMessage(probeSchema)}
	dump, err := info.Dump(socket)
	if err != nil {
		t.Fatal(err)
	}
	var out said
	gw, err := New(Options{
		Plugins: []Plugin{{Dump: dump, Command: []string{os.Args[0], "serve-probe", socket}, Output: &out}},
		KongYML: []byte(probeYML), Resolve: map[string]string{"httpbin.org:80": upstream.Listener.Addr().String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	closeOnce := sync.OnceFunc(gw.Close)
	defer closeOnce()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	get := func() int {
		rec := httptest.NewRecorder()
		gw.ProxyHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		return rec.Code
	}
	if err := gw.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if code := get(); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	words := strings.Fields(out.lines()[0])
	if words[3] != "0" {
		t.Errorf("the environment has %s variables", words[3])
	}
	pid, err := strconv.Atoi(words[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The socket's file outlives the process: it is the successor's once that accepts.
	for code := get(); code != http.StatusOK; code = get() {
		if code != http.StatusInternalServerError {
			t.Fatalf("status %d", code)
		}
		if ctx.Err() != nil {
			t.Fatalf("no successor: %q", out.lines())
		}
		if err := gw.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	closeOnce()
	if lines := out.lines(); lines[len(lines)-1] != "drained" {
		t.Errorf("it was not ended by SIGTERM: %q", lines)
	}
}

// The repository's own file and the real plugin's schema fit each other.
func TestRepositorysFileLoads(t *testing.T) {
	file, err := os.ReadFile("../../kong.yml")
	if err != nil {
		t.Fatal(err)
	}
	dump, err := plugin.Dump("/nowhere/s")
	if err != nil {
		t.Fatal(err)
	}
	gw, err := New(Options{Plugins: []Plugin{{Dump: dump}}, KongYML: file})
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	w := &world{t: t, admin: gw.AdminHandler()}
	status, got := w.call(http.MethodPatch, "/plugins/"+pluginID, "application/x-www-form-urlencoded",
		"config.auth_methods=client_credentials&config.client_credentials_param_type=header")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, compact(t, got))
	}
	for path, want := range map[string]string{
		"config.auth_methods": `["client_credentials"]`, "config.client_credentials_param_type": `["header"]`, "id": `"` + pluginID + `"`,
		"name": `"openid-connect"`, "service.id": `"5fa9e468-0007-4d7e-9aeb-49ca9edd6ccd"`,
	} {
		if v, _ := member(got, path); compact(t, v) != want {
			t.Errorf("%s: %s, want %s", path, compact(t, v), want)
		}
	}
	status, got = w.call(http.MethodPatch, "/plugins/"+pluginID, "application/x-www-form-urlencoded", "config.timeout=soon&config.redis.host=h")
	if status != http.StatusBadRequest {
		t.Errorf("%d %s", status, compact(t, got))
	}
	if status, got = w.call(http.MethodGet, "/schemas/plugins/openid-connect", "", ""); status != http.StatusOK || got["fields"] == nil {
		t.Errorf("schema: %d", status)
	}
}
