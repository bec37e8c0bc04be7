package oauth2

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrCredentials means that an id, a secret or an Authorization value cannot be sent: it
// is missing or has control characters. Nothing has gone to the provider.
var ErrCredentials = errors.New("oauth2: unusable client credentials")

// ClientAuth is a client and how it proves itself.
type ClientAuth struct {
	Method AuthMethod
	ID     string
	Secret Secret
	// Authorization is a whole value of the Authorization header that a client sent. With
	// ClientSecretBasic it goes out byte for byte and ID and Secret are not looked at.
	Authorization Secret
	// Alg of the assertion of ClientSecretJWT: HS256, HS384 or HS512. "" is HS256.
	Alg string
}

// assertionLife is how long a client assertion may be used.
const assertionLife = time.Minute

// AssertionType is the client_assertion_type of a JWT (RFC 7523 §2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// apply adds the client's proof to a request. audience is that of an assertion.
func (a *ClientAuth) apply(header http.Header, form url.Values, audience string) error {
	if a.Method == ClientSecretBasic && a.Authorization != "" {
		if hasControl(string(a.Authorization)) {
			return fmt.Errorf("%w: the authorization has control characters", ErrCredentials)
		}
		// Not Set with a canonical value of ours: the bytes are the client's.
		header.Set("Authorization", string(a.Authorization))
		return nil
	}
	if err := a.check(); err != nil {
		return err
	}
	switch a.Method {
	case ClientSecretBasic:
		header.Set("Authorization", basic(a.ID, string(a.Secret)))
	case ClientSecretPost:
		form.Set("client_id", a.ID)
		form.Set("client_secret", string(a.Secret))
	case ClientSecretJWT:
		jwt, err := a.assertion(audience, time.Now())
		if err != nil {
			return err
		}
		form.Set("client_id", a.ID)
		form.Set("client_assertion_type", AssertionType)
		form.Set("client_assertion", jwt)
	case None:
		if a.ID != "" {
			form.Set("client_id", a.ID)
		}
	default:
		return fmt.Errorf("oauth2: client authentication %q is not available: %w", string(a.Method), errors.ErrUnsupported)
	}
	return nil
}

// check refuses what no provider could take.
func (a *ClientAuth) check() error {
	switch {
	case a.ID == "" && a.Method != None: // the form may have a proof that names the client
		return fmt.Errorf("%w: no client id", ErrCredentials)
	case a.Method.NeedsOnlySecret() && a.Secret == "":
		return fmt.Errorf("%w: no client secret", ErrCredentials)
	case hasControl(a.ID):
		return fmt.Errorf("%w: the client id has control characters", ErrCredentials)
	case hasControl(string(a.Secret)):
		return fmt.Errorf("%w: the client secret has control characters", ErrCredentials)
	}
	return nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// basic is the Authorization of a client (RFC 6749 §2.3.1).
func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(formEncode(id)+":"+formEncode(secret)))
}

// formEncode encodes v for the form unless it is encoded already: operators are told to
// configure the encoded secret, and encoding it twice would make it another one.
func formEncode(v string) string {
	if isFormEncoded(v) {
		return v
	}
	return url.QueryEscape(v)
}

// isFormEncoded reports whether each % of v begins a %XX and all else needs no encoding.
// A plus needs it: whether it is a space or a plus is not to be seen.
func isFormEncoded(v string) bool {
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '%':
			if i+2 >= len(v) || !isHex(v[i+1]) || !isHex(v[i+2]) {
				return false
			}
			i += 2
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~*", c) >= 0:
		default:
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// macs are the algorithms of ClientSecretJWT.
var macs = map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}

// assertion is a JWT by which the client proves to know its secret (RFC 7523 §3, OpenID
// Connect Core §9). Each is good for one request.
func (a *ClientAuth) assertion(audience string, now time.Time) (string, error) {
	alg := a.Alg
	if alg == "" {
		alg = "HS256"
	}
	newHash, ok := macs[alg]
	if !ok {
		return "", fmt.Errorf("oauth2: algorithm %q of client_secret_jwt is not available: %w", alg, errors.ErrUnsupported)
	}
	header, err := json.Marshal(map[string]string{"alg": alg, "typ": "JWT"})
	if err != nil {
		return "", fmt.Errorf("oauth2: client assertion: %w", err)
	}
	claims, err := json.Marshal(map[string]any{
		"iss": a.ID, "sub": a.ID, "aud": audience, "jti": rand.Text(), // 130 bits
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("oauth2: client assertion: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	mac := hmac.New(newHash, []byte(a.Secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}
