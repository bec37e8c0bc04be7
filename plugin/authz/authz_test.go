package authz

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, config, claims string
		reason               string // of the refusal; empty: may pass
	}{
		{name: "no rules", claims: `{}`},
		{name: "scope in a string", config: `"scopes_required":["admin"]`, claims: `{"scope":"openid admin"}`},
		{name: "scope in a list", config: `"scopes_required":["admin"]`, claims: `{"scope":["openid","admin"]}`},
		{name: "one of", config: `"scopes_required":["root","admin"]`, claims: `{"scope":"admin"}`},
		{name: "all of an entry", config: `"scopes_required":["a b"]`, claims: `{"scope":"b c a"}`},
		{name: "half of an entry", config: `"scopes_required":["a b"]`, claims: `{"scope":"a"}`, reason: "missing_scopes"},
		{name: "exact match", config: `"scopes_required":["admin"]`, claims: `{"scope":"admin2 xadmin"}`, reason: "missing_scopes"},
		{name: "missing", config: `"scopes_required":["admin"]`, claims: `{}`, reason: "missing_scopes"},
		{name: "null", config: `"scopes_required":["admin"]`, claims: `{"scope":null}`, reason: "missing_scopes"},
		{name: "an entry of spaces opens nothing", config: `"scopes_required":[" "]`, claims: `{"scope":"a"}`, reason: "missing_scopes"},
		{name: "other claim", config: `"scopes_required":["a"],"scopes_claim":["scp"]`, claims: `{"scp":"a"}`},
		{name: "audience", config: `"audience_required":["api"]`, claims: `{"aud":"api"}`},
		{name: "audience in a list", config: `"audience_required":["api"]`, claims: `{"aud":["x","api"]}`},
		{name: "audience prefix", config: `"audience_required":["api"]`, claims: `{"aud":"api.evil"}`, reason: "missing_audience"},
		{name: "audience nested", config: `"audience_required":["api"]`, claims: `{"aud":[["api"]]}`, reason: "missing_audience"},
		{name: "audience an object", config: `"audience_required":["api"]`, claims: `{"aud":{"api":true}}`, reason: "missing_audience"},
		{name: "audience empty", config: `"audience_required":["api"]`, claims: `{"aud":[]}`, reason: "missing_audience"},
		{name: "path", config: `"roles_required":["admin"],"roles_claim":["realm_access","roles"]`, claims: `{"realm_access":{"roles":["admin"]}}`},
		{name: "a dot is no path", config: `"roles_required":["admin"],"roles_claim":["a.b"]`, claims: `{"a":{"b":"admin"}}`, reason: "missing_roles"},
		{name: "names as they are", config: `"roles_required":["admin"],"roles_claim":["__proto__","roles"]`, claims: `{"roles":"admin"}`, reason: "missing_roles"},
		{name: "number", config: `"groups_required":["7"]`, claims: `{"groups":[7]}`},
		{name: "boolean", config: `"groups_required":["true"]`, claims: `{"groups":true}`},
		{name: "forbidden claim", config: `"claims_forbidden":["act"]`, claims: `{"act":{}}`, reason: "forbidden_claim"},
		{name: "forbidden claim absent", config: `"claims_forbidden":["act"]`, claims: `{"sub":"x"}`},
		{name: "both rules", config: `"scopes_required":["a"],"audience_required":["b"]`, claims: `{"scope":"a","aud":"c"}`, reason: "missing_audience"},
		{name: "opaque token", config: `"scopes_required":["a"]`, reason: OpaqueToken},
		{name: "opaque token, no rules"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, _, err := config.Decode([]byte(strings.Replace(`{"issuer":"https://idp.example",`+c.config+`}`, ",}", "}", 1)))
			if err != nil {
				t.Fatal(err)
			}
			res := &authn.Result{}
			if c.claims != "" {
				claims := map[string]any{}
				dec := json.NewDecoder(strings.NewReader(c.claims))
				dec.UseNumber() // as package oidc decodes claims
				if err := dec.Decode(&claims); err != nil {
					t.Fatal(err)
				}
				res.Access = &oidc.Token{Claims: claims}
			}
			// What an ID token says never opens.
			res.ID = &oidc.Token{Claims: map[string]any{"scope": "admin a b", "aud": "api", "roles": "admin"}}
			refusal := Compile(cfg).Check(res)
			switch {
			case refusal == nil && c.reason != "":
				t.Errorf("passed, want %s", c.reason)
			case refusal != nil && (refusal.Reason != c.reason || refusal.Status != authn.Forbidden):
				t.Errorf("got %d %s, want %q", refusal.Status, refusal.Reason, c.reason)
			}
		})
	}
}

// TestLacking: the log says what the token has and what is asked for, in bounds.
func TestLacking(t *testing.T) {
	cfg, _, err := config.Decode([]byte(`{"issuer":"https://idp.example","audience_required":["orders","a b"]}`))
	if err != nil {
		t.Fatal(err)
	}
	var many []any
	for range 100 {
		many = append(many, strings.Repeat("x", 1000)+"\n")
	}
	for want, aud := range map[string]any{
		`the token's aud has ["service"]; audience_required asks for [["orders"] ["a" "b"]]`: "service",
		`the token's aud has []; audience_required asks for [["orders"] ["a" "b"]]`:          nil,
		`and 92 more; audience_required`:                                                     many,
	} {
		refusal := Compile(cfg).Check(&authn.Result{Access: &oidc.Token{Claims: map[string]any{"aud": aud}}})
		if text := refusal.Error(); !strings.Contains(text, want) || len(text) > 1000 || strings.Contains(text, "\n") {
			t.Errorf("%s", text)
		}
	}
}
