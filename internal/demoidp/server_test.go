package demoidp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

const storySecret = "cf4c655a-0622-4ce6-a0de-d3353ef0b714"

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// client has connections of its own and follows no redirect.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

type reply struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

func do(t *testing.T, c *http.Client, req *http.Request) (reply, error) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	r := reply{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if json.Unmarshal(raw, &r.body) != nil {
		r.body = nil
	}
	return r, err
}

func get(t *testing.T, c *http.Client, u string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := do(t, c, req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tokenRequest authenticates with basic, or with post when basic is "".
func tokenRequest(t *testing.T, s *Server, id, secret string, form url.Values) *http.Request {
	t.Helper()
	if form == nil {
		form = url.Values{}
	}
	if !form.Has("grant_type") {
		form.Set("grant_type", "client_credentials")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	return req
}

func token(t *testing.T, s *Server, id, secret string, form url.Values) reply {
	t.Helper()
	r, err := do(t, client(t), tokenRequest(t, s, id, secret, form))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verify checks a token with go-jose against the key set that the provider serves, and returns its
// header and claims.
func verify(t *testing.T, s *Server, raw string) (jose.Header, map[string]any, error) {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(get(t, client(t), s.URL()+"/keys").raw), &set); err != nil {
		t.Fatal(err)
	}
	algs := []jose.SignatureAlgorithm{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	jws, err := jose.ParseSigned(raw, algs)
	if err != nil {
		return jose.Header{}, nil, err
	}
	payload, err := jws.Verify(set)
	if err != nil {
		return jws.Signatures[0].Header, nil, err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return jws.Signatures[0].Header, claims, nil
}

func TestDiscovery(t *testing.T) {
	tests := []struct{ name, issuer, path string }{
		{"default", "", ""},
		{"keycloak's", "http://keycloak.test:8080/auth/realms/master", "/auth/realms/master"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, Options{Issuer: tt.issuer})
			if want := "http://" + s.Addr() + tt.path; s.URL() != want {
				t.Errorf("URL is %s, want %s", s.URL(), want)
			}
			issuer := tt.issuer
			if issuer == "" {
				issuer = s.URL()
			}
			r := get(t, client(t), s.URL()+"/.well-known/openid-configuration")
			want := map[string]any{
				"issuer": issuer, "token_endpoint": issuer + "/oauth/token", "jwks_uri": issuer + "/keys",
				"grant_types_supported":                 []any{"client_credentials"},
				"token_endpoint_auth_methods_supported": []any{"client_secret_basic", "client_secret_post"},
				"id_token_signing_alg_values_supported": []any{"RS256", "PS256", "ES256", "EdDSA"},
			}
			got := map[string]any{}
			for k, v := range r.body {
				if _, ok := want[k]; ok || strings.HasSuffix(k, "_endpoint") {
					got[k] = v
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || r.status != 200 {
				t.Errorf("status %d, document (-want +got):\n%s", r.status, diff)
			}
			if tt.path != "" {
				if r := get(t, client(t), "http://"+s.Addr()+"/.well-known/openid-configuration"); r.status != 404 {
					t.Errorf("outside of the issuer's path: %d", r.status)
				}
			}
		})
	}
}

func TestTokenOfEachAlgorithm(t *testing.T) {
	var clients []Client
	for _, alg := range []string{"", "RS256", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"} {
		clients = append(clients, Client{ID: "alg-" + alg, Secret: "s3cret", Alg: alg, Lifetime: 90 * time.Second})
	}
	s := start(t, Options{Clients: clients, Issuer: "http://keycloak.test:8080/auth/realms/master"})
	for _, c := range clients {
		t.Run(c.ID, func(t *testing.T) {
			before := time.Now().Unix()
			r := token(t, s, c.ID, "s3cret", url.Values{"scope": {"openid read"}})
			if r.status != 200 || r.body["token_type"] != "Bearer" || r.body["expires_in"] != 90.0 || r.body["scope"] != "openid read" {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			header, claims, err := verify(t, s, r.body["access_token"].(string))
			if err != nil {
				t.Fatal(err)
			}
			want := c.Alg
			if want == "" {
				want = "RS256"
			}
			if header.Algorithm != want || header.ExtraHeaders["typ"] != "JWT" {
				t.Errorf("header %+v, want alg %s", header, want)
			}
			if claims["iss"] != s.Issuer() || claims["sub"] != c.ID || claims["azp"] != c.ID || claims["scope"] != "openid read" {
				t.Errorf("claims %v", claims)
			}
			if diff := cmp.Diff([]any{c.ID}, claims["aud"]); diff != "" {
				t.Error(diff)
			}
			iat, exp := int64(claims["iat"].(float64)), int64(claims["exp"].(float64))
			if iat < before || exp-iat < 90 || exp-iat > 91 {
				t.Errorf("iat %d, exp %d, asked at %d", iat, exp, before)
			}
		})
	}
}

func TestTokenSettings(t *testing.T) {
	clients := append(DefaultClients(),
		Client{ID: "opaque", Secret: "x", Opaque: true},
		Client{ID: "at+jwt", Secret: "x", Type: "at+jwt", Alg: "PS256"},
		Client{ID: "api", Secret: "x", Audience: []string{"a", "b"}, Claims: map[string]any{"tier": "gold", "iss": "evil"}},
		Client{ID: "a:b c%", Secret: "p+w:&=%zz ü"},
	)
	s := start(t, Options{Clients: clients})
	claimsOf := func(r reply) map[string]any {
		t.Helper()
		_, c, err := verify(t, s, r.body["access_token"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if r := token(t, s, "opaque", "x", nil); r.status != 200 || strings.Contains(r.body["access_token"].(string), ".") {
		t.Errorf("opaque: %s", r.raw)
	}
	header, _, err := verify(t, s, token(t, s, "at+jwt", "x", nil).body["access_token"].(string))
	if err != nil || header.ExtraHeaders["typ"] != "at+jwt" || header.Algorithm != "PS256" {
		t.Errorf("at+jwt: %v, %v", header, err)
	}
	c := claimsOf(token(t, s, "api", "x", nil))
	if diff := cmp.Diff([]any{"a", "b"}, c["aud"]); diff != "" || c["tier"] != "gold" || c["iss"] != s.Issuer() {
		t.Errorf("api: %v", c)
	}
	c = claimsOf(token(t, s, "api", "x", url.Values{"audience": {"one", "two"}}))
	if diff := cmp.Diff([]any{"one", "two"}, c["aud"]); diff != "" {
		t.Error(diff)
	}
	if r := token(t, s, "short", storySecret, nil); r.body["expires_in"] != 5.0 {
		t.Errorf("short: %s", r.raw)
	}
	if r := token(t, s, "a:b c%", "p+w:&=%zz ü", nil); r.status != 200 {
		t.Errorf("reserved characters: %d %s", r.status, r.raw)
	}
}

// TestStory is the request of story.md, byte for byte.
func TestStory(t *testing.T) {
	s := start(t, Options{})
	req := tokenRequest(t, s, "", "", nil)
	req.Header.Set("Authorization", "Basic c2VydmljZTpjZjRjNjU1YS0wNjIyLTRjZTYtYTBkZS1kMzM1M2VmMGI3MTQ=")
	r, err := do(t, client(t), req)
	if err != nil || r.status != 200 || r.body["expires_in"] != 300.0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if cc := r.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("Cache-Control: %q", cc)
	}
	recorded := s.TokenRequests()
	if len(recorded) != 1 || s.Calls("token") != 1 || s.Calls(DiscoveryEndpoint) != 0 {
		t.Fatalf("%d recorded, %d counted", len(recorded), s.Calls(TokenEndpoint))
	}
	if diff := cmp.Diff(url.Values{"grant_type": {"client_credentials"}}, recorded[0].Form); diff != "" {
		t.Error(diff)
	}
	if got := recorded[0].Header.Get("Authorization"); got != req.Header.Get("Authorization") {
		t.Errorf("recorded %q", got)
	}
	s.ResetCalls()
	if s.Calls(TokenEndpoint) != 0 || len(s.TokenRequests()) != 0 {
		t.Error("ResetCalls left something")
	}
}

func TestTokenRefusals(t *testing.T) {
	clients := append(DefaultClients(),
		Client{ID: "post", Secret: "x", AuthMethods: []string{"client_secret_post"}},
		Client{ID: "scoped", Secret: "x", Scopes: []string{"read"}},
	)
	s := start(t, Options{Clients: clients})
	post := func(id, secret string) url.Values { return url.Values{"client_id": {id}, "client_secret": {secret}} }
	tests := []struct {
		name       string
		id, secret string
		form       url.Values
		status     int
		code       string
	}{
		{"basic", "service", storySecret, nil, 200, ""},
		{"post", "", "", post("service", storySecret), 200, ""},
		{"wrong secret", "service", "wrong", nil, 401, "invalid_client"},
		{"empty secret", "service", "", nil, 401, "invalid_client"},
		{"wrong secret by post", "", "", post("service", "wrong"), 401, "invalid_client"},
		{"unknown client", "nobody", storySecret, nil, 401, "invalid_client"},
		{"no client", "", "", nil, 401, "invalid_client"},
		{"client without a secret", "kong", "", nil, 401, "invalid_client"},
		{"basic where post is asked", "post", "x", nil, 401, "invalid_client"},
		{"post where post is asked", "", "", post("post", "x"), 200, ""},
		{"allowed scope", "scoped", "x", url.Values{"scope": {"read"}}, 200, ""},
		{"other scope", "scoped", "x", url.Values{"scope": {"read write"}}, 400, "invalid_scope"},
		{"no grant type", "service", storySecret, url.Values{"grant_type": {""}}, 400, "invalid_request"},
		{"other grant type", "service", storySecret, url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := token(t, s, tt.id, tt.secret, tt.form)
			if code, _ := r.body["error"].(string); r.status != tt.status || code != tt.code {
				t.Errorf("%d %s; want %d %s", r.status, r.raw, tt.status, tt.code)
			}
			if got := r.header.Get("WWW-Authenticate") != ""; got != (tt.status == 401 && tt.id != "") {
				t.Errorf("WWW-Authenticate: %q", r.header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestRotation(t *testing.T) {
	s := start(t, Options{})
	issue := func() (string, string) {
		t.Helper()
		raw := token(t, s, "service", storySecret, nil).body["access_token"].(string)
		header, _, err := verify(t, s, raw)
		if err != nil {
			t.Fatal(err)
		}
		return raw, header.KeyID
	}
	rotate := func(r Rotation) {
		t.Helper()
		if err := s.RotateKey(r); err != nil {
			t.Fatal(err)
		}
	}
	first, firstID := issue()
	rotate(Rotation{})
	second, secondID := issue()
	if firstID == secondID {
		t.Error("the same key id")
	}
	if _, _, err := verify(t, s, first); err != nil {
		t.Errorf("a token of the old key that is kept: %v", err)
	}
	rotate(Rotation{DropOld: true})
	if _, _, err := verify(t, s, second); err == nil {
		t.Error("a token of a dropped key verifies")
	}
	if _, _, err := verify(t, s, first); err != nil {
		t.Errorf("a token of the first key, which is still there: %v", err)
	}
	third, thirdID := issue()
	rotate(Rotation{SameKeyIDs: true})
	if _, fourthID := issue(); fourthID != thirdID {
		t.Errorf("key id %s, want %s again", fourthID, thirdID)
	}
	if _, _, err := verify(t, s, third); err == nil {
		t.Error("a token of another key under the same id verifies")
	}
}

func TestStopAndRestart(t *testing.T) {
	s := start(t, Options{})
	c := client(t)
	before := get(t, c, s.URL()+"/keys").raw
	s.SetFault(TokenEndpoint, &Fault{Hang: true})
	hung := make(chan error, 1)
	req := tokenRequest(t, s, "service", storySecret, nil)
	go func() {
		_, err := do(t, c, req)
		hung <- err
	}()
	if err := s.Await(t.Context(), TokenEndpoint, 1); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop()
	if err := <-hung; err == nil {
		t.Error("a request in progress was answered by a stopped provider")
	}
	if resp, err := c.Get(s.URL() + "/keys"); err == nil {
		resp.Body.Close()
		t.Error("a stopped provider answers")
	}
	s.SetFault(TokenEndpoint, nil)
	for range 2 {
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	if after := get(t, c, s.URL()+"/keys").raw; after != before {
		t.Error("the keys changed")
	}
	if r := token(t, s, "service", storySecret, nil); r.status != 200 || s.Calls(TokenEndpoint) != 2 {
		t.Errorf("%d, %d calls", r.status, s.Calls(TokenEndpoint))
	}
	s.Close()
	if err := s.Restart(); err == nil {
		t.Error("restarted after Close")
	}
}

func TestEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended := s.run.done
	cancel()
	<-ended
	s.Close()
	if err := s.Await(ctx, TokenEndpoint, 1); err == nil {
		t.Error("Await of calls that did not come")
	}
}

func TestStartRefuses(t *testing.T) {
	tests := map[string]Options{
		"algorithm":  {Clients: []Client{{ID: "a", Alg: "HS256"}}},
		"twice":      {Clients: []Client{{ID: "a"}, {ID: "a"}}},
		"no id":      {Clients: []Client{{}}},
		"issuer":     {Issuer: "http://a b"},
		"issuer url": {Issuer: "not a url"},
		"fragment":   {Issuer: "http://a.test/#x"},
		"address":    {Addr: "256.0.0.1:0"},
	}
	for name, o := range tests {
		if s, err := Start(t.Context(), o); err == nil {
			s.Close()
			t.Errorf("%s: started", name)
		}
	}
}

func TestTLSAndHTTP2(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	certs.Close()
	s := start(t, Options{TLS: &tls.Config{Certificates: certs.TLS.Certificates}})
	c := client(t)
	resp, err := c.Get(s.URL() + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || !strings.HasPrefix(s.Issuer(), "https://") {
		t.Errorf("%s from %s", resp.Proto, s.Issuer())
	}
	for _, d := range []Delivery{Reset, Closed} {
		s.SetFault(TokenEndpoint, &Fault{Deliver: d})
		if r, err := do(t, c, tokenRequest(t, s, "service", storySecret, nil)); err == nil {
			t.Errorf("%s: answered with %+v", d, r)
		}
	}
}

func TestRecordsAreBounded(t *testing.T) {
	s := start(t, Options{})
	for i := range maxRecorded + 5 {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.PostForm = url.Values{"n": {string(rune('a' + i%26))}}
		s.count(TokenEndpoint, r)
	}
	got := s.TokenRequests()
	if len(got) != maxRecorded || s.Calls(TokenEndpoint) != maxRecorded+5 || got[0].Form.Get("n") != "f" {
		t.Errorf("%d recorded, first %v", len(got), got[0].Form)
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	s := start(t, Options{})
	c := client(t)
	for path, want := range map[string]int{"/": 404, "/authorize": 404, "/oauth/introspect": 404, "/oauth/token": 405, "/keys/": 404} {
		if r := get(t, c, s.URL()+path); r.status != want {
			t.Errorf("GET %s: %d, want %d", path, r.status, want)
		}
	}
	if n := s.Calls(OtherEndpoint); n != 4 {
		t.Errorf("%d other calls", n)
	}
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	req := tokenRequest(t, s, "service", storySecret, nil)
	req.Body = io.NopCloser(strings.NewReader("grant_type=%zz"))
	req.ContentLength = -1
	if r, err := do(t, c, req); err != nil || r.status != 400 {
		t.Errorf("a bad form: %+v, %v", r, err)
	}
}
