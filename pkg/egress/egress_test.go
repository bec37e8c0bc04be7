package egress

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plainSettings are those of a test that is not about them.
var plainSettings = Settings{VerifyTLS: true, Keepalive: true}

func newPool(t *testing.T, o Options) *Pool {
	t.Helper()
	p := NewPool(o)
	t.Cleanup(p.Close)
	return p
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// raw serves each connection with f, without HTTP.
func raw(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); f(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func readRequest(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) }

func wantKind(t *testing.T, err error, kind Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind || !errors.Is(err, kind) {
		t.Fatalf("got error %v (%#v), want kind %s", err, e, kind)
	}
	return e
}

func TestDo(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", strings.Join([]string{r.Method, r.URL.RequestURI(), r.Header.Get("User-Agent"), r.Header.Get("X-A"), string(body)}, "|"))
		http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
	})
	c := newPool(t, Options{}).Client(plainSettings)
	resp, err := c.Do(t.Context(), Request{Method: "POST", URL: s.URL + "/t?q=1", Header: http.Header{"X-A": {"b"}, "Connection": {"close"}}, Body: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status != 302 {
		t.Errorf("status %d: a redirect is an answer and not followed", resp.Status)
	}
	if got, want := resp.Header.Get("X-Seen"), "POST|/t?q=1|kong-openid-connect|b|hello"; got != want {
		t.Errorf("server saw %q, want %q", got, want)
	}
}

func TestEqualSettingsShareAClient(t *testing.T) {
	p := newPool(t, Options{})
	if p.Client(plainSettings) != p.Client(plainSettings) {
		t.Error("equal settings, two clients")
	}
	if p.Client(plainSettings) == p.Client(Settings{}) {
		t.Error("different settings share a client")
	}
	for i := range maxClients + 10 {
		p.Client(Settings{NoProxy: fmt.Sprint(i)})
	}
	if n := len(p.clients); n > maxClients {
		t.Errorf("%d clients kept", n)
	}
}

// What a provider may do to an exchange, and the kind of error that it is (row 56).
func TestHostileAnswers(t *testing.T) {
	bomb := func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.CopyN(z, zeros{}, 8<<20)
		_ = z.Close()
		return b.Bytes()
	}()
	endless := func(w io.Writer, piece string) {
		for {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
		}
	}
	block := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	tests := []struct {
		name   string
		kind   Kind
		budget time.Duration
		answer func(net.Conn)
	}{
		{"1 GiB announced", TooLarge, 0, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
			endless(c, strings.Repeat("x", 4096))
		}},
		{"gzip bomb", TooLarge, 0, func(c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", len(bomb))
			_, _ = c.Write(bomb)
		}},
		{"endless chunks", TooLarge, 0, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			endless(c, "400\r\n"+strings.Repeat("x", 1024)+"\r\n")
		}},
		{"header 10 MiB", TooLarge, 0, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for range 10 << 10 {
				if _, err := io.WriteString(c, "X-A: "+strings.Repeat("x", 1015)+"\r\n"); err != nil {
					return
				}
			}
		}},
		{"one byte and then none", Timeout, 500 * time.Millisecond, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
			block(c)
		}},
		{"never answers", Timeout, 500 * time.Millisecond, block},
		{"reset in the body", Unreachable, 0, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
			_ = c.(*net.TCPConn).SetLinger(0)
		}},
		{"body ends early", Unreachable, 0, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
		}},
		{"closed without an answer", Unreachable, 0, func(net.Conn) {}},
		{"no HTTP", Malformed, 0, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n\r\n") }},
		{"no gzip", Malformed, 0, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\nhello, world")
		}},
		{"switches protocols", Malformed, 0, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
			block(c)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := raw(t, func(c net.Conn) { readRequest(c); tt.answer(c) })
			ctx := t.Context()
			if tt.budget > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.budget)
				defer cancel()
			}
			_, err := newPool(t, Options{}).Client(plainSettings).Do(ctx, Request{URL: "http://" + addr + "/?secret=canary"})
			if e := wantKind(t, err, tt.kind); strings.Contains(e.Error(), "canary") || !strings.Contains(e.Error(), addr) {
				t.Errorf("message %q", e.Error())
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestExactlyTheLargestBody(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, zeros{}, MaxBody) })
	resp, err := newPool(t, Options{}).Client(plainSettings).Do(t.Context(), Request{URL: s.URL})
	if err != nil || len(resp.Body) != MaxBody {
		t.Fatalf("%v", err)
	}
}

func TestCallerLeaves(t *testing.T) {
	arrived := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := newPool(t, Options{}).Client(plainSettings).Do(ctx, Request{URL: s.URL})
	wantKind(t, err, Canceled)
	if !errors.Is(err, context.Canceled) {
		t.Error("errors.Is does not find the cause")
	}
}

func TestCloseEndsExchanges(t *testing.T) {
	arrived := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	p := NewPool(Options{})
	c := p.Client(plainSettings)
	go func() { <-arrived; p.Close() }()
	_, err := c.Do(t.Context(), Request{URL: s.URL})
	wantKind(t, err, Canceled)
	_, err = c.Do(t.Context(), Request{URL: s.URL})
	wantKind(t, err, Canceled)
}

func TestCallsAtOnce(t *testing.T) {
	var at, most atomic.Int32
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) {
		n := at.Add(1)
		defer at.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		arrived <- struct{}{}
		<-release
	})
	p := newPool(t, Options{})
	c := p.Client(plainSettings)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if _, err := c.Do(t.Context(), Request{URL: s.URL}); err != nil {
				t.Error(err)
			}
		})
	}
	for range 32 {
		select {
		case <-arrived:
		case <-time.After(time.Minute):
			close(release)
			t.Fatalf("%d calls at once, want 32", at.Load())
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	// Other settings, same provider: the bound is the provider's.
	_, err := p.Client(Settings{}).Do(ctx, Request{URL: s.URL})
	wantKind(t, err, Busy)
	close(release)
	wg.Wait()
	if most.Load() != 32 {
		t.Errorf("%d calls at once, want 32", most.Load())
	}
	if n := len(p.lines.byHost); n != 0 {
		t.Errorf("%d hosts still in the book", n)
	}
}

func TestConnectionIsReused(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	for _, tt := range []struct {
		settings Settings
		want     int32
	}{{Settings{Keepalive: true}, 1}, {Settings{}, 3}, {Settings{Keepalive: true, HTTPVersion: HTTP10}, 3}} {
		conns.Store(0)
		p := NewPool(Options{})
		for range 3 {
			if _, err := p.Client(tt.settings).Do(t.Context(), Request{Method: "POST", URL: s.URL, Body: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		p.Close()
		if got := conns.Load(); got != tt.want {
			t.Errorf("%v: %d connections, want %d", tt.settings, got, tt.want)
		}
	}
}

// A kept connection that dies before a byte of an answer: a POST is repeated if it may be,
// and the next exchange is over a new connection in either case.
func TestStaleConnection(t *testing.T) {
	for _, tt := range []struct {
		name     string
		request  Request
		again    bool
		ok       bool
		requests int32
	}{
		{"POST", Request{Method: "POST", Body: []byte("x")}, false, false, 3},
		{"POST that may be repeated", Request{Method: "POST", Body: []byte("x")}, true, true, 4},
		{"GET", Request{}, false, true, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests, agains atomic.Int32
			addr := raw(t, func(c net.Conn) {
				br := bufio.NewReader(c)
				for n := 0; ; n++ {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if requests.Add(1) == 2 {
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			c := newPool(t, Options{}).Client(plainSettings)
			req := tt.request
			req.URL = "http://" + addr
			if tt.again {
				req.Again = func() (Request, error) { agains.Add(1); return req, nil }
			}
			for n := range 3 {
				if _, err := c.Do(t.Context(), req); n == 1 && !tt.ok {
					wantKind(t, err, Unreachable)
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if requests.Load() != tt.requests || (agains.Load() == 1) != tt.again {
				t.Errorf("%d requests, %d made anew", requests.Load(), agains.Load())
			}
		})
	}
}

func TestAgainCannotBeMade(t *testing.T) {
	no := errors.New("no")
	addr := raw(t, func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		readRequest(c)
	})
	c := newPool(t, Options{}).Client(plainSettings)
	req := Request{Method: "POST", URL: "http://" + addr, Again: func() (Request, error) { return Request{}, no }}
	if _, err := c.Do(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), req); !errors.Is(err, no) {
		t.Error(err)
	}
}

// Half of the time is for the beginning of an answer: one that has begun has all of it.
func TestSlowAnswerOverKeptConnection(t *testing.T) {
	addr := raw(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		_, _ = http.ReadRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = http.ReadRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
		_, _ = io.Copy(io.Discard, br)
	})
	c := newPool(t, Options{}).Client(plainSettings)
	if _, err := c.Do(t.Context(), Request{URL: "http://" + addr}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := c.Do(ctx, Request{URL: "http://" + addr})
	wantKind(t, err, Timeout) // at half of it, the connection would have broken
}

// relay forwards connections to addr, until freeze: then those that are open stay open and
// carry nothing any more, and new ones work.
func relay(t *testing.T, addr string) (at string, freeze func(), conns func() int32) {
	t.Helper()
	var (
		mu     sync.Mutex
		frozen = make(chan struct{})
		n      atomic.Int32
	)
	at = raw(t, func(down net.Conn) {
		n.Add(1)
		mu.Lock()
		dead := frozen
		mu.Unlock()
		up, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer up.Close()
		forward := func(to, from net.Conn) {
			buf := make([]byte, 4096)
			for {
				n, err := from.Read(buf)
				if err != nil {
					return
				}
				select {
				case <-dead:
				default:
					_, _ = to.Write(buf[:n])
				}
			}
		}
		go func() { forward(down, up); down.Close() }()
		forward(up, down)
	})
	freeze = func() {
		mu.Lock()
		defer mu.Unlock()
		close(frozen)
		frozen = make(chan struct{})
	}
	return at, freeze, n.Load
}

// G02: kept connections go silent, without FIN or RST, and new ones work. The first
// request is served within its time, none of those after it meets a dead connection.
func TestSilentConnections(t *testing.T) {
	const kept, url = 6, "https://idp.test/"
	ca := newCA(t)
	for _, tt := range []struct {
		name string
		s    Settings
	}{{"HTTP/1.1", plainSettings}, {"HTTP/2", Settings{VerifyTLS: true, Keepalive: true, HTTPVersion: HTTP2}}} {
		t.Run(tt.name, func(t *testing.T) {
			var together sync.WaitGroup
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut { // all at once, each over a connection of its own
					together.Done()
					together.Wait()
				}
			}))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.EnableHTTP2 = true
			s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, certSpec{})}}
			s.StartTLS()
			t.Cleanup(s.Close)
			at, freeze, conns := relay(t, s.Listener.Addr().String())
			c := newPool(t, Options{RootCAs: ca.pool, Resolve: map[string]string{"idp.test:443": at}}).Client(tt.s)
			do := func(budget time.Duration, req Request) error {
				ctx, cancel := context.WithTimeout(t.Context(), budget)
				defer cancel()
				req.URL = url
				_, err := c.Do(ctx, req)
				return err
			}
			warm := func() {
				together.Add(kept)
				var wg sync.WaitGroup
				for range kept {
					wg.Go(func() {
						if err := do(10*time.Second, Request{Method: "PUT"}); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			warm()
			freeze()
			post := Request{Method: "POST", URL: url, Body: []byte("x")}
			post.Again = func() (Request, error) { return post, nil }
			var wg sync.WaitGroup
			for range 2 { // in HTTP/2 they share the dead connection
				wg.Go(func() {
					if err := do(2*time.Second, post); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			before := conns()
			for range 10 {
				if err := do(10*time.Second, post); err != nil {
					t.Error(err)
				}
			}
			if n := conns(); n != before {
				t.Errorf("%d more connections", n-before)
			}

			// One that may be made once only has all of the time, and leaves none behind either.
			warm()
			freeze()
			wantKind(t, do(200*time.Millisecond, Request{Method: "POST", Body: []byte("x")}), Timeout)
			for range kept {
				if err := do(10*time.Second, Request{Method: "POST", Body: []byte("x")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What a Client keeps that its Pool no longer shares is closed with the Pool all the same.
func TestCloseEndsConnectionsOfForgottenClients(t *testing.T) {
	var open atomic.Int32
	closed := make(chan struct{}, 2*maxClients)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		switch st {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			closed <- struct{}{}
		}
	}
	s.Start()
	defer s.Close()
	p := NewPool(Options{})
	var clients []*Client
	for i := range maxClients + 10 {
		clients = append(clients, p.Client(Settings{Keepalive: true, NoProxy: fmt.Sprint(i)}))
	}
	for _, c := range clients {
		if _, err := c.Do(t.Context(), Request{URL: s.URL}); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	for n := range open.Load() {
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d connections are still open", open.Load()-n, open.Load())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.conns); n != 0 {
		t.Errorf("%d connections still in the book", n)
	}
}

func TestRefusedRequests(t *testing.T) {
	c := newPool(t, Options{}).Client(plainSettings)
	for _, r := range []Request{
		{URL: "http://127.0.0.1:1", Method: "BAD METHOD"},
		{URL: "http://127.0.0.1:1", Header: http.Header{"X-A": {"canary\r\nX-B: c"}}},
		{URL: "http://127.0.0.1:1", Header: http.Header{"X A": {"canary"}}},
	} {
		_, err := c.Do(t.Context(), r)
		if e := wantKind(t, err, BadRequest); strings.Contains(e.Error(), "canary") {
			t.Error(e)
		}
	}
	_, err := newPool(t, Options{}).Client(Settings{HTTPVersion: "9"}).Do(t.Context(), Request{URL: "http://127.0.0.1:1"})
	wantKind(t, err, BadRequest)
}
