package oidc

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

func TestDocumentURL(t *testing.T) {
	for _, tt := range []struct{ issuer, url, id, must string }{
		{"https://idp.test", "https://idp.test/.well-known/openid-configuration", "https://idp.test", "https://idp.test"},
		{"https://idp.test/", "https://idp.test/.well-known/openid-configuration", "https://idp.test", "https://idp.test"},
		{"http://idp.test:8080/auth/realms/master", "http://idp.test:8080/auth/realms/master/.well-known/openid-configuration", "http://idp.test:8080/auth/realms/master", "http://idp.test:8080/auth/realms/master"},
		{"https://idp.test/a/.well-known/openid-configuration", "https://idp.test/a/.well-known/openid-configuration", "https://idp.test/a", ""},
		{"https://idp.test/.well-known/openid-configuration?p=policy", "https://idp.test/.well-known/openid-configuration?p=policy", "https://idp.test", ""},
		{"https://idp.test/.well-known/oauth-authorization-server", "https://idp.test/.well-known/oauth-authorization-server", "https://idp.test", ""},
		{"https://idp.test/.well-known/oauth-authorization-server/tenant", "https://idp.test/.well-known/oauth-authorization-server/tenant", "https://idp.test/tenant", ""},
	} {
		d, err := newDiscovery(tt.issuer)
		if err != nil || d.url.String() != tt.url || d.id != tt.id || d.issuer != tt.must {
			t.Errorf("%s: %v %v %q", tt.issuer, err, d.url, d.issuer)
		}
	}
	for issuer, kind := range map[string]egress.Kind{
		"": egress.RefusedURL, "idp.test": egress.RefusedURL, "file:///etc/passwd": egress.RefusedURL, "gopher://idp.test": egress.RefusedURL,
		"https://u:canary@idp.test": egress.RefusedURL, "https://idp.test?a=canary": egress.RefusedURL, "https://idp.test#f": egress.RefusedURL,
		"http://169.254.169.254/": egress.RefusedAddress,
	} {
		if _, err := newDiscovery(issuer); !errors.Is(err, kind) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}

// Rows 57 and 58, and G04: what nobody needs may be wrong, with a warning that names it.
func TestParseMetadata(t *testing.T) {
	const ok = `"issuer":"https://idp.test"`
	tests := []struct {
		name, issuer, doc string
		want              string // "ok", the Fault's Kind, or "not used: MEMBER"
	}{
		{"smallest", "https://idp.test", `{` + ok + `}`, "ok"},
		{"byte order mark", "https://idp.test", "\ufeff{" + ok + `}`, "ok"},
		{"document has the slash", "https://idp.test", `{"issuer":"https://idp.test/"}`, "ok"},
		{"configuration has the slash", "https://idp.test/", `{` + ok + `}`, "ok"},
		{"two slashes", "https://idp.test", `{"issuer":"https://idp.test//"}`, "discovery_mismatch"},
		{"other issuer", "https://idp.test", `{"issuer":"https://idp.test.evil"}`, "discovery_mismatch"},
		{"other case", "https://idp.test", `{"issuer":"https://IDP.test"}`, "discovery_mismatch"},
		{"prefix", "https://idp.test", `{"issuer":"https://idp.tes"}`, "discovery_mismatch"},
		{"any issuer by URL", "https://idp.test/.well-known/openid-configuration", `{"issuer":"https://other.test/{tenant}"}`, "ok"},
		{"no issuer by URL", "https://idp.test/.well-known/openid-configuration", `{}`, "discovery_mismatch"},
		{"no issuer", "https://idp.test", `{}`, "discovery_mismatch"},
		{"issuer null", "https://idp.test", `{"issuer":null}`, "discovery_mismatch"},
		{"issuer list", "https://idp.test", `{"issuer":["https://idp.test"]}`, "idp_bad_discovery"},
		{"issuer twice", "https://idp.test", `{` + ok + `,` + ok + `}`, "idp_bad_discovery"},
		{"case variant", "https://idp.test", `{"Issuer":"https://idp.test"}`, "discovery_mismatch"},
		{"HTML", "https://idp.test", `<html>`, "idp_bad_discovery"},
		{"list", "https://idp.test", `[]`, "idp_bad_discovery"},
		{"something behind", "https://idp.test", `{` + ok + `}x`, "idp_bad_discovery"},
		{"alg none", "https://idp.test", `{` + ok + `,"id_token_signing_alg_values_supported":["none"]}`, "not used: id_token_signing_alg_values_supported"},
		{"a string for a list", "https://idp.test", `{` + ok + `,"id_token_signing_alg_values_supported":"RS256"}`, "ok"},
		{"a list of numbers", "https://idp.test", `{` + ok + `,"scopes_supported":[1]}`, "not used: scopes_supported"},
		{"PAR a string", "https://idp.test", `{` + ok + `,"require_pushed_authorization_requests":"yes"}`, "not used: require_pushed_authorization_requests"},
		{"endpoint number", "https://idp.test", `{` + ok + `,"token_endpoint":1}`, "not used: token_endpoint"},
		{"endpoint false", "https://idp.test", `{` + ok + `,"userinfo_endpoint":false}`, "not used: userinfo_endpoint"},
		{"endpoint null", "https://idp.test", `{` + ok + `,"token_endpoint":null}`, "ok"},
		{"endpoint empty", "https://idp.test", `{` + ok + `,"token_endpoint":""}`, "ok"},
		{"other host", "https://idp.test", `{` + ok + `,"token_endpoint":"https://oauth2.idp.test/token"}`, "ok"},
		{"private address", "https://idp.test", `{` + ok + `,"jwks_uri":"https://10.0.0.1/jwks"}`, "ok"},
		{"http", "https://idp.test", `{` + ok + `,"authorization_endpoint":"http://idp.test/auth"}`, "not used: authorization_endpoint"},
		{"http from http", "http://idp.test", `{"issuer":"http://idp.test","jwks_uri":"http://idp.test/jwks"}`, "ok"},
		{"file", "http://idp.test", `{"issuer":"http://idp.test","jwks_uri":"file:///etc/passwd"}`, "not used: jwks_uri"},
		{"no URL", "https://idp.test", `{` + ok + `,"end_session_endpoint":"TBD"}`, "not used: end_session_endpoint"},
		{"fragment", "https://idp.test", `{` + ok + `,"revocation_endpoint":"https://idp.test/#x"}`, "not used: revocation_endpoint"},
		{"user", "https://idp.test", `{` + ok + `,"token_endpoint":"https://a:canary@idp.test/"}`, "not used: token_endpoint"},
		{"relative", "https://idp.test", `{` + ok + `,"token_endpoint":"/token"}`, "not used: token_endpoint"},
		{"metadata service", "http://idp.test", `{"issuer":"http://idp.test","token_endpoint":"http://169.254.169.254/latest"}`, "not used: token_endpoint"},
		{"alias http", "https://idp.test", `{` + ok + `,"mtls_endpoint_aliases":{"token_endpoint":"http://idp.test/"}}`, "not used: mtls_endpoint_aliases.token_endpoint"},
		{"alias no object", "https://idp.test", `{` + ok + `,"mtls_endpoint_aliases":[]}`, "not used: mtls_endpoint_aliases"},
		{"alias", "https://idp.test", `{` + ok + `,"mtls_endpoint_aliases":{"token_endpoint":"https://m.idp.test/"}}`, "ok"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := newDiscovery(tt.issuer)
			if err != nil {
				t.Fatal(err)
			}
			m, err := d.parseMetadata([]byte(tt.doc))
			if err == nil {
				err = m.mismatch()
			}
			member, unused := strings.CutPrefix(tt.want, "not used: ")
			if !unused {
				if want(t, tt.doc, outcome(t, err), tt.want); m != nil && len(m.Warnings()) > 0 {
					t.Errorf("warnings %q", m.Warnings())
				}
				return
			}
			if err != nil || len(m.Warnings()) != 1 || !strings.Contains(m.Warnings()[0], member) || strings.Contains(m.Warnings()[0], "canary") {
				t.Fatalf("%v, %q", err, m.Warnings())
			}
			var fault *Fault
			if _, err = m.Endpoint(member); !errors.As(err, &fault) || !strings.Contains(err.Error(), member) {
				t.Errorf("asked for it: %v", err)
			}
		})
	}
}

func TestMetadataMembers(t *testing.T) {
	const doc = `{"issuer":"https://i.test","authorization_endpoint":"https://i.test/a","token_endpoint":"https://i.test/t",
		"token_endpoint_auth_methods_supported":["client_secret_basic"],
		"id_token_signing_alg_values_supported":"RS256","code_challenge_methods_supported":["S256"],"grant_types_supported":["client_credentials"],
		"response_types_supported":["code"],"scopes_supported":["openid"],"mtls_endpoint_aliases":{"token_endpoint":"https://m.test/t","other":1},
		"require_pushed_authorization_requests":true,"claims_supported":null,"other":{"a":[1]}}`
	d, err := newDiscovery("https://i.test")
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.parseMetadata([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	want := &Metadata{
		Issuer: "https://i.test", TokenEndpointAuthMethods: []string{"client_secret_basic"},
		IDTokenSigningAlgs: []string{"RS256"}, CodeChallengeMethods: []string{"S256"}, GrantTypes: []string{"client_credentials"}, ResponseTypes: []string{"code"},
		ScopesSupported: []string{"openid"}, MTLSEndpointAliases: map[string]string{"token_endpoint": "https://m.test/t"}, RequirePushedAuthRequests: true,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Metadata{})); diff != "" {
		t.Error(diff)
	}
	if endpoint, err := got.Endpoint("authorization_endpoint"); endpoint != "https://i.test/a" || err != nil {
		t.Errorf("%s, %v", endpoint, err)
	}
	if _, err := got.Endpoint("userinfo_endpoint"); !errors.Is(err, BadDiscovery) || !strings.Contains(err.Error(), "i.test has no userinfo_endpoint") {
		t.Errorf("%v", err)
	}
}

// What the document's fetch meets: each is a Fault, and the good document comes after it.
func TestDiscoveryFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   egress.Kind
	}{
		"404":      {answer(404, ""), BadStatus},
		"500":      {answer(500, `{}`), BadStatus},
		"204":      {answer(204, ""), BadStatus},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/jwks", http.StatusFound) }, BadStatus},
		"5 MiB":    {answer(200, strings.Repeat(" ", 5<<20)), egress.TooLarge},
		"HTML":     {answer(200, "<html>"), BadDiscovery},
		"other":    {answer(200, `{"issuer":"https://other.test"}`), DiscoveryMismatch},
		"cut":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, egress.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.idp.serveDocument(tt.answer)
			p := f.provider()
			_, err := p.Metadata(t.Context())
			var fault *Fault
			if !errors.As(err, &fault) || !errors.Is(err, tt.want) || fault.RetryAfter <= 0 {
				t.Fatalf("%v, want %s", err, tt.want)
			}
			want(t, "no keys without it", f.idp.fetches.Load(), 0)
			f.idp.serveDocument(answer(200, f.idp.metadata("/jwks")))
			f.add(retryAfterFailure)
			want(t, "after it", verdictOf(t, p, f.token("a")), "ok")
		})
	}
}

func TestDiscoveryHeaders(t *testing.T) {
	f := newFixture(t)
	var seen http.Header
	f.idp.serveDocument(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		answer(200, f.idp.metadata("/jwks"))(w, r)
	})
	f.idp.serveKeys(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "" {
			t.Error("the document's header went to the keys")
		}
		answer(200, keySetOf("a"))(w, r)
	})
	cfg := f.config()
	cfg.DiscoveryHeaders = http.Header{"X-Api-Key": {"k"}}
	want(t, "verdict", verdictOf(t, f.registry.Provider(cfg), f.token("a")), "ok")
	want(t, "header", seen.Get("X-Api-Key"), "k")
	want(t, "accept", seen.Get("Accept"), "application/json")
}

func TestNoJWKSURI(t *testing.T) {
	f := newFixture(t)
	f.idp.serveDocument(answer(200, `{"issuer":"`+f.idp.URL+`"}`))
	want(t, "verdict", verdictOf(t, f.provider(), f.token("a")), string(BadDiscovery))
}

func TestUnusableIssuer(t *testing.T) {
	f := newFixture(t)
	cfg := f.config()
	cfg.Issuer = "file:///etc/passwd"
	p := f.registry.Provider(cfg)
	_, err := p.Metadata(t.Context())
	want(t, "metadata", outcome(t, err), string(egress.RefusedURL))
	want(t, "verify", verdictOf(t, p, f.token("a")), string(egress.RefusedURL))
	_, err = p.Verify(t.Context(), f.token("a"), Policy{Issuers: []string{f.idp.URL}})
	want(t, "verify with issuers", outcome(t, err), string(egress.RefusedURL))
	cfg.ExtraJWKSURIs = []string{f.idp.URL + "/jwks"}
	p = f.registry.Provider(cfg)
	_, err = p.Verify(t.Context(), f.token("a"), Policy{Issuers: []string{f.idp.URL}})
	want(t, "an extra source serves all the same", outcome(t, err), "ok")
	_, err = p.Verify(t.Context(), f.token("x"), Policy{Issuers: []string{f.idp.URL}})
	want(t, "unknown kid", outcome(t, err), string(egress.RefusedURL))
}

// FuzzDiscovery: what is accepted is the issuer's own, and leads nowhere that CheckURL
// refuses; encoding/json reads the same in it; what is refused is a Fault in safe words.
func FuzzDiscovery(f *testing.F) {
	f.Add("https://idp.test", `{"issuer":"https://idp.test","jwks_uri":"https://idp.test/jwks","mtls_endpoint_aliases":{"a":"https://b.test"}}`)
	f.Add("http://idp.test/", `{"issuer":"http://idp.test","token_endpoint":"http://169.254.169.254/"}`)
	f.Add("https://idp.test/.well-known/openid-configuration", `{"issuer":"x","id_token_signing_alg_values_supported":["none"]}`)
	f.Add("https://idp.test", `{"issuer":["https://idp.test"],"issuer":null}`)
	f.Fuzz(func(t *testing.T, issuer, doc string) {
		d, err := newDiscovery(issuer)
		if err != nil {
			return
		}
		m, err := d.parseMetadata([]byte(doc))
		if err != nil {
			var fault *Fault
			if !errors.As(err, &fault) || strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Fatalf("%#v", err)
			}
			return
		}
		if d.issuer != "" && !m.foreign && strings.TrimSuffix(m.Issuer, "/") != strings.TrimSuffix(issuer, "/") {
			t.Fatalf("%q is taken for %q", m.Issuer, issuer)
		}
		for name, endpoint := range m.endpoints {
			if err := egress.CheckURL(endpoint, d.url); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for _, w := range m.warnings {
			if strings.ContainsAny(w, "\r\n\x00\x1b") {
				t.Fatalf("warning %q", w)
			}
		}
		var other map[string]any
		if err := json.Unmarshal([]byte(strings.TrimPrefix(doc, "\ufeff")), &other); err != nil || other["issuer"] != m.Issuer {
			t.Fatalf("encoding/json: %v %v", err, other["issuer"])
		}
	})
}
