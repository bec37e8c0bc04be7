package cache

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type result struct {
	v   int
	err error
}

// ask runs Do in a goroutine of its own.
func ask(ctx context.Context, f *Flight[int], k Key, fn func(context.Context) (int, error)) <-chan result {
	ch := make(chan result, 1)
	go func() {
		v, err := f.Do(ctx, k, time.Minute, fn)
		ch <- result{v, err}
	}()
	return ch
}

func TestFlightSharesOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFlight[int]()
		defer f.Close()
		var calls atomic.Int32
		release := make(chan struct{})
		fn := func(context.Context) (int, error) {
			<-release
			return int(calls.Add(1)), nil
		}
		var waiters []<-chan result
		for range 500 { // row 47 of security.md
			waiters = append(waiters, ask(t.Context(), f, keyOf(1), fn))
		}
		synctest.Wait()
		// Another key does not wait for the first.
		if v, err := f.Do(t.Context(), keyOf(2), time.Second, func(context.Context) (int, error) { return 42, nil }); v != 42 || err != nil {
			t.Errorf("other key: %v, %v", v, err)
		}
		close(release)
		for _, w := range waiters {
			if r := <-w; r != (result{1, nil}) {
				t.Errorf("waiter got %+v", r)
			}
		}
		// Nothing is kept.
		if v, _ := f.Do(t.Context(), keyOf(1), time.Second, fn); v != 2 {
			t.Errorf("the call after got %d, want a new one", v)
		}
	})
}

// TestFlightLeaderLeaves is row 48: the one who started the call goes, and the others lose nothing.
func TestFlightLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFlight[int]()
		defer f.Close()
		release := make(chan struct{})
		fn := func(ctx context.Context) (int, error) {
			select {
			case <-release:
				return 7, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		leaderCtx, leave := context.WithCancel(t.Context())
		leader := ask(leaderCtx, f, keyOf(1), fn)
		synctest.Wait()
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		impatient := ask(hasty, f, keyOf(1), fn)
		follower := ask(t.Context(), f, keyOf(1), fn)
		synctest.Wait()

		leave()
		if r := <-leader; !errors.Is(r.err, context.Canceled) {
			t.Errorf("leader got %+v", r)
		}
		if r := <-impatient; !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("waiter with a short deadline got %+v", r)
		}
		close(release)
		if r := <-follower; r != (result{7, nil}) {
			t.Errorf("follower got %+v", r)
		}
		if _, err := f.Do(leaderCtx, keyOf(1), time.Second, fn); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that has left already: %v", err)
		}
	})
}

func TestFlightBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFlight[int]()
		defer f.Close()
		start := time.Now()
		_, err := f.Do(t.Context(), keyOf(1), 3*time.Second, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// TestFlightBadEndings: whatever way fn ends, its waiters are released, the next call works, and no
// secret is in the message.
func TestFlightBadEndings(t *testing.T) {
	failed := errors.New("no")
	var m map[string]int
	tests := []struct {
		name string
		fn   func(context.Context) (int, error)
		is   func(error) bool
		text string
	}{
		{"error", func(context.Context) (int, error) { return 0, failed }, func(err error) bool { return errors.Is(err, failed) }, "no"},
		{"panic with a secret", func(context.Context) (int, error) { panic("canary-secret") }, isPanic, "cache: the call panicked: string"},
		{"nil map", func(context.Context) (int, error) { m["x"] = 1; return 0, nil }, isPanic, "cache: the call panicked: assignment to entry in nil map"},
		{"Goexit", func(context.Context) (int, error) { runtime.Goexit(); return 0, nil }, func(err error) bool { return errors.Is(err, errGoexit) }, "without a result"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := NewFlight[int]()
				defer f.Close()
				release := make(chan struct{})
				fn := func(ctx context.Context) (int, error) {
					<-release
					return tt.fn(ctx)
				}
				a, b := ask(t.Context(), f, keyOf(1), fn), ask(t.Context(), f, keyOf(1), fn)
				synctest.Wait()
				close(release)
				for _, r := range []result{<-a, <-b} {
					if r.err == nil || !tt.is(r.err) || !strings.Contains(r.err.Error(), tt.text) || strings.Contains(r.err.Error(), "canary") {
						t.Errorf("waiter got %v", r.err)
					}
				}
				if v, err := f.Do(t.Context(), keyOf(1), time.Second, func(context.Context) (int, error) { return 1, nil }); v != 1 || err != nil {
					t.Errorf("the call after: %v, %v", v, err)
				}
			})
		})
	}
}

func isPanic(err error) bool {
	var p *PanicError
	return errors.As(err, &p) && len(p.Stack) > 0 && !strings.Contains(string(p.Stack), "canary")
}

func TestFlightGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFlight[int]()
		release := make(chan struct{})
		fn := func(context.Context) (int, error) { <-release; return 5, nil }
		if !f.Go(keyOf(1), time.Minute, fn) {
			t.Error("the first renewal did not start")
		}
		if f.Go(keyOf(1), time.Minute, fn) {
			t.Error("a second renewal of the same key started")
		}
		w := ask(t.Context(), f, keyOf(1), nil) // nil: it would panic if it were called
		synctest.Wait()
		close(release)
		if r := <-w; r != (result{5, nil}) {
			t.Errorf("waiter got %+v", r)
		}
		f.Close()
		if f.Go(keyOf(1), time.Minute, fn) {
			t.Error("a renewal started after Close")
		}
	})
}

func TestFlightClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFlight[int]()
		ended := false
		w := ask(t.Context(), f, keyOf(1), func(ctx context.Context) (int, error) {
			<-ctx.Done()
			time.Sleep(time.Second) // its own cleaning up
			ended = true
			return 0, ctx.Err()
		})
		synctest.Wait()
		f.Close()
		if !ended {
			t.Error("Close did not wait")
		}
		if r := <-w; !errors.Is(r.err, context.Canceled) {
			t.Errorf("waiter got %+v", r)
		}
		if _, err := f.Do(t.Context(), keyOf(1), time.Second, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		f.Close()
	})
}
