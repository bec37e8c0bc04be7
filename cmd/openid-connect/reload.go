package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// logFile appends to a file that can be opened anew, after it was moved away.
type logFile struct {
	name string

	mu sync.Mutex // guards f
	f  *os.File
}

func openLog(name string) (*logFile, error) {
	l := &logFile{name: name}
	return l, l.reopen()
}

// reopen goes on in the file that has the name now. Where that cannot be, the old one is kept.
func (l *logFile) reopen() error {
	// Not to wait for the reader of a FIFO.
	f, err := os.OpenFile(l.name, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("-log-file: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Close()
	}
	l.f = f
	return nil
}

// Write implements io.Writer.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(line)
}

// Close ends the writing.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

var _ io.WriteCloser = (*logFile)(nil)

// watchEvery is how often a file is looked at for a change.
const watchEvery = 10 * time.Second

// reloader reads anew what may change while the server runs: at SIGHUP the log file and the
// authorities, and the authorities also when their file changes.
type reloader struct {
	settings *settings
	log      *logFile // nil where the log is standard error
	logger   *slog.Logger
	setRoots func(*x509.CertPool)

	seen fs.FileInfo // the file of authorities as it was read last
}

// run works until ctx ends. hup is SIGHUP.
func (r *reloader) run(ctx context.Context, hup <-chan os.Signal) {
	r.seen, _ = os.Stat(r.settings.caFile)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			if r.log != nil {
				if err := r.log.reopen(); err != nil {
					r.logger.Error("the log file cannot be opened anew: the old one is used", "error", err)
				}
			}
			r.readRoots()
		case <-tick.C:
			if now, err := os.Stat(r.settings.caFile); err == nil && changed(r.seen, now) {
				r.readRoots()
			}
		}
	}
}

func changed(before, now fs.FileInfo) bool {
	return before == nil || !now.ModTime().Equal(before.ModTime()) || now.Size() != before.Size() || !os.SameFile(before, now)
}

// readRoots reads -ca-file anew. One that cannot be read leaves the authorities as they are.
func (r *reloader) readRoots() {
	if r.settings.caFile == "" {
		return
	}
	r.seen, _ = os.Stat(r.settings.caFile)
	roots, err := r.settings.rootCAs()
	if err != nil {
		r.logger.Error("the CA file cannot be used: what it held before is trusted", "error", err)
		return
	}
	r.setRoots(roots)
	r.logger.Info("the CA file was read anew", "file", r.settings.caFile)
}
