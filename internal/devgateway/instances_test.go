package devgateway

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// crude is a plugin server that ends its connections in the midst of a call, as a test says.
type crude struct {
	t    *testing.T
	conn net.Conn
}

// crudely puts a crude server in the place of the socket. It serves one connection after the other
// by f until the test ends.
func crudely(w *world, f func(c *crude)) {
	w.t.Helper()
	w.stop()
	if err := os.Remove(w.socket); err != nil {
		w.t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.socket, Net: "unix"})
	if err != nil {
		w.t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			f(&crude{w.t, conn})
			_ = conn.Close()
		}
	})
	w.stop = sync.OnceFunc(func() { _ = l.Close(); serving.Wait() })
}

func (c *crude) read(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.conn, b); err != nil && err != io.EOF {
		c.t.Errorf("crude server: %v", err)
	}
	return b
}

// call reads one call, and returns its sequence and command; both are 0 at the end of the
// connection.
func (c *crude) call() (sequence uint64, command int) {
	members, err := pluginserver.DecodeMembers(c.read(int(binary.LittleEndian.Uint32(c.read(4)))))
	if err != nil {
		c.t.Error(err)
	}
	for _, m := range members {
		if m.Number == 1 {
			sequence = m.Value
		} else {
			command = m.Number
		}
	}
	return sequence, command
}

func (c *crude) write(payload []byte) {
	if _, err := c.conn.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)); err != nil {
		c.t.Errorf("crude server: %v", err)
	}
}

const (
	startInstance = 33
	handleEvent   = 36
)

func (c *crude) started(sequence uint64) {
	c.write(appendMessage(appendInt(nil, 1, int64(sequence)), protowire.Number(33), appendInt(nil, 2, 7)))
}

// A send that fails is a 500 without a second try; and if it was to start an instance, its claim
// stays: the next request waits for nothing and fails, the one after it works. An end of file while
// reading takes the claim away, or has the event sent again.
func TestServerThatEndsInACall(t *testing.T) {
	large := strings.Repeat("x", 600<<10) // more than a socket holds: a send of it ends only when it is read or the peer is gone
	for _, c := range []struct {
		name   string
		serve  func(c *crude)
		status []int // of the requests
		log    string
		starts int
	}{
		{"while the start is sent", func(c *crude) { c.read(4) }, []int{500, 500, 200}, "Could not claim instance_id for probe (key: " + pluginID + ")", 2},
		{"after the start was read", func(c *crude) { c.call() }, []int{500, 200}, "pluginserver: closed", 2},
		{"while the event is answered", func(c *crude) {
			sequence, _ := c.call()
			c.started(sequence)
			c.call()
			c.write([]byte("kong.ctx.shared.set"))
			c.write(kv("x", large))
			c.read(4)
			c.write([]byte("kong.ctx.shared.get"))
			c.write(str("x"))
			c.read(4) // the answer's length, and none of it
		}, []int{500}, "broken pipe", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log said
			w := newWorldWith(t, Options{ClaimStep: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if status, got := w.call(http.MethodPatch, "/plugins/"+pluginID, "application/json", `{"config":{"issuer":"`+large+`"}}`); status != 200 {
				t.Fatal(got)
			}
			crudely(w, c.serve)
			for i, want := range c.status {
				if i == 1 {
					w.stop()
					w.serve(pluginserver.Info{Name: "probe"})
				}
				if res, body := w.get("/", nil); res.StatusCode != want {
					t.Errorf("request %d: %d %s, want %d", i, res.StatusCode, body, want)
				}
			}
			if text := strings.Join(log.lines(), "\n"); !strings.Contains(text, c.log) {
				t.Errorf("the log lacks %q: %.2000s", c.log, text)
			}
			if n := w.gw.InstanceStarts("probe"); n != c.starts {
				t.Errorf("%d starts, want %d", n, c.starts)
			}
		})
	}
}

// An end of file where an answer is due makes Kong start the instance again and send the event
// again.
func TestEventIsSentAgain(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var commands []int
	crudely(w, func(c *crude) {
		for {
			sequence, command := c.call()
			mu.Lock()
			commands = append(commands, command)
			events := 0
			for _, seen := range commands {
				if seen == handleEvent {
					events++
				}
			}
			mu.Unlock()
			switch {
			case command == startInstance:
				c.started(sequence)
			case command == handleEvent && events == 2:
				c.write(nil)
				c.write(appendInt(nil, 1, int64(sequence)))
			default:
				return
			}
		}
	})
	res, body := w.get("/", nil)
	if res.StatusCode != http.StatusOK {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []int{startInstance, handleEvent, startInstance, handleEvent}; !slices.Equal(commands, want) {
		t.Errorf("the server saw %v, want %v", commands, want)
	}
}

// Each worker starts the instances that its own connections need.
func TestWorkers(t *testing.T) {
	w := newWorldWith(t, Options{Workers: 2})
	for range 64 { // that all come to the same worker does not happen
		if res, body := w.raw("GET / HTTP/1.1\nHost: gw\nConnection: close\n\n"); res.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
	}
	if n := w.gw.InstanceStarts("probe"); n != 2 {
		t.Errorf("%d starts", n)
	}
}

// A request that began before a change has the older configuration: the instance changes back for
// it, as in Kong. What is replaced is closed.
func TestOlderConfiguration(t *testing.T) {
	w := newWorld(t)
	h := w.gw.plugins[0]
	older := w.gw.current.Load().plugins["probe"][0]
	status, got := w.call(http.MethodPatch, "/plugins/"+pluginID, "application/json", `{"config":{"timeout":5}}`)
	if status != http.StatusOK {
		t.Fatal(got)
	}
	newer := w.gw.current.Load().plugins["probe"][0]
	for i, c := range []*configured{older, newer, older, older} {
		if _, err := h.instanceID(t.Context(), h.workers[0], c); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	w.probe.mu.Lock()
	defer w.probe.mu.Unlock()
	if n := h.starts.Load(); n != 3 || w.probe.closed != 2 {
		t.Errorf("%d starts, %d instances closed", n, w.probe.closed)
	}
}

// A reset takes what runs from every worker, and leaves the claim of a first start.
func TestReset(t *testing.T) {
	h := &pluginHost{}
	for range 2 {
		h.workers = append(h.workers, &worker{instances: map[string]*instance{
			"runs": {id: 1, started: true}, "starts anew": {started: true}, "starts": {},
		}})
	}
	h.reset()
	for i, w := range h.workers {
		if got := sortedKeys(w.instances); !slices.Equal(got, []string{"starts"}) {
			t.Errorf("worker %d has %v", i, got)
		}
	}
}
