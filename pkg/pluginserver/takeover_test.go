package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// worker is one of Kong's workers with one plugin, as kong/runloop/plugin_servers has it: an event
// whose connection is closed is sent again, a start is not, and a start whose sending fails is
// never started again by anybody (in Kong: for 10 s).
type worker struct {
	host *Host

	mu      sync.Mutex // guards what follows
	id      int32
	claimed bool
	free    *sync.Cond

	good, refused atomic.Int64
}

var errClaimStays = errors.New("the sending of StartInstance failed: its claim stays")

func newWorker(t *testing.T, path string) *worker {
	w := &worker{host: NewHost(path)}
	w.free = sync.NewCond(&w.mu)
	t.Cleanup(w.host.Close)
	return w
}

func (w *worker) instance() (int32, error) {
	w.mu.Lock()
	for w.claimed {
		w.free.Wait()
	}
	if w.id != 0 {
		defer w.mu.Unlock()
		return w.id, nil
	}
	w.claimed = true
	w.mu.Unlock()

	id, err := w.host.StartInstance(ctx, "openid-connect", []byte(`{"a":1}`))
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		err = fmt.Errorf("%w: %w", errClaimStays, err)
	} else if err != nil {
		err = fmt.Errorf("starting: %s", err) // "closed" here is an error of the request
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id, w.claimed = id, false
	w.free.Broadcast()
	return id, err
}

func (w *worker) request() error {
	k := &kong{answers: map[string][]byte{"kong.request.get_headers": AppendRawHeaders(nil, requestHeaders(false))}}
	for {
		id, err := w.instance()
		if err == nil {
			err = w.host.HandleEvent(ctx, id, eventAccess, k)
		}
		if !errors.Is(err, ErrClosed) {
			return err
		}
		w.mu.Lock()
		if !w.claimed {
			w.id = 0
		}
		w.mu.Unlock()
	}
}

// load sends requests on 64 connections until it is told to end. Whether an error is fine is what
// fine says.
func (w *worker) load(t *testing.T, fine func(error) bool) (end func()) {
	t.Helper()
	var stop atomic.Bool
	var sending sync.WaitGroup
	for range 64 {
		sending.Go(func() {
			for !stop.Load() {
				err := w.request()
				switch {
				case err == nil:
					w.good.Add(1)
				case fine(err):
					w.refused.Add(1)
				default:
					t.Errorf("a request is lost: %v", err)
					return
				}
			}
		})
	}
	end = sync.OnceFunc(func() {
		stop.Store(true)
		ended := make(chan struct{})
		go func() { sending.Wait(); close(ended) }()
		await(t, ended)
	})
	t.Cleanup(end)
	return end
}

func (w *worker) awaitGood(t *testing.T, more int64) {
	t.Helper()
	for want, deadline := w.good.Load()+more, time.Now().Add(waitLimit); w.good.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no request is served")
		}
	}
}

func lost(error) bool { return false }

// A server that is replaced under load loses no request, and ends by itself.
func TestTakeoverUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := runAt(t, Options{Plugin: access(getAndSet)}, path)
	w := newWorker(t, path)
	end := w.load(t, lost)
	for range 5 {
		w.awaitGood(t, 500)
		successor := runAt(t, Options{Plugin: access(getAndSet)}, path)
		old.look(t)
		if err := await(t, old.ended); err != nil {
			t.Error(err)
		}
		old = successor
	}
	w.awaitGood(t, 500)
	end()
}

// A server that is told to end although it has a successor loses nothing either.
func TestStopAfterTakeoverUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := runAt(t, Options{Plugin: access(getAndSet)}, path)
	w := newWorker(t, path)
	end := w.load(t, lost)
	for range 3 {
		w.awaitGood(t, 500)
		successor := runAt(t, Options{Plugin: access(getAndSet)}, path)
		old.stop()
		if err := await(t, old.ended); err != nil {
			t.Error(err)
		}
		old = successor
	}
	end()
}

// While nobody listens a request fails at once: Kong cannot connect, or is told the end of a
// connection. What must not happen is that its sending fails.
func TestRestartUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := runAt(t, Options{Plugin: access(getAndSet)}, path)
	w := newWorker(t, path)
	end := w.load(t, func(err error) bool {
		return errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, errClaimStays) && strings.HasPrefix(err.Error(), "starting: ")
	})
	for range 5 {
		w.awaitGood(t, 500)
		old.stop()
		if err := await(t, old.ended); err != nil {
			t.Error(err)
		}
		old = runAt(t, Options{Plugin: access(getAndSet)}, path)
	}
	w.awaitGood(t, 500)
	end()
	t.Logf("%d served, %d refused", w.good.Load(), w.refused.Load())
}

// rawConn is a connection on which a test says what is sent, and when.
func rawConn(t *testing.T, path string) *stream {
	t.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	s := newStream(nc, 1<<20, waitLimit)
	return &s
}

func sendCall(t *testing.T, s *stream, c call) {
	t.Helper()
	s.frame(c.append(nil))
	if err := sendFrame(s); err != nil {
		t.Fatal("sending:", err)
	}
}

func startCall(t *testing.T, s *stream) (id int32) {
	t.Helper()
	sendCall(t, s, call{sequence: 1, command: cmdStartInstance, config: []byte(`{}`)})
	frame, err := readAnswer(s)
	if err == nil {
		_, id, err = decodeReturn(frame)
	}
	if err != nil || id == 0 {
		t.Fatal("starting:", id, err)
	}
	return id
}

// With a successor a start and a close are answered as before, also on a connection that was idle;
// an event gets the end of its connection, and the server waits for Kong to close it.
func TestHandOver(t *testing.T) {
	r := run(t, Options{Plugin: access(pass)})
	s := rawConn(t, r.path)
	id := startCall(t, s)
	second := runAt(t, Options{Plugin: access(pass)}, r.path)
	r.look(t)
	for range 2 {
		id = startCall(t, s)
		sendCall(t, s, call{sequence: 2, command: cmdCloseInstance, instance: id})
		if _, err := readAnswer(s); err != nil {
			t.Fatal("closing:", err)
		}
	}
	awaitPhase(t, r, handingOver)
	sendCall(t, s, call{sequence: 3, command: cmdHandleEvent, instance: id, text: []byte(eventAccess)})
	if frame, err := readAnswer(s); !errors.Is(err, ErrClosed) {
		t.Fatal("an event was answered:", frame, err)
	}
	sendCall(t, s, call{sequence: 4, command: cmdCloseInstance, instance: id}) // does not fail
	select {
	case err := <-r.ended:
		t.Fatal("ended before Kong has closed its connection:", err)
	default:
	}
	s.nc.Close()
	if err := await(t, r.ended); err != nil {
		t.Error(err)
	}
	second.stop()
	await(t, second.ended)
}

// Kong may keep an idle connection longer than it is known to: the old server ends nevertheless.
func TestHandOverEndsInTime(t *testing.T) {
	r := run(t, Options{Plugin: access(pass), TakeoverTimeout: time.Millisecond, DrainTimeout: time.Millisecond})
	s := rawConn(t, r.path)
	startCall(t, s)
	second := runAt(t, Options{Plugin: access(pass)}, r.path)
	r.look(t)
	if err := await(t, r.ended); err != nil {
		t.Error(err)
	}
	second.stop()
	await(t, second.ended)
}

// A server that ends serves who had connected before, once, and refuses who connects later.
func TestDrainServesWhoHasConnected(t *testing.T) {
	r := run(t, Options{Plugin: access(pass), MaxConns: 1})
	idle := rawConn(t, r.path)
	id := startCall(t, idle)
	waiting := rawConn(t, r.path) // to be accepted
	r.stop()
	if _, err := readAnswer(idle); !errors.Is(err, ErrClosed) {
		t.Error("the idle connection:", err)
	}
	sendCall(t, idle, call{sequence: 2, command: cmdHandleEvent, instance: id, text: []byte(eventAccess)}) // Kong had begun
	var refused net.Conn
	for {
		var err error
		if refused, err = net.Dial("unix", r.path); errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		refused.Close()
	}
	idle.nc.Close()
	sendCall(t, waiting, call{sequence: 3, command: cmdHandleEvent, instance: id, text: []byte(eventAccess)})
	if frame, err := readAnswer(waiting); err != nil || len(frame) != 0 {
		t.Fatal("the event:", frame, err)
	}
	if _, err := readAnswer(waiting); err != nil {
		t.Fatal("its return:", err)
	}
	if _, err := readAnswer(waiting); !errors.Is(err, ErrClosed) {
		t.Error("after its call:", err)
	}
	waiting.nc.Close()
	if err := await(t, r.ended); err != nil {
		t.Error(err)
	}
}

// A peer that never closes its connection does not keep the server from ending.
func TestDrainForced(t *testing.T) {
	r := run(t, Options{Plugin: access(pass), DrainTimeout: time.Millisecond})
	startCall(t, rawConn(t, r.path))
	r.stop()
	if err := await(t, r.ended); err != nil {
		t.Error(err)
	}
}

// A handler that does not listen to its context is given up; Serve says so.
func TestStuckHandler(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := run(t, Options{DrainTimeout: time.Millisecond, Plugin: access(func(context.Context, *Event) {
		close(entered)
		await(t, release)
	})})
	id := startInstance(t, r.host, `{}`)
	result := make(chan error, 1)
	go func() { result <- r.host.HandleEvent(ctx, id, eventAccess, &kong{}) }()
	await(t, entered)
	r.stop()
	if err := await(t, r.ended); !errors.Is(err, errStuck) {
		t.Error(err)
	}
	if err := await(t, result); err == nil {
		t.Error("the event passed")
	}
	close(release)
}

func awaitPhase(t *testing.T, r *running, phase int32) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); r.server.phase.Load() != phase; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the phase does not come")
		}
	}
}
