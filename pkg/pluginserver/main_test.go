package pluginserver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	pdk "github.com/Kong/go-pdk"
	stock "github.com/Kong/go-pdk/server"
	"go.uber.org/goleak"
)

// roleVar makes the test binary one of the two plugin servers that the benchmark compares, each a
// process of its own.
const roleVar = "PLUGINSERVER_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch dir := os.Getenv(roleVar + "_DIR"); os.Getenv(roleVar) {
	case "":
		goleak.VerifyTestMain(m)
		return
	case "stock": // its socket is named by go-pdk: see socketOf
		go serveMallocs(filepath.Join(dir, "mallocs"))
		err = stock.StartServer(func() any { return &stockPlugin{} }, "1.0.0", 1050)
	case "ours":
		go serveMallocs(filepath.Join(dir, "mallocs"))
		var l net.Listener
		if l, err = Listen(SocketOptions{Path: socketOf(dir)}); err == nil {
			err = NewServer(Options{Plugin: access(getAndSet)}).Serve(context.Background(), l)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// socketOf is where go-pdk's server listens: the executable's name under its -kong-prefix.
func socketOf(dir string) string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return filepath.Join(dir, filepath.Base(exe)+".socket")
}

// serveMallocs answers every connection with the number of allocations of the process so far.
func serveMallocs(path string) {
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			panic(err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = binary.Write(nc, binary.LittleEndian, m.Mallocs)
		_ = nc.Close()
	}
}

// upstreamHeaders are what both servers of the benchmark set: one header written, two removed.
var upstreamHeaders = []Header{
	{Name: "Authorization", Values: []string{"Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzZXJ2aWNlIn0.c2lnbmF0dXJl"}},
	{Name: "X-Consumer-Id"},
	{Name: "X-Consumer-Username"},
}

type stockPlugin struct{}

// Access makes the two calls as go-pdk's users write them.
func (*stockPlugin) Access(kong *pdk.PDK) {
	headers, err := kong.Request.GetHeaders(1000)
	if err != nil || len(headers) == 0 {
		kong.Response.ExitStatus(500)
		return
	}
	set := map[string][]string{}
	for _, h := range upstreamHeaders {
		set[h.Name] = h.Values
	}
	if err := kong.ServiceRequest.SetHeaders(set); err != nil {
		kong.Response.ExitStatus(500)
	}
}

var thousand = AppendInt(nil, 1000)

// getAndSet makes the same two calls with ours.
func getAndSet(_ context.Context, e *Event) {
	reply, err := e.Ask("kong.request.get_headers", thousand)
	if err != nil {
		e.Exit(500, nil, nil)
		return
	}
	headers, err := DecodeHeaders(reply)
	if err != nil || CountValues(headers) == 0 {
		e.Exit(500, nil, nil)
		return
	}
	args, err := AppendHeaders(make([]byte, 0, 256), upstreamHeaders)
	if err != nil || e.Tell("kong.service.request.set_headers", args) != nil {
		e.Exit(500, nil, nil)
		return
	}
	e.Pass()
}

// access is a plugin whose instances all handle events with it.
type access func(context.Context, *Event)

func (a access) NewInstance(json.RawMessage) Instance { return a }
func (a access) Access(ctx context.Context, e *Event) { a(ctx, e) }
func (access) Close()                                 {}

// kong is an API that answers from a table and remembers what was called.
type kong struct {
	answers map[string][]byte
	before  func(method string) error

	mu    sync.Mutex
	calls []string // guarded by mu
	args  [][]byte // guarded by mu
}

func (k *kong) Call(method string, args []byte) ([]byte, error) {
	k.mu.Lock()
	k.calls = append(k.calls, method)
	k.args = append(k.args, append([]byte(nil), args...))
	k.mu.Unlock()
	if k.before != nil {
		if err := k.before(method); err != nil {
			return nil, err
		}
	}
	if method == methodExit {
		return nil, ErrExited
	}
	return k.answers[method], nil
}

func (k *kong) exit(t *testing.T) ExitArgs {
	t.Helper()
	if n := len(k.calls); n == 0 || k.calls[n-1] != methodExit {
		t.Fatalf("calls %q do not end in an exit", k.calls)
	}
	a, err := DecodeExit(k.args[len(k.args)-1])
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// waitLimit ends a wait for what never comes.
const waitLimit = 30 * time.Second

// await receives from done, or ends the test.
func await[T any](t testing.TB, done <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-done:
	case <-time.After(waitLimit):
		t.Fatal("waited too long")
	}
	return v
}

// serve runs a server on a socket of its own until the test ends, and gives the socket and a Host
// for it.
func serve(t testing.TB, o Options) (string, *Host) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return path, serveOn(t, o, path, l)
}

func serveOn(t testing.TB, o Options, path string, l net.Listener) *Host {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- NewServer(o).Serve(ctx, l) }()
	h := NewHost(path)
	t.Cleanup(func() {
		h.Close()
		cancel()
		if err := await(t, ended); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return h
}

func startInstance(t testing.TB, h *Host, config string) int32 {
	t.Helper()
	id, err := h.StartInstance(context.Background(), "openid-connect", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// requestHeaders are a browser's request with 15 headers, one of them Latin-1 and one repeated when
// odd is set.
func requestHeaders(odd bool) []Header {
	h := []Header{
		{"host", []string{"api.example.com"}},
		{"user-agent", []string{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36"}},
		{"accept", []string{"application/json, text/plain, */*"}},
		{"accept-encoding", []string{"gzip, deflate, br"}},
		{"accept-language", []string{"en-GB,en;q=0.9"}},
		{"authorization", []string{"Basic c2VydmljZTpjZjRjNjU1YS0wNjIyLTRjZTYtYTBkZS1kMzM1M2VmMGI3MTQ="}},
		{"cache-control", []string{"no-cache"}},
		{"connection", []string{"keep-alive"}},
		{"cookie", []string{"theme=dark; lang=en"}},
		{"origin", []string{"https://app.example.com"}},
		{"referer", []string{"https://app.example.com/orders"}},
		{"sec-fetch-mode", []string{"cors"}},
		{"sec-fetch-site", []string{"same-site"}},
		{"traceparent", []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
		{"x-request-id", []string{"5f35b796ced64c009b2a90eef745f4f9"}},
	}
	if odd {
		h[8] = Header{"x-name", []string{"J\xf6rg"}}
		h[12] = Header{"x-tag", []string{"a", "", "b"}}
	}
	return h
}
