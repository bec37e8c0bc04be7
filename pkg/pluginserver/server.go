// Package pluginserver speaks Kong's external plugin protocol "ProtoBuf:1" (pluginsocket.proto),
// both sides of it: Server is the plugin's side, Host is Kong's, for the development gateway, load
// generators and tests.
//
// Its job is frames, connections, instances and events: to answer every event once, to deny when
// nobody decided, and to live through whatever a peer sends or a handler does. What a plugin
// decides is not its job, nor is the meaning of a configuration.
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
	// NewInstance compiles a configuration: Kong's JSON without the members that begin with "__",
	// those that say what it is bound to (route_id and its like) and "$refs". It does no I/O, since
	// requests wait for it, and cannot fail: of a configuration that cannot work it makes an
	// Instance that refuses every event.
	NewInstance(config json.RawMessage) Instance
}

// Instance handles the events of one configuration, many at once.
type Instance interface {
	// Access ends in exactly one of e.Pass and e.Exit; without either the server answers 500. ctx
	// ends with the event, at the latest after Options.EventTimeout.
	Access(ctx context.Context, e *Event)
	// Close is called once, after the last event.
	Close()
}

// refusing stands for a configuration whose compilation did not end in an instance: without a
// verdict every event is denied.
type refusing struct{}

func (refusing) Access(context.Context, *Event) {}
func (refusing) Close()                         {}

// Options configure a Server. Every field but Plugin may be zero.
type Options struct {
	Plugin Plugin
	Info   Info         // Name is used in log lines
	Logger *slog.Logger // nil: nothing is logged

	MaxFrame        int           // bytes; 0: 1 MiB
	MaxConns        int           // connections served at once, others wait to be accepted; 0: 10,000
	MaxInstances    int           // configurations kept; beyond it the least recently used goes; 0: 10,000
	FrameTimeout    time.Duration // for a frame that has begun, an answer of Kong, a write: at least this, at most twice; 0: 30 s
	EventTimeout    time.Duration // deadline of an event's ctx; 0: 60 s
	DrainTimeout    time.Duration // for events that run when Serve is told to stop; 0: 15 s
	TakeoverTimeout time.Duration // for connections that Kong keeps idle once there is a successor; 0: 75 s, Kong keeps them 60 s
	WatchInterval   time.Duration // between looks at whether the socket's path has a successor; 0: 5 s, negative: never
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
		{&o.TakeoverTimeout, 75 * time.Second},
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

// Phases of a server.
const (
	serving int32 = iota
	// handingOver: the socket's path belongs to a successor. A start or a close of an instance is
	// answered, since Kong does not send those again. An event gets the end of its connection
	// instead of an answer: Kong sends it again, and so comes to the successor with one
	// connection after the other.
	handingOver
	// ending: a connection ends after the call that it carries.
	ending
)

// Server is the plugin's side. One Server serves one listener, once.
type Server struct {
	o         Options
	log       *slog.Logger
	instances *instances
	watchTick <-chan time.Time // instead of a ticker, in tests

	phase   atomic.Int32
	running sync.WaitGroup // connections
	empty   chan struct{}  // told when the last connection has ended

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
	s := &Server{o: o.withDefaults(), conns: map[*conn]struct{}{}, empty: make(chan struct{}, 1)}
	s.log = s.o.Logger.With("plugin", s.o.Info.Name)
	s.instances = &instances{
		plugin: s.o.Plugin, limit: s.o.MaxInstances, onPanic: s.logPanic,
		byID: map[int32]*instance{}, byHash: map[[sha256.Size]byte]*instance{},
	}
	return s
}

// errStuck is Serve's error when handlers did not return although their context had ended.
var errStuck = errors.New("pluginserver: events did not end")

// forcedWait is how long handlers may take to answer after their context was cancelled at the end
// of the drain, and then to return after their connection was closed.
const forcedWait = time.Second

// Serve answers connections until ctx is done or, for a listener of Listen, its path belongs to a
// successor. With a successor it goes on until Kong has left every connection, at most
// TakeoverTimeout, or DrainTimeout from the end of ctx on. Then it accepts no more than what has
// connected already, ends idle connections, lets running events end for at most DrainTimeout,
// closes every instance and the listener, and returns nil. Errors of accepting are survived; an
// error means that the listener was closed by someone else or that a handler hangs.
//
// No connection is closed while Kong may be sending on it: Kong loses a request whose send fails.
// Its sending side is closed, Kong takes note and closes its own, and then it is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	events, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	accepted := make(chan struct{})
	var err error // written before accepted is closed
	go func() {
		defer close(accepted)
		defer stop()
		err = s.accept(events, l)
	}()
	if s.superseded(watching, l) {
		s.log.InfoContext(ctx, "the socket belongs to a new server: this one ends when Kong has left it")
		s.handOver(ctx)
	}
	ended := s.drain(cancel, l, accepted)
	s.instances.stopAll()
	if !ended {
		return errStuck
	}
	return err
}

// superseded waits for a successor, until ctx is done.
func (s *Server) superseded(ctx context.Context, l net.Listener) bool {
	watched, ok := l.(interface{ Superseded() bool })
	if !ok || s.o.WatchInterval < 0 {
		<-ctx.Done()
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
			return watched.Superseded() // a successor may have come since the last look
		case <-tick:
			if watched.Superseded() {
				return true
			}
		}
	}
}

// handOver waits until Kong has no connection to this server any more.
func (s *Server) handOver(ctx context.Context) {
	s.phase.Store(handingOver)
	limit := time.NewTimer(s.o.TakeoverTimeout)
	defer limit.Stop()
	stopped := ctx.Done()
	for s.connCount() > 0 {
		select {
		case <-s.empty:
		case <-stopped:
			stopped = nil
			limit.Reset(min(s.o.DrainTimeout, s.o.TakeoverTimeout))
		case <-limit.C:
			return
		}
	}
}

// accept serves what connects until the listener ends: nil if it was told to end.
func (s *Server) accept(events context.Context, l net.Listener) error {
	slots := make(chan struct{}, s.o.MaxConns)
	var pause time.Duration
	for {
		select {
		case slots <- struct{}{}:
		case <-events.Done():
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
		case s.phase.Load() == ending:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("pluginserver: accepting: %w", err)
		}
		// Out of descriptors or memory, most likely: it passes.
		<-slots
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.log.WarnContext(events, "accepting a connection failed", "error", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-events.Done():
			return nil
		}
	}
}

// drain ends accepting and every connection, and tells whether all did end.
func (s *Server) drain(cancel context.CancelFunc, l net.Listener, accepted <-chan struct{}) bool {
	s.phase.Store(ending)
	// Who has connected is served: a socket that is closed instead would make Kong's send fail.
	refusing, ok := l.(interface{ Refuse() error })
	if !ok || refusing.Refuse() != nil {
		_ = l.Close()
	}
	s.eachConn(func(c *conn) {
		if c.state.CompareAndSwap(connIdle, connStopped) {
			c.hangUp()
		}
	})
	ended := make(chan struct{})
	go func() { <-accepted; s.running.Wait(); close(ended) }()
	defer l.Close()
	if waitFor(ended, s.o.DrainTimeout) {
		return true
	}
	cancel()
	if waitFor(ended, forcedWait) {
		return true
	}
	_ = l.Close()
	s.eachConn(func(c *conn) { _ = c.nc.Close() })
	return waitFor(ended, forcedWait)
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

func (s *Server) connCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) eachConn(do func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

// logPanic logs what panicked and where, at most once a second in full. The value is shown only if
// the runtime made it; any other may hold what the handler worked with.
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
