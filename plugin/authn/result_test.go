package authn

import (
	"errors"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

func TestTokenLife(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	seconds := func(n float64) *config.Seconds { s := config.Seconds(n); return &s }
	in := func(n int64) oauth2.Lifetime { return oauth2.Lifetime{Known: true, Seconds: n} }
	const never = 0
	for _, c := range []struct {
		name      string
		expiresIn oauth2.Lifetime
		exp, id   int64 // seconds from now, of the access token and of an ID token; 0: opaque, none
		min, max  *config.Seconds
		// Seconds from now; 0: never, or not known.
		ends, renew, wait, expires float64
	}{
		{name: "expires_in", expiresIn: in(300), exp: 600, ends: 300, renew: 240, wait: 290, expires: 300},
		{name: "expires_in past exp", expiresIn: in(600), exp: 300, ends: 300, renew: 240, wait: 290, expires: 300},
		{name: "exp alone", exp: 300, ends: 300, renew: 240, wait: 290, expires: 300},
		{name: "opaque", expiresIn: in(60), ends: 60, renew: 48, wait: 54, expires: 60},
		{name: "nothing said", ends: 3600, renew: 2880},
		{name: "zero is not cached", expiresIn: in(0), exp: 300, expires: 300},
		{name: "cache_ttl_max", expiresIn: in(300), exp: 300, max: seconds(100), ends: 100, renew: 80, wait: 290, expires: 300},
		{name: "cache_ttl_min", max: seconds(7200), min: seconds(7000), ends: 7000, renew: 5600},
		{name: "cache_ttl_min never past the end", expiresIn: in(30), exp: 30, min: seconds(600), ends: 30, renew: 24, wait: 27, expires: 30},
		{name: "cache_ttl_min revives nothing", expiresIn: in(0), min: seconds(600)},
		{name: "an ID token ends first", expiresIn: in(300), exp: 300, id: 100, ends: 100, renew: 80, wait: 90, expires: 100},
		{name: "an ID token ends last", expiresIn: in(300), exp: 300, id: 900, ends: 300, renew: 240, wait: 290, expires: 300},
		{name: "a tenth of 8 s is less than a second", expiresIn: in(8), exp: 8, ends: 8, renew: 6.4, wait: 7, expires: 8},
		{name: "a tenth of an hour is more than ten", expiresIn: in(3600), exp: 3600, ends: 3600, renew: 2880, wait: 3590, expires: 3600},
		{name: "never more than half", expiresIn: in(1), exp: 1, ends: 1, renew: 0.5, wait: 0.5, expires: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := &config.Config{}
			cfg.CacheTTL, cfg.CacheTTLMin, cfg.CacheTTLMax = 3600, c.min, c.max
			at := func(seconds float64) time.Time {
				if seconds == never {
					return time.Time{}
				}
				return now.Add(time.Duration(seconds * float64(time.Second)))
			}
			r := &Result{}
			if c.exp != 0 {
				r.Access = &oidc.Token{Expiry: at(float64(c.exp))}
			}
			if c.id != 0 {
				r.ID = &oidc.Token{Expiry: at(float64(c.id))}
			}
			life := tokenLife(r, c.expiresIn, now, cfg)
			if want := (Life{Ends: at(c.ends), Renew: at(c.renew), Wait: at(c.wait)}); life != want || !r.Expires.Equal(at(c.expires)) {
				t.Errorf("%+v, the token until %v; want %+v, %v", life, r.Expires, want, at(c.expires))
			}
		})
	}
}

func TestEndpointRefusal(t *testing.T) {
	for _, c := range []struct {
		name    string
		err     error
		client  bool // arguments of the client went along
		outcome Status
		code    string
	}{
		{name: "401 whatever the code", err: &oauth2.Error{Status: 401, Code: "unauthorized_client"}, outcome: Unauthorized, code: "invalid_client"},
		{name: "401 invalid_scope", err: &oauth2.Error{Status: 401, Code: "invalid_scope"}, outcome: Unauthorized, code: "invalid_client"},
		{name: "invalid_client", err: &oauth2.Error{Status: 400, Code: "invalid_client"}, outcome: Unauthorized, code: "invalid_client"},
		{name: "invalid_grant", err: &oauth2.Error{Status: 400, Code: "invalid_grant"}, outcome: Unauthorized, code: "invalid_grant"},
		{name: "unauthorized_client", err: &oauth2.Error{Status: 400, Code: "unauthorized_client"}, outcome: Unauthorized, code: "unauthorized_client"},
		{name: "invalid_scope", err: &oauth2.Error{Status: 400, Code: "invalid_scope"}, outcome: Forbidden, code: "invalid_scope"},
		{name: "access_denied", err: &oauth2.Error{Status: 403, Code: "access_denied"}, outcome: Forbidden, code: "access_denied"},
		{name: "invalid_scope of the client", err: &oauth2.Error{Status: 400, Code: "invalid_scope"}, client: true, outcome: Forbidden, code: "invalid_scope"},
		{name: "the configuration's fault", err: &oauth2.Error{Status: 400, Code: "unsupported_grant_type"}, outcome: Unexpected, code: "server_error"},
		{name: "the forwarded credentials' fault", err: &oauth2.Error{Status: 400, Code: "invalid_request"}, outcome: Unauthorized, code: "invalid_request"},
		{name: "the client's fault", err: &oauth2.Error{Status: 400, Code: "invalid_request"}, client: true, outcome: Unauthorized, code: "invalid_request"},
		{name: "404 of a wrong endpoint", err: &oauth2.Error{Status: 404}, outcome: Unexpected, code: "server_error"},
		{name: "429", err: &oauth2.Error{Status: 429, RetryAfter: time.Minute}, client: true, outcome: Unavailable, code: "temporarily_unavailable"},
		{name: "503", err: &oauth2.Error{Status: 503, RetryAfter: time.Second}, outcome: Unavailable, code: "temporarily_unavailable"},
		{name: "500 with a code", err: &oauth2.Error{Status: 500, Code: "invalid_client"}, outcome: Unavailable, code: "temporarily_unavailable"},
		{name: "200 that is an error", err: &oauth2.Error{Status: 200, Code: "invalid_client"}, outcome: Unauthorized, code: "invalid_client"},
		{name: "200 with another error", err: &oauth2.Error{Status: 200, Code: "server_error"}, outcome: Unavailable, code: "temporarily_unavailable"},
		{name: "no token response", err: &oauth2.BadResponse{Reason: "HTML"}, outcome: Unavailable, code: "temporarily_unavailable"},
		{name: "not to be sent", err: oauth2.ErrCredentials, outcome: Unauthorized, code: "invalid_request"},
		{name: "anything else", err: errors.New("broken"), outcome: Unavailable, code: "temporarily_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := endpointRefusal(c.err, c.client, time.Now())
			if r.Status != c.outcome || r.Code != c.code || r.Reason == "" {
				t.Errorf("got %d %q (%s), want %d %q", r.Status, r.Code, r.Reason, c.outcome, c.code)
			}
		})
	}
}

func TestLooksLikeJWT(t *testing.T) {
	for token, want := range map[string]bool{
		"eyJhbGciOiJub25lIn0.e30.":                        true, // alg none is a JWT, and must be refused as one
		"eyJhbGciOiJSUzI1NiJ9.a.b":                        true,
		"eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..iv.c.t": false, // a JWE is opaque to us
		"eyJhbGciOiJkaXIifQ..iv.c.t":                      true,  // which names its enc (RFC 7516 §4.1.2)
		"eyJhbGciOiJSUzI1NiJ9==.a.b":                      true,  // flaws in the form do not make it opaque
		"eyJhbGciOiJSUzI1NiIsIngiOiI+Pz8+In0.a.b":         true,
		"eyJhbGciOiJSUzI1NiJ9!.a.b":                       true,
		"eyJhbGciOiJSUzI1NiJ9.a":                          true,
		"eyJhbGciOiJSUzI1NiJ9.a.b.c":                      true,
		`{"payload":"a","signatures":[]}`:                 true,
		"77u_IHsiYWxnIjoiUlMyNTYifQ.a.b":                  true,
		"eyJ1c2VyIjoxfQ":                                  false, // some opaque tokens are JSON in base64
		"eyJ1c2VyIjoxfQ.a":                                false, // and signed in ways of their own
		"opaque":                                          false,
		"a.b.c":                                           false,
		"e!yJhbGciOiJub25lIn0.e30.":                       true,
		"":                                                false,
	} {
		if got := looksLikeJWT(token); got != want {
			t.Errorf("%q: %v", token, got)
		}
	}
}

// TestTokenDigest: the digest tells settings that make a token request, or judge its
// answer, apart; it does not know settings that only shape the answer to the client.
func TestTokenDigest(t *testing.T) {
	base := func() *config.Config {
		cfg, _, err := config.Decode([]byte(`{"issuer":"https://idp.example"}`))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	digest := func(change func(*config.Config)) string {
		cfg := base()
		change(cfg)
		return tokenDigest(cfg, grantOf{method: config.ClientCredentials, grant: config.GrantClientCredentials})
	}
	same := digest(func(*config.Config) {})
	for name, change := range map[string]func(*config.Config){
		"display_errors":  func(c *config.Config) { c.DisplayErrors = true },
		"scopes_required": func(c *config.Config) { c.ScopesRequired = []string{"a"} },
		"timeout":         func(c *config.Config) { c.Timeout = 1 },
		"headers":         func(c *config.Config) { c.UpstreamAccessTokenHeader = "x-token" },
	} {
		if digest(change) != same {
			t.Errorf("%s empties the cache", name)
		}
	}
	seen := map[string]string{same: "nothing"}
	for name, change := range map[string]func(*config.Config){
		"issuer":           func(c *config.Config) { c.Issuer = "https://other.example" },
		"scopes":           func(c *config.Config) { c.Scopes = nil },
		"audience":         func(c *config.Config) { c.Audience = []string{"x"} },
		"verify_signature": func(c *config.Config) { c.VerifySignature = false },
		"verify_claims":    func(c *config.Config) { c.VerifyClaims = false },
		"issuers_allowed":  func(c *config.Config) { c.IssuersAllowed = []string{"x"} },
		"leeway":           func(c *config.Config) { c.Leeway = 1 },
		"token_endpoint":   func(c *config.Config) { c.TokenEndpoint = "https://idp.example/token" },
		"client_auth":      func(c *config.Config) { c.ClientAuth = []oauth2.AuthMethod{oauth2.ClientSecretPost} },
		"jwks_endpoint":    func(c *config.Config) { c.JWKSEndpoint = "https://idp.example/jwks" },
		"client_secret":    func(c *config.Config) { c.ClientSecret = []oauth2.Secret{"a"} },
		"another secret":   func(c *config.Config) { c.ClientSecret = []oauth2.Secret{"b"} },
		"header value": func(c *config.Config) {
			c.TokenHeadersNames, c.TokenHeadersValues = []string{"x"}, []oauth2.Secret{"a"}
		},
		"other header value": func(c *config.Config) {
			c.TokenHeadersNames, c.TokenHeadersValues = []string{"x"}, []oauth2.Secret{"b"}
		},
		"argument": func(c *config.Config) {
			c.TokenPostArgsNames, c.TokenPostArgsValues = []string{"resource"}, []oauth2.Secret{"a"}
		},
		"ssl_verify": func(c *config.Config) { c.SSLVerify = false },
	} {
		d := digest(change)
		if other, taken := seen[d]; taken {
			t.Errorf("%s and %s share a cache", name, other)
		}
		seen[d] = name
	}
}
