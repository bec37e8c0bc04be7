package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	folderPrefix = "oidc-demo-"
	socketName   = "openid-connect.socket"
)

// folder is a directory of this run alone, in the temporary folder. Its lock, which the kernel
// drops when the process ends, tells it from one that a killed run has left.
type folder struct {
	path string
	lock *os.File
}

// newFolder makes the directory, and first removes what killed runs of the same user have left.
func newFolder() (*folder, error) {
	base, err := filepath.Abs(os.TempDir())
	if err != nil {
		return nil, err
	}
	// MkdirTemp adds at most ten digits.
	longest := len(filepath.Join(base, folderPrefix+"0123456789", socketName))
	if most := len(syscall.RawSockaddrUnix{}.Path) - 1; longest > most {
		return nil, mistake(fmt.Sprintf("the path of the temporary folder is too long for a Unix socket (%d bytes, at most %d fit): "+
			"set TMPDIR to a shorter one, for example TMPDIR=/tmp", len(base), most-(longest-len(base))))
	}
	sweep(base)
	for try := 0; ; try++ {
		path, err := os.MkdirTemp(base, folderPrefix)
		if err != nil {
			return nil, mistake(fmt.Sprintf("cannot make a folder in the temporary folder (TMPDIR): %v", err))
		}
		lock, err := lockFolder(path)
		if err == nil {
			return &folder{path, lock}, nil
		}
		_ = os.Remove(path)
		// Another demo may have taken it for a left-over before it was locked.
		if try == 9 {
			return nil, mistake(fmt.Sprintf("cannot lock a folder in the temporary folder (TMPDIR): %v", err))
		}
	}
}

func (f *folder) remove() {
	_ = os.RemoveAll(f.path)
	_ = f.lock.Close()
}

// sweep removes what killed runs have left. A folder that is locked belongs to a run that lives.
func sweep(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return // newFolder will say what is wrong with it
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), folderPrefix) || !ours(e) {
			continue
		}
		path := filepath.Join(base, e.Name())
		if lock, err := lockFolder(path); err == nil {
			(&folder{path, lock}).remove()
		}
	}
}

// ours tells a directory of the same user: root does not tidy up for others.
func ours(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// lockFolder locks a directory that exists, also after the lock was taken, or fails at once.
func lockFolder(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	var locked, there fs.FileInfo
	if err == nil {
		locked, err = f.Stat()
	}
	if err == nil {
		there, err = os.Lstat(path)
	}
	if err == nil && !os.SameFile(locked, there) {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
