package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
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
		Results:    NewKeeper(Sizes{Values: cache.Bounds{Entries: 1000}, Refusals: cache.Bounds{Entries: 10}}, (*Result).Cost, time.Now),
		ProcessKey: cache.NewKeyer(nil), Registry: oidc.NewRegistry(oidc.RegistryOptions{}), Egress: egress.NewPool(egress.Options{}),
		Logger: slog.New(slog.DiscardHandler), Due: func(time.Duration, ...string) bool { return true }, Now: time.Now,
	}
	client := env.Egress.Client(egress.Settings{HTTPVersion: egress.HTTP11})
	provider := &Provider{
		Provider: env.Registry.Provider(oidc.ProviderConfig{Issuer: cfg.Issuer, Client: client}),
		Client:   client, Load: new(Load),
	}
	t.Cleanup(func() {
		env.Results.Close()
		env.Registry.Close()
		env.Egress.Close()
	})
	return newGrants(cfg, env, grantOf{provider: provider, method: config.ClientCredentials, grant: config.GrantClientCredentials})
}

// asked is a question of the grants' own: a token request like any other.
type asked struct {
	g *grants
	tokenAsk
}

func testAsk(g *grants) *asked {
	return &asked{g: g, tokenAsk: tokenAsk{
		auth:  oauth2.ClientSecretBasic,
		proof: func(oauth2.AuthMethod) oauth2.Proof { return oauth2.Basic{ID: "service", Secret: "secret"} },
	}}
}

func (a *asked) obtain(ctx context.Context) (*Result, Life, error) {
	return a.g.obtain(ctx, &a.tokenAsk)
}

// never is a question that must not be asked.
type never struct{ t *testing.T }

func (n never) obtain(context.Context) (*Result, Life, error) {
	n.t.Error("asked all the same")
	return nil, Life{}, errors.New("asked")
}

func (g *grants) testKey(name string) cache.Key { return g.keyer.Key("test", name) }

// TestTooManyWait: at the limit a cold credential is refused without a call, and what is
// remembered is served all the same.
func TestTooManyWait(t *testing.T) {
	for _, tokens := range []string{"true", "false"} {
		t.Run("cache_tokens="+tokens, func(t *testing.T) {
			var calls atomic.Int64
			g := newTestGrants(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/token" {
					return // the keys, which nobody needs
				}
				calls.Add(1)
				fmt.Fprint(w, `{"access_token":"opaque-token","token_type":"Bearer","expires_in":300}`)
			}, `,"cache_tokens":`+tokens)
			warm, cold, refused := g.testKey("warm"), g.testKey("cold"), g.testKey("refused")
			k, load := g.env.Results, g.provider.Load
			ask := func(key cache.Key, q question[*Result]) (*Result, *Refusal) {
				res, err := k.get(t.Context(), key, &g.terms, q)
				if err != nil {
					return res, AsRefusal(err)
				}
				return res, nil
			}
			_ = k.refused(refused, &g.terms, &Refusal{Status: Unauthorized, Reason: "invalid_client", keep: keepNegative})
			load.requests.Store(maxWaiting - 1) // room for one
			if res, refusal := ask(warm, testAsk(g)); refusal != nil || res.AccessToken != "opaque-token" {
				t.Fatal(refusal)
			}

			load.requests.Store(maxWaiting)
			for range 3 { // who was refused does not count as waiting
				if _, refusal := ask(cold, never{t}); refusal == nil || refusal.Status != Unavailable || refusal.Reason != "idp_busy" {
					t.Errorf("cold: %v", refusal)
				}
			}
			if _, refusal := ask(refused, never{t}); refusal.Reason != "invalid_client" {
				t.Errorf("refused before: %v", refusal)
			}
			if tokens == "true" {
				if res, refusal := ask(warm, never{t}); refusal != nil || res.AccessToken != "opaque-token" {
					t.Errorf("warm: %v", refusal)
				}
			}
			if n := load.requests.Load(); n != maxWaiting {
				t.Errorf("%d wait", n)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("%d calls", n)
			}

			load.requests.Store(maxWaiting - 1)
			if _, refusal := ask(cold, testAsk(g)); refusal != nil { // it was not held against the credential
				t.Errorf("with room again: %v", refusal)
			}
		})
	}
}

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
			key, k, now := g.testKey("service"), g.env.Results, time.Now()
			old := &kept[*Result]{value: &Result{AccessToken: "old"}, life: Life{Ends: now.Add(time.Hour), Renew: now}}
			k.values.Set(key, old, now, old.life.Ends)
			a := testAsk(g)
			a.clientInput = c.clientInput
			_, err := k.renew(t.Context(), key, &g.terms, a, old)
			if err == nil {
				t.Fatal("renewed")
			}
			e, refusal := k.known(key, &g.terms, now)
			if (e != nil) != c.lives || (refusal == nil) != c.lives {
				t.Errorf("after %v: %v, %v", err, e, refusal)
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
	k, now := g.env.Results, time.Now()
	for i := range maxRenewals + 10 {
		key := g.testKey(strconv.Itoa(i))
		k.values.Set(key, &kept[*Result]{value: &Result{AccessToken: "old"}, life: Life{Ends: now.Add(time.Hour), Renew: now}}, now, now.Add(time.Hour))
		for range 2 {
			if res, err := k.get(t.Context(), key, &g.terms, testAsk(g)); err != nil || res.AccessToken != "old" {
				t.Fatal(res, err)
			}
		}
	}
	if n := g.provider.Load.renewals.Load(); n != maxRenewals {
		t.Errorf("%d renewals under way", n)
	}
	close(release)
	k.Close()
	if n := g.provider.Load.renewals.Load(); n != 0 {
		t.Errorf("%d renewals after the end", n)
	}
}

// TestReplayed: a header of the token endpoint that Kong would not take is left out, and does not
// make every hit a 500.
func TestReplayed(t *testing.T) {
	g := newTestGrants(t, http.NotFound, `,"token_headers_replay":["X-Note","X-Quota"],"token_headers_prefix":"P-"`)
	got := g.replayed(http.Header{"X-Note": {"caf\xe9", "tab\there", "fine"}, "X-Quota": {"\xff"}, "X-Other": {"1"}})
	if want := []kong.Header{{Name: "P-X-Note", Values: []string{"fine"}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
