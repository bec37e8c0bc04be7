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
	"time"
)

// assertionLife is how long a client assertion may be used.
const assertionLife = time.Minute

// AssertionType is the client_assertion_type of a JWT (RFC 7523 §2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Signer signs client assertions.
type Signer interface {
	// Alg is the "alg" of the JWS (RFC 7518 §3.1).
	Alg() string
	Sign(input []byte) (signature []byte, err error)
}

// Assertion is a JWT of our own by which a client proves itself (RFC 7523 §3, OpenID
// Connect Core §9). Each request has another one.
type Assertion struct {
	ID       string
	Signer   Signer
	Audience string // "" is the endpoint
}

func (a Assertion) prove(r *outgoing) error {
	if err := check("client id", a.ID); err != nil {
		return err
	}
	audience := a.Audience
	if audience == "" {
		audience = r.endpoint
	}
	jwt, err := a.make(audience, r.now)
	if err != nil {
		return err
	}
	r.form.Set("client_id", a.ID)
	r.assert(jwt)
	return nil
}

func (a Assertion) make(audience string, now time.Time) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": a.Signer.Alg(), "typ": "JWT"})
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
	signature, err := a.Signer.Sign([]byte(signed))
	if err != nil {
		return "", fmt.Errorf("oauth2: client assertion: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// HMAC signs with a client's secret: client_secret_jwt.
type HMAC struct {
	Algorithm string // HS256, HS384 or HS512; "" is HS256
	Secret    Secret
}

// macs are the algorithms of HMAC.
var macs = map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}

// Alg implements Signer.
func (h HMAC) Alg() string {
	if h.Algorithm == "" {
		return "HS256"
	}
	return h.Algorithm
}

// Sign implements Signer. Its errors are ErrCredentials and errors.ErrUnsupported.
func (h HMAC) Sign(input []byte) ([]byte, error) {
	newHash, ok := macs[h.Alg()]
	if !ok {
		return nil, fmt.Errorf("algorithm %q of client_secret_jwt is not available: %w", h.Algorithm, errors.ErrUnsupported)
	}
	if err := check("client secret", string(h.Secret)); err != nil {
		return nil, err
	}
	mac := hmac.New(newHash, []byte(h.Secret))
	mac.Write(input)
	return mac.Sum(nil), nil
}

// Short reports whether the secret has less than the 256 bits that the weakest algorithm
// asks for (RFC 7518 §3.2): it works, and whoever uses it should be warned.
func (h HMAC) Short() bool { return len(h.Secret) < sha256.Size }
