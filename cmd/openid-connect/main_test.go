package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

func TestSettings(t *testing.T) {
	t.Setenv("OPENID_CONNECT_LOG_LEVEL", "warn")
	t.Setenv("OPENID_CONNECT_KONG_PREFIX", "/from/env")
	t.Setenv("OPENID_CONNECT_RESOLVE", "a.test:80=127.0.0.1:1,b.test:80=127.0.0.1:2")
	s, err := parseSettings([]string{"-kong-prefix", "/from/flag", "-socket-mode", "0660", "-resolve", "a.test:80=127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	if s.socket != "/from/flag/openid-connect.socket" {
		t.Errorf("socket %s: a flag comes before the environment", s.socket)
	}
	if s.logLevel != slog.LevelWarn || s.socketMode != 0o660 {
		t.Errorf("level %v, mode %o", s.logLevel, s.socketMode)
	}
	if s.resolve["a.test:80"] != "127.0.0.1:3" || s.resolve["b.test:80"] != "127.0.0.1:2" {
		t.Errorf("resolve %v", s.resolve)
	}
}

// call runs the command as the shell does.
func call(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(args, streams{strings.NewReader(""), &o, &e})
	return code, o.String(), e.String()
}

func TestWrongUsage(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		args string
		says string
	}{
		{"serve", `openid-connect: unknown command "serve"`},
		{"verfiy", `openid-connect: unknown command "verfiy", did you mean verify?`},
		{"-nonsense", "openid-connect: flag provided but not defined: -nonsense"},
		{"-socket-mode 999", "openid-connect: invalid value \"999\" for flag -socket-mode"},
		{"-resolve a=b", "openid-connect: invalid value"},
		{"-resolve a.test:80=b.test:80", "openid-connect: invalid value"},
		{"-log-level loud", "openid-connect: invalid value \"loud\" for flag -log-level: must be debug, info, warn or error"},
		{"-token-cache-bytes 64M", "openid-connect: invalid value \"64M\" for flag -token-cache-bytes: must be a whole number of bytes above 0, like 67108864"},
		{"-token-cache-bytes 0", "openid-connect: invalid value"},
		{"lint", "openid-connect lint: name a file, or -"},
		{"lint -x", "openid-connect lint: flag provided but not defined: -x"},
		{"lint " + absent, "openid-connect lint: open " + absent},
		{"verify", "openid-connect verify: -issuer is needed"},
		{"verify -x", "openid-connect verify: flag provided but not defined: -x"},
		{"verify -issuer i -jwks " + absent, "openid-connect verify: -jwks: open " + absent},
		{"-log-level info lint", "openid-connect: the command comes first: openid-connect lint"},
		{"help nothing", `openid-connect: unknown command "nothing"`},
		{"health extra", `openid-connect health: unexpected argument "extra"`},
		{"version extra", `openid-connect version: unexpected argument "extra"`},
		{"version -x", "openid-connect version: flag provided"},
	} {
		code, out, errOut := call(strings.Fields(c.args)...)
		if code != 2 || !strings.HasPrefix(errOut, c.says) || out != "" || strings.Count(errOut, "\n") > 2 {
			t.Errorf("%s: exit %d, said %q and %q", c.args, code, out, errOut)
		}
	}
	t.Setenv("OPENID_CONNECT_SOCKET_MODE", "rw")
	if code, _, errOut := call(); code != 2 || !strings.Contains(errOut, "OPENID_CONNECT_SOCKET_MODE") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

// TestHelp: help goes to standard output, and asking for it is no mistake.
func TestHelp(t *testing.T) {
	for _, args := range []string{"help", "help lint", "-h", "-help", "--help", "lint -h", "lint --help", "verify -h", "version -h"} {
		code, out, errOut := call(strings.Fields(args)...)
		if code != 0 || !strings.Contains(out, "openid-connect") || errOut != "" {
			t.Errorf("%s: exit %d, said %q and %q", args, code, out, errOut)
		}
	}
	_, out, _ := call("help")
	for _, c := range commands() {
		if !strings.Contains(out, "  "+c.name) {
			t.Errorf("help does not name %s", c.name)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "-version"} {
		code, out, _ := call(arg)
		if code != 0 || !strings.HasPrefix(out, "openid-connect 0.1.0") || strings.Count(out, "\n") != 1 || !strings.Contains(out, runtime.Version()) {
			t.Errorf("%s: exit %d: %q", arg, code, out)
		}
	}
}

// TestUnknownVariables: a variable with our prefix behind which no flag stands is a mistake that
// somebody should hear of.
func TestUnknownVariables(t *testing.T) {
	t.Setenv("OPENID_CONNECT_LOG_LEVLE", "debug")
	t.Setenv("OPENID_CONNECT_DUMP", "true")
	t.Setenv("OPENID_CONNECT_LOG_FILE", "/tmp/x")
	s, err := parseSettings(nil)
	slices.Sort(s.unknown)
	if err != nil || s.dump || s.logFile != "/tmp/x" || !slices.Equal(s.unknown, []string{"OPENID_CONNECT_DUMP", "OPENID_CONNECT_LOG_LEVLE"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestCAFile(t *testing.T) {
	for name, pem := range map[string]string{"empty": "", "no PEM": "certificate"} {
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, []byte(pem), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := (&settings{caFile: file}).rootCAs(); err == nil || !strings.Contains(err.Error(), "-ca-file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDump(t *testing.T) {
	code, out, errOut := call("-dump", "-kong-prefix", "/opt/kong")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	var dump struct {
		Protocol, SocketPath string
		Plugins              []struct {
			Name, Version string
			Priority      int
			Phases        []string
			Schema        struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(out), &dump); err != nil {
		t.Fatal(err)
	}
	if dump.Protocol != "ProtoBuf:1" || dump.SocketPath != "/opt/kong/openid-connect.socket" || len(dump.Plugins) != 1 {
		t.Fatalf("%.200s", out)
	}
	if p := dump.Plugins[0]; p.Name != "openid-connect" || p.Priority != 1050 || strings.Join(p.Phases, " ") != "access" || p.Schema.Name != p.Name {
		t.Errorf("%+v", p)
	}
}

func TestLint(t *testing.T) {
	for _, c := range []struct {
		name, file string
		code       int
		says       string
	}{
		{name: "good", file: `{"config":{"issuer":"https://idp.example","auth_methods":["client_credentials"],"cache_tokens_salt":"s"}}`, says: ": ok\n"},
		{name: "schema", file: `{"config":{}}`, code: 1, says: ":1: error: config.issuer: required field missing\n"},
		{name: "across fields", file: `{"config":{"issuer":"https://idp.example","token_headers_names":["a"]}}`, code: 1, says: ":1: error: config.token_headers_names: "},
		{name: "partly built", file: `{"config":{"issuer":"https://idp.example","auth_methods":["bearer","client_credentials"],"cache_tokens_salt":"s"}}`, says: ":1: warning: config.auth_methods: ignored: bearer (not built"},
		{name: "not built", file: `{"config":{"issuer":"https://idp.example","auth_methods":["bearer"]}}`, code: 1, says: ":1: error: config.auth_methods: no usable method is left"},
		{name: "warning", file: `{"config":{"issuer":"http://idp.example"}}`, says: ":1: warning: config.issuer: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "plugin.json")
			if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errOut := call("lint", file)
			if code != c.code || !strings.HasPrefix(out, file+c.says) {
				t.Errorf("exit %d: %s%s", code, out, errOut)
			}
		})
	}
}

// serving is a server in this process, on a short path, with its log in a file.
type serving struct {
	*settings
	end   func() error
	ended <-chan error
}

func startServing(t *testing.T, more ...string) serving {
	t.Helper()
	dir, err := os.MkdirTemp("", "oidc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := parseSettings(append([]string{"-kong-prefix", dir, "-log-file", filepath.Join(dir, "log")}, more...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	listening := make(chan struct{})
	go func() { ended <- serve(ctx, s, &bytes.Buffer{}, func() { close(listening) }) }()
	select {
	case <-listening:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("it does not listen")
	}
	end := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("it does not end")
		}
	})
	t.Cleanup(func() { _ = end() })
	return serving{settings: s, end: end, ended: ended}
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func (s serving) logged(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(s.logFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// await waits until the log file has text.
func (s serving) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(s.logged(t), text); {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in the log: %s", text, s.logged(t))
		}
		runtime.Gosched()
	}
}

// TestServe: the server answers Kong's StartInstance, says what it does in its log
// file, and ends when it is told to.
func TestServe(t *testing.T) {
	s := startServing(t)
	host := pluginserver.NewHost(s.socket)
	defer host.Close()
	if _, err := host.StartInstance(t.Context(), "openid-connect", []byte(`{"issuer":"https://idp.example","__seq__":1}`)); err != nil {
		t.Error(err)
	}
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if log := s.logged(t); !strings.Contains(log, "serving") || !strings.Contains(log, "stopped") {
		t.Errorf("log %q", log)
	}
}

// TestNoDirectory: what to do about a socket that cannot be made.
func TestNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	code, _, errOut := call("-socket", filepath.Join(dir, "s"))
	if want := "openid-connect: the directory " + dir + " does not exist: create it, or name another path with -socket\n"; code != 1 || !strings.HasSuffix(errOut, want) {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

// TestHealth: it tells a server that answers from a socket file without one and from one that
// hangs.
func TestHealth(t *testing.T) {
	s := startServing(t)
	if code, out, errOut := call("health", "-socket", s.socket); code != 0 || !strings.Contains(out, "the server answers") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	hung := filepath.Join(filepath.Dir(s.socket), "hung")
	l, err := net.Listen("unix", hung) // accepts nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	stale := filepath.Join(filepath.Dir(s.socket), "stale")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	for name, socket := range map[string]string{"ended": s.socket, "stale": stale, "hung": hung, "absent": hung + "-absent"} {
		code, out, errOut := call("health", "-timeout", "50ms", "-socket", socket)
		if code != 1 || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errOut)
		}
	}
}

// TestHangup: at SIGHUP the log goes on in a new file and the authorities are read anew; a file
// that does not parse changes nothing.
func TestHangup(t *testing.T) {
	ca := caFile(t)
	good, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	s := startServing(t, "-ca-file", ca)
	s.await(t, "serving")
	hangup := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(s.logFile, s.logFile+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		if _, err := os.Stat(s.logFile); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the log is not opened anew")
		}
	}
	s.await(t, "what it held before is trusted")
	if err := os.WriteFile(ca, good, 0o600); err != nil {
		t.Fatal(err)
	}
	hangup()
	s.await(t, "the CA file was read anew")
}

// TestSignals: the real process drains at each of the signals that end a server, and outlives
// SIGHUP and a log whose reader has gone.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		toFile bool
	}{{syscall.SIGTERM, true}, {syscall.SIGINT, true}, {syscall.SIGQUIT, true}, {syscall.SIGTERM, false}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "oidc")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			socket, logFile := filepath.Join(dir, "s"), filepath.Join(dir, "log")
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), "TEST_SERVE=1", "OPENID_CONNECT_SOCKET="+socket, "OPENID_CONNECT_CA_FILE="+caFile(t))
			if c.toFile {
				cmd.Env = append(cmd.Env, "OPENID_CONNECT_LOG_FILE="+logFile)
			}
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = stderr.Close() // who reads the log has gone
			healthy := func() bool {
				code, _, _ := call("health", "-socket", socket)
				return code == 0
			}
			for !healthy() {
				if ctx.Err() != nil {
					t.Fatal("it does not serve")
				}
			}
			for range 2 { // each is logged
				if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				if !healthy() {
					t.Fatal("ended")
				}
			}
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("ended with %v", err)
			}
			if log, _ := os.ReadFile(logFile); c.toFile && !strings.Contains(string(log), "stopped") {
				t.Errorf("log %q", log)
			}
		})
	}
}

// caFile is a file with a good certificate.
func caFile(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestLogIsNotWaitedFor: a FIFO that nobody reads does not hold up the process.
func TestLogIsNotWaitedFor(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		_, err := openLog(fifo)
		opened <- err
	}()
	select {
	case err := <-opened:
		if err == nil {
			t.Error("opened")
		}
	case <-time.After(patience):
		t.Fatal("it waits for a reader")
	}
}

// TestMain lets this binary be the server.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_SERVE") == "1" {
		os.Args = os.Args[:1]
		main()
	}
	os.Exit(m.Run())
}

// TestMemoryLimit: the process sets the limit that its caches are made for, unless the operator
// does.
func TestMemoryLimit(t *testing.T) {
	old := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(old)
	for env, want := range map[string]int64{"": memoryLimit, "1GiB": 1 << 40} {
		t.Setenv("GOMEMLIMIT", env)
		debug.SetMemoryLimit(1 << 40)
		fitMemory()
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("GOMEMLIMIT=%s: %d", env, got)
		}
	}
	if caches := int64(plugin.DefaultTokenCacheBytes + plugin.DefaultRefusalCacheBytes); caches > memoryLimit*6/10 {
		t.Errorf("the caches may take %d bytes", caches)
	}
}

// TestLintBound: a file above 16 MiB is refused, and not read on.
func TestLintBound(t *testing.T) {
	var out, errOut bytes.Buffer
	endless := io.LimitReader(zeros{}, 1<<40)
	if code := run([]string{"lint", "-"}, streams{endless, &out, &errOut}); code != 2 || !strings.Contains(errOut.String(), "16 MiB") {
		t.Errorf("exit %d: %s", code, errOut.String())
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
