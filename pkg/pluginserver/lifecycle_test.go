package pluginserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kong.socket")
	first, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Error("without a mode:", info, err)
	}
	second, err := Listen(SocketOptions{Path: path, Mode: 0o660, Group: fmt.Sprint(os.Getgid())})
	if err != nil {
		t.Fatal(err)
	}
	if !first.(*listener).Superseded() || second.(*listener).Superseded() {
		t.Error("superseded is wrong")
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Error("after closing:", info, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Error("left behind:", names, err)
	}
	if err := os.Remove(path); err != nil || first.(*listener).Superseded() {
		t.Error("a path that is gone has no successor", err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		o    SocketOptions
		want string
	}{
		"too long":            {SocketOptions{Path: filepath.Join(dir, strings.Repeat("x", 108))}, "too long"},
		"directory too long":  {SocketOptions{Path: strings.Repeat("y", 200) + "/s"}, "too long"},
		"no directory":        {SocketOptions{Path: filepath.Join(dir, "none", "s")}, "no such file or directory"},
		"not a socket":        {SocketOptions{Path: file}, "not a socket"},
		"a group that is not": {SocketOptions{Path: path, Group: "no-such-group-here"}, "no-such-group-here"},
	} {
		if l, err := Listen(tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
}

// failing fails a few times before it accepts.
type failing struct {
	net.Listener
	left atomic.Int32
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", io.ErrShortBuffer)}
	}
	return f.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	inner, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	l := &failing{Listener: inner}
	l.left.Store(3)
	h := serveOn(t, Options{Plugin: access(pass)}, path, l)
	startInstance(t, h, `{}`)
}

func TestListenerClosedByOthers(t *testing.T) {
	l, err := Listen(SocketOptions{Path: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := NewServer(Options{Plugin: access(pass)}).Serve(ctx, l); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestMaxConns(t *testing.T) {
	path, h := serve(t, Options{Plugin: access(pass), MaxConns: 1})
	startInstance(t, h, `{}`) // holds the only connection
	second := NewHost(path)
	defer second.Close()
	got := make(chan error, 1)
	go func() {
		_, err := second.StartInstance(ctx, "n", []byte(`{}`))
		got <- err
	}()
	h.Close()
	if err := await(t, got); err != nil {
		t.Error(err)
	}
}

// running is a server that one test ends itself.
type running struct {
	server *Server
	host   *Host
	stop   context.CancelFunc
	ended  chan error
	tick   chan time.Time
	path   string
}

func run(t *testing.T, o Options) *running {
	t.Helper()
	return runAt(t, o, filepath.Join(t.TempDir(), "s"))
}

func runAt(t *testing.T, o Options, path string) *running {
	t.Helper()
	r := &running{server: NewServer(o), ended: make(chan error, 1), tick: make(chan time.Time), path: path}
	l, err := Listen(SocketOptions{Path: r.path})
	if err != nil {
		t.Fatal(err)
	}
	var serving context.Context
	serving, r.stop = context.WithCancel(ctx)
	r.server.watchTick = r.tick
	go func() {
		r.ended <- r.server.Serve(serving, l)
		close(r.ended)
	}()
	r.host = NewHost(r.path)
	t.Cleanup(func() {
		r.host.Close()
		r.stop()
		await(t, r.ended)
	})
	return r
}

// look has the server look for a successor. It may have seen it already: an earlier look may take
// its time.
func (r *running) look(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); r.server.phase.Load() == serving; {
		select {
		case r.tick <- time.Time{}:
			return
		case <-time.After(time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatal("nobody looks for a successor")
			}
		}
	}
}

func TestDrain(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	closed := make(chan struct{})
	r := run(t, Options{Plugin: &watched{access: func(c context.Context, e *Event) {
		entered <- struct{}{}
		await(t, release)
		if c.Err() == nil && e.Tell("kong.log.err", nil) == nil {
			e.Pass()
		}
	}, closed: closed}})
	id := startInstance(t, r.host, `{}`)
	idle := NewHost(r.path)
	defer idle.Close()
	startInstance(t, idle, `{}`)

	result := make(chan error, 1)
	go func() { result <- r.host.HandleEvent(ctx, id, eventAccess, &kong{}) }()
	await(t, entered)
	r.stop()
	for { // until the idle connection was closed and none is accepted any more
		if _, err := idle.StartInstance(ctx, "n", []byte(`{}`)); err != nil {
			break
		}
	}
	select {
	case err := <-r.ended:
		t.Fatal("Serve returned while an event ran:", err)
	default:
	}
	close(release)
	if err := await(t, result); err != nil {
		t.Error("the running event:", err)
	}
	if err := await(t, r.ended); err != nil {
		t.Error("Serve:", err)
	}
	await(t, closed)
}

func TestDrainTimeout(t *testing.T) {
	entered := make(chan struct{})
	r := run(t, Options{DrainTimeout: time.Millisecond, Plugin: access(func(c context.Context, e *Event) {
		entered <- struct{}{}
		<-c.Done()
		e.Exit(503, nil, nil)
	})})
	id := startInstance(t, r.host, `{}`)
	result := make(chan error, 1)
	go func() { result <- r.host.HandleEvent(ctx, id, eventAccess, &kong{}) }()
	await(t, entered)
	r.stop()
	if err := await(t, r.ended); err != nil {
		t.Error("Serve:", err)
	}
	if err := await(t, result); err == nil {
		t.Error("the event passed")
	}
}

func TestSuccessor(t *testing.T) {
	r := run(t, Options{Plugin: access(pass)})
	id := startInstance(t, r.host, `{}`)
	r.look(t)
	if err := r.host.HandleEvent(ctx, id, eventAccess, &kong{}); err != nil {
		t.Fatal("without a successor:", err)
	}
	successor := runAt(t, Options{Plugin: access(pass)}, r.path)
	r.look(t)
	awaitPhase(t, r, handingOver)
	for range 2 {
		if err := r.host.HandleEvent(ctx, id, eventAccess, &kong{}); !errors.Is(err, ErrClosed) {
			t.Error("the old server ends the connection, the new one does not know the id, so Kong starts it again:", err)
		}
	}
	if err := await(t, r.ended); err != nil {
		t.Error("Serve:", err)
	}
	id = startInstance(t, r.host, `{}`)
	if err := r.host.HandleEvent(ctx, id, eventAccess, &kong{}); err != nil {
		t.Error(err)
	}
	successor.stop()
	await(t, successor.ended)
}

// watched makes instances that tell what happens to them.
type watched struct {
	access access
	made   chan string
	closed chan struct{}
}

func (w *watched) NewInstance(config json.RawMessage) Instance {
	if w.made != nil {
		w.made <- string(config)
	}
	return watchedInstance{w.access, w.closed}
}

type watchedInstance struct {
	access
	closed chan struct{}
}

func (i watchedInstance) Close() { close(i.closed) }

// The table of silent methods is what pluginsocket.proto says, under the names that Kong derives
// from it.
func TestSilentMethods(t *testing.T) {
	words := regexp.MustCompile(`([a-z][0-9]*)([A-Z])`)
	want := map[string]bool{}
	file := kong_plugin_protocol.File_server_kong_plugin_protocol_pluginsocket_proto
	methods := file.Services().ByName("Kong").Methods()
	for i := range methods.Len() {
		m := methods.Get(i)
		name, _ := proto.GetExtension(m.Options(), kong_plugin_protocol.E_MethodName).(string)
		if name == "" {
			name = strings.ReplaceAll("Kong."+string(m.Name()), "_", ".")
			name = strings.ToLower(words.ReplaceAllString(name, "${1}_$2"))
		}
		if m.Output().FullName() == "google.protobuf.Empty" && name != methodExit {
			want[name] = true
		}
	}
	if diff := cmp.Diff(want, silent); diff != "" {
		t.Error(diff)
	}
}
