package oauth2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
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

// repeatable are the grants that a provider may see twice without harm. A code or a
// rotating refresh token would be spent by the first request, if it was read after all.
var repeatable = map[string]bool{"client_credentials": true, "password": true}

// RequestToken sends r and reads the answer. Its errors are *egress.Error (no answer),
// *Error (the endpoint said no), *BadResponse (its answer is no token response),
// ErrCredentials and errors.ErrUnsupported (nothing was sent). It repeats a request once
// that met a connection which the provider had already closed. Tokens are not verified.
func RequestToken(ctx context.Context, c *egress.Client, r TokenRequest) (*TokenResponse, error) {
	resp, err := send(ctx, c, r)
	var broken *egress.Error
	if errors.As(err, &broken) && broken.Stale && repeatable[r.Form.Get("grant_type")] {
		resp, err = send(ctx, c, r)
	}
	if err != nil {
		return nil, err
	}
	return parseTokenResponse(resp, time.Now(), r.hide())
}

// send makes one exchange, with a client assertion of its own.
func send(ctx context.Context, c *egress.Client, r TokenRequest) (*egress.Response, error) {
	header := r.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if header.Get("Accept") == "" {
		header.Set("Accept", "application/json")
	}
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	form := maps.Clone(r.Form)
	if form == nil {
		form = url.Values{}
	}
	audience := r.Audience
	if audience == "" {
		audience = r.Endpoint
	}
	if err := r.Auth.apply(header, form, audience); err != nil {
		return nil, err
	}
	return c.Do(ctx, egress.Request{Method: http.MethodPost, URL: r.Endpoint, Header: header, Body: []byte(form.Encode())})
}

// hide replaces what an error of this request must not repeat.
func (r *TokenRequest) hide() *strings.Replacer {
	secrets := []string{string(r.Auth.Secret), string(r.Auth.Authorization), basicSecret(string(r.Auth.Authorization))}
	for _, name := range []string{"client_secret", "password", "refresh_token", "assertion", "subject_token", "code"} {
		secrets = append(secrets, r.Form[name]...)
	}
	var pairs []string
	for _, s := range secrets {
		if len(s) >= 4 { // a shorter one would cut words apart, and tell what it is by that
			pairs = append(pairs, s, redacted)
		}
	}
	return strings.NewReplacer(pairs...)
}

// TokenResponse is a successful answer of a token endpoint (RFC 6749 §5.1).
type TokenResponse struct {
	AccessToken  Secret // visible ASCII, at most 64 KiB: safe in a header
	RefreshToken Secret // "" if there is none; otherwise the same
	IDToken      Secret // likewise
	TokenType    string // Bearer, in the endpoint's own case
	Scope        string // "" if the endpoint does not say
	ExpiresIn    Lifetime
	Header       http.Header // of the answer
	Body         []byte      // the answer as it came: it holds the tokens
}

// Format prints nothing of the tokens, in whatever verb.
func (t TokenResponse) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the tokens out of encoders.
func (t TokenResponse) MarshalText() ([]byte, error) { return []byte(redacted), nil }
