// Package pluginserver speaks Kong's external plugin protocol "ProtoBuf:1" (pluginsocket.proto), both sides of it: Server is the
// plugin's side, Host is Kong's, for the development gateway, load generators and tests.
//
// Its job is frames, connections, instances and events: to answer every event once, to deny when nobody decided, and to live
// through whatever a peer sends or a handler does. What a plugin decides is not its job, nor is the meaning of a configuration.
package pluginserver

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Plugin makes instances of configurations.
type Plugin interface {
	// NewInstance compiles a configuration: Kong's JSON without the members that begin with "__", those that say what it is bound
	// to (route_id and its like) and "$refs". It does no
	// I/O, since requests wait for it, and cannot fail: of a configuration that cannot work it makes an Instance that
	// refuses every event.
	NewInstance(config json.RawMessage) Instance
}

// Instance handles the events of one configuration, many at once.
type Instance interface {
	// Access ends in exactly one of e.Pass and e.Exit; without either the server answers 500. ctx ends with the event, at the
	// latest after Options.EventTimeout.
	Access(ctx context.Context, e *Event)
	// Close is called once, after the last event.
	Close()
}

// refusing stands for a configuration whose compilation did not end in an instance: without a verdict every event is denied.
type refusing struct{}

func (refusing) Access(context.Context, *Event) {}
func (refusing) Close()                         {}

// Options configure a Server. Every field but Plugin may be zero.
type Options struct {
	Plugin Plugin
	Info   Info         // Name is used in log lines
	Logger *slog.Logger // nil: nothing is logged

	MaxFrame      int           // bytes; 0: 1 MiB
	MaxConns      int           // connections served at once, others wait to be accepted; 0: 10,000
	MaxInstances  int           // configurations kept; beyond it the least recently used goes; 0: 10,000
	FrameTimeout  time.Duration // for a frame that has begun, an answer of Kong, a write; 0: 30 s
	EventTimeout  time.Duration // deadline of an event's ctx; 0: 60 s
	DrainTimeout  time.Duration // for events that run when Serve is told to stop; 0: 15 s
	WatchInterval time.Duration // between looks at whether the socket's path has a successor; 0: 5 s, negative: never
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value *time.Duration
		std   time.Duration
	}{
		{&o.FrameTimeout, 30 * time.Second},
		{&o.EventTimeout, 60 * time.Second},
		{&o.DrainTimeout, 15 * time.Second},
		{&o.WatchInterval, 5 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.std
		}
	}
	for _, n := range []struct {
		value *int
		std   int
	}{{&o.MaxFrame, 1 << 20}, {&o.MaxConns, 10_000}, {&o.MaxInstances, 10_000}} {
		if *n.value <= 0 {
			*n.value = n.std
		}
	}
	return o
}

// Server is the plugin's side. One Server serves one listener, once.
type Server struct {
	o         Options
	log       *slog.Logger
	instances *instances
	watchTick <-chan time.Time // instead of a ticker, in tests

	draining atomic.Bool
	running  sync.WaitGroup // connections

	panics, closes oncePerSecond // their log lines

	mu    sync.Mutex // guards conns
	conns map[*conn]struct{}
}

// oncePerSecond bounds the log lines of one kind.
type oncePerSecond struct {
	mu       sync.Mutex // guards both below
	last     time.Time
	unlogged int // since
}

// due reports whether a line may be written now, and how many were not since the last one.
func (o *oncePerSecond) due(now time.Time) (unlogged int, due bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.last) < time.Second {
		o.unlogged++
		return 0, false
	}
	unlogged = o.unlogged
	o.last, o.unlogged = now, 0
	return unlogged, true
}

// NewServer prepares a Server.
func NewServer(o Options) *Server {
	s := &Server{o: o.withDefaults(), conns: map[*conn]struct{}{}}
	s.log = s.o.Logger.With("plugin", s.o.Info.Name)
	s.instances = &instances{
		plugin: s.o.Plugin, limit: s.o.MaxInstances, onPanic: s.logPanic,
		byID: map[int32]*instance{}, byHash: map[[sha256.Size]byte]*instance{},
	}
	return s
}

// errStuck is Serve's error when handlers did not return although their context had ended.
var errStuck = errors.New("pluginserver: events did not end")

// forcedWait is how long handlers may take to return after their context was cancelled at the end of the drain.
const forcedWait = time.Second

// Serve answers connections until ctx is done or, for a listener of Listen, its path belongs to a successor. Then it accepts no
// more, closes idle connections, lets running events end for at most DrainTimeout, closes every instance and the listener, and
// returns nil. Errors of accepting are survived; an error means that the listener was closed by someone else or that a
// handler hangs.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	events, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	accepting, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if s.superseded(accepting, l) {
			s.log.InfoContext(ctx, "the socket's path belongs to a successor: ending")
			stop()
		}
		<-accepting.Done()
		_ = l.Close() // ends Accept
	})
	err := s.accept(accepting, events, l)
	stop()
	watching.Wait()
	err = errors.Join(err, s.drain(cancel))
	s.instances.stopAll()
	return err
}

func (s *Server) superseded(ctx context.Context, l net.Listener) bool {
	watched, ok := l.(interface{ Superseded() bool })
	if !ok || s.o.WatchInterval < 0 {
		return false
	}
	tick := s.watchTick
	if tick == nil {
		ticker := time.NewTicker(s.o.WatchInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			if watched.Superseded() {
				return true
			}
		}
	}
}

func (s *Server) accept(ctx, events context.Context, l net.Listener) error {
	slots := make(chan struct{}, s.o.MaxConns)
	var pause time.Duration
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.running.Go(func() {
				defer func() { <-slots }()
				s.serve(events, nc)
			})
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("pluginserver: accepting: %w", err)
		}
		// Out of descriptors or memory, most likely: it passes.
		<-slots
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.log.WarnContext(ctx, "accepting a connection failed", "error", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) drain(cancel context.CancelFunc) error {
	s.draining.Store(true)
	s.eachConn(func(c *conn) {
		if c.state.CompareAndSwap(connIdle, connStopped) {
			_ = c.nc.Close()
		}
	})
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	if waitFor(ended, s.o.DrainTimeout) {
		return nil
	}
	cancel()
	s.eachConn(func(c *conn) { _ = c.nc.Close() })
	if waitFor(ended, forcedWait) {
		return nil
	}
	return errStuck
}

func waitFor(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

func (s *Server) eachConn(do func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

// logPanic logs what panicked and where, at most once a second in full. The value is shown only if the runtime made it; any other
// may hold what the handler worked with.
func (s *Server) logPanic(what string, value any) {
	unlogged, due := s.panics.due(time.Now())
	if !due {
		return
	}
	text := fmt.Sprintf("a value of type %T", value)
	if err, ok := value.(runtime.Error); ok {
		text = err.Error()
	}
	s.log.Error("panic while "+what, "panic", text, "stack", string(debug.Stack()), "not_logged_before", unlogged)
}
