package kong_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

// wire is Kong's side of one connection, which allocates nothing for an event.
type wire struct {
	conn           io.ReadWriter
	event, headers []byte
	buf            [8 << 10]byte
}

func frame(payload []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

// descriptor is a socket without what package net allocates.
type descriptor struct {
	fd     int
	server syscall.Sockaddr
}

func (d *descriptor) Read(b []byte) (int, error)  { return syscall.Read(d.fd, b) }
func (d *descriptor) Write(b []byte) (int, error) { return syscall.Write(d.fd, b) }

func (d *descriptor) dial() (err error) {
	if d.fd, err = syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0); err == nil {
		err = syscall.Connect(d.fd, d.server)
	}
	return err
}

// overSocket serves p on a Unix socket, as Kong sees it.
func overSocket(tb testing.TB, p *plugin.Plugin) io.ReadWriter {
	tb.Helper()
	d := &descriptor{server: &syscall.SockaddrUnix{Name: plugintest.Serve(tb, p, nil)}}
	if err := d.dial(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = syscall.Close(d.fd) })
	return d
}

// inProcess serves p without the kernel: what is left is the process's own work.
func inProcess(tb testing.TB, p *plugin.Plugin) io.ReadWriter {
	tb.Helper()
	ours, theirs := net.Pipe()
	l := &pipe{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- theirs
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	server := pluginserver.NewServer(pluginserver.Options{Plugin: p, Info: pluginserver.Info{Name: plugin.Name}})
	go func() { ended <- server.Serve(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		_ = ours.Close()
		select {
		case err := <-ended:
			if err != nil {
				tb.Error(err)
			}
		case <-time.After(time.Minute):
			tb.Error("the server does not end")
		}
	})
	return ours
}

// pipe is a listener with one connection.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipe) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// newWire starts the plugin with that configuration, and a request of 15 headers.
func newWire(tb testing.TB, serve func(testing.TB, *plugin.Plugin) io.ReadWriter, config map[string]any, authorization string) *wire {
	tb.Helper()
	p := plugin.New(plugin.Options{})
	tb.Cleanup(p.Close)
	raw, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{conn: serve(tb, p)}
	call := func(c *kong_plugin_protocol.RpcCall) []byte {
		encoded, err := proto.Marshal(c)
		if err != nil {
			tb.Fatal(err)
		}
		return frame(encoded)
	}
	w.write(call(&kong_plugin_protocol.RpcCall{Sequence: 1, Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{
		CmdStartInstance: &kong_plugin_protocol.CmdStartInstance{Name: "openid-connect", Config: raw},
	}}))
	n := w.read(1)
	var started kong_plugin_protocol.RpcReturn
	if err := proto.Unmarshal(w.buf[4:n], &started); err != nil {
		tb.Fatal(err)
	}
	w.event = call(&kong_plugin_protocol.RpcCall{Sequence: 2, Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
		CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: started.GetInstanceStatus().GetInstanceId(), EventName: "access"},
	}})
	headers := []pluginserver.Header{{Name: "authorization", Values: []string{authorization}}}
	for i := len(headers); i < 15; i++ {
		headers = append(headers, pluginserver.Header{Name: fmt.Sprintf("x-header-%d", i), Values: []string{"some value of a usual length"}})
	}
	w.headers = frame(pluginserver.AppendRawHeaders(nil, headers))
	return w
}

func (w *wire) write(b []byte) {
	if n, err := w.conn.Write(b); err != nil || n != len(b) {
		panic(fmt.Sprint("written ", n, err))
	}
}

// read reads n frames and returns how many bytes they are.
func (w *wire) read(n int) int {
	have, at := 0, 0
	for ; n > 0; n-- {
		for have < at+4 || have < at+4+int(binary.LittleEndian.Uint32(w.buf[at:])) {
			m, err := w.conn.Read(w.buf[have:])
			if err != nil || m == 0 {
				panic(fmt.Sprint("read ", m, err))
			}
			have += m
		}
		at += 4 + int(binary.LittleEndian.Uint32(w.buf[at:]))
	}
	return have
}

var empty = frame(nil)

// pass is one request that goes on: get_headers and its answer, set_headers, the end and the
// return in one write, and the acknowledgement.
func (w *wire) pass() {
	w.write(w.event)
	w.read(2)
	w.write(w.headers)
	w.read(4)
	w.write(empty)
}

// newCached is a wire whose credentials are cached, with a token of 732 bytes.
func newCached(tb testing.TB, serve func(testing.TB, *plugin.Plugin) io.ReadWriter) *wire {
	tb.Helper()
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, strings.Repeat("t", 732))
	}))
	tb.Cleanup(endpoint.Close)
	w := newWire(tb, serve, map[string]any{
		"issuer": endpoint.URL, "token_endpoint": endpoint.URL, "client_auth": []string{"client_secret_basic"},
		"auth_methods": []string{"client_credentials"},
	}, "Basic c2VydmljZTpzZWNyZXQ=")
	w.pass()
	return w
}

// TestCachedAllocations: from frame to frame, a cached request makes the process allocate eight
// times.
func TestCachedAllocations(t *testing.T) {
	w := newCached(t, overSocket)
	if n := testing.AllocsPerRun(500, w.pass); n > 8 && !racy {
		t.Errorf("%v allocations", n)
	}
}

// TestRefusedAllocations: a request without credentials, whose exit costs the connection. Accepting
// the next one is counted, too.
func TestRefusedAllocations(t *testing.T) {
	w := newWire(t, overSocket, map[string]any{
		"issuer": "https://idp.example", "auth_methods": []string{"client_credentials"}, "client_credentials_param_type": []string{"header"},
	}, "")
	d, end := w.conn.(*descriptor), make([]byte, 1)
	n := testing.AllocsPerRun(300, func() {
		w.write(w.event)
		w.read(2)
		w.write(w.headers)
		w.read(2)
		if n, err := w.conn.Read(end); n != 0 || err != nil {
			panic(fmt.Sprint("after the exit: ", n, err))
		}
		_ = syscall.Close(d.fd)
		if err := d.dial(); err != nil {
			panic(err)
		}
	})
	if n > 23 && !racy {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkFrameToFrame is what a cached request costs the process, without the kernel.
func BenchmarkFrameToFrame(b *testing.B) {
	w := newCached(b, inProcess)
	b.ReportAllocs()
	for b.Loop() {
		w.pass()
	}
}
