package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What cannot work is said at once, in one sentence on stderr, and nothing is started.
func TestCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	homeless := func(cache, modules string) map[string]string {
		return map[string]string{"HOME": "", "XDG_CACHE_HOME": "", "GOPATH": "", "GOCACHE": cache, "GOMODCACHE": modules}
	}
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"flag", []string{"-no-such"}, nil, "flag provided but not defined: -no-such (-h lists the flags)"},
		{"flag without a value", []string{"-proxy"}, nil, "flag needs an argument: -proxy (-h lists the flags)"},
		{"argument", []string{"extra"}, nil, `unknown argument "extra" (-h lists the flags)`},
		{"proxy port", []string{"-proxy", busy}, nil, "another program uses " + busy + ": choose another address with -proxy, or "},
		{"admin port", []string{"-admin", busy}, nil, "another program uses " + busy + ": choose another address with -admin, or "},
		{"provider port", []string{"-provider", busy}, nil, "another program uses " + busy + ": choose another address with -provider, or "},
		{"address", []string{"-admin", "8001"}, nil, "cannot use -admin 8001: "},
		{"long TMPDIR", nil, map[string]string{"TMPDIR": "/tmp/" + strings.Repeat("x", 100)}, "the path of the temporary folder is too long for a Unix socket"},
		{"missing TMPDIR", nil, map[string]string{"TMPDIR": "/no/such/folder"}, "cannot make a folder in the temporary folder (TMPDIR): "},
		{"no go", nil, map[string]string{"PATH": "/no/such/folder"}, "there is no go command in PATH"},
		{"no HOME", nil, homeless("", ""), "the go command has no place for its caches: set HOME"},
		{"no HOME for modules", nil, homeless("/tmp", ""), "the go command has no place for its caches: set HOME"},
		{"no HOME for builds", nil, homeless("", "/tmp"), "the go command has no place for its caches: set HOME"},
		{"broken go", nil, map[string]string{"GOTOOLCHAIN": "none"}, "`go env` fails (exit status 1): "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), append(slices.Clone(free), c.args...), &out, &errs)
			if code != 2 || out.Len() > 0 || !strings.HasPrefix(errs.String(), "demo: "+c.want) || strings.Count(errs.String(), "\n") != 1 {
				t.Errorf("exit %d, stderr %q, stdout %q", code, errs.String(), out.String())
			}
		})
	}
}

// A start that fails gives back what it had taken.
func TestFailedStartFreesPorts(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addr().String()
	first.Close()
	args := append(arguments(t), "-proxy", addr, "-provider", "no-address")
	if code := run(t.Context(), args, io.Discard, io.Discard); code != 2 {
		t.Errorf("exit %d", code)
	}
	again, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Errorf("exit %d, stderr %q", code, errs.String())
	}
	for _, want := range []string{"Usage: go run ./cmd/demo", "not fit for production", "-once", "-v", "-proxy", "Exit code: 0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// child is the demonstration in a process of its own, under a wrapper's command if there is one.
// What it needs of the environment was set by arguments.
func child(t *testing.T, args []string, wrapper ...string) (*exec.Cmd, *watched) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	command := slices.Concat(wrapper, []string{os.Args[0]}, args)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DEMO_IS_CHILD=1")
	out := newWatched("logs of the gateway and the plugin follow.\n")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// started is a child that has told its story and stays up.
func started(t *testing.T, args []string, wrapper ...string) (*exec.Cmd, *watched) {
	t.Helper()
	cmd, out := child(t, args, wrapper...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	out.wait(t)
	return cmd, out
}

// end sends a signal and returns the exit code.
func end(t *testing.T, cmd *exec.Cmd, s syscall.Signal) int {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error is the exit code
	return cmd.ProcessState.ExitCode()
}

func TestSignalsCleanUp(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			cmd, out := started(t, arguments(t))
			if len(folders(t)) != 1 {
				t.Errorf("folders: %v", folders(t))
			}
			if code := end(t, cmd, s); code != 0 {
				t.Errorf("exit %d\n%s", code, out)
			}
			nothingLeft(t)
		})
	}
}

// Under nohup, SIGHUP stays ignored.
func TestNohup(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc tells what is ignored, on Linux")
	}
	cmd, _ := started(t, arguments(t), "/bin/sh", "-c", `trap "" HUP; exec "$0" "$@"`)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`SigIgn:\s*[0-9a-f]*[13579bdf]\n`).Find(status); m == nil {
		t.Errorf("SIGHUP is not ignored\n%s", status)
	}
	end(t, cmd, syscall.SIGTERM)
	nothingLeft(t)
}

// What a killed run has left goes with the next run; what belongs to a run that lives, or to
// others, stays.
func TestKilledRunIsCleanedUpLater(t *testing.T) {
	args := arguments(t)
	alive, out := started(t, args)
	kept := folders(t)
	others := []string{"oidc-demo-file", "oidc-demo-link", "other-folder"}
	if os.Geteuid() == 0 {
		others = append(others, "oidc-demo-of-somebody")
	}
	for i, name := range others {
		others[i] = filepath.Join(os.Getenv("TMPDIR"), name)
		var err error
		switch {
		case strings.HasSuffix(name, "file"):
			err = os.WriteFile(others[i], nil, 0o600)
		case strings.HasSuffix(name, "link"):
			err = os.Symlink(t.TempDir(), others[i])
		default:
			err = os.Mkdir(others[i], 0o700)
		}
		if err == nil && strings.HasSuffix(name, "somebody") {
			err = os.Chown(others[i], 12345, -1)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	kept = append(kept, others...)

	killed, _ := started(t, args)
	if code := end(t, killed, syscall.SIGKILL); code != -1 {
		t.Errorf("exit %d", code)
	}
	if n := len(folders(t)); n != len(kept)+1 {
		t.Fatalf("a killed run leaves one folder: %v", folders(t))
	}
	var next bytes.Buffer
	if code := run(t.Context(), append(args, "-once"), &next, &next); code != 0 {
		t.Errorf("exit %d\n%s", code, next.String())
	}
	slices.Sort(kept)
	if left := folders(t); !slices.Equal(left, kept) {
		t.Errorf("left: %v, want %v", left, kept)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	res, err := client.Get(out.proxy(t))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the run that lives answers %d", res.StatusCode)
	}
	if code := end(t, alive, syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	if left := folders(t); len(left) != len(others) {
		t.Errorf("left: %v", left)
	}
}

// As under `| head -1`: it ends and cleans up, without a word.
func TestClosedPipe(t *testing.T) {
	for _, once := range []string{"-once", "-once=false"} {
		cmd, errs := child(t, arguments(t, once))
		cmd.Stdout = nil
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReaderSize(stdout, 16).ReadString('\n'); err != nil || !strings.HasPrefix(line, "OpenID Connect") {
			t.Errorf("%q %v", line, err)
		}
		stdout.Close()
		_ = cmd.Wait() // its error is the exit code
		if code := cmd.ProcessState.ExitCode(); code != 1 || errs.String() != "" {
			t.Errorf("%s: exit %d, stderr %q", once, code, errs)
		}
		nothingLeft(t)
	}
}

// The first build may take minutes: a signal ends it, too, and lets it remove its own files.
func TestSignalDuringTheBuild(t *testing.T) {
	arguments(t)
	bin := t.TempDir()
	script := `#!/bin/sh
[ "$1" = env ] && echo /c && echo /m && exit
trap 'rm "$TMPDIR/go-build1"; exit 1' INT
touch "$TMPDIR/go-build1"
kill -TERM $PPID
while :; do sleep 0.1; done
`
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd, out := child(t, free)
	_ = cmd.Run() // its error is the exit code
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.HasSuffix(out.String(), "The first build takes a minute or two.\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
	nothingLeft(t)
}

// A SIGTERM to `go run` ends only that; what it ran follows.
func TestEndsWithGoRun(t *testing.T) {
	args := arguments(t)
	// `go run` is known by the path of what it runs.
	dir := filepath.Join(t.TempDir(), "go-build1")
	raw, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	exe := filepath.Join(dir, "demo")
	if err == nil {
		err = os.WriteFile(exe, raw, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd, out := started(t, args, "/bin/sh", "-c", `shift; "$0" "$@" & wait`, exe)
	stopped := make(chan error, 1)
	go func() { stopped <- cmd.Wait() }() // returns when the last writer of its output has ended
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatalf("it stays up\n%s", out)
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

func newWatched(want string) *watched { return &watched{want: want, seen: make(chan struct{})} }

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

func (w *watched) wait(t *testing.T) {
	t.Helper()
	select {
	case <-w.seen:
	case <-time.After(time.Minute):
		t.Fatalf("no %q in\n%s", w.want, w)
	}
}

// proxy is the address that the demonstration invites to.
func (w *watched) proxy(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`curl -i -u service:wrong (\S+)`).FindStringSubmatch(w.String())
	if m == nil {
		t.Fatal(w)
	}
	return m[1]
}
