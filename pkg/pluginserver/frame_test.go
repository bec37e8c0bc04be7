package pluginserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// chunks is a connection that delivers what it was given in pieces of the sizes given, then ends.
type chunks struct {
	net.Conn
	data  []byte
	sizes []byte
	reads int
}

func (c *chunks) Read(b []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := len(c.data)
	if len(c.sizes) > 0 {
		n = int(c.sizes[c.reads%len(c.sizes)])%8 + 1
	}
	c.reads++
	n = copy(b, c.data[:min(n, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

func (c *chunks) SetReadDeadline(time.Time) error { return nil }

// FuzzFrame: whatever arrives in whatever pieces, the frames are those of a plain reading of the
// bytes, and memory follows what arrived, not what was announced.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 0, 'x'}, []byte{0})
	f.Add([]byte{3, 0, 0, 0, 'a'}, []byte{2, 1})
	f.Add([]byte{255, 255, 255, 255, 'a'}, []byte{})
	f.Add(append([]byte{0, 0x30, 0, 0}, make([]byte, 0x3000)...), []byte{7})
	f.Fuzz(func(t *testing.T, data, sizes []byte) {
		const limit = 1 << 16
		s := newStream(&chunks{data: data, sizes: sizes}, limit, time.Minute)
		defer s.release()
		for rest := data; ; {
			got, err := s.readFrame(false)
			if len(s.buf) > 2*len(data)+bufferSize {
				t.Fatalf("a buffer of %d bytes for %d received", len(s.buf), len(data))
			}
			want, wantErr := plainFrame(rest, limit)
			if !errors.Is(err, wantErr) || !bytes.Equal(got, want) {
				t.Fatalf("got %q, %v; want %q, %v", got, err, want, wantErr)
			}
			if err != nil {
				return
			}
			rest = rest[prefixSize+len(want):]
		}
	})
}

func plainFrame(b []byte, limit int) ([]byte, error) {
	switch {
	case len(b) == 0:
		return nil, io.EOF
	case len(b) < prefixSize:
		return nil, io.ErrUnexpectedEOF
	}
	n := int(binary.LittleEndian.Uint32(b))
	switch {
	case n > limit:
		return nil, errFrameTooLarge
	case n > len(b)-prefixSize:
		return nil, io.ErrUnexpectedEOF
	}
	return b[prefixSize : prefixSize+n], nil
}

func TestFrameTimes(t *testing.T) {
	const patience = 30 * time.Second
	hello := appendFrame(nil, "hello")
	for _, tc := range []struct {
		name    string
		due     bool
		write   func(peer net.Conn)
		want    error
		atMost  time.Duration // of waiting
		atLeast time.Duration
	}{
		{"idle for a day", false, func(p net.Conn) { time.Sleep(24 * time.Hour); p.Write(hello) }, nil, 24 * time.Hour, 24 * time.Hour},
		{"due and never there", true, func(net.Conn) {}, os.ErrDeadlineExceeded, patience, patience / 2},
		{
			"begun and not continued", false, func(p net.Conn) { time.Sleep(time.Hour); p.Write(hello[:2]) },
			os.ErrDeadlineExceeded, time.Hour + patience, time.Hour + patience/2,
		},
		{"a byte every ten seconds", false, func(p net.Conn) {
			for _, b := range hello {
				p.Write([]byte{b})
				time.Sleep(10 * time.Second)
			}
		}, os.ErrDeadlineExceeded, patience, patience / 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, peer := net.Pipe()
				s := newStream(ours, 100, patience)
				var writing sync.WaitGroup
				writing.Go(func() { tc.write(peer) })
				begin := time.Now()
				_, err := s.readFrame(tc.due)
				if took := time.Since(begin); !errors.Is(err, tc.want) || took > tc.atMost || took < tc.atLeast {
					t.Errorf("%v after %v", err, took)
				}
				ours.Close()
				writing.Wait()
			})
		})
	}
}

// A deadline that an earlier frame has left does not end a connection that waits for its next call.
func TestIdleAfterDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer ours.Close()
		s := newStream(ours, 100, time.Second)
		go func() {
			peer.Write(appendFrame(nil, "due"))
			time.Sleep(time.Hour)
			peer.Write(appendFrame(nil, "next"))
		}()
		for i, want := range []string{"due", "next"} {
			if got, err := s.readFrame(i == 0); err != nil || string(got) != want {
				t.Fatalf("%q, %v; want %q", got, err, want)
			}
		}
	})
}

// The deadline that an earlier frame or write has left does not shorten a later one's time.
func TestLeftDeadline(t *testing.T) {
	const patience = 30 * time.Second
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer ours.Close()
		s := newStream(ours, 100, patience)
		theirs := newStream(peer, 100, time.Hour)
		var both sync.WaitGroup
		both.Go(func() {
			for _, pause := range []time.Duration{0, patience - 1, patience - 1} {
				time.Sleep(pause)
				theirs.frame([]byte("question"))
				if err := theirs.flush(); err != nil {
					t.Error(err)
				}
				time.Sleep(patience - 1)
				if got, err := theirs.readFrame(true); err != nil || string(got) != "answer" {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
		for range 3 {
			if got, err := s.readFrame(true); err != nil || string(got) != "question" {
				t.Errorf("%q, %v", got, err)
			}
			s.frame([]byte("answer"))
			if err := s.flush(); err != nil {
				t.Error(err)
			}
		}
		both.Wait()
	})
}

// A peer that does not read blocks a write no longer than the patience.
func TestFlushTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, _ := net.Pipe()
		s := newStream(ours, 100, 30*time.Second)
		s.frame([]byte("x"))
		if err := s.flush(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		ours.Close()
	})
}

func TestLargeFrameBufferIsDropped(t *testing.T) {
	data := append(appendFrame(nil, make([]byte, 1<<20)), appendFrame(nil, "x")...)
	s := newStream(&chunks{data: data}, 1<<20, time.Minute)
	defer s.release()
	for _, want := range []int{1 << 20, 1} {
		if got, err := s.readFrame(false); err != nil || len(got) != want {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if _, err := s.readFrame(false); err != io.EOF || len(s.buf) != bufferSize {
		t.Errorf("%v, a buffer of %d bytes is kept", err, len(s.buf))
	}
}
