package keycloaktest

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"
)

// front stands between the plugin and Keycloak: it counts the calls, and can be away. Each test has
// its own, hence an issuer of its own (Keycloak's issuer follows the Host header), so that nothing
// cached in one test is found by another.
type front struct {
	address string
	proxy   http.Handler

	mu     sync.Mutex // guards what follows
	calls  map[string]int
	server *http.Server
	done   chan struct{}
}

// The last segments of the paths of Keycloak's endpoints.
const (
	discoveryPath = "openid-configuration"
	keysPath      = "certs"
	tokenPath     = "token"
)

func newFront(t *testing.T, k *keycloak) *front {
	t.Helper()
	proxy := httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(k.origin())
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0), // it is away on purpose
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: l.Addr().String(), proxy: &proxy, calls: map[string]int{}}
	f.serve(l)
	t.Cleanup(f.close)
	return f
}

func (f *front) issuer() string { return "http://" + f.address + "/auth/realms/kong" }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.calls[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]++
	f.mu.Unlock()
	f.proxy.ServeHTTP(w, r)
}

// count is how many requests for an endpoint came so far.
func (f *front) count(endpoint string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[endpoint]
}

func (f *front) serve(l net.Listener) {
	s := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	f.mu.Lock()
	f.server, f.done = s, done
	f.mu.Unlock()
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
}

// close makes the provider unreachable: connections are refused from now on, and open ones end.
func (f *front) close() {
	f.mu.Lock()
	s, done := f.server, f.done
	f.mu.Unlock()
	_ = s.Close()
	<-done
}

// reopen is the end of close, at the same address.
func (f *front) reopen(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	f.serve(l)
}

// eventually calls ok until it is true; a test that waits longer than limit has failed.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Fatalf("not within %s: %s", limit, what)
			}
			return
		}
	}
}
