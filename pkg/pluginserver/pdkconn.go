package pluginserver

import (
	"encoding/binary"
	"io"
	"net"
	"time"
)

// pdkConn is what go-pdk takes for its connection to Kong. go-pdk writes a call in up to four
// pieces and then reads; the call is made when it reads, so a getter costs one write and a setter
// none.
type pdkConn struct {
	e       *Event
	written []byte
	prefix  [prefixSize]byte
	answer  [2][]byte // what is left to read: the prefix, the payload
}

// Write implements net.Conn.
func (p *pdkConn) Write(b []byte) (int, error) {
	if len(p.written)+len(b) > 2*p.e.c.limit {
		p.e.err = errFrameTooLarge
		return 0, errFrameTooLarge
	}
	p.written = append(p.written, b...)
	return len(b), nil
}

// Read implements net.Conn.
func (p *pdkConn) Read(b []byte) (int, error) {
	if len(p.answer[0]) == 0 && len(p.answer[1]) == 0 {
		if err := p.call(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.answer[0])
	p.answer[0] = p.answer[0][n:]
	m := copy(b[n:], p.answer[1])
	p.answer[1] = p.answer[1][m:]
	return n + m, nil
}

// call makes the call that was written: the last two frames. Frames before them are names of
// methods whose arguments go-pdk could not encode (it writes the name first); it has told its
// caller, but such an event must not pass.
func (p *pdkConn) call() error {
	var method, args []byte
	frames := 0
	for rest := p.written; len(rest) > 0; frames++ {
		if len(rest) < prefixSize {
			return io.ErrUnexpectedEOF
		}
		n := uint64(binary.LittleEndian.Uint32(rest))
		if rest = rest[prefixSize:]; n > uint64(len(rest)) {
			return io.ErrUnexpectedEOF
		}
		method, args, rest = args, rest[:n], rest[n:]
	}
	p.written = p.written[:0]
	if frames < 2 {
		return io.ErrUnexpectedEOF
	}
	reply, err := p.perform(string(method), args)
	if frames > 2 && p.e.err == nil {
		p.e.err = errBroken
	}
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(p.prefix[:], uint32(len(reply)))
	p.answer = [2][]byte{p.prefix[:], reply}
	return nil
}

func (p *pdkConn) perform(method string, args []byte) ([]byte, error) {
	if silent[method] {
		return nil, p.e.Tell(method, args)
	}
	return p.e.Ask(method, args)
}

// dangling tells whether a call was begun and never made.
func (p *pdkConn) dangling() bool { return len(p.written) > 0 }

// Close implements net.Conn. go-pdk closes after an exit; the connection is the server's to close.
func (p *pdkConn) Close() error { return nil }

// LocalAddr implements net.Conn.
func (p *pdkConn) LocalAddr() net.Addr { return p.e.c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (p *pdkConn) RemoteAddr() net.Addr { return p.e.c.nc.RemoteAddr() }

// SetDeadline implements net.Conn and changes nothing: the server's own deadlines hold.
func (p *pdkConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn; see SetDeadline.
func (p *pdkConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn; see SetDeadline.
func (p *pdkConn) SetWriteDeadline(time.Time) error { return nil }
