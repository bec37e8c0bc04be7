package keycloaktest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
)

// gateway is the development gateway with the real plugin behind its socket.
type gateway struct{ *plugintest.Gateway }

func newGateway(t *testing.T, config map[string]any) *gateway {
	t.Helper()
	return &gateway{plugintest.Start(t, plugintest.Options{Config: config})}
}

// answer is what came back to the client, and what the upstream saw.
type answer struct {
	plugintest.Response
	sent    time.Time
	reached bool // the upstream was called

	token    string // the upstream's bearer token, and what it says
	alg, kid string
	claims   map[string]any
}

// get sends one request with Basic credentials; one at a time.
func (g *gateway) get(t *testing.T, id, secret string) *answer {
	t.Helper()
	credentials := base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
	before := len(g.Upstream.Seen())
	a := &answer{sent: time.Now()}
	a.Response = g.Get(t, "Authorization", "Basic "+credentials)
	if seen := g.Upstream.Seen(); len(seen) > before {
		a.reached = true
		a.readToken(t, seen[len(seen)-1].Header.Values("Authorization"))
	}
	return a
}

func (a *answer) readToken(t *testing.T, credentials []string) {
	t.Helper()
	if len(credentials) != 1 || !strings.HasPrefix(credentials[0], "Bearer ") {
		t.Fatalf("the upstream saw Authorization %q", credentials)
	}
	a.token = strings.TrimPrefix(credentials[0], "Bearer ")
	segments := strings.Split(a.token, ".")
	if len(segments) != 3 {
		t.Fatal("the upstream saw a token that is no JWT")
	}
	var header struct{ Alg, Kid string }
	for i, into := range []any{&header, &a.claims} {
		raw, err := base64.RawURLEncoding.DecodeString(segments[i])
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatalf("the upstream saw a token that is no JWT: %v", err)
		}
	}
	a.alg, a.kid = header.Alg, header.Kid
}

// passed fails the test unless the request went on, with a token that had not ended when the client
// sent it.
func (a *answer) passed(t *testing.T) {
	t.Helper()
	if a.Status != http.StatusOK || !a.reached {
		t.Fatalf("status %d %s (upstream called: %v), want 200", a.Status, a.Body, a.reached)
	}
	exp, _ := a.claims["exp"].(float64)
	if end := time.Unix(int64(exp), 0); !a.sent.Before(end) {
		t.Fatalf("the upstream got a token %s after its end", a.sent.Sub(end))
	}
}

// refused fails the test unless the plugin answered with status, and the upstream was not called.
func (a *answer) refused(t *testing.T, status int) {
	t.Helper()
	if a.Status != status || a.reached {
		t.Fatalf("status %d %s (upstream called: %v), want %d", a.Status, a.Body, a.reached, status)
	}
	if a.Header.Get("X-Openid-Connect-Error-Id") == "" {
		t.Error("a refusal without an error id")
	}
}
