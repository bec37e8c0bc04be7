package main

import (
	"io"
	"strings"
	"sync"
)

// keptLines is how much of the logs is shown after a failure.
const keptLines = 60

// logTail holds the last lines of the logs until somebody wants to see them; follow shows what
// comes from then on.
type logTail struct {
	mu    sync.Mutex // guards all below
	out   io.Writer
	lines []string
}

func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		return l.out.Write(b)
	}
	l.lines = append(l.lines, strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")...)
	l.lines = l.lines[max(0, len(l.lines)-keptLines):]
	return len(b), nil
}

func (l *logTail) follow(out io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = out
}

func (l *logTail) dump(out *screen) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) > 0 {
		out.printf("\nThe end of the logs:\n")
	}
	for _, line := range l.lines {
		out.printf("  %s\n", strings.TrimSuffix(line, "\n"))
	}
}
