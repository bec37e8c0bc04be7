package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
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
	for line, says := range map[string]string{
		"serve": `unknown command "serve"`, "lnit": `unknown command "lnit", did you mean "lint"?`, "-socket x lint": "the command lint must come first",
		"-nonsense": "-nonsense", "-socket-mode 999": "-socket-mode", "-resolve a=b": "-resolve", "-resolve a.test:80=b.test:80": "-resolve",
		"-log-level loud": "-log-level", "help frob": `"frob"`, "version 1": `"1"`, "lint": "which file", "lint -x a": "-x", "verify": "-issuer", "verify -x": "-x",
	} {
		var out, errOut bytes.Buffer
		code := run(strings.Fields(line), strings.NewReader(""), &out, &errOut)
		lines := strings.Split(errOut.String(), "\n")
		if code != 2 || out.Len() != 0 || len(lines) != 3 || !strings.Contains(lines[0], says) || !strings.HasSuffix(lines[1], ` -h" for help.`) {
			t.Errorf("%s: exit %d, said %q and %q", line, code, out.String(), errOut.String())
		}
	}
	t.Setenv("OPENID_CONNECT_SOCKET_MODE", "rw")
	var errOut bytes.Buffer
	if code := run(nil, nil, &bytes.Buffer{}, &errOut); code != 2 || !strings.Contains(errOut.String(), "OPENID_CONNECT_SOCKET_MODE") {
		t.Errorf("exit %d: %s", code, errOut.String())
	}
}

// TestHelp: whoever asks for help gets it on standard output, whatever the environment says.
func TestHelp(t *testing.T) {
	t.Setenv("OPENID_CONNECT_LOG_LEVEL", "loud")
	for line, says := range map[string]string{
		"help": "-socket-mode", "-h": "-socket-mode", "-help": "-socket-mode", "--help": "-socket-mode", "-socket x -h": "-socket-mode",
		"help lint": "16 MiB", "lint -h": "16 MiB", "lint --help a b": "16 MiB", "help verify": "-leeway", "verify -help": "-leeway", "verify -batch -h": "-leeway",
		"version": runtime.Version(), "-version": runtime.Version(), "--version": runtime.Version(), "help version": "-socket-mode",
	} {
		var out, errOut bytes.Buffer
		if code := run(strings.Fields(line), nil, &out, &errOut); code != 0 || errOut.Len() != 0 || !strings.Contains(out.String(), says) {
			t.Errorf("%s: exit %d, said %q and %q", line, code, out.String(), errOut.String())
		}
	}
	for _, command := range commands {
		if !strings.Contains(usage, "  openid-connect "+command+" ") {
			t.Errorf("the overview does not have %s", command)
		}
	}
	if v := version(); strings.Contains(v, "\n") || !strings.HasPrefix(v, "openid-connect "+plugin.Version+", commit ") {
		t.Errorf("version %q", v)
	}
}

func TestUnknownVariables(t *testing.T) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	for _, name := range []string{"dump", "version", "socket", "log-level"} {
		flags.String(name, "", "")
	}
	got := strings.Join(unknownVariables(flags, []string{
		"OPENID_CONNECT_SOCKET=a", "OPENID_CONNECT_LOG_LEVL=secret", "OPENID_CONNECT_DUMP=1", "openid_connect_socket=", "OPENID_CONNECT=1", "PATH=/",
		"OPENID_CONNECT_SERVICE_HOST=10.0.0.1", "OPENID_CONNECT_PORT=tcp://10.0.0.1:80", "OPENID_CONNECT_IDP_PORT_80_TCP_ADDR=10.0.0.1",
		"OPENID_CONNECT_SERVICE_PORT_HTTP=80",
	}), "\n")
	want := `unknown environment variable OPENID_CONNECT_LOG_LEVL, did you mean "OPENID_CONNECT_LOG_LEVEL"?; known are OPENID_CONNECT_LOG_LEVEL, OPENID_CONNECT_SOCKET
unknown environment variable OPENID_CONNECT_DUMP; known are OPENID_CONNECT_LOG_LEVEL, OPENID_CONNECT_SOCKET`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	t.Setenv("OPENID_CONNECT_LOG_LEVL", "debug")
	if s, err := parseSettings(nil, nil); err != nil || len(s.warnings) != 1 {
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
	const good, salt = `{"config":{"issuer":"https://idp.example"}}`, `cache_tokens_salt: s, issuer: "https://idp.example"`
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"good.json": good, "schema.json": `{"config":{}}`, "html": "<html>", "empty": "",
		"fields.json":   "{\"config\":{\n\"issuer\":\"https://idp.example\",\n\"token_headers_names\":[\"a\"]}}",
		"unbuilt.json":  `{"config":{"issuer":"https://idp.example","auth_methods":["bearer"]}}`,
		"warning.json":  `{"config":{"issuer":"http://idp.example"}}`,
		"kong.yml":      "_format_version: \"3.0\"\nplugins:\n- {name: openid-connect, config: {" + salt + "}}\n",
		"other.yml":     "_format_version: \"3.0\"\nplugins:\n- {name: jwt}\n",
		"otherbad.yml":  "_format_version: 3\nplugins:\n- {name: jwt}\n",
		"misspelt.yml":  "_format_version: \"3.0\"\nplugins:\n- name: openid-connect\n  config: {" + salt + ",\n    laeway: 1}\n",
		"documents.yml": "plugins: []\n---\n\nplugins: []\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, size := range map[string]int64{"large": maxLintFile + 1, "just": maxLintFile} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		files string
		code  int
		says  string // the beginning of what is said on standard output, then on standard error
	}{
		{"good.json", 0, "ok\n"},
		{"-", 0, "ok\n"},
		{"schema.json", 1, "schema.json:1: config.issuer: required field missing\n"},
		{"fields.json", 1, "fields.json:3: config.token_headers_names: "},
		{"unbuilt.json", 1, "unbuilt.json:1: config.auth_methods: no usable method is left"},
		{"warning.json", 0, "warning.json:1: warning: config.issuer: is not encrypted"},
		{"misspelt.yml", 1, "misspelt.yml:5: plugins[1].config.laeway: unknown field, did you mean leeway?\n"},
		{"documents.yml", 1, "documents.yml:4: another YAML document"},
		{"empty", 1, "empty: the file is empty\n"},
		{"html", 1, "html:1: neither a kong.yml nor a plugin\n"},
		{"kong.yml other.yml", 0, "ok\n"},
		{"other.yml", 1, "openid-connect lint: no openid-connect plugin"},
		{"otherbad.yml good.json schema.json", 1, "otherbad.yml:1: _format_version: expected a string, put it in quotes: \"3.0\"\nschema.json:1: config.issuer: "},
		{"absent good.json", 2, "openid-connect lint: open absent: "},
		{"absent schema.json", 2, "schema.json:1: config.issuer: required field missing\nopenid-connect lint: open absent: "},
		{".", 2, "openid-connect lint: read .: "},
		{"large", 2, "openid-connect lint: large is larger than 16 MiB"},
		{"just", 1, "just: not YAML: "},
	} {
		var out, errOut bytes.Buffer
		code := run(append([]string{"lint"}, strings.Fields(c.files)...), strings.NewReader(good), &out, &errOut)
		if got := out.String() + errOut.String(); code != c.code || !strings.HasPrefix(got, c.says) {
			t.Errorf("%s: exit %d: %s", c.files, code, got)
		}
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
