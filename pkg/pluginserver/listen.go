package pluginserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// maxSocketPath is what fits into sockaddr_un with its final NUL.
const maxSocketPath = 107

// SocketOptions say where the server listens and who may connect. Whoever may connect may start an
// instance with any configuration, so the default is the owner alone.
type SocketOptions struct {
	Path  string
	Mode  fs.FileMode // permission bits; 0 means 0600
	Group string      // name or number; empty leaves the group as it is
}

// Listen makes a Unix socket that appears at its path with its final mode and group, in place of
// any socket that is there. It is made in a directory of its own beside the path, where nobody else
// may enter, and moved. It is never unlinked: by the time this process ends the path may be its
// successor's.
func Listen(o SocketOptions) (net.Listener, error) {
	l, err := listen(o)
	if err != nil {
		return nil, fmt.Errorf("pluginserver: socket %s: %w", o.Path, err)
	}
	return l, nil
}

func listen(o SocketOptions) (*listener, error) {
	if err := checkPath(o.Path); err != nil {
		return nil, err
	}
	gid := -1
	if o.Group != "" {
		var err error
		if gid, err = groupID(o.Group); err != nil {
			return nil, err
		}
	}
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	private, err := os.MkdirTemp(filepath.Dir(o.Path), ".")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	if len(made) > maxSocketPath {
		return nil, fmt.Errorf("the path of its directory is too long: %s has %d bytes, at most %d fit", made, len(made), maxSocketPath)
	}
	inner, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	inner.SetUnlinkOnClose(false)
	identity, err := place(made, o, gid)
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return &listener{UnixListener: inner, path: o.Path, identity: identity}, nil
}

func checkPath(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("the path is too long: %d bytes, at most %d fit", len(path), maxSocketPath)
	}
	there, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return err
		}
		return nil
	case err != nil:
		return err
	case there.Mode().Type() != fs.ModeSocket:
		return errors.New("something that is not a socket stands there")
	}
	return nil
}

func groupID(group string) (int, error) {
	if gid, err := strconv.Atoi(group); err == nil && gid >= 0 {
		return gid, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

func place(made string, o SocketOptions, gid int) (fs.FileInfo, error) {
	if gid >= 0 {
		if err := os.Lchown(made, -1, gid); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(made, o.Mode.Perm()); err != nil {
		return nil, err
	}
	identity, err := os.Lstat(made)
	if err != nil {
		return nil, err
	}
	return identity, os.Rename(made, o.Path)
}

// listener knows its socket file, to notice when the path is no longer its own.
type listener struct {
	*net.UnixListener
	path     string
	identity fs.FileInfo
	refusing atomic.Bool
}

// Refuse makes every further connect fail at once. Who has connected can still be accepted; after
// the last one Accept fails. It is an error where the system cannot do this to a listening socket:
// Linux can.
func (l *listener) Refuse() error {
	var refused error
	err := l.control(func(fd int) { refused = syscall.Shutdown(fd, syscall.SHUT_RD) })
	if err = errors.Join(err, refused); err != nil {
		return err
	}
	l.refusing.Store(true)
	return l.SetDeadline(time.Unix(1, 0)) // wakes an Accept
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	if !l.refusing.Load() {
		nc, err := l.UnixListener.Accept()
		if err == nil || !l.refusing.Load() {
			return nc, err
		}
	}
	// By hand, since the deadline is over: what is left in the queue, without waiting.
	var fd int
	var failed error
	if err := errors.Join(l.control(func(listening int) { fd, _, failed = syscall.Accept(listening) }), failed); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	return net.FileConn(f) // a copy of it
}

func (l *listener) control(do func(fd int)) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { do(int(fd)) })
}

// Superseded tells whether another file stands at the path now. A path that is merely gone has no
// successor yet.
func (l *listener) Superseded() bool {
	now, err := os.Lstat(l.path)
	return err == nil && !os.SameFile(now, l.identity)
}
