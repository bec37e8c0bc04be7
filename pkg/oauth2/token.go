package oauth2

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

// TokenRequest is one request to a token endpoint.
type TokenRequest struct {
	Endpoint string
	Auth     ClientAuth
	Form     url.Values  // grant_type and its parameters; the client's proof is added
	Header   http.Header // further ones; Authorization and Content-Type are ours where we need them
	Audience string      // of a client assertion; "" is Endpoint
}

// Format prints nothing of the form and headers, which may hold credentials.
func (r TokenRequest) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "token request of %q by %s", r.Form.Get("grant_type"), r.Auth.Method)
}

// MarshalText gives encoders no more than that.
func (r TokenRequest) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", r), nil }

// repeatable reports whether a provider may see the request twice without harm: a code, a
// rotating refresh token or an assertion would be spent by the first, if it was read after
// all.
func (r *TokenRequest) repeatable() bool {
	grant := r.Form.Get("grant_type")
	return (grant == "client_credentials" || grant == "password") && !r.Form.Has("client_assertion")
}

// RequestToken sends r and reads the answer. Its errors are *egress.Error (no answer),
// *Error (the endpoint said no), *BadResponse (its answer is no token response),
// ErrCredentials and errors.ErrUnsupported (nothing was sent). It repeats a request once
// that met a connection which the provider had already closed. Tokens are not verified.
func RequestToken(ctx context.Context, c *egress.Client, r TokenRequest) (*TokenResponse, error) {
	s, err := r.build()
	if err != nil {
		return nil, err
	}
	resp, err := s.send(ctx, c, r.Endpoint)
	var broken *egress.Error
	if errors.As(err, &broken) && broken.Stale && r.repeatable() {
		if s, err = r.build(); err != nil { // with a client assertion of its own
			return nil, err
		}
		resp, err = s.send(ctx, c, r.Endpoint)
	}
	if err != nil {
		return nil, err
	}
	return parseTokenResponse(resp, time.Now(), s.repeats)
}

// sent is a request as it goes out.
type sent struct {
	header http.Header
	form   url.Values
}

func (r *TokenRequest) build() (*sent, error) {
	s := &sent{header: r.Header.Clone(), form: maps.Clone(r.Form)}
	if s.header == nil {
		s.header = http.Header{}
	}
	if s.form == nil {
		s.form = url.Values{}
	}
	if s.header.Get("Accept") == "" {
		s.header.Set("Accept", "application/json")
	}
	s.header.Set("Content-Type", "application/x-www-form-urlencoded")
	audience := r.Audience
	if audience == "" {
		audience = r.Endpoint
	}
	if err := r.Auth.apply(s.header, s.form, audience); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *sent) send(ctx context.Context, c *egress.Client, endpoint string) (*egress.Response, error) {
	return c.Do(ctx, egress.Request{Method: http.MethodPost, URL: endpoint, Header: s.header, Body: []byte(s.form.Encode())})
}

// public are the parameters and headers that an error may repeat.
var public = []string{"grant_type", "scope", "audience", "resource", "client_id", "client_assertion_type", "Accept", "Content-Type", "User-Agent"}

// repeats reports whether text holds something that was sent and is not public, in any
// of the forms that an endpoint may have it in.
func (s *sent) repeats(text string) bool {
	var secrets []string
	for _, part := range []map[string][]string{s.form, s.header} {
		for name, values := range part {
			if !slices.Contains(public, name) {
				secrets = append(secrets, values...)
			}
		}
	}
	if authorization := s.header.Get("Authorization"); authorization != "" {
		_, credentials, _ := strings.Cut(authorization, " ")
		secret := basicSecret(authorization)
		decoded, _ := url.QueryUnescape(secret)
		secrets = append(secrets, credentials, secret, decoded)
	}
	unescaped, _ := url.QueryUnescape(text)
	for _, form := range []string{text, unescaped, html.UnescapeString(text)} {
		for _, secret := range secrets {
			// A shorter one stands in many words, and is not told by that.
			if len(secret) >= 4 && strings.Contains(form, plain(secret, len(secret))) {
				return true
			}
		}
	}
	return false
}

// TokenResponse is a successful answer of a token endpoint (RFC 6749 §5.1).
type TokenResponse struct {
	AccessToken  Secret // visible ASCII, at most 64 KiB: safe in a header
	RefreshToken Secret // "" if there is none; otherwise the same
	IDToken      Secret // likewise
	TokenType    string // Bearer, in the endpoint's own case
	ExpiresIn    Lifetime
	Header       http.Header // of the answer
	Body         []byte      // the answer as it came: it holds the tokens
}

// Format prints nothing of the tokens, in whatever verb.
func (t TokenResponse) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the tokens out of encoders.
func (t TokenResponse) MarshalText() ([]byte, error) { return []byte(redacted), nil }
