package pluginserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	prefixSize = 4       // uint32, little-endian, in front of every frame
	bufferSize = 4 << 10 // a request of 15 headers and its answer fit
	keepSize   = 64 << 10
)

var errFrameTooLarge = errors.New("frame exceeds the limit")

// buffers holds *[bufferSize]byte for connections: each refusal costs one, so they come and go.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// stream is one connection of either side: frames in through a buffer, frames out collected until
// flush. It is used by one goroutine at a time; only nc.Close may be called beside it.
type stream struct {
	nc       net.Conn
	limit    int           // bytes a frame may announce
	patience time.Duration // for a frame that has begun or is due, and for a write: at least this, at most twice

	buf  []byte // buf[r:w] has arrived and is unread
	r, w int
	out  []byte // frames not written yet

	// Whether nc has a deadline. It stays where it is while frames come and go, and a wait that
	// meets it moves it once, by the whole patience: reading the clock for every frame would be a
	// measurable part of a frame's cost.
	readTimed, writeTimed bool
}

func newStream(nc net.Conn, limit int, patience time.Duration) stream {
	return stream{
		nc: nc, limit: limit, patience: patience,
		buf: buffers.Get().(*[bufferSize]byte)[:],
		out: buffers.Get().(*[bufferSize]byte)[:0],
	}
}

// release gives the buffers back. The stream and every slice that it returned are dead afterwards.
func (s *stream) release() {
	for _, b := range [][]byte{s.buf, s.out} {
		if cap(b) == bufferSize {
			buffers.Put((*[bufferSize]byte)(b[:bufferSize]))
		}
	}
	s.buf, s.out = nil, nil
}

// readFrame returns the payload of the next frame, valid until the next call. It waits without
// limit for the first byte unless the frame is due, that is, asked for; then, and once a frame has
// begun, it waits no longer than the patience. io.EOF stands only for an end between frames.
func (s *stream) readFrame(due bool) ([]byte, error) {
	s.shrink()
	w := readWait{due: due}
	for {
		have, need := s.w-s.r, prefixSize
		if have >= prefixSize {
			n := binary.LittleEndian.Uint32(s.buf[s.r:])
			if uint64(n) > uint64(s.limit) {
				return nil, fmt.Errorf("%w: %d bytes announced, %d allowed", errFrameTooLarge, n, s.limit)
			}
			need += int(n)
			if have >= need {
				payload := s.buf[s.r+prefixSize : s.r+need : s.r+need]
				s.r += need
				return payload, nil
			}
		}
		if have > 0 {
			w.due = true
		}
		if err := s.fill(need, &w); err != nil {
			return nil, err
		}
	}
}

// readWait is the waiting for one frame. The deadline moves once for all of it: a peer that
// trickles bytes gets no more time.
type readWait struct {
	due   bool // it must arrive in time
	moved bool // the deadline is this frame's own
}

// fill reads once, at least one byte. The buffer grows only when it is full, to twice its size:
// what a peer announces costs nothing, what it sends costs at most double.
func (s *stream) fill(need int, w *readWait) error {
	if s.r == s.w {
		s.r, s.w = 0, 0
	} else if s.r+need > len(s.buf) && s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if s.w == len(s.buf) {
		grown := make([]byte, min(2*len(s.buf), need))
		copy(grown, s.buf)
		s.buf = grown
	}
	for {
		if w.due && !s.readTimed {
			if err := s.moveRead(w); err != nil {
				return err
			}
		}
		n, err := s.nc.Read(s.buf[s.w:])
		s.w += n
		switch {
		case n > 0:
			return nil
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !w.moved:
			// The deadline of an earlier frame.
			if err := s.moveRead(w); err != nil {
				return err
			}
		case errors.Is(err, io.EOF) && s.w > s.r:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

// moveRead gives a frame that is due its time, and takes the deadline away where none is.
func (s *stream) moveRead(w *readWait) error {
	s.readTimed, w.moved = w.due, w.due
	if !w.due {
		return s.nc.SetReadDeadline(time.Time{})
	}
	return s.nc.SetReadDeadline(time.Now().Add(s.patience))
}

// shrink lets go of a buffer that one large frame had made.
func (s *stream) shrink() {
	if s.r == s.w && len(s.buf) > keepSize {
		s.r, s.w = 0, 0
		s.buf = buffers.Get().(*[bufferSize]byte)[:]
	}
}

// flush sends what was collected in one write.
func (s *stream) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	err := s.write(s.out)
	s.reset()
	return err
}

func (s *stream) write(b []byte) error {
	moved := false
	for {
		if !s.writeTimed {
			s.writeTimed, moved = true, true
			if err := s.nc.SetWriteDeadline(time.Now().Add(s.patience)); err != nil {
				return err
			}
		}
		n, err := s.nc.Write(b)
		if err == nil || moved || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		b, s.writeTimed = b[n:], false // the deadline of an earlier write
	}
}

// reset empties what was collected, and lets go of a buffer that something large had made.
func (s *stream) reset() {
	if cap(s.out) > keepSize {
		s.out = nil
	}
	s.out = s.out[:0]
}

// frame collects one frame.
func (s *stream) frame(payload []byte) { s.out = appendFrame(s.out, payload) }

// begin opens a frame whose payload the caller appends to s.out; end writes its length.
func (s *stream) begin() (at int) {
	at = len(s.out)
	s.out = append(s.out, 0, 0, 0, 0)
	return at
}

func (s *stream) end(at int) {
	binary.LittleEndian.PutUint32(s.out[at:], uint32(len(s.out)-at-prefixSize))
}

func appendFrame[T []byte | string](dst []byte, payload T) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	return append(dst, payload...)
}
