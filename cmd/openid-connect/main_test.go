package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

func TestSettings(t *testing.T) {
	t.Setenv("OPENID_CONNECT_LOG_LEVEL", "warn")
	t.Setenv("OPENID_CONNECT_KONG_PREFIX", "/from/env")
	t.Setenv("OPENID_CONNECT_RESOLVE", "a.test:80=127.0.0.1:1,b.test:80=127.0.0.1:2")
	s, err := parseSettings([]string{"-kong-prefix", "/from/flag", "-socket-mode", "0660", "-resolve", "a.test:80=127.0.0.1:3"}, &bytes.Buffer{})
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

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{"serve"}, {"-nonsense"}, {"-socket-mode", "999"}, {"-resolve", "a=b"}, {"-resolve", "a.test:80=b.test:80"}, {"-log-level", "loud"}, {"-help"}, {"lint"}, {"verify"},
	} {
		var out, errOut bytes.Buffer
		if code := run(args, strings.NewReader(""), &out, &errOut); code != 2 || errOut.Len() == 0 || out.Len() != 0 {
			t.Errorf("%v: exit %d, said %q and %q", args, code, out.String(), errOut.String())
		}
	}
	t.Setenv("OPENID_CONNECT_SOCKET_MODE", "rw")
	var errOut bytes.Buffer
	if code := run(nil, nil, &bytes.Buffer{}, &errOut); code != 2 || !strings.Contains(errOut.String(), "OPENID_CONNECT_SOCKET_MODE") {
		t.Errorf("exit %d: %s", code, errOut.String())
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
	var out, errOut bytes.Buffer
	if code := run([]string{"-dump", "-kong-prefix", "/opt/kong"}, nil, &out, &errOut); code != 0 {
		t.Fatalf("exit %d: %s", code, errOut.String())
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
	if err := json.Unmarshal(out.Bytes(), &dump); err != nil {
		t.Fatal(err)
	}
	if dump.Protocol != "ProtoBuf:1" || dump.SocketPath != "/opt/kong/openid-connect.socket" || len(dump.Plugins) != 1 {
		t.Fatalf("%.200s", out.String())
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
		{name: "good", file: `{"config":{"issuer":"https://idp.example"}}`, says: "ok\n"},
		{name: "schema", file: `{"config":{}}`, code: 1, says: "error: config.issuer: required field missing\n"},
		{name: "across fields", file: `{"config":{"issuer":"https://idp.example","token_headers_names":["a"]}}`, code: 1, says: "error: config.token_headers_names: "},
		{name: "not built", file: `{"config":{"issuer":"https://idp.example","auth_methods":["bearer"]}}`, code: 1, says: "error: config.auth_methods: no usable method is left"},
		{name: "warning", file: `{"config":{"issuer":"http://idp.example"}}`, says: "warning: config.issuer: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "plugin.json")
			if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errOut bytes.Buffer
			if code := run([]string{"lint", file}, nil, &out, &errOut); code != c.code || !strings.HasPrefix(out.String(), c.says) {
				t.Errorf("exit %d: %s%s", code, out.String(), errOut.String())
			}
		})
	}
	var out, errOut bytes.Buffer
	if code := run([]string{"lint", filepath.Join(t.TempDir(), "absent")}, nil, &out, &errOut); code != 1 {
		t.Errorf("an absent file: exit %d", code)
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
	s, err := parseSettings([]string{"-kong-prefix", dir, "-log-file", filepath.Join(dir, "log")}, &bytes.Buffer{})
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
