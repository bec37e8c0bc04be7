package kong_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

// wire is Kong's side of one connection, which allocates nothing for an event.
type wire struct {
	fd             int
	event, headers []byte
	buf            [8 << 10]byte
}

func frame(payload []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

// newWire starts the plugin with that configuration, and a request of 15 headers.
func newWire(tb testing.TB, config map[string]any, authorization string) *wire {
	tb.Helper()
	p := plugin.New(plugin.Options{})
	tb.Cleanup(p.Close)
	socket := plugintest.Serve(tb, p, nil)
	raw, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket})
	}
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{fd: fd}
	tb.Cleanup(func() { _ = syscall.Close(fd) })
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
	if n, err := syscall.Write(w.fd, b); err != nil || n != len(b) {
		panic(fmt.Sprint("written ", n, err))
	}
}

// read reads n frames and returns how many bytes they are.
func (w *wire) read(n int) int {
	have, at := 0, 0
	for ; n > 0; n-- {
		for have < at+4 || have < at+4+int(binary.LittleEndian.Uint32(w.buf[at:])) {
			m, err := syscall.Read(w.fd, w.buf[have:])
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
func newCached(tb testing.TB) *wire {
	tb.Helper()
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, strings.Repeat("t", 732))
	}))
	tb.Cleanup(endpoint.Close)
	w := newWire(tb, map[string]any{
		"issuer": endpoint.URL, "token_endpoint": endpoint.URL, "client_auth": []string{"client_secret_basic"},
		"auth_methods": []string{"client_credentials"},
	}, "Basic c2VydmljZTpzZWNyZXQ=")
	w.pass()
	return w
}

// TestCachedAllocations: from frame to frame, a cached request makes the process allocate eight
// times.
func TestCachedAllocations(t *testing.T) {
	w := newCached(t)
	if n := testing.AllocsPerRun(500, w.pass); n > 8 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkFrameToFrame is a cached request as it reaches and leaves the process.
func BenchmarkFrameToFrame(b *testing.B) {
	w := newCached(b)
	b.ReportAllocs()
	for b.Loop() {
		w.pass()
	}
}
