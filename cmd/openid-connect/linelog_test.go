package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestLineLogWritesInOrder(t *testing.T) {
	var out bytes.Buffer
	l := newLineLog(&out)
	var want strings.Builder
	for i := range 100 {
		fmt.Fprintf(l, "%d\n", i)
		fmt.Fprintf(&want, "%d\n", i)
	}
	l.Close()
	if out.String() != want.String() {
		t.Errorf("%q", out.String())
	}
}

// TestLineLogStalledReader: who logs goes on, and what was lost is said.
func TestLineLogStalledReader(t *testing.T) {
	r, w := io.Pipe()
	l := newLineLog(w)
	const lines = 3 * maxLines
	for range lines {
		fmt.Fprintln(l, "line") // with nobody reading
	}
	read := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(r)
		read <- string(all)
	}()
	l.Close()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got string
	select {
	case got = <-read:
	case <-time.After(patience):
		t.Fatal("the reader does not end")
	}
	var dropped int
	for _, after := range strings.Split(got, "lines=")[1:] {
		var n int
		if _, err := fmt.Sscan(after, &n); err != nil {
			t.Fatal(err)
		}
		dropped += n
	}
	if written := strings.Count(got, "line\n"); dropped == 0 || written+dropped != lines {
		t.Errorf("%d lines written, %d said to be dropped, of %d", written, dropped, lines)
	}
}
