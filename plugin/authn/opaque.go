package authn

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
)

// looksLikeJWT tells a token that claims to be a signed JWT, and must verify, from an
// opaque one, which nobody but the provider reads. A JWT with a flaw in its form is no
// opaque token: some upstream's lenient parser would read it.
func looksLikeJWT(token string) bool {
	if strings.HasPrefix(token, "{") {
		return true // a JSON serialization (RFC 7515 §7.2)
	}
	segment, rest, dotted := strings.Cut(token, ".")
	if !dotted {
		return false
	}
	header := oidc.LenientBase64(segment) // as some libraries read it
	switch {
	case !jsonObjectStart.Match(header):
		return false
	case strings.Count(rest, ".") == 1:
		return true
	case strings.Count(rest, ".") == 3 && bytes.Contains(header, []byte(`"enc"`)):
		return false // a JWE (RFC 7516 §7.1), for whoever has the key
	}
	return bytes.Contains(header, []byte(`"alg"`))
}

// jsonObjectStart asks for two bytes: one alone would be met by every 256th opaque token.
var jsonObjectStart = regexp.MustCompile(`^\x{feff}?[ \t\r\n]*\{[ \t\r\n]*["}]`)
