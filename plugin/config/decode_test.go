package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
)

const issuer = `"issuer":"https://idp.example"`

func decoded(t *testing.T, members string) (*Config, []Problem) {
	t.Helper()
	if members != "" {
		members = "," + members
	}
	c, warnings, err := Decode([]byte("{" + issuer + members + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

// fromKong is a configuration as Kong hands it over: completed, then without its nulls.
func fromKong(t *testing.T, raw string) []byte {
	t.Helper()
	var written map[string]any
	if err := json.Unmarshal([]byte(raw), &written); err != nil {
		t.Fatal(err)
	}
	var strip func(v any) any
	strip = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name, value := range v {
				if value == nil {
					delete(v, name)
				} else {
					v[name] = strip(value)
				}
			}
		case []any:
			for i := range v {
				v[i] = strip(v[i])
			}
			if len(v) == 0 {
				return map[string]any{} // an empty Lua table
			}
		}
		return v
	}
	out, err := json.Marshal(strip(schema().Complete(written)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDecodeDefaults(t *testing.T) {
	c, warnings := decoded(t, "")
	if len(warnings) != 0 {
		t.Errorf("warnings: %v", warnings)
	}
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"ssl_verify", c.SSLVerify, true},
		{"hide_credentials", c.HideCredentials, true},
		{"timeout", c.Timeout.Duration(), 10 * time.Second},
		{"redis timeout", c.Redis.ConnectTimeout.Duration(), 2 * time.Second},
		{"rediscovery_lifetime", c.RediscoveryLifetime.Duration(), 30 * time.Second},
		{"auth_methods", len(c.AuthMethods), 9},
		{"scopes", c.Scopes, []string{"openid"}},
		{"ignore_signature", c.IgnoreSignature, []UnsignedSource{}},
		{"max_age", c.MaxAge, (*Seconds)(nil)},
		{"client_id", c.ClientID, []string(nil)},
		{"upstream_access_token_header", c.UpstreamAccessTokenHeader, "authorization:bearer"},
		{"token_exchange", c.TokenExchange, (*TokenExchange)(nil)},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

// TestNoValue: what no value means, written by hand (null, "") and as Kong hands it over (absent).
func TestNoValue(t *testing.T) {
	for _, tt := range []struct{ name, members string }{
		{"null", `"login_tokens":null,"upstream_access_token_header":null,"scopes":null,"ssl_verify":null,"verify_signature":null,"client_arg":null,"timeout":null,"cache_ttl_neg":null,"session_secret":null`},
		{"empty string", `"login_tokens":null,"upstream_access_token_header":"","scopes":null,"client_arg":"","session_secret":"","ssl_verify":""`},
	} {
		raw := "{" + issuer + "," + tt.members + "}"
		inputs := map[string][]byte{tt.name: []byte(raw)}
		if tt.name == "null" {
			inputs["null through Kong"] = fromKong(t, raw)
		}
		for name, input := range inputs {
			t.Run(name, func(t *testing.T) {
				c, _, err := Decode(input)
				if err != nil {
					t.Fatal(err)
				}
				if len(c.LoginTokens) != 0 || c.UpstreamAccessTokenHeader != "" || len(c.Scopes) != 0 {
					t.Errorf("null did not take the value away: %v %q %v", c.LoginTokens, c.UpstreamAccessTokenHeader, c.Scopes)
				}
				if !c.SSLVerify || !c.VerifySignature || c.ClientArg != "client_id" || c.Timeout != 10000 {
					t.Errorf("null changed a default: %t %t %q %v", c.SSLVerify, c.VerifySignature, c.ClientArg, c.Timeout)
				}
			})
		}
	}
}

func TestDecodeFromKong(t *testing.T) {
	written := "{" + issuer + `,"auth_methods":["client_credentials"],"client_auth":["private_key_jwt"],"client_id":["kong"]}`
	want, _, err := Decode([]byte(written))
	if err != nil {
		t.Fatal(err)
	}
	raw := fromKong(t, written)
	raw = append(raw[:len(raw)-1], `,"__key__":"plugins:x","__seq__":7,"__plugin_id":"x","$refs":{"client_id":["{vault://env/x}"]}}`...)
	got, warnings, err := Decode(raw)
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	if diff := cmp.Diff(schema().Encode(want), schema().Encode(got)); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeTolerance(t *testing.T) {
	c, _ := decoded(t, `"client_id":{},"redis":[],"session_memcached_port":11212.0,"client_jwk":[{"x5t#S256":"t","key_ops":{}}]`)
	if c.ClientID == nil || len(c.ClientID) != 0 || c.Redis.Port != 6379 || c.SessionMemcachedPort != 11212 || c.ClientJWK[0].X5tS256 != "t" {
		t.Errorf("got %v %d %d %+v", c.ClientID, c.Redis.Port, c.SessionMemcachedPort, c.ClientJWK)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"not JSON", `{"issuer":s3cret}`, "not JSON"},
		{"list", `[]`, "expected a record"},
		{"twice", `{"issuer":"s3cret","redis":{"port":1,"port":2}}`, "redis.port: given twice"},
		{"trailing", `{} {}`, "something follows"},
		{"deep", strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40), "nested deeper"},
		{
			"all at once", `{"leeway":"s3cret","redis":{"port":"s3cret"},"client_jwk":[{"kty":1}],"no":1}`,
			"client_jwk[1].kty: expected a string; issuer: required field missing; leeway: expected a number; no: unknown field; redis.port: expected an integer",
		},
		{"sentinel address", "{" + issuer + `,"redis":{"sentinel_addresses":["a:1","s3cret"]}}`, "redis.sentinel_addresses: entry 2: expected host:port"},
		{"cluster port", "{" + issuer + `,"redis":{"cluster_addresses":["a:99999"]}}`, "redis.cluster_addresses: entry 1: no valid port"},
		{"huge integer", "{" + issuer + `,"redis":{"database":1e300}}`, "redis.database: out of range"},
	} {
		c, _, err := Decode([]byte(tt.raw))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		} else if c != nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: a configuration, or the input in the error: %v", tt.name, err)
		}
	}
}

func TestFold(t *testing.T) {
	for _, tt := range []struct {
		name, members string
		got           func(*Config) any
		want          any
		warning       string
	}{
		{"old alone", `"session_redis_host":"r"`, func(c *Config) any { return c.Redis.Host }, "r", "is deprecated, please use config.redis.host instead"},
		{"new differs from its default", `"session_redis_host":"r","redis":{"host":"n"}`, func(c *Config) any { return c.Redis.Host }, "n", "ignored, since redis.host has another value"},
		{"both equal", `"session_redis_host":"n","redis":{"host":"n"}`, func(c *Config) any { return c.Redis.Host }, "n", "is deprecated"},
		{"new is its default", `"session_cookie_lifetime":60,"session_rolling_timeout":3600`, func(c *Config) any { return c.SessionRollingTimeout }, Seconds(60), "use config.session_rolling_timeout"},
		{"false counts", `"session_cookie_httponly":false`, func(c *Config) any { return c.SessionCookieHTTPOnly }, false, "use config.session_cookie_http_only"},
		{"off is Lax", `"authorization_cookie_samesite":"off"`, func(c *Config) any { return c.AuthorizationCookieSameSite }, SameSiteLax, "use config.authorization_cookie_same_site"},
		{"timeouts", `"redis":{"timeout":7,"read_timeout":8}`, func(c *Config) any {
			return []Milliseconds{c.Redis.ConnectTimeout, c.Redis.SendTimeout, c.Redis.ReadTimeout}
		}, []Milliseconds{7, 7, 8}, "ignored, since read_timeout has another value"},
		{
			"cluster addresses", `"cluster_cache_redis":{"cluster_addresses":["a:1","[::1]:2"]}`, func(c *Config) any { return c.ClusterCacheRedis.ClusterNodes },
			[]ClusterNode{{"a", 1}, {"::1", 2}},
			"is deprecated, please use config.cluster_cache_redis.cluster_nodes instead",
		},
		{"sentinel addresses", `"redis":{"sentinel_addresses":["a:1"],"sentinel_master":"m","sentinel_role":"any"}`, func(c *Config) any { return c.Redis.SentinelNodes }, []SentinelNode{{"a", 1}}, "use config.redis.sentinel_nodes"},
		{"no effect", `"session_strategy":"regenerate"`, func(c *Config) any { return c.SessionStrategy }, (*string)(nil), "has no effect"},
		{"nodes", `"session_redis_cluster_nodes":[{"ip":"a"}]`, func(c *Config) any { return c.Redis.ClusterNodes }, []ClusterNode{{"a", 6379}}, "use config.redis.cluster_nodes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, warnings := decoded(t, tt.members)
			if got := tt.got(c); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if len(warnings) != 1 || !warnings[0].Warning || !strings.Contains(warnings[0].Message, tt.warning) {
				t.Errorf("warnings %v, want one with %q", warnings, tt.warning)
			}
			if !reflect.ValueOf(c.OldNames).IsZero() {
				t.Errorf("an old name is left: %+v", c.OldNames)
			}
		})
	}
}

// TestNoSecretShows fills every field that holds a secret and looks for it in all ways to print a
// configuration.
func TestNoSecretShows(t *testing.T) {
	const canary = "c4n4ry-0123456789-0123456789-0123456789"
	c, _ := decoded(t, "")
	fill(reflect.ValueOf(c).Elem(), canary)
	if n := strings.Count(fmt.Sprint(schema().Encode(c)), canary); n < 15 {
		t.Fatalf("only %d secrets were filled in", n)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c)
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(raw), lines(c.Check())}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		texts = append(texts, fmt.Sprintf(verb, c), fmt.Sprintf(verb, *c))
	}
	for _, text := range texts {
		if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
			t.Errorf("a secret shows: %.300s", text)
		}
	}
}

func fill(v reflect.Value, canary string) {
	switch {
	case v.Type() == reflect.TypeFor[oauth2.Secret]():
		v.SetString(canary)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), canary)
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), canary)
	}
}

func TestDurations(t *testing.T) {
	for _, tt := range []struct {
		got, want time.Duration
	}{
		{Seconds(1.5).Duration(), 1500 * time.Millisecond},
		{Seconds(1e300).Duration(), 1<<63 - 1},
		{Seconds(-1e300).Duration(), -(1<<63 - 1)},
		{Milliseconds(0.5).Duration(), 500 * time.Microsecond},
	} {
		if tt.got != tt.want {
			t.Errorf("got %v, want %v", tt.got, tt.want)
		}
	}
}

// TestExamples: Kong's 31 published configurations are taken, but for the one that needs a hosted
// service.
func TestExamples(t *testing.T) {
	values := strings.NewReplacer(
		"${issuer}", "https://idp.example/realms/main", "${request-issuer}", "https://a.example", "${subject-token-issuer}", "https://b.example",
		"${client-id}", "client", "${client-secret}", "secret", "${redirect-uri}", "https://app.example/callback", "${audience}", "https://api.example",
		"${cert-id}", "5f35b796-ced6-4c00-9b2a-90eef745f4f9", "${ca-certificate-id}", "5f35b796-ced6-4c00-9b2a-90eef745f4f8",
		"${jwks_endpoint}", "https://idp.example/keys", "${directory-name}", "directory",
	)
	var examples map[string]struct{ Config json.RawMessage }
	readJSON(t, "testdata/examples.json", &examples)
	if len(examples) != 31 {
		t.Fatalf("%d examples, want 31", len(examples))
	}
	for name, e := range examples {
		t.Run(name, func(t *testing.T) {
			raw := values.Replace(string(e.Config))
			if strings.Contains(raw, "${") {
				t.Fatalf("a placeholder without a value in %s", raw)
			}
			problems, err := Lint([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			if name == "client-credentials-identity" {
				if len(problems) != 1 || problems[0].Field != "principals" || !strings.Contains(problems[0].Message, "hosted Kong service") {
					t.Errorf("got %v", problems)
				}
				return
			}
			for _, p := range problems {
				if !p.Warning {
					t.Errorf("refused: %v", p)
				}
			}
			if _, _, err := Decode(fromKong(t, raw)); err != nil {
				t.Errorf("as Kong hands it over: %v", err)
			}
		})
	}
}

func TestInvalidIsOneError(t *testing.T) {
	_, _, err := Decode([]byte(`{"a":1,"b":2}`))
	var list Invalid
	if !errors.As(err, &list) || len(list) != 3 {
		t.Errorf("got %v", err)
	}
}

// FuzzDecode: nothing panics, and a configuration that is taken means the same when it is written
// out again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{` + issuer + `}`,
		`{` + issuer + `,"auth_methods":["client_credentials"],"scopes":null,"client_jwk":[{"kty":"RSA","x5c":[]}]}`,
		`{` + issuer + `,"redis":{"timeout":1,"cluster_addresses":["a:1"]},"session_redis_port":7,"upstream_access_token_header":"nil"}`,
		`{` + issuer + `,"token_exchange":{"subject_token_issuers":[{"issuer":"x","conditions":{}}]},"consumer_claims":[["a"],[]],"max_age":1.5}`,
		`{` + issuer + `,"redis":{"cluster_max_redirections":1},"cluster_cache_redis":{"cluster_max_redirections":1},"__seq__":1}`,
		`{"issuer":"","principals":{}}`, `[]`, `{"a":{"a":1,"a":2}}`, `{"client_id":{},"redis":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, _, err := Decode(raw)
		if err != nil {
			return
		}
		c.Check()
		again, err := json.Marshal(schema().Encode(c))
		if err != nil {
			t.Fatal(err)
		}
		d, warnings, err := Decode(again)
		if err != nil || len(warnings) != 0 {
			t.Fatalf("%s became %s: %v %v", raw, again, err, warnings)
		}
		if !reflect.DeepEqual(schema().Encode(c), schema().Encode(d)) {
			t.Errorf("%s became %s", raw, again)
		}
	})
}
