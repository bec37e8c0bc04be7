package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// free are flags with which the demonstration disturbs nobody who uses the usual ports.
var free = []string{"-proxy", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-provider", "127.0.0.1:0"}

// The acceptance test: the story's commands through the real plugin server.
func TestOnce(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	if code := run(t.Context(), append([]string{"-once"}, free...), &out); code != 0 {
		t.Fatalf("exit %d\n%s", code, out.String())
	}
	if strings.Contains(out.String(), "FAILED") || !strings.Contains(out.String(), "expectations of the story held") {
		t.Error(out.String())
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if _, token, ok := strings.Cut(line, "Bearer ey"); ok && !strings.Contains(token, "…") {
			t.Errorf("a whole token is shown: %.60s", line)
		}
	}
	nothingLeft(t)
}

// nothingLeft looks for what the demonstration has put on disk.
func nothingLeft(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "openid-connect-demo-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// Without -once it stays up until it is told to end, and serves meanwhile.
func TestStaysUpUntilInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watched{want: "stays up until Ctrl-C", seen: make(chan struct{})}
	code := make(chan int, 1)
	go func() { code <- run(ctx, free, out) }()
	select {
	case <-out.seen:
	case c := <-code:
		t.Fatalf("it ended with %d\n%s", c, out)
	case <-time.After(2 * time.Minute):
		t.Fatalf("it did not come up\n%s", out)
	}
	address := ""
	for _, line := range strings.Split(out.String(), "\n") {
		if rest, ok := strings.CutPrefix(line, "gateway "); ok {
			address = strings.Fields(rest)[0]
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(clientID, clientSecret)
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || err != nil {
		t.Errorf("%d %v %s", res.StatusCode, err, body)
	}
	cancel()
	if c := <-code; c != 0 {
		t.Errorf("exit %d\n%s", c, out)
	}
	nothingLeft(t)
}

// watched is an output that tells when a text has appeared in it.
type watched struct {
	mu   sync.Mutex // guards buf
	buf  bytes.Buffer
	want string
	once sync.Once
	seen chan struct{}
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	if strings.Contains(w.buf.String(), w.want) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(b), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// A story that does not hold is told: here the provider is away.
func TestFailuresAreTold(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	w, err := newWorld(t.Context(), settings{proxy: "127.0.0.1:0", admin: "127.0.0.1:0", provider: "127.0.0.1:0"}, &out, &logTail{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.idp.Stop()
	teller := newTeller(w, &out)
	defer teller.hangUp()
	teller.story(t.Context())
	if len(teller.failures) == 0 || !strings.Contains(out.String(), "FAILED") || !strings.Contains(out.String(), "503") {
		t.Errorf("%q\n%s", teller.failures, out.String())
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{{[]string{"-h"}, 0}, {[]string{"-no-such"}, 2}, {[]string{"extra"}, 2}} {
		if code := run(t.Context(), c.args, io.Discard); code != c.want {
			t.Errorf("%v: exit %d, want %d", c.args, code, c.want)
		}
	}
}

func TestPortsThatAreTaken(t *testing.T) {
	for _, c := range []struct{ wanted, got, want string }{
		{"127.0.0.1:8000", "127.0.0.1:8000", ""},
		{"127.0.0.1:8000", "127.0.0.1:41000", " (127.0.0.1:8000 is taken)"},
		{"127.0.0.1:0", "127.0.0.1:41000", ""},
	} {
		if got := note(c.wanted, c.got); got != c.want {
			t.Errorf("note(%q, %q) = %q", c.wanted, c.got, got)
		}
	}
}

func TestShortened(t *testing.T) {
	token := strings.Repeat("abcdefghij", 10)
	if got := shortened("Bearer " + token); strings.Contains(got, token[:11]) || !strings.Contains(got, "100 characters") {
		t.Error(got)
	}
	if got := shortened("Basic c2VjcmV0"); strings.Contains(got, "c2V") {
		t.Error(got)
	}
}

func TestLogTailKeepsTheLastLines(t *testing.T) {
	var l logTail
	for range 3 * keptLines {
		_, _ = l.Write([]byte("line\n"))
	}
	var out bytes.Buffer
	l.dump(&out)
	if n := strings.Count(out.String(), "  line\n"); n != keptLines {
		t.Errorf("%d lines", n)
	}
}
