package oauth2

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

// repeatable are the grants that a provider may see twice without harm. A code, a rotating
// refresh token or a token to exchange would be spent by the first request, if that was
// read after all.
var repeatable = []string{"client_credentials", "password"}

// RequestToken sends r to a token endpoint and reads the answer; r.Form has the grant. Its
// errors are *egress.Error (no answer), *Error (the endpoint refused), *BadResponse (its
// answer is no token response), ErrCredentials and errors.ErrUnsupported (nothing was
// sent). A request that met a dead connection is made once more over a new one, unless
// grant or proof are good for one use. Tokens are not verified.
func RequestToken(ctx context.Context, c *egress.Client, r Request) (*TokenResponse, error) {
	resp, sent, err := r.post(ctx, c, slices.Contains(repeatable, r.Form.Get("grant_type")))
	if err != nil {
		return nil, err
	}
	return parseTokenResponse(resp, r.Now(), sent.repeats)
}

// TokenResponse is a successful answer of a token endpoint (RFC 6749 §5.1).
type TokenResponse struct {
	AccessToken  Secret // visible ASCII, at most 64 KiB: safe in a header
	RefreshToken Secret // "" if there is none; otherwise the same
	IDToken      Secret // likewise
	// TokenType is as the endpoint wrote it: Bearer in any case, or "" or BearerToken, which
	// are taken for Bearer and worth a warning.
	TokenType string
	ExpiresIn Lifetime
	Header    http.Header // of the answer; each name's values stand alone, so that they can be kept
	Body      []byte      // the answer as it came: it holds the tokens
}

// Format prints nothing of the tokens, in whatever verb.
func (t TokenResponse) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the tokens out of encoders.
func (t TokenResponse) MarshalText() ([]byte, error) { return []byte(redacted), nil }
