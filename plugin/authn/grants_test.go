package authn

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// newTestGrants is the grants of a configuration whose token endpoint is answer.
func newTestGrants(t *testing.T, answer http.HandlerFunc, changes string) *grants {
	t.Helper()
	endpoint := httptest.NewServer(answer)
	t.Cleanup(endpoint.Close)
	cfg, _, err := config.Decode([]byte(`{"issuer":"` + endpoint.URL + `","token_endpoint":"` + endpoint.URL + `/token"` + changes + `}`))
	if err != nil {
		t.Fatal(err)
	}
	env := &Env{
		Tokens: cache.NewMemory[*Result](10), Refusals: cache.NewMemory[*Refusal](10), Flight: cache.NewFlight[*Result](),
		ProcessKey: cache.NewKeyer(nil), Registry: oidc.NewRegistry(oidc.RegistryOptions{}), Egress: egress.NewPool(egress.Options{}),
		Logger: slog.New(slog.DiscardHandler), Due: func(time.Duration, ...string) bool { return true }, Now: time.Now,
	}
	client := env.Egress.Client(egress.Settings{HTTPVersion: egress.HTTP11})
	provider := &Provider{
		Provider: env.Registry.Provider(oidc.ProviderConfig{Issuer: cfg.Issuer, Client: client}),
		Client:   client, Load: new(Load),
	}
	t.Cleanup(func() {
		env.Flight.Close()
		env.Registry.Close()
		env.Egress.Close()
	})
	return newGrants(cfg, env, grantOf{provider: provider, method: config.ClientCredentials, grant: config.GrantClientCredentials})
}

func testAsk() *tokenAsk {
	return &tokenAsk{auth: oauth2.ClientAuth{Method: oauth2.ClientSecretBasic, ID: "service", Secret: "secret"}}
}

// TestTooManyWait: at the limit a cold credential is refused without a call, and what is
// remembered is served all the same.
func TestTooManyWait(t *testing.T) {
	for _, tokens := range []string{"true", "false"} {
		t.Run("cache_tokens="+tokens, func(t *testing.T) {
			var calls atomic.Int64
			g := newTestGrants(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				fmt.Fprint(w, `{"access_token":"opaque-token","token_type":"Bearer","expires_in":300}`)
			}, `,"cache_tokens":`+tokens)
			warm, cold, refused := g.key([]string{"warm"}), g.key([]string{"cold"}), g.key([]string{"refused"})
			never := func() *tokenAsk {
				t.Error("asked all the same")
				return testAsk()
			}
			g.env.Refusals.Set(refused, &Refusal{Outcome: Unauthorized, Reason: "invalid_client"}, time.Hour)
			g.provider.Load.Requests.Store(maxWaiting - 1) // room for one
			if res, err := g.tokens(t.Context(), warm, testAsk); err != nil || res.AccessToken != "opaque-token" {
				t.Fatal(err)
			}

			g.provider.Load.Requests.Store(maxWaiting)
			for range 3 { // who was refused does not count as waiting
				var refusal *Refusal
				if _, err := g.tokens(t.Context(), cold, never); !errors.As(err, &refusal) || refusal.Outcome != Unavailable || refusal.Reason != "idp_busy" {
					t.Errorf("cold: %v", err)
				}
			}
			if refusal := AsRefusal(second(g.tokens(t.Context(), refused, never))); refusal.Reason != "invalid_client" {
				t.Errorf("refused before: %v", refusal)
			}
			if tokens == "true" {
				if res, err := g.tokens(t.Context(), warm, never); err != nil || res.AccessToken != "opaque-token" {
					t.Errorf("warm: %v", err)
				}
			}
			if n := g.provider.Load.Requests.Load(); n != maxWaiting {
				t.Errorf("%d wait", n)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("%d calls", n)
			}

			g.provider.Load.Requests.Store(maxWaiting - 1)
			if _, err := g.tokens(t.Context(), cold, testAsk); err != nil { // it was not held against the credential
				t.Errorf("with room again: %v", err)
			}
		})
	}
}

func second(_ *Result, err error) error { return err }

// TestRenewalEndsOnlyByCredentials: which failures of a renewal end the token that there is.
func TestRenewalEndsOnlyByCredentials(t *testing.T) {
	for _, c := range []struct {
		name        string
		status      int
		body        string
		clientInput bool
		lives       bool
	}{
		{name: "401", status: 401, body: `{"error":"invalid_client"}`},
		{name: "401 of a proxy", status: 401, body: `<html>`},
		{name: "invalid_client", status: 400, body: `{"error":"invalid_client"}`},
		{name: "unauthorized_client", status: 400, body: `{"error":"unauthorized_client"}`, clientInput: true},
		{name: "invalid_scope", status: 400, body: `{"error":"invalid_scope"}`, lives: true},
		{name: "access_denied", status: 403, body: `{"error":"access_denied"}`, lives: true},
		{name: "404", status: 404, lives: true},
		{name: "404 with input of the client", status: 404, clientInput: true, lives: true},
		{name: "400 with input of the client", status: 400, body: `{"error":"invalid_target"}`, clientInput: true, lives: true},
		{name: "429", status: 429, lives: true},
		{name: "500 with a code", status: 500, body: `{"error":"invalid_client"}`, lives: true},
		{name: "not JSON", status: 200, body: `<html>`, lives: true},
		{name: "a token that is not to be kept", status: 200, body: `{"access_token":"new","token_type":"Bearer","expires_in":0}`, lives: true},
		{name: "a token that does not verify", status: 200, body: `{"access_token":"eyJhbGciOiJub25lIn0.e30.","token_type":"Bearer"}`, lives: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newTestGrants(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}, "")
			key := g.key([]string{"service"})
			old := &Result{AccessToken: "old", ttl: time.Hour}
			g.env.Tokens.Set(key, old, time.Hour)
			a := testAsk()
			a.clientInput = c.clientInput
			_, err := g.renew(t.Context(), key, a)
			if err == nil {
				t.Fatal("renewed")
			}
			res, refusal := g.remembered(key)
			if (res != nil) != c.lives || (refusal == nil) != c.lives {
				t.Errorf("after %v: %v, %v", err, res, refusal)
			}
			if c.lives && old.renewalDue(time.Now()) {
				t.Error("the next hit asks again")
			}
		})
	}
}

// TestRenewalsAreBounded: a provider that hangs is not asked for ever more tokens, and the
// count comes back to where it was.
func TestRenewalsAreBounded(t *testing.T) {
	release := make(chan struct{})
	g := newTestGrants(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.WriteHeader(http.StatusServiceUnavailable)
	}, "")
	for i := range maxRenewals + 10 {
		key := g.key([]string{strconv.Itoa(i)})
		g.env.Tokens.Set(key, &Result{AccessToken: "old", ttl: time.Hour}, time.Hour) // due at once
		for range 2 {
			if res, err := g.tokens(t.Context(), key, testAsk); err != nil || res.AccessToken != "old" {
				t.Fatal(res, err)
			}
		}
	}
	if n := g.provider.Load.Renewals.Load(); n != maxRenewals {
		t.Errorf("%d renewals under way", n)
	}
	close(release)
	g.env.Flight.Close()
	if n := g.provider.Load.Renewals.Load(); n != 0 {
		t.Errorf("%d renewals after the end", n)
	}
}
