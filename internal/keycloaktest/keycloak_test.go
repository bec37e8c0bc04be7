package keycloaktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startLimit is for a first start on a busy machine; a usual one takes 10 to 20 seconds.
const startLimit = 3 * time.Minute

// secret is that of every client of testdata/realm-kong.json which has one, but for secret-jwt.
const secret = "cf4c655a-0622-4ce6-a0de-d3353ef0b714"

// server is the one Keycloak of this package; nil where there is none. Tests take it through
// theKeycloak.
var server *keycloak

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	home := os.Getenv("OPENID_CONNECT_KEYCLOAK")
	if home == "" {
		return m.Run()
	}
	dir := os.Getenv("OPENID_CONNECT_KEYCLOAK_RUN")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "keycloaktest-"+strconv.Itoa(os.Getpid()))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
	}
	port, err := freePort()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server = &keycloak{home: home, dir: dir, port: port}
	began := time.Now()
	if err := server.start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.stop()
	fmt.Printf("keycloak: ready on 127.0.0.1:%d after %s\n", port, time.Since(began).Round(100*time.Millisecond))
	return m.Run()
}

// theKeycloak is the running server, or skips the test: in CI it fails instead.
func theKeycloak(t *testing.T) *keycloak {
	t.Helper()
	switch {
	case server != nil:
	case os.Getenv("CI") == "true":
		t.Fatal("OPENID_CONNECT_KEYCLOAK is not set: CI runs this suite through .ci/keycloak")
	default:
		t.Skip("OPENID_CONNECT_KEYCLOAK does not name an unpacked Keycloak: run .ci/keycloak")
	}
	return server
}

// keycloak is one server process in its in-memory mode: each start imports the realm anew and makes
// new keys.
type keycloak struct {
	home, dir string
	port      int
	cmd       *exec.Cmd
	exited    chan error
}

// origin is the address to send requests to; the issuer follows the Host header that they carry.
func (k *keycloak) origin() *url.URL {
	return &url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(k.port)}
}

// start returns when the realm is served.
func (k *keycloak) start() error {
	importDir := filepath.Join(k.home, "data", "import")
	if err := os.MkdirAll(importDir, 0o700); err != nil {
		return err
	}
	realm, err := os.ReadFile("testdata/realm-kong.json")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(importDir, "realm-kong.json"), realm, 0o600); err != nil {
		return err
	}
	logPath := filepath.Join(k.dir, "keycloak.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()

	// --cache=local, or JGroups listens beyond loopback.
	cmd := exec.Command(filepath.Join(k.home, "bin", "kc.sh"), "start", "--db=dev-mem", "--cache=local", "--http-relative-path=/auth",
		"--http-enabled=true", "--http-host=127.0.0.1", "--http-port="+strconv.Itoa(k.port), "--hostname-strict=false", "--import-realm")
	cmd.Env = append(os.Environ(), "KC_BOOTSTRAP_ADMIN_USERNAME=admin", "KC_BOOTSTRAP_ADMIN_PASSWORD=admin",
		"JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // kc.sh may wait for a java child: both end together
	if err := cmd.Start(); err != nil {
		return err
	}
	k.cmd, k.exited = cmd, make(chan error, 1)
	go func() { k.exited <- cmd.Wait() }()
	if err := os.WriteFile(filepath.Join(k.dir, "keycloak.pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		k.stop()
		return err
	}
	return k.awaitRealm(logPath)
}

func (k *keycloak) awaitRealm(logPath string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	discovery := k.origin().JoinPath("/auth/realms/kong/.well-known/openid-configuration").String()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, _, err := call(ctx, http.MethodGet, discovery, "", nil); err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case err := <-k.exited:
			k.exited <- err
			return errors.New("keycloak ended before it was ready: " + tail(logPath))
		case <-ctx.Done():
			k.stop()
			return errors.New("keycloak is not ready: " + tail(logPath))
		case <-tick.C:
		}
	}
}

// stop ends the process group that start made, and waits for it.
func (k *keycloak) stop() {
	if k.cmd == nil {
		return
	}
	pid := k.cmd.Process.Pid
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	select {
	case <-k.exited:
	case <-time.After(30 * time.Second):
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		<-k.exited
	}
	_ = os.Remove(filepath.Join(k.dir, "keycloak.pid"))
	k.cmd = nil
}

// rotate adds a key provider for RS256 with a higher priority than any before it, as an
// administrator does: new tokens are signed with its key at once.
func (k *keycloak) rotate(t *testing.T, priority int) {
	t.Helper()
	ctx := t.Context()
	login := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {"admin"}}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	k.admin(ctx, t, http.MethodPost, "/auth/realms/master/protocol/openid-connect/token", "", login, &token)
	var realm struct {
		ID string `json:"id"`
	}
	k.admin(ctx, t, http.MethodGet, "/auth/admin/realms/kong", token.AccessToken, nil, &realm)
	component := map[string]any{
		"name": "rotated-" + strconv.Itoa(priority), "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider", "parentId": realm.ID,
		"config": map[string][]string{"priority": {strconv.Itoa(priority)}, "enabled": {"true"}, "active": {"true"}, "algorithm": {"RS256"}, "keySize": {"2048"}},
	}
	k.admin(ctx, t, http.MethodPost, "/auth/admin/realms/kong/components", token.AccessToken, component, nil)
}

func (k *keycloak) admin(ctx context.Context, t *testing.T, method, path, token string, body, into any) {
	t.Helper()
	status, answer, err := call(ctx, method, k.origin().JoinPath(path).String(), token, body)
	if err != nil || status/100 != 2 {
		t.Fatalf("keycloak: %s %s: %d %s %v", method, path, status, answer, err)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			t.Fatalf("keycloak: %s %s: %v", method, path, err)
		}
	}
}

// call sends body as a form or, where it is anything else, as JSON.
func call(ctx context.Context, method, address, token string, body any) (int, []byte, error) {
	var reader io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case url.Values:
		contentType, reader = "application/x-www-form-urlencoded", strings.NewReader(b.Encode())
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, answer, err
}

// freePort may lose its port to another process before Keycloak binds it; Keycloak then ends and
// says so.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func tail(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-3000):])
}
