package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// ErrClosed is what Do returns once Close was called.
var ErrClosed = errors.New("cache: flight is closed")

// errGoexit is what waiters get when fn ended its goroutine by runtime.Goexit.
var errGoexit = errors.New("cache: the call ended without a result")

// PanicError is what all waiters of a call get when it panicked. Its message has the panic's text
// only where the Go runtime wrote it: any other value may be a secret, so only its type is told.
type PanicError struct {
	Detail string
	Stack  []byte // of the panicking goroutine, for the log; without argument values but in hexadecimal
}

func (e *PanicError) Error() string { return "cache: the call panicked: " + e.Detail }

// Flight lets one call at a time answer a question that many ask at once. It keeps no result after
// the call: callers look into their cache, then ask the Flight, and the call fills the cache.
//
// Calls run in goroutines of the Flight, with a context of their own: a caller that leaves takes
// nothing away from the others. Calls of different keys share nothing. Close ends them all.
type Flight[V any] struct {
	ctx    context.Context // of the Flight's own calls: its lifetime, not a request's
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards all that follows
	calls  map[Key]*call[V]
	closed bool
}

type call[V any] struct {
	done  chan struct{} // closed when value and err are final
	value V
	err   error
}

// NewFlight returns a Flight that must be closed.
func NewFlight[V any]() *Flight[V] {
	ctx, cancel := context.WithCancel(context.Background())
	return &Flight[V]{ctx: ctx, cancel: cancel, calls: make(map[Key]*call[V])}
}

// Do returns the result of the call for k that is under way, or starts it with fn. fn runs with a
// context that ends after budget and at Close, and which it must obey; it carries none of ctx's
// values. When ctx ends first, Do returns ctx.Err(), and the call goes on for the others and for
// what it stores. The result is shared: nobody may change it. Errors besides fn's own: ErrClosed,
// *PanicError.
func (f *Flight[V]) Do(ctx context.Context, k Key, budget time.Duration, fn func(context.Context) (V, error)) (V, error) {
	var zero V
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	c, _ := f.join(k, budget, fn)
	if c == nil {
		return zero, ErrClosed
	}
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		select {
		case <-c.done: // both at once: an answer is worth more than the news that it came late
			return c.value, c.err
		default:
			return zero, ctx.Err()
		}
	}
}

// Go starts fn for k in the background, as Do does, and does not wait. It returns false, and fn
// will not run, when a call for k is under way already or the Flight is closed. Whoever calls Do
// meanwhile shares the result.
func (f *Flight[V]) Go(k Key, budget time.Duration, fn func(context.Context) (V, error)) bool {
	_, started := f.join(k, budget, fn)
	return started
}

// Close cancels the calls that are under way and waits for them. What is asked afterwards gets
// ErrClosed. It may be called again.
func (f *Flight[V]) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait()
}

// join returns the call for k and whether it was started just now; nil when closed.
func (f *Flight[V]) join(k Key, budget time.Duration, fn func(context.Context) (V, error)) (*call[V], bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false
	}
	if c := f.calls[k]; c != nil {
		return c, false
	}
	c := &call[V]{done: make(chan struct{}), err: errGoexit}
	f.calls[k] = c
	f.wg.Go(func() { f.run(k, c, budget, fn) })
	return c, true
}

func (f *Flight[V]) run(k Key, c *call[V], budget time.Duration, fn func(context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(f.ctx, budget)
	// Deferred, so that waiters are released in every way fn can end, runtime.Goexit too.
	defer func() {
		if x := recover(); x != nil {
			c.err = Recovered(x)
		}
		cancel()
		f.mu.Lock()
		delete(f.calls, k)
		f.mu.Unlock()
		close(c.done)
	}()
	value, err := fn(ctx)
	c.value, c.err = value, err
}

// Recovered is the error for a value that recover returned. Call it in the deferred function, where
// the stack still is the panic's.
func Recovered(x any) *PanicError {
	e := &PanicError{Detail: fmt.Sprintf("%T", x), Stack: debug.Stack()}
	if err, ok := x.(runtime.Error); ok {
		e.Detail = err.Error()
	}
	return e
}
