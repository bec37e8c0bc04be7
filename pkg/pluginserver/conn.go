package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// States of a connection. Only an idle one may be ended by drain: Kong takes a connection that ends
// before it could write an acknowledgement for an error of the request. A new one is busy: Kong
// connects when it has something to send.
const (
	connBusy int32 = iota
	connIdle
	connStopped
)

var errStopped = errors.New("the server is ending")

// conn is one connection of Kong, served by one goroutine.
type conn struct {
	stream
	s     *Server
	state atomic.Int32

	queued   int   // setters in out
	pending  int   // setters written, not acknowledged
	readErr  error // after it nothing is read: it is not known where the next frame begins
	writeErr error // after it nothing is written: part of a frame may be out
}

func (s *Server) serve(events context.Context, nc net.Conn) {
	c := &conn{stream: newStream(nc, s.o.MaxFrame, s.o.FrameTimeout), s: s}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		if v := recover(); v != nil {
			s.logPanic("serving a connection", v)
		}
		_ = nc.Close()
		s.forget(c)
		c.release()
	}()
	switch err := c.loop(events); {
	case errors.Is(err, io.EOF), errors.Is(err, ErrExited), errors.Is(err, net.ErrClosed):
	case errors.Is(err, errStopped):
		c.hangUp()
		c.discard()
	default:
		if unlogged, due := s.closes.due(time.Now()); due {
			s.log.Info("connection closed", "error", err, "not_logged_before", unlogged)
		}
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 {
		select {
		case s.empty <- struct{}{}:
		default:
		}
	}
}

// hangUp closes the sending side. Kong may have begun to send a call: that must not fail, and where
// Kong then reads it finds the end, which makes it send an event again.
func (c *conn) hangUp() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		_ = c.nc.Close()
	}
}

// discard reads until Kong closes, or drain does.
func (c *conn) discard() {
	if c.nc.SetReadDeadline(time.Time{}) != nil {
		return
	}
	for {
		if _, err := c.nc.Read(c.buf); err != nil {
			return
		}
	}
}

func (c *conn) loop(events context.Context) error {
	for first := true; ; first = false {
		request, err := c.next(first)
		if err != nil {
			return err
		}
		if request.command == cmdHandleEvent && c.s.phase.Load() == handingOver {
			return errStopped
		}
		if err := c.dispatch(events, request); err != nil {
			return err
		}
		if err := c.settle(); err != nil {
			return err
		}
	}
}

// next waits for Kong's next call.
func (c *conn) next(first bool) (call, error) {
	if !first {
		c.state.Store(connIdle)
		if c.s.phase.Load() == ending && c.state.CompareAndSwap(connIdle, connStopped) {
			return call{}, errStopped
		}
	}
	frame, err := c.readFrame(false)
	if !first && !c.state.CompareAndSwap(connIdle, connBusy) {
		return call{}, errStopped
	}
	if err != nil {
		return call{}, err
	}
	return decodeCall(frame)
}

func (c *conn) dispatch(events context.Context, request call) error {
	switch request.command {
	case cmdHandleEvent:
		return c.handle(events, request)
	case cmdStartInstance:
		c.reply(request.sequence, c.s.instances.start(request.config))
	case cmdCloseInstance:
		c.s.instances.stop(request.instance)
		c.reply(request.sequence, 0)
	default:
		return fmt.Errorf("command %d is not one that Kong 3.8 or later sends", request.command)
	}
	return c.send()
}

// handle serves one event. An id that is not known ends the connection: Kong takes that for a
// restart, starts its instances anew and sends the event again. In every other case the event is
// answered.
func (c *conn) handle(events context.Context, request call) (err error) {
	in := c.s.instances.acquire(request.instance)
	if in == nil {
		return fmt.Errorf("instance %d is not known", request.instance)
	}
	e := &Event{c: c, ctx: eventCtx{parent: events, deadline: time.Now().Add(c.s.o.EventTimeout)}}
	// Deferred, since runtime.Goexit in a handler must not leave the event without an answer
	// either: Kong would send it again.
	defer func() {
		err = c.finish(e, request.sequence)
		c.s.instances.release(in)
	}()
	if phase := request.text; string(phase) == eventAccess {
		c.run(in.impl, e)
	} else {
		c.s.log.Error("an event that is not served", "event", fmt.Sprintf("%.32q", phase))
	}
	return nil
}

// finish answers the event by its verdict, and by 500 without one. Its error ends the connection.
func (c *conn) finish(e *Event, sequence int64) error {
	e.ctx.end()
	if e.permitted() {
		e.over = true
		c.frame(nil)
		c.reply(sequence, 0)
		return c.send()
	}
	if e.verdict == passed {
		e.verdict = undecided
	}
	e.Exit(500, []Header{{Name: "Content-Type", Values: []string{"application/json; charset=utf-8"}}},
		[]byte(`{"message":"An unexpected error occurred"}`))
	e.over = true
	// The exit is the last of this connection, but the setters before it are acknowledged first: on
	// a connection that is closed by then Kong would fail, and answer 500 in place of the exit.
	if err := c.settle(); err != nil {
		return err
	}
	return ErrExited
}

// run calls the handler. After one that did not return, nothing it had queued is sent and a Pass
// does not count.
func (c *conn) run(impl Instance, e *Event) {
	returned := false
	defer func() {
		if returned {
			return
		}
		c.out, c.queued = c.out[:0], 0
		if e.verdict == passed {
			e.verdict = undecided
		}
		if v := recover(); v != nil {
			c.s.logPanic("handling an event", v)
		}
	}()
	impl.Access(&e.ctx, e)
	returned = true
}

func (c *conn) reply(sequence int64, id int32) {
	at := c.begin()
	c.out = appendReturn(c.out, sequence, id)
	c.end(at)
}

// send writes what is queued.
func (c *conn) send() error {
	if c.writeErr != nil {
		return c.writeErr
	}
	c.writeErr = c.flush()
	c.pending, c.queued = c.pending+c.queued, 0
	return c.writeErr
}

// settle sends what is queued and reads all acknowledgements.
func (c *conn) settle() error {
	if err := c.send(); err != nil {
		return err
	}
	for ; c.pending > 0; c.pending-- {
		if _, err := c.answer(); err != nil {
			return err
		}
	}
	return nil
}

// ask sends what is queued, of which the last call has an answer, and reads up to that.
func (c *conn) ask() ([]byte, error) {
	if err := c.settle(); err != nil {
		return nil, err
	}
	return c.answer()
}

func (c *conn) answer() ([]byte, error) {
	if c.readErr != nil {
		return nil, c.readErr
	}
	frame, err := c.readFrame(true)
	c.readErr = err
	return frame, err
}
