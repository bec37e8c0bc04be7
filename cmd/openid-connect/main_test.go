package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
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
		{"-log-level loud", "openid-connect: invalid value"},
		{"-token-cache-bytes 0", "openid-connect: -token-cache-bytes and"},
		{"lint", "openid-connect lint: no file is named"},
		{"lint -x", "openid-connect lint: flag provided but not defined: -x"},
		{"lint " + absent, "openid-connect lint: open " + absent},
		{"verify", "openid-connect verify: -issuer is needed"},
		{"verify -x", "openid-connect verify: flag provided but not defined: -x"},
		{"verify -issuer i -jwks " + absent, "openid-connect verify: -jwks: open " + absent},
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
	for _, args := range []string{"help", "-h", "-help", "--help", "lint -h", "lint --help", "verify -h", "version -h"} {
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
		{name: "good", file: `{"config":{"issuer":"https://idp.example","cache_tokens_salt":"s"}}`, says: ": ok\n"},
		{name: "schema", file: `{"config":{}}`, code: 1, says: ":1: error: config.issuer: required field missing\n"},
		{name: "across fields", file: `{"config":{"issuer":"https://idp.example","token_headers_names":["a"]}}`, code: 1, says: ":1: error: config.token_headers_names: "},
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

// TestServe: the server answers Kong's StartInstance, says what it does in its log
// file, and ends when it is told to.
func TestServe(t *testing.T) {
	dir, err := os.MkdirTemp("", "oidc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := parseSettings([]string{"-kong-prefix", dir, "-log-file", filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	listening := make(chan struct{})
	go func() { served <- serve(ctx, s, &bytes.Buffer{}, func() { close(listening) }) }()
	select {
	case <-listening:
	case err := <-served:
		t.Fatal(err)
	}
	host := pluginserver.NewHost(s.socket)
	defer host.Close()
	if _, err := host.StartInstance(ctx, "openid-connect", []byte(`{"issuer":"https://idp.example","__seq__":1}`)); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || !strings.Contains(string(log), "serving") || !strings.Contains(string(log), "stopped") {
		t.Errorf("log %q, %v", log, err)
	}
}
