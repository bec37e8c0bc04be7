package pluginserver

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// kernelConn is Kong's side of one connection without an allocation of its own.
type kernelConn struct {
	tb  testing.TB
	fd  int
	to  syscall.Sockaddr
	buf [4 << 10]byte
}

func (k *kernelConn) dial() {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Connect(fd, k.to)
	}
	if err != nil {
		k.tb.Fatal(err)
	}
	k.fd = fd
}

func (k *kernelConn) write(b []byte) {
	if n, err := syscall.Write(k.fd, b); err != nil || n != len(b) {
		k.tb.Fatal(n, err)
	}
}

// readFrames reads n frames.
func (k *kernelConn) readFrames(n int) {
	have, at := 0, 0
	for ; n > 0; n-- {
		for have < at+prefixSize || have < at+prefixSize+int(binary.LittleEndian.Uint32(k.buf[at:])) {
			m, err := syscall.Read(k.fd, k.buf[have:])
			if err != nil || m == 0 {
				k.tb.Fatal(m, err)
			}
			have += m
		}
		at += prefixSize + int(binary.LittleEndian.Uint32(k.buf[at:]))
	}
	if have != at {
		k.tb.Fatal("more than was due")
	}
}

// conversation is what one request makes both sides say.
type conversation struct {
	kernelConn
	event, headers []byte
}

func converse(tb testing.TB, handler access) *conversation {
	path, h := serve(tb, Options{Plugin: handler})
	id := startInstance(tb, h, `{}`)
	return &conversation{
		kernelConn: kernelConn{tb: tb, to: &syscall.SockaddrUnix{Name: path}},
		event:      appendFrame(nil, call{sequence: 1, command: cmdHandleEvent, instance: id, text: []byte(eventAccess)}.append(nil)),
		headers:    appendFrame(nil, AppendRawHeaders(nil, requestHeaders(false))),
	}
}

var emptyFrame = make([]byte, prefixSize)

func (c *conversation) passed() {
	c.write(c.event)
	c.readFrames(2) // get_headers
	c.write(c.headers)
	c.readFrames(4) // set_headers, the end and the return
	c.write(emptyFrame)
}

func (c *conversation) refused() {
	c.dial()
	c.write(c.event)
	c.readFrames(2)
	c.write(c.headers)
	c.readFrames(2) // exit
	syscall.Close(c.fd)
}

var unauthorized = []Header{
	{"Content-Type", []string{"application/json; charset=utf-8"}},
	{"WWW-Authenticate", []string{`Basic realm="kong"`, `Bearer realm="kong"`}},
}

func refuse(_ context.Context, e *Event) {
	reply, err := e.Ask("kong.request.get_headers", thousand)
	if err == nil {
		_, err = DecodeHeaders(reply)
	}
	if err == nil {
		e.Exit(401, unauthorized, []byte(`{"message":"Unauthorized"}`))
	}
}

// What an event and a refusal allocate in the server, from frame to frame. A refusal costs its
// connection: most of its allocations are those of accepting one, 14 in all; under the race
// detector the pool of buffers forgets some.
func TestAllocations(t *testing.T) {
	pass, exit := converse(t, getAndSet), converse(t, refuse)
	pass.dial()
	defer syscall.Close(pass.fd)
	for _, tc := range []struct {
		name   string
		event  func()
		atMost float64
	}{
		{"passed", pass.passed, 4},
		{"refused", exit.refused, 16},
		{"AppendHeaders", func() { _, _ = AppendHeaders(nil, unauthorized) }, 2}, // 1 without the race detector
	} {
		if n := testing.AllocsPerRun(1000, tc.event); n > tc.atMost {
			t.Errorf("%s: %v allocations, at most %v are allowed", tc.name, n, tc.atMost)
		} else {
			t.Logf("%s: %v allocations", tc.name, n)
		}
	}
}

// memoryConn is Kong's side without a kernel between: it gives the parts in turn, one to each Read,
// until left is used up.
type memoryConn struct {
	net.Conn
	parts [][]byte
	next  int
	left  int
}

func (m *memoryConn) Read(b []byte) (int, error) {
	if m.next == len(m.parts) {
		m.next = 0
		if m.left--; m.left == 0 {
			return 0, io.EOF
		}
	}
	n := copy(b, m.parts[m.next])
	m.next++
	return n, nil
}

func (m *memoryConn) Write(b []byte) (int, error)      { return len(b), nil }
func (m *memoryConn) Close() error                     { return nil }
func (m *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (m *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkFrameToFrame is what an event costs in this process, apart from system calls and
// waiting.
func BenchmarkFrameToFrame(b *testing.B) {
	s := NewServer(Options{Plugin: access(getAndSet)})
	id := s.instances.start([]byte(`{}`))
	b.ReportAllocs()
	b.ResetTimer()
	s.serve(ctx, &memoryConn{left: b.N, parts: [][]byte{
		appendFrame(nil, call{sequence: 1, command: cmdHandleEvent, instance: id, text: []byte(eventAccess)}.append(nil)),
		appendFrame(nil, AppendRawHeaders(nil, requestHeaders(false))),
		emptyFrame,
	}})
}

func BenchmarkServer(b *testing.B) {
	pass, exit := converse(b, getAndSet), converse(b, refuse)
	pass.dial()
	defer syscall.Close(pass.fd)
	for name, event := range map[string]func(){"passed": pass.passed, "refused": exit.refused} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				event()
			}
		})
	}
}
