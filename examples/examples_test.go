// Package examples_test runs every folder of examples as its README says: kong.yml in a gateway, a
// provider and an upstream in their places, and request.sh against them.
package examples_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/devgateway"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/plugin"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// The names that examples use for the provider and the upstream.
const (
	issuer       = "http://keycloak.test:8080/auth/realms/master"
	providerName = "keycloak.test:8080"
	upstreamName = "httpbin.org:80"
)

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("*/kong.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no example: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Dir(file), func(t *testing.T) {
			kongYML, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			problems, err := config.Lint(kongYML)
			for _, p := range problems {
				if !p.Warning {
					t.Errorf("lint: %s: %s", p.Field, p.Message)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			runRequests(t, filepath.Dir(file), startGateway(t, kongYML))
		})
	}
}

// startGateway returns the address of a proxy that has the example's entities.
func startGateway(t *testing.T, kongYML []byte) string {
	t.Helper()
	provider, err := demoidp.Start(t.Context(), demoidp.Options{Issuer: issuer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(provider.Close)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.Header.Write(w)
	}))
	t.Cleanup(upstream.Close)

	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	p := plugin.New(plugin.Options{Resolve: map[string]string{providerName: provider.Addr()}, Logger: logger})
	t.Cleanup(p.Close)
	socket := plugintest.Serve(t, p, logger)
	dump, err := plugin.Dump(socket)
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := devgateway.New(devgateway.Options{
		Plugins: []devgateway.Plugin{{Dump: dump, Socket: socket}},
		KongYML: kongYML,
		Resolve: map[string]string{upstreamName: upstream.Listener.Addr().String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gateway.Close)
	proxy := httptest.NewServer(gateway.ProxyHandler())
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// runRequests runs the example's script, which checks the answers' statuses; that the upstream saw
// the token is checked here.
func runRequests(t *testing.T, dir, proxy string) {
	t.Helper()
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("the script needs %s: %v", tool, err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "request.sh")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PROXY="+proxy, "NO_PROXY=*")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.String())
	}
	if n := strings.Count(string(out), "Authorization: Bearer ey"); n == 0 {
		t.Errorf("the upstream has seen no token:\n%s", out)
	}
	if strings.Contains(string(out), "Basic ") {
		t.Errorf("the upstream has seen the client's credentials:\n%s", out)
	}
}
