package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

// TestMain is also the command itself, for tests that need a process: see child.
func TestMain(m *testing.M) {
	if os.Getenv("DEMO_IS_CHILD") != "" {
		main() // it exits
	}
	// Where the tests run under nohup, a child would ignore SIGHUP as they do. What is handled here
	// has its default in a child.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	scratch, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		panic(err)
	}
	plugin = sync.OnceValues(func() (string, error) {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		path := filepath.Join(scratch, "openid-connect")
		return path, build(context.Background(), root, path)
	})
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(scratch)
		os.Exit(code)
	}))
}

// plugin builds the plugin server as the command does, once for all tests.
var plugin func() (string, error)

// free are flags with which the demonstration disturbs nobody who uses the usual ports.
var free = []string{"-proxy", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-provider", "127.0.0.1:0"}

// arguments are those of a demonstration that builds nothing, with a temporary folder of its own.
func arguments(t *testing.T, more ...string) []string {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("LC_ALL", "C.UTF-8")
	binary, err := plugin()
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]string{"-plugin", binary}, free...), more...)
}

// folders are what demonstrations have put on disk.
func folders(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func nothingLeft(t *testing.T) {
	t.Helper()
	if left := folders(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The acceptance test: the story's commands through the real plugin server.
func TestOnce(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), arguments(t, "-once"), &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit %d\n%s%s", code, out.String(), errs.String())
	}
	text := out.String()
	for _, want := range []string{
		`(?m)^✓ 3 Client sends its id and secret +200 +[0-9.]+ ms   Bearer ey[A-Za-z0-9]+…$`,
		`(?m)^✓ 4 Client sends them again +200 +[0-9.]+ ms   the same token$`,
		`(?m)^✓ 5 Client sends a wrong secret +401 +[0-9.]+ ms   nothing$`,
		`(?m)^  Calls to the provider   3 +0 +1$`,
		`\n✓ All 31 expectations of the story held\.\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, unwanted := range []string{"✗", "\x1b", "curl", "level=INFO"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("%q in\n%s", unwanted, text)
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("more than 80 columns: %s", line)
		}
	}
	nothingLeft(t)
}

// -v shows the commands, the expectations and the logs, but no whole token. In another locale all
// is ASCII.
func TestDetailsInASCII(t *testing.T) {
	args := arguments(t, "-once", "-v")
	t.Setenv("LC_ALL", "C")
	var out bytes.Buffer
	if code := run(t.Context(), args, &out, &out); code != 0 {
		t.Fatalf("exit %d\n%s", code, out.String())
	}
	for _, want := range []string{
		"$ curl -i -u service:wrong http://127.0.0.1:", "    ok   the provider is not called\n", "WWW-Authenticate: ", "level=INFO",
		"\nok   All 31 expectations of the story held.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if i := strings.IndexFunc(out.String(), func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
		t.Errorf("not ASCII: %q", out.String()[i:])
	}
	if regexp.MustCompile(`ey[\w-]{20}`).MatchString(out.String()) {
		t.Errorf("a token is shown:\n%s", out.String())
	}
}

// Without -once it stays up until it is told to end, and serves meanwhile.
func TestStaysUpUntilInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := newWatched("logs of the gateway and the plugin follow.\n")
	code := make(chan int, 1)
	args := arguments(t)
	go func() { code <- run(ctx, args, out, out) }()
	out.wait(t)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, out.proxy(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(clientID, clientSecret)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || err != nil {
		t.Errorf("%d %v %s", res.StatusCode, err, body)
	}
	cancel()
	select {
	case c := <-code:
		if c != 0 {
			t.Errorf("exit %d\n%s", c, out)
		}
	case <-time.After(time.Minute):
		t.Fatalf("it does not end\n%s", out)
	}
	nothingLeft(t)
}

// A story that does not hold is told: here the provider is away.
func TestFailuresAreTold(t *testing.T) {
	s, _, err := parse(arguments(t))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	out := newScreen(&buf, false, func() {})
	w, err := newWorld(t.Context(), s, out, &logTail{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.idp.Stop()
	teller := newTeller(w, out)
	defer teller.hangUp()
	teller.story(t.Context())
	teller.verdict()
	for _, want := range []string{"\n✗ 3 ", "    ✗ expected: the status is 200; got: 503: {", "\n✓ 7 ", "\n✗ 2"} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("no %q in\n%s", want, buf.String())
		}
	}
	if !regexp.MustCompile(`\n✗ \d+ of \d+ expectations of the story held\.\n$`).MatchString(buf.String()) {
		t.Error(buf.String())
	}
}

func TestColoursAndMarks(t *testing.T) {
	for _, c := range []struct {
		terminal     bool
		env          string
		colour, utf8 bool
	}{
		{true, "TERM=xterm LANG=de_DE.UTF-8", true, true},
		{false, "TERM=xterm LANG=en_US.utf8", false, true},
		{true, "TERM=dumb LANG=C", false, false},
		{true, "LC_ALL=C LC_CTYPE=C.UTF-8 LANG=C.UTF-8", false, false},
		{true, "TERM=xterm NO_COLOR=1 LC_CTYPE=UTF-8 LANG=C", false, true},
		{true, "TERM=xterm", true, false},
	} {
		env := map[string]string{}
		for word := range strings.FieldsSeq(c.env) {
			name, value, _ := strings.Cut(word, "=")
			env[name] = value
		}
		get := func(name string) string { return env[name] }
		if colour, utf8 := colourful(c.terminal, get), knowsUTF8(get); colour != c.colour || utf8 != c.utf8 {
			t.Errorf("%v %s: colour %v, UTF-8 %v", c.terminal, c.env, colour, utf8)
		}
	}
	var buf bytes.Buffer
	s := &screen{out: &buf, colour: true}
	s.printf("%s %s", s.mark(true), s.mark(false))
	if buf.String() != "\x1b[32m✓\x1b[0m \x1b[31m✗\x1b[0m" {
		t.Errorf("%q", buf.String())
	}
	if isTerminal(&buf) {
		t.Error("a buffer is no terminal")
	}
}

func TestShortened(t *testing.T) {
	token := strings.Repeat("abcdefghij", 10)
	for authorization, want := range map[string]string{
		"Bearer " + token: "Bearer abcdefghij…", "Basic c2VjcmV0": "Basic …", "": "no Authorization",
	} {
		if got := shortened(authorization); got != want {
			t.Errorf("%q: %q", authorization, got)
		}
	}
}

func TestLogTailKeepsTheLastLines(t *testing.T) {
	var l logTail
	for range 3 * keptLines {
		_, _ = l.Write([]byte("line\n"))
	}
	var out bytes.Buffer
	l.dump(newScreen(&out, false, func() {}))
	if n := strings.Count(out.String(), "  line\n"); n != keptLines {
		t.Errorf("%d lines", n)
	}
}
