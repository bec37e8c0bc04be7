package keycloaktest

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// config is Kong's client-credentials example with what a case adds; the example's own client is
// not used by this grant.
func config(f *front, more map[string]any) map[string]any {
	c := map[string]any{
		"issuer":                        f.issuer(),
		"client_id":                     []string{"basic"},
		"client_secret":                 []string{secret},
		"client_auth":                   []string{"client_secret_basic"},
		"auth_methods":                  []string{"client_credentials"},
		"client_credentials_param_type": []string{"header"},
		"timeout":                       60_000, // on a busy machine Keycloak needs 10 s to make the first key of RS512
	}
	for name, value := range more {
		c[name] = value
	}
	return c
}

// The story: the plugin as its own client would have it, then only this grant, then two requests.
// (Its commands as forms are the demonstration's to play.)
func TestStory(t *testing.T) {
	f := newFront(t, theKeycloak(t))
	g := newGateway(t, map[string]any{"issuer": f.issuer(), "client_id": []string{"kong"}, "client_auth": []string{"private_key_jwt"}})
	g.Patch(t, map[string]any{"auth_methods": []string{"client_credentials"}, "client_credentials_param_type": []string{"header"}})

	first := g.get(t, "service", secret)
	first.passed(t)
	if first.claims["iss"] != f.issuer() || first.claims["azp"] != "service" {
		t.Errorf("the upstream saw a token of %v for %v", first.claims["iss"], first.claims["azp"])
	}
	second := g.get(t, "service", secret)
	second.passed(t)
	if second.token != first.token {
		t.Error("the second request brought another token")
	}
	if n := f.count(tokenPath); n != 1 {
		t.Errorf("%d calls of the token endpoint for two requests, want 1", n)
	}
	if n := f.count(keysPath); n != 1 {
		t.Errorf("%d calls for the keys, want 1", n)
	}
}

// What Keycloak refuses is 401, and is not asked again at once.
func TestRefusedCredentials(t *testing.T) {
	cases := map[string]struct{ id, secret string }{
		"wrong secret":    {"service", "not-the-secret"},
		"unknown client":  {"nobody", secret},
		"disabled client": {"disabled", secret},
		"other method":    {"post", secret}, // may use client_secret_post only
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, theKeycloak(t))
			g := newGateway(t, config(f, nil))
			for attempt := 1; attempt <= 2; attempt++ {
				a := g.get(t, c.id, c.secret)
				a.refused(t, http.StatusUnauthorized)
				if !strings.Contains(a.Body, `"Unauthorized"`) {
					t.Errorf("attempt %d: body %q", attempt, a.Body)
				}
				if challenges := a.Header.Values("WWW-Authenticate"); len(challenges) == 0 {
					t.Errorf("attempt %d: no challenge", attempt)
				}
				if n := f.count(tokenPath); n != 1 {
					t.Errorf("%d calls of the token endpoint after attempt %d, want 1", n, attempt)
				}
			}
		})
	}
}

// A refusal belongs to the id and the secret together: the right secret works at once.
func TestRightSecretAfterWrong(t *testing.T) {
	t.Parallel()
	f := newFront(t, theKeycloak(t))
	g := newGateway(t, config(f, nil))
	g.get(t, "service", "wrong").refused(t, http.StatusUnauthorized)
	g.get(t, "service", secret).passed(t)
	g.get(t, "service", "wrong").refused(t, http.StatusUnauthorized)
}

// Clients of every kind that this grant can have, each with what their tokens must let through or
// not.
func TestTokens(t *testing.T) {
	cases := map[string]struct {
		client string
		config map[string]any
		status int
		alg    string
	}{
		// Kong's published example: its plugin authenticates with client_secret_post, and so do the
		// forwarded credentials.
		"Kong's example": {client: "any-secret", status: 200, config: map[string]any{
			"client_id": []string{"post"}, "client_auth": []string{"client_secret_post"},
		}},
		"post only":               {client: "post", status: 200, config: map[string]any{"token_endpoint_auth_method": "client_secret_post"}},
		"issuer as an address":    {client: "service", status: 200, config: map[string]any{"issuer": "well-known"}},
		"RS256":                   {client: "alg-rs256", status: 200, alg: "RS256"},
		"RS384":                   {client: "alg-rs384", status: 200, alg: "RS384"},
		"RS512":                   {client: "alg-rs512", status: 200, alg: "RS512"},
		"PS256":                   {client: "alg-ps256", status: 200, alg: "PS256"},
		"PS384":                   {client: "alg-ps384", status: 200, alg: "PS384"},
		"PS512":                   {client: "alg-ps512", status: 200, alg: "PS512"},
		"ES256":                   {client: "alg-es256", status: 200, alg: "ES256"},
		"ES384":                   {client: "alg-es384", status: 200, alg: "ES384"},
		"ES512":                   {client: "alg-es512", status: 200, alg: "ES512"},
		"EdDSA":                   {client: "alg-eddsa", status: 200, alg: "EdDSA"},
		"HMAC with a realm's key": {client: "alg-hs256", status: 503},
		"typ at+jwt":              {client: "typ-at-jwt", status: 200},
		"lightweight":             {client: "lightweight", status: 200},
		"lightweight, audience":   {client: "lightweight", status: 403, config: map[string]any{"audience_required": []string{"kong-api"}}},
		"audience":                {client: "service", status: 200, config: map[string]any{"audience_required": []string{"kong-api"}}},
		"other audience":          {client: "service", status: 403, config: map[string]any{"audience_required": []string{"kong"}}},
		"scope":                   {client: "service", status: 200, config: map[string]any{"scopes_required": []string{"nothing", "email profile"}}},
		"missing scope":           {client: "service", status: 403, config: map[string]any{"scopes_required": []string{"email admin"}}},
		"role by a path":          {client: "service", status: 200, config: map[string]any{"scopes_claim": []string{"realm_access", "roles"}, "scopes_required": []string{"api-read"}}},
		"unsupported scope asked": {client: "service", status: 403, config: map[string]any{"scopes": []string{"no-such-scope"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, theKeycloak(t))
			conf := config(f, c.config)
			if conf["issuer"] == "well-known" {
				conf["issuer"] = f.issuer() + "/.well-known/openid-configuration"
			}
			g := newGateway(t, conf)
			a := g.get(t, c.client, secret)
			if c.status != http.StatusOK {
				a.refused(t, c.status)
				return
			}
			a.passed(t)
			if c.alg != "" && a.alg != c.alg {
				t.Errorf("the upstream saw a token of %s", a.alg)
			}
			if a.claims["azp"] != c.client {
				t.Errorf("the upstream saw the token of %v", a.claims["azp"])
			}
		})
	}
}

// Tokens of 5 s, asked for over three lifetimes: the upstream never sees one past its end.
func TestShortTokens(t *testing.T) {
	t.Parallel()
	f := newFront(t, theKeycloak(t))
	g := newGateway(t, config(f, nil))
	var tokens []string
	eventually(t, time.Minute, "three tokens one after the other", func() bool {
		a := g.get(t, "short", secret)
		a.passed(t) // also that the token had time left when the upstream got it
		if !slices.Contains(tokens, a.token) {
			tokens = append(tokens, a.token)
		}
		return len(tokens) > 3
	})
	if calls := f.count(tokenPath); calls > len(tokens)+1 { // a renewal may be under way
		t.Errorf("%d calls of the token endpoint for %d tokens", calls, len(tokens))
	}
}
