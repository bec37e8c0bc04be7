package plugin_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
)

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func startIDP(t testing.TB, o demoidp.Options) *demoidp.Server {
	t.Helper()
	idp, err := demoidp.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(idp.Close)
	return idp
}

// TestStory is the user's acceptance story, step by step.
func TestStory(t *testing.T) {
	idp := startIDP(t, demoidp.Options{})
	g := plugintest.Start(t, plugintest.Options{Config: map[string]any{
		"issuer": idp.Issuer(), "client_id": []string{"kong"}, "client_auth": []string{"private_key_jwt"},
	}})
	patched := g.Admin(t, http.MethodPatch, "/plugins/"+plugintest.PluginID, map[string]any{"config": map[string]any{
		"auth_methods": []string{"client_credentials"}, "client_credentials_param_type": []string{"header"},
	}})
	if got := patched["name"]; got != "openid-connect" {
		t.Fatalf("patched %v", patched)
	}
	if n := idp.Calls(demoidp.DiscoveryEndpoint); n != 0 {
		t.Errorf("a configuration made %d calls", n)
	}

	authorization := basic(plugintest.ClientID, plugintest.ClientSecret)
	for i := range 2 {
		answer := g.Get(t, "Authorization", authorization)
		if answer.Status != http.StatusOK {
			t.Fatalf("request %d: %d %s\n%s", i+1, answer.Status, answer.Body, g.Log)
		}
		seen := g.Upstream.Last(t).Header.Values("Authorization")
		if len(seen) != 1 || !strings.HasPrefix(seen[0], "Bearer ey") {
			t.Fatalf("request %d: the upstream saw %q", i+1, seen)
		}
		if n := idp.Calls(demoidp.TokenEndpoint); n != 1 {
			t.Errorf("request %d: %d calls to the token endpoint", i+1, n)
		}
	}
	sent := idp.TokenRequests()[0]
	if got := sent.Header.Get("Authorization"); got != authorization {
		t.Errorf("the credentials did not go on byte for byte")
	}
	if got := sent.Form.Encode(); got != "grant_type=client_credentials&scope=openid" {
		t.Errorf("token request %s", got)
	}
	if strings.Contains(g.Log.String(), plugintest.ClientSecret) || strings.Contains(g.Log.String(), authorization[6:]) {
		t.Error("a secret in the log")
	}
}
