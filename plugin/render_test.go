package plugin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

func decoded(t *testing.T, fields string) *config.Config {
	t.Helper()
	cfg, _, err := config.Decode([]byte(strings.Replace(`{"issuer":"https://idp.example/realm",`+fields+`}`, ",}", "}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestRender(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const bearer, invitation = `Bearer realm="idp.example"`, `Basic realm="idp.example", charset="UTF-8"`
	for _, c := range []struct {
		name, config string
		noBasic      bool
		refusal      authn.Refusal
		status       int
		body         string
		challenges   []string
		retryAfter   string
		location     string
	}{
		{name: "no credentials", refusal: authn.Refusal{Status: authn.Unauthorized}, status: 401, body: `{"message":"Unauthorized"}`, challenges: []string{bearer, invitation}},
		{name: "no Basic method", noBasic: true, refusal: authn.Refusal{Status: authn.Unauthorized}, status: 401, body: `{"message":"Unauthorized"}`, challenges: []string{bearer}},
		{name: "a token", noBasic: true, refusal: authn.Refusal{Status: authn.Unauthorized, TokenSent: true}, status: 401, body: `{"message":"Unauthorized"}`, challenges: []string{bearer + `, error="invalid_token"`}},
		{name: "expose_error_code off", config: `"expose_error_code":false`, noBasic: true, refusal: authn.Refusal{Status: authn.Unauthorized, TokenSent: true}, status: 401, body: `{"message":"Unauthorized"}`, challenges: []string{bearer}},
		{name: "a token, and no challenge for 503", refusal: authn.Refusal{Status: authn.Unavailable, TokenSent: true}, status: 503, body: `{"message":"Service Unavailable"}`, retryAfter: "5"},
		{name: "own message", config: `"unauthorized_error_message":"Go \"away\""`, refusal: authn.Refusal{Status: authn.Unauthorized}, status: 401, body: `{"message":"Go \"away\""}`, challenges: []string{bearer, invitation}},
		{name: "401 redirected", config: `"unauthorized_redirect_uri":["https://a.example/"]`, refusal: authn.Refusal{Status: authn.Unauthorized}, status: 302, location: "https://a.example/"},
		{name: "forbidden", refusal: authn.Refusal{Status: authn.Forbidden, Scopes: []string{"a b", `c"d`}}, status: 403, body: `{"message":"Forbidden"}`, challenges: []string{bearer + `, error="insufficient_scope", scope="a b c\"d"`}},
		{name: "403 goes to its own redirect", config: `"unauthorized_redirect_uri":["https://a.example/"],"forbidden_redirect_uri":["https://b.example/"]`, refusal: authn.Refusal{Status: authn.Forbidden}, status: 302, location: "https://b.example/"},
		{name: "bad request", refusal: authn.Refusal{Status: authn.BadRequest}, status: 400, body: `{"message":"Bad request"}`, challenges: []string{bearer + `, error="invalid_request"`}},
		{name: "unexpected", refusal: authn.Refusal{Status: authn.Unexpected}, status: 500, body: `{"message":"An unexpected error occurred"}`},
		{name: "no outcome", status: 500, body: `{"message":"An unexpected error occurred"}`},
		{name: "unavailable", refusal: authn.Refusal{Status: authn.Unavailable}, status: 503, body: `{"message":"Service Unavailable"}`, retryAfter: "5"},
		{name: "provider's Retry-After", refusal: authn.Refusal{Status: authn.Unavailable, RetryAt: now.Add(1500 * time.Millisecond)}, status: 503, body: `{"message":"Service Unavailable"}`, retryAfter: "2"},
		{name: "503 redirected", config: `"unexpected_redirect_uri":["https://c.example/"]`, refusal: authn.Refusal{Status: authn.Unavailable}, status: 302, location: "https://c.example/"},
		{
			name: "display_errors", config: `"display_errors":true`, noBasic: true,
			refusal: authn.Refusal{Status: authn.Unauthorized, Code: "invalid_client", Description: "no"}, status: 401,
			body: `{"message":"Unauthorized","error":"invalid_client","error_description":"no"}`, challenges: []string{bearer},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			schemes := []string{"Basic"}
			if c.noBasic {
				schemes = nil
			}
			exit := newRenderer(decoded(t, c.config), schemes).exit(&c.refusal, "id-1", now)
			headers := map[string]string{}
			for _, h := range exit.Headers {
				headers[h.Name] = strings.Join(h.Values, "\n")
			}
			if exit.Status != c.status || string(exit.Body) != c.body {
				t.Errorf("got %d %s", exit.Status, exit.Body)
			}
			for name, want := range map[string]string{"WWW-Authenticate": strings.Join(c.challenges, ", "), errorIDHeader: "id-1", "Retry-After": c.retryAfter, "Location": c.location} {
				if got := headers[name]; got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestHeaderValue(t *testing.T) {
	for _, c := range []struct {
		name  string
		claim any
		want  string
		fails bool
	}{
		{name: "text", claim: "jöhn", want: "jöhn"},
		{name: "number", claim: json.Number("12345678901234567890"), want: "12345678901234567890"},
		{name: "boolean", claim: true, want: "true"},
		{name: "list of text", claim: []any{"a", "b c"}, want: "a, b c"},
		{name: "mixed list", claim: []any{"a", json.Number("1")}, want: `["a",1]`},
		{name: "object", claim: map[string]any{"a": "b"}, want: `{"a":"b"}`},
		{name: "object with a line break", claim: map[string]any{"a": "b\r\n"}, want: `{"a":"b\r\n"}`},
		{name: "CRLF", claim: "a\r\nX-Evil: 1", fails: true},
		{name: "NUL", claim: "a\x00", fails: true},
		{name: "line break in a list", claim: []any{"a\n"}, fails: true},
		{name: "at the limit", claim: strings.Repeat("a", maxClaimValue), want: strings.Repeat("a", maxClaimValue)},
		{name: "too long", claim: strings.Repeat("a", maxClaimValue+1), fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := headerValue(c.claim, maxClaimValue)
			if (err != nil) != c.fails || got != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestRefusalLogBounds(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := newRefusalLog(nil, func() time.Time { return now })
	taken := 0
	for range 1000 {
		if _, ok := l.take(); ok {
			taken++
		}
	}
	if taken != maxLinesPerSecond {
		t.Errorf("%d lines in one second", taken)
	}
	now = now.Add(time.Second)
	if dropped, ok := l.take(); !ok || dropped.lines != 1000-maxLinesPerSecond || !dropped.since.Equal(now.Add(-time.Second)) {
		t.Errorf("the next second told of %+v dropped lines, %v", dropped, ok)
	}
}
