package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pdk "github.com/Kong/go-pdk"
)

// ErrExited is the end of an event by kong.response.exit: nothing can be said or asked after it.
var ErrExited = errors.New("pluginserver: the event has ended with an exit")

var (
	errOver   = errors.New("pluginserver: the event is over")
	errBroken = errors.New("pluginserver: a call could not be encoded")
)

// unacknowledged is how many setters may be on their way at once. Kong writes an answer to each and
// stops reading when our receive buffer (a few hundred small messages) is full.
const unacknowledged = 128

type verdict uint8

const (
	undecided verdict = iota
	passed
	exited
)

// Event is one phase of one request. It ends in exactly one of Pass and Exit; the first counts, an
// Exit after a Pass wins, and an event that ends without either is answered with 500, as is one
// whose call to Kong has failed. An Event belongs to the goroutine that handles it and is dead when
// the handler has returned.
type Event struct {
	c       *conn
	ctx     eventCtx
	verdict verdict
	over    bool
	err     error // of the first call that failed
	wrapped *pdkConn
	pdk     *pdk.PDK
}

// Ask calls a function of Kong's plugin development kit and waits for its answer. args and the
// answer are the messages of pluginsocket.proto. What Tell has queued goes out in the same write.
// The answer is valid until the next call of the event. After an error every further Ask fails:
// what is left is Exit.
func (e *Event) Ask(method string, args []byte) ([]byte, error) {
	if err := e.queue(method, args); err != nil {
		return nil, err
	}
	reply, err := e.c.ask()
	if err != nil {
		e.err = fmt.Errorf("pluginserver: asking %s: %w", method, err)
		return nil, e.err
	}
	return reply, nil
}

// Tell queues a call whose answer carries nothing. It goes out with the next Ask or with the end of
// the event; should Kong not accept it, Kong itself answers the request with 500.
func (e *Event) Tell(method string, args []byte) error {
	if err := e.queue(method, args); err != nil {
		return err
	}
	e.c.queued++
	if e.c.queued+e.c.pending < unacknowledged && len(e.c.out) < e.c.limit {
		return nil
	}
	if err := e.c.settle(); err != nil {
		e.err = fmt.Errorf("pluginserver: telling %s: %w", method, err)
	}
	return e.err
}

// queue collects the two frames of a call. A call that is too large fails the event before any byte
// of it is collected.
func (e *Event) queue(method string, args []byte) error {
	switch {
	case e.verdict == exited:
		return ErrExited
	case e.over || e.verdict == passed:
		return errOver
	case e.err != nil:
		return e.err
	case method == methodExit:
		at := e.beginExit() // nothing has ended the event, say the cases above
		e.c.out = append(e.c.out, args...)
		e.endExit(at)
		return ErrExited
	case method == "":
		// On the wire an empty name ends the event, which would let the request pass.
		e.err = errBroken
		return e.err
	case len(method)+len(args) > e.c.limit:
		e.err = fmt.Errorf("pluginserver: %.64s: %w: %d bytes", method, errFrameTooLarge, len(args))
		return e.err
	}
	e.c.out = appendFrame(e.c.out, method)
	e.c.frame(args)
	return nil
}

// Pass lets the request go on, once the handler has returned and if no call to Kong has failed.
func (e *Event) Pass() {
	if e.verdict == undecided && !e.over {
		e.verdict = passed
	}
}

// Exit answers the request instead of the upstream. It is sent at once, after everything queued.
// Headers that are not UTF-8 or have no value are left out.
func (e *Event) Exit(status int, headers []Header, body []byte) {
	if e.over || e.verdict == exited {
		return
	}
	at := e.beginExit()
	e.c.out = appendExit(e.c.out, ExitArgs{Status: status, Headers: headers, Body: body})
	e.endExit(at)
}

func (e *Event) beginExit() (at int) {
	e.verdict = exited
	e.c.out = appendFrame(e.c.out, methodExit)
	return e.c.begin()
}

func (e *Event) endExit(at int) {
	e.c.end(at)
	// Nobody can be told of an error here. The connection is closed in any case, and Kong answers
	// 500 to a request whose call was cut off.
	_ = e.c.send()
}

// PDK gives go-pdk's object over this event: its getters ask, its setters are queued as with Tell.
func (e *Event) PDK() *pdk.PDK {
	if e.pdk == nil {
		e.wrapped = &pdkConn{e: e}
		e.pdk = pdk.Init(e.wrapped)
	}
	return e.pdk
}

// permitted tells whether the request may go on.
func (e *Event) permitted() bool {
	return e.verdict == passed && e.err == nil && (e.wrapped == nil || !e.wrapped.dangling())
}

// eventCtx is a context with a deadline that costs nothing until somebody waits for it: most events
// are answered from memory and never do.
type eventCtx struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex // guards what follows
	inner  context.Context
	cancel context.CancelFunc
	ended  bool
}

// Deadline implements context.Context.
func (c *eventCtx) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *eventCtx) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithDeadline(c.parent, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.inner.Done()
}

// Err implements context.Context.
func (c *eventCtx) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.inner != nil:
		return c.inner.Err()
	case c.ended:
		return context.Canceled
	case c.parent.Err() != nil:
		return c.parent.Err()
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context. It asks inner, if there is one, so that the context package
// finds its own kind behind Done and starts no goroutine for a child.
func (c *eventCtx) Value(key any) any {
	c.mu.Lock()
	ctx := c.inner
	c.mu.Unlock()
	if ctx == nil {
		ctx = c.parent
	}
	return ctx.Value(key)
}

func (c *eventCtx) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
