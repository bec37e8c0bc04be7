package pluginserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var ctx = context.Background()

func pass(_ context.Context, e *Event) { e.Pass() }

func TestVerdicts(t *testing.T) {
	headers := AppendRawHeaders(nil, requestHeaders(true))
	for _, tc := range []struct {
		name    string
		phase   string // "": access
		handler access
		before  func(method string) error
		status  int    // 0: the request goes on
		calls   string // all that Kong was asked, by the last word of the name
		fails   bool   // Kong's own error, no answer of the plugin
	}{
		{name: "pass", handler: pass},
		{name: "one get, one set", handler: getAndSet, calls: "get_headers set_headers"},
		{name: "exit", handler: func(_ context.Context, e *Event) { e.Exit(401, nil, nil) }, status: 401, calls: "exit"},
		{name: "no verdict", handler: func(context.Context, *Event) {}, status: 500, calls: "exit"},
		{
			name: "no verdict, after a setter", handler: func(_ context.Context, e *Event) { e.Tell("kong.log.err", AppendList(nil, "x")) },
			status: 500, calls: "err exit",
		},
		{name: "setter, then exit", handler: func(_ context.Context, e *Event) {
			e.Tell("kong.log.err", AppendList(nil, "x"))
			e.Exit(403, []Header{{"A", []string{"b"}}}, []byte("no"))
		}, status: 403, calls: "err exit"},
		{name: "panic", handler: func(_ context.Context, e *Event) { var m map[string]int; m["x"] = 1 }, status: 500, calls: "exit"},
		{name: "panic after pass", handler: func(_ context.Context, e *Event) { e.Pass(); panic("late") }, status: 500, calls: "exit"},
		{name: "panic after a setter", handler: func(_ context.Context, e *Event) {
			e.Tell("kong.response.set_status", nil)
			panic("x")
		}, status: 500, calls: "exit"},
		{name: "panic after an ask", handler: func(_ context.Context, e *Event) {
			e.Ask("kong.request.get_headers", thousand)
			panic(errors.New("x"))
		}, status: 500, calls: "get_headers exit"},
		{name: "panic after exit", handler: func(_ context.Context, e *Event) { e.Exit(401, nil, nil); panic("late") }, status: 401, calls: "exit"},
		{name: "Goexit", handler: func(_ context.Context, e *Event) { e.Pass(); runtime.Goexit() }, status: 500, calls: "exit"},
		{name: "pass after exit", handler: func(_ context.Context, e *Event) { e.Exit(401, nil, nil); e.Pass() }, status: 401, calls: "exit"},
		{name: "exit after pass", handler: func(_ context.Context, e *Event) { e.Pass(); e.Exit(401, nil, nil) }, status: 401, calls: "exit"},
		{name: "exit twice", handler: func(_ context.Context, e *Event) { e.Exit(401, nil, nil); e.Exit(402, nil, nil) }, status: 401, calls: "exit"},
		{name: "tell after pass", handler: func(_ context.Context, e *Event) {
			e.Pass()
			if e.Tell("kong.log.err", nil) == nil {
				panic("told")
			}
		}},
		{name: "ask after exit", handler: func(_ context.Context, e *Event) {
			e.Exit(401, nil, nil)
			if _, err := e.Ask("kong.request.get_headers", nil); !errors.Is(err, ErrExited) {
				panic(err)
			}
		}, status: 401, calls: "exit"},
		{name: "exit by name", handler: func(_ context.Context, e *Event) { e.Tell(methodExit, AppendInt(nil, 418)) }, status: 418, calls: "exit"},
		{name: "a method without name", handler: func(_ context.Context, e *Event) { e.Tell("", nil); e.Pass() }, status: 500, calls: "exit"},
		{name: "too large to send", handler: func(_ context.Context, e *Event) {
			e.Tell("kong.response.set_headers", make([]byte, 1<<17))
			e.Pass()
		}, status: 500, calls: "exit"},
		{name: "another phase", phase: "log", handler: pass, status: 500, calls: "exit"},
		{name: "no phase", phase: "\x00", handler: pass, status: 500, calls: "exit"},
		{
			name: "Kong fails in a setter", handler: func(_ context.Context, e *Event) { e.Tell("kong.service.request.set_headers", nil); e.Pass() },
			before: func(string) error { return io.ErrNoProgress }, calls: "set_headers", fails: true,
		},
		{name: "Kong fails in a getter", handler: getAndSet, before: func(string) error { return io.ErrNoProgress }, calls: "get_headers", fails: true},
		{name: "a setter that is asked", handler: func(_ context.Context, e *Event) {
			if reply, err := e.Ask("kong.log.err", nil); err == nil && len(reply) == 0 {
				e.Pass()
			}
		}, calls: "err"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, h := serve(t, Options{Plugin: access(tc.handler), MaxFrame: 1 << 16})
			id := startInstance(t, h, `{}`)
			if tc.phase == "" {
				tc.phase = eventAccess
			}
			for range 2 { // the process lives on
				k := &kong{answers: map[string][]byte{"kong.request.get_headers": headers}, before: tc.before}
				err := h.HandleEvent(ctx, id, tc.phase, k)
				var calls []string
				for _, c := range k.calls {
					calls = append(calls, c[strings.LastIndexByte(c, '.')+1:])
				}
				if got := strings.Join(calls, " "); got != tc.calls {
					t.Errorf("calls %q, want %q", got, tc.calls)
				}
				switch {
				case tc.fails:
					if !errors.Is(err, io.ErrNoProgress) {
						t.Error(err)
					}
				case tc.status == 0:
					if err != nil {
						t.Error(err)
					}
				case !errors.Is(err, ErrExited):
					t.Errorf("%v, want an exit", err)
				default:
					if a := k.exit(t); a.Status != tc.status {
						t.Errorf("exit with %d, want %d", a.Status, tc.status)
					}
				}
			}
		})
	}
}

func TestDeniedBody(t *testing.T) {
	_, h := serve(t, Options{Plugin: access(func(context.Context, *Event) {})})
	k := &kong{}
	if err := h.HandleEvent(ctx, startInstance(t, h, `{}`), eventAccess, k); !errors.Is(err, ErrExited) {
		t.Fatal(err)
	}
	want := ExitArgs{
		Status: 500, Headers: []Header{{"Content-Type", []string{"application/json; charset=utf-8"}}},
		Body: []byte(`{"message":"An unexpected error occurred"}`),
	}
	if diff := cmp.Diff(want, k.exit(t)); diff != "" {
		t.Error(diff)
	}
}

// counted counts what the server's connections are asked to write.
type counted struct {
	net.Listener
	conns, writes atomic.Int64
}

type countedConn struct {
	net.Conn
	l *counted
}

func (l *counted) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	l.conns.Add(1)
	return countedConn{nc, l}, err
}

func (c countedConn) Write(b []byte) (int, error) {
	c.l.writes.Add(1)
	return c.Conn.Write(b)
}

func TestCallsAndWrites(t *testing.T) {
	deny := func(_ context.Context, e *Event) {
		if _, err := e.Ask("kong.request.get_headers", thousand); err == nil {
			e.Exit(401, nil, nil)
		}
	}
	for _, tc := range []struct {
		name          string
		handler       access
		calls, writes int
		conns         int64 // for ten events
	}{
		{"nothing asked", pass, 0, 1, 1},
		{"credentials in a header", getAndSet, 2, 2, 1},
		{"no credentials", deny, 2, 2, 11},
		{"four setters", func(_ context.Context, e *Event) {
			for range 4 {
				e.Tell("kong.response.set_header", AppendKV(nil, "a", "b"))
			}
			e.Pass()
		}, 4, 1, 1},
		{"go-pdk's getter and two setters", func(_ context.Context, e *Event) {
			e.PDK().Request.GetMethod()
			e.PDK().ServiceRequest.SetHeader("a", "b")
			e.PDK().Log.Err("x")
			e.Pass()
		}, 3, 2, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			inner, err := Listen(SocketOptions{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			l := &counted{Listener: inner}
			h := serveOn(t, Options{Plugin: tc.handler}, path, l)
			id := startInstance(t, h, `{}`)
			k := &kong{answers: map[string][]byte{"kong.request.get_headers": AppendRawHeaders(nil, requestHeaders(true))}}
			before := l.writes.Load()
			for range 10 {
				if err := h.HandleEvent(ctx, id, eventAccess, k); err != nil && !errors.Is(err, ErrExited) {
					t.Fatal(err)
				}
			}
			if n := l.writes.Load() - before; n != int64(10*tc.writes) || len(k.calls) != 10*tc.calls {
				t.Errorf("%d writes and %d calls in ten events, want %d and %d", n, len(k.calls), 10*tc.writes, 10*tc.calls)
			}
			// The first connection serves the start and the first event; an exit costs its
			// connection.
			if n := l.conns.Load(); n != tc.conns && n != tc.conns-1 {
				t.Errorf("%d connections, want %d", n, tc.conns)
			}
		})
	}
}

func TestManySetters(t *testing.T) {
	const n = 1000
	_, h := serve(t, Options{Plugin: access(func(_ context.Context, e *Event) {
		for i := range n {
			if err := e.Tell("kong.response.add_header", AppendKV(nil, "n", fmt.Sprint(i))); err != nil {
				panic(err)
			}
		}
		e.Pass()
	})})
	k := &kong{}
	if err := h.HandleEvent(ctx, startInstance(t, h, `{}`), eventAccess, k); err != nil {
		t.Fatal(err)
	}
	for i, args := range k.args {
		if kv, err := DecodeKV(args); err != nil || kv.Values[0] != fmt.Sprint(i) {
			t.Fatalf("call %d is %v, %v", i, kv, err)
		}
	}
	if len(k.calls) != n {
		t.Errorf("%d calls", len(k.calls))
	}
}

// Setters are not queued without end: the acknowledgements that Kong writes meanwhile would fill
// the socket's buffer, and then both sides would wait for the other to read.
func TestUnacknowledgedIsBounded(t *testing.T) {
	seen := make(chan struct{}, 2*unacknowledged)
	_, h := serve(t, Options{Plugin: access(func(_ context.Context, e *Event) {
		for range unacknowledged {
			e.Tell("kong.response.set_status", nil)
		}
		for range unacknowledged {
			await(t, seen)
		}
		e.Pass()
	})})
	k := &kong{before: func(string) error { seen <- struct{}{}; return nil }}
	if err := h.HandleEvent(ctx, startInstance(t, h, `{}`), eventAccess, k); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentEvents(t *testing.T) {
	_, h := serve(t, Options{Plugin: access(getAndSet)})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			id := startInstance(t, h, `{"a":1}`)
			for range 50 {
				k := &kong{answers: map[string][]byte{"kong.request.get_headers": AppendRawHeaders(nil, requestHeaders(true))}}
				if err := h.HandleEvent(ctx, id, eventAccess, k); err != nil {
					t.Error(err)
				}
			}
			if err := h.CloseInstance(ctx, id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestPanicLog(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	s := NewServer(Options{Plugin: access(pass), Logger: logger})
	func() {
		defer func() { s.logPanic("testing", recover()) }()
		panic("canary-secret")
	}()
	s.logPanic("testing", "again")
	if text := out.String(); strings.Contains(text, "canary") || strings.Count(text, "TestPanicLog") == 0 || strings.Count(text, "\n") != 1 {
		t.Errorf("logged %q", text)
	}
}

func TestEventContext(t *testing.T) {
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(ctx, key{}, "v"))
	lazy := &eventCtx{parent: parent, deadline: time.Now().Add(time.Hour)}
	if lazy.Err() != nil || lazy.Value(key{}) != "v" {
		t.Error("fresh:", lazy.Err())
	}
	child, stop := context.WithTimeout(lazy, time.Minute)
	defer stop()
	lazy.end()
	await(t, child.Done())
	if lazy.Err() != context.Canceled || child.Err() != context.Canceled || child.Value(key{}) != "v" {
		t.Error("ended:", lazy.Err(), child.Err())
	}
	past := &eventCtx{parent: parent, deadline: time.Now().Add(-time.Hour)}
	if past.Err() != context.DeadlineExceeded {
		t.Error("late:", past.Err())
	}
	if await(t, past.Done()); past.Err() != context.DeadlineExceeded {
		t.Error("late and waited for:", past.Err())
	}
	cancel()
	if err := (&eventCtx{parent: parent, deadline: time.Now().Add(time.Hour)}).Err(); err != context.Canceled {
		t.Error("parent:", err)
	}
	ended := &eventCtx{parent: ctx, deadline: time.Now().Add(time.Hour)}
	ended.end()
	if await(t, ended.Done()); ended.Err() != context.Canceled {
		t.Error("used after its end:", ended.Err())
	}
}

func TestEventDeadline(t *testing.T) {
	_, h := serve(t, Options{EventTimeout: time.Millisecond, Plugin: access(func(ctx context.Context, e *Event) {
		<-ctx.Done()
		e.Exit(503, nil, []byte(ctx.Err().Error()))
	})})
	k := &kong{}
	if err := h.HandleEvent(ctx, startInstance(t, h, `{}`), eventAccess, k); !errors.Is(err, ErrExited) {
		t.Fatal(err)
	}
	if a := k.exit(t); a.Status != 503 || string(a.Body) != "context deadline exceeded" {
		t.Error(a)
	}
}
