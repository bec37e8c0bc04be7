package pluginserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestCanonical(t *testing.T) {
	for _, tc := range []struct{ name, raw, want string }{
		{"Kong's own members", `{"__seq__":3,"__key__":"k","__plugin_id":"p","__ws_id":"w","issuer":"i"}`, `{"issuer":"i"}`},
		{"what it is bound to", `{"route_id":"r","service_id":"s","consumer_id":"c","plugin_instance_name":"n","issuer":"i"}`, `{"issuer":"i"}`},
		{"references, at any depth", `{"b":{"$refs":{"x":"{vault://a}"},"c":[{"$refs":[],"d":1}]},"$refs":{},"a":"<&>"}`, `{"a":"<&>","b":{"c":[{"d":1}]}}`},
		{"__ below the top stays", `{"a":{"__b":1}}`, `{"a":{"__b":1}}`},
		{"numbers as written", `{"n":1e2,"m":12345678901234567890}`, `{"m":12345678901234567890,"n":1e2}`},
		{"not JSON", `{"a":`, `{"a":`},
		{"more behind it", `{} {}`, `{} {}`},
		{"not an object", `[1, 2]`, `[1, 2]`},
		{"empty", ``, ``},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(canonical([]byte(tc.raw))); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// ledger makes instances and notes what was made and closed, by configuration.
type ledger struct {
	access access

	mu           sync.Mutex
	made, closed []string // guarded by mu
}

func (l *ledger) NewInstance(config json.RawMessage) Instance {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made = append(l.made, string(config))
	return &entry{l.access, l, string(config)}
}

func (l *ledger) check(t *testing.T, made, closed []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.made, made) || !slices.Equal(l.closed, closed) {
		t.Errorf("made %q, closed %q; want %q, %q", l.made, l.closed, made, closed)
	}
}

type entry struct {
	access
	l      *ledger
	config string
}

func (e *entry) Close() {
	e.l.mu.Lock()
	defer e.l.mu.Unlock()
	e.l.closed = append(e.l.closed, e.config)
}

func TestInstances(t *testing.T) {
	l := &ledger{access: pass}
	_, h := serve(t, Options{Plugin: l})
	a := startInstance(t, h, `{"a":1,"__seq__":1}`)
	if again := startInstance(t, h, `{"__seq__":2, "a": 1}`); again != a || a <= 0 {
		t.Errorf("ids %d and %d for one configuration", a, again)
	}
	b := startInstance(t, h, `{"a":2,"__seq__":1}`)
	if b == a {
		t.Error("one id for two configurations")
	}
	l.check(t, []string{`{"a":1}`, `{"a":2}`}, nil)

	stop := func(id int32) {
		if err := h.CloseInstance(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	stop(a)
	if err := h.HandleEvent(ctx, a, eventAccess, &kong{}); err != nil {
		t.Error("closed once of twice:", err)
	}
	stop(a)
	l.check(t, []string{`{"a":1}`, `{"a":2}`}, []string{`{"a":1}`})
	if err := h.HandleEvent(ctx, a, eventAccess, &kong{}); !errors.Is(err, ErrClosed) {
		t.Error("closed:", err)
	}
	stop(a)
	if c := startInstance(t, h, `{"a":1}`); c == a {
		t.Error("an id was given twice")
	}
	l.check(t, []string{`{"a":1}`, `{"a":2}`, `{"a":1}`}, []string{`{"a":1}`})
}

func TestInstanceClosedWhileRunning(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	l := &ledger{access: func(_ context.Context, e *Event) {
		entered <- struct{}{}
		await(t, release)
		e.Pass()
	}}
	_, h := serve(t, Options{Plugin: l})
	id := startInstance(t, h, `{}`)
	result := make(chan error)
	go func() { result <- h.HandleEvent(ctx, id, eventAccess, &kong{}) }()
	await(t, entered)
	if err := h.CloseInstance(ctx, id); err != nil {
		t.Fatal(err)
	}
	l.check(t, []string{`{}`}, nil)
	close(release)
	if err := await(t, result); err != nil {
		t.Error(err)
	}
	// The event's connection takes another call only after the event has let go of its instance.
	if err := h.CloseInstance(ctx, id); err != nil {
		t.Fatal(err)
	}
	for len(func() []string { l.mu.Lock(); defer l.mu.Unlock(); return l.closed }()) == 0 {
		if err := h.CloseInstance(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	l.check(t, []string{`{}`}, []string{`{}`})
}

func TestInstancesBounded(t *testing.T) {
	l := &ledger{access: pass}
	_, h := serve(t, Options{Plugin: l, MaxInstances: 3})
	var ids []int32
	for i := range 3 {
		ids = append(ids, startInstance(t, h, fmt.Sprintf(`{"n":%d}`, i)))
	}
	if err := h.HandleEvent(ctx, ids[0], eventAccess, &kong{}); err != nil {
		t.Fatal(err)
	}
	startInstance(t, h, `{"n":3}`) // the least recently used is 1
	l.check(t, []string{`{"n":0}`, `{"n":1}`, `{"n":2}`, `{"n":3}`}, []string{`{"n":1}`})
	for i, want := range []error{nil, ErrClosed, nil} {
		if err := h.HandleEvent(ctx, ids[i], eventAccess, &kong{}); !errors.Is(err, want) {
			t.Errorf("instance %d: %v, want %v", i, err, want)
		}
	}
	// What Kong does then: start it again, and send the event once more.
	id := startInstance(t, h, `{"n":1}`)
	if err := h.HandleEvent(ctx, id, eventAccess, &kong{}); err != nil {
		t.Error(err)
	}
}

// faulty panics, or makes nothing, or panics when it is closed.
type faulty struct{ how string }

func (f faulty) NewInstance(json.RawMessage) Instance {
	switch f.how {
	case "panic":
		panic("x")
	case "nil":
		return nil
	}
	return f
}

func (faulty) Access(_ context.Context, e *Event) { e.Pass() }
func (faulty) Close()                             { panic("x") }

func TestFaultyInstances(t *testing.T) {
	for how, want := range map[string]error{"panic": ErrExited, "nil": ErrExited, "close": nil} {
		t.Run(how, func(t *testing.T) {
			_, h := serve(t, Options{Plugin: faulty{how}})
			for range 2 {
				id := startInstance(t, h, `{}`)
				k := &kong{}
				if err := h.HandleEvent(ctx, id, eventAccess, k); !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
				if want != nil && k.exit(t).Status != 500 {
					t.Error(k.exit(t).Status)
				}
				if err := h.CloseInstance(ctx, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Many workers start and stop the same few configurations at once: each is compiled once at a time,
// and closed as often as it was made.
func TestInstancesConcurrently(t *testing.T) {
	l := &ledger{}
	s := &instances{plugin: l, limit: 2, byID: map[int32]*instance{}, byHash: map[[32]byte]*instance{}}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 300 {
				id := s.start(fmt.Appendf(nil, `{"n":%d}`, (i+w)%4))
				if in := s.acquire(id); in != nil {
					if in.impl == nil {
						t.Error("not compiled")
					}
					s.release(in)
				}
				s.stop(id)
			}
		})
	}
	wg.Wait()
	s.stopAll()
	slices.Sort(l.made)
	slices.Sort(l.closed)
	if !slices.Equal(l.made, l.closed) || len(s.byID)+len(s.byHash)+s.used.Len() != 0 {
		t.Errorf("%d made, %d closed, %d left", len(l.made), len(l.closed), len(s.byID))
	}
}
