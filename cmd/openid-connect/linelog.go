package main

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	maxLines  = 1024        // that wait to be written
	closeWait = time.Second // for them, at the end
)

// lineLog writes lines in the background: whoever logs never waits for whoever reads.
// A stalled reader of standard error would otherwise hold requests, renewals and the
// end of the process. Lines that find no place are dropped and counted.
type lineLog struct {
	w       io.Writer
	lines   chan []byte
	dropped atomic.Int64
	stop    chan struct{}
	done    chan struct{}
}

// newLineLog starts the writing; Close ends it.
func newLineLog(w io.Writer) *lineLog {
	l := &lineLog{w: w, lines: make(chan []byte, maxLines), stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

// Write implements io.Writer; it takes one whole line and never fails.
func (l *lineLog) Write(line []byte) (int, error) {
	select {
	case l.lines <- bytes.Clone(line):
	default:
		l.dropped.Add(1)
	}
	return len(line), nil
}

func (l *lineLog) run() {
	defer close(l.done)
	for {
		select {
		case line := <-l.lines:
			l.put(line)
		case <-l.stop:
			for {
				select {
				case line := <-l.lines:
					l.put(line)
				default:
					l.put(nil)
					return
				}
			}
		}
	}
}

// put writes line, and before it how many were lost. An error has nowhere to be told.
func (l *lineLog) put(line []byte) {
	if n := l.dropped.Swap(0); n > 0 {
		_, _ = fmt.Fprintf(l.w, "level=WARN msg=\"log lines dropped: nobody reads\" lines=%d\n", n)
	}
	if line != nil {
		_, _ = l.w.Write(line)
	}
}

// Close writes what is left, as long as somebody reads: at most closeWait.
func (l *lineLog) Close() {
	close(l.stop)
	select {
	case <-l.done:
	case <-time.After(closeWait):
	}
}
