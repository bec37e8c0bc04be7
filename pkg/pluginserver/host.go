package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxIdle       = 256              // Kong's pool of idle connections, per worker
	hostTimeout   = 60 * time.Second // nginx's lua_socket_read_timeout
	sweepInterval = 20 * time.Millisecond
	hostMaxFrame  = 64 << 20 // Kong has no limit; this side only needs one
)

var (
	// ErrClosed means that the server ended the connection where an answer was due. Kong then
	// resets every instance of the plugin, starts it again and sends the event once more, without
	// limit. Any other error of HandleEvent but ErrExited is a 500 for the request.
	ErrClosed = errors.New("pluginserver: closed")

	errHostClosed = errors.New("pluginserver: the host is closed")
)

// API is Kong's plugin development kit as an event sees it.
type API interface {
	// Call runs one function. method and args are valid during the call; the answer is sent before
	// the next one. A setter answers nil. After kong.response.exit the error is ErrExited; any
	// other error is one in Kong and ends the event.
	Call(method string, args []byte) (reply []byte, err error)
}

// Host is Kong's side of the protocol, as strict as Kong 3.9: one call a connection at a time,
// sequence numbers checked, a connection used again only after a call that ended well, and then
// only if nothing was sent on it meanwhile.
type Host struct {
	path     string
	sequence atomic.Int64

	mu       sync.Mutex // guards what follows
	idle     []*stream
	closed   bool
	sweeping bool

	sweeper sync.WaitGroup
	stop    chan struct{} // closed by Close
}

// NewHost prepares a Host; it connects when it is first called.
func NewHost(socketPath string) *Host { return &Host{path: socketPath, stop: make(chan struct{})} }

// StartInstance starts an instance with a configuration, a JSON object, and gives its id.
func (h *Host) StartInstance(ctx context.Context, name string, config []byte) (int32, error) {
	id, err := h.call(ctx, call{command: cmdStartInstance, text: []byte(name), config: config}, nil)
	if err == nil && id == 0 {
		err = errors.New("pluginserver: no instance id was given")
	}
	return id, err
}

// CloseInstance ends an instance.
func (h *Host) CloseInstance(ctx context.Context, id int32) error {
	_, err := h.call(ctx, call{command: cmdCloseInstance, instance: id}, nil)
	return err
}

// HandleEvent sends one event and answers the calls that the plugin makes meanwhile. nil means that
// the request may go on. After an exit it is ErrExited: the request has its answer. Every other
// error is a request that must not go on; see ErrClosed.
func (h *Host) HandleEvent(ctx context.Context, id int32, phase string, api API) error {
	_, err := h.call(ctx, call{command: cmdHandleEvent, instance: id, text: []byte(phase)}, api)
	return err
}

// Close closes the idle connections, and makes every further call fail.
func (h *Host) Close() {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.stop)
	}
	for _, s := range h.idle {
		_ = s.nc.Close()
		s.release()
	}
	h.idle = nil
	h.mu.Unlock()
	h.sweeper.Wait()
}

// sweep closes idle connections that the server has ended, as nginx does when it is told of the
// end: a server that ends waits for that. It lives as long as there are idle connections.
func (h *Host) sweep() {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-ticker.C:
		}
		if !h.sweepOnce() {
			return
		}
	}
}

func (h *Host) sweepOnce() (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = slices.DeleteFunc(h.idle, func(s *stream) bool {
		if usable(s) {
			return false
		}
		_ = s.nc.Close()
		s.release()
		return true
	})
	h.sweeping = len(h.idle) > 0
	return h.sweeping
}

func (h *Host) call(ctx context.Context, request call, api API) (id int32, err error) {
	s, err := h.connection(ctx)
	if err != nil {
		return 0, err
	}
	nc := s.nc
	unhook := func() bool { return true }
	if ctx.Done() != nil {
		unhook = context.AfterFunc(ctx, func() { _ = nc.Close() })
	}
	id, err = h.converse(s, request, api)
	if unhook() && err == nil && h.keep(s) {
		return id, nil
	}
	_ = nc.Close()
	s.release()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return id, err
}

func (h *Host) converse(s *stream, request call, api API) (int32, error) {
	request.sequence = h.sequence.Add(1)
	at := s.begin()
	s.out = request.append(s.out)
	s.end(at)
	if err := sendFrame(s); err != nil {
		return 0, fmt.Errorf("pluginserver: sending a call: %w", err)
	}
	if api != nil {
		if err := bridge(s, api); err != nil {
			return 0, err
		}
	}
	frame, err := readAnswer(s)
	if err != nil {
		return 0, err
	}
	sequence, id, err := decodeReturn(frame)
	if err == nil && sequence != request.sequence {
		err = fmt.Errorf("pluginserver: the answer has sequence %d, not %d", sequence, request.sequence)
	}
	return id, err
}

// bridge answers the plugin's calls until the empty frame.
func bridge(s *stream, api API) error {
	for {
		frame, err := readAnswer(s)
		if err != nil || len(frame) == 0 {
			return err
		}
		method := string(frame)
		args, err := readAnswer(s)
		if err != nil {
			return err
		}
		reply, err := api.Call(method, args)
		if err != nil {
			return err
		}
		if silent[method] {
			reply = nil
		}
		s.frame(reply)
		if err := sendFrame(s); err != nil {
			return fmt.Errorf("pluginserver: answering %.64q: %w", method, err)
		}
	}
}

// sendFrame sends the one frame that was collected as Kong does: its length, then its payload.
func sendFrame(s *stream) error {
	defer s.reset()
	if err := s.write(s.out[:prefixSize]); err != nil || len(s.out) == prefixSize {
		return err
	}
	return s.write(s.out[prefixSize:])
}

func readAnswer(s *stream) ([]byte, error) {
	frame, err := s.readFrame(true)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, ErrClosed
	}
	return frame, err
}

func (h *Host) connection(ctx context.Context) (*stream, error) {
	for {
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			return nil, errHostClosed
		}
		var s *stream
		if last := len(h.idle) - 1; last >= 0 {
			s, h.idle = h.idle[last], h.idle[:last]
		}
		h.mu.Unlock()
		if s == nil {
			break
		}
		if usable(s) {
			return s, nil
		}
		_ = s.nc.Close()
		s.release()
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", h.path)
	if err != nil {
		return nil, fmt.Errorf("pluginserver: %w", err)
	}
	s := newStream(nc, hostMaxFrame, hostTimeout)
	return &s, nil
}

// keep puts a connection into the pool and tells whether it did.
func (h *Host) keep(s *stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.idle) >= maxIdle {
		return false
	}
	h.idle = append(h.idle, s)
	if !h.sweeping {
		h.sweeping = true
		h.sweeper.Go(h.sweep)
	}
	return true
}

func usable(s *stream) bool { return s.r == s.w && silentConn(s.nc) }

// silentConn tells whether the peer has neither closed an idle connection nor sent anything on it:
// nginx watches for both and drops such a connection from its pool.
func silentConn(nc net.Conn) bool {
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		silent = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && silent
}
