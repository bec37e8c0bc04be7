package oauth2

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ErrCredentials means that an id, a secret or an Authorization value cannot be sent: it
// is missing or has control characters. Nothing has gone to the provider.
var ErrCredentials = errors.New("oauth2: unusable client credentials")

// Proof is how a request to an endpoint is authenticated: Basic, Post, Assertion,
// Forwarded or ForwardedAssertion.
type Proof interface {
	// prove adds the proof to a request that is about to go out. It is asked again where
	// the request is made a second time.
	prove(r *outgoing) error
}

// Basic is client_secret_basic (RFC 6749 §2.3.1): id and secret form-encoded in the
// Authorization header.
type Basic struct {
	ID     string
	Secret Secret
	// MaybeEncoded says that an operator wrote id and secret and may have form-encoded them
	// already: a value that looks encoded is then sent as it is. What a client sends is
	// never guessed at.
	MaybeEncoded bool
}

func (b Basic) prove(r *outgoing) error {
	if err := checkPair(b.ID, b.Secret); err != nil {
		return err
	}
	encode := url.QueryEscape
	if b.MaybeEncoded {
		encode = formEncodeOnce
	}
	r.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(encode(b.ID)+":"+encode(string(b.Secret)))))
	return nil
}

// Post is client_secret_post (RFC 6749 §2.3.1): id and secret in the form.
type Post struct {
	ID     string
	Secret Secret
}

func (p Post) prove(r *outgoing) error {
	if err := checkPair(p.ID, p.Secret); err != nil {
		return err
	}
	r.form.Set("client_id", p.ID)
	r.form.Set("client_secret", string(p.Secret))
	return nil
}

// Forwarded is a whole value of the Authorization header that a client sent. It goes out
// byte for byte.
type Forwarded struct {
	Authorization Secret
}

func (f Forwarded) prove(r *outgoing) error {
	if err := check("authorization", string(f.Authorization)); err != nil {
		return err
	}
	r.header.Set("Authorization", string(f.Authorization))
	return nil
}

// ForwardedAssertion is a client assertion that a client made (RFC 7523 §2.2). It is good
// for one use, so that a request with it is never made a second time.
type ForwardedAssertion struct {
	ID        string // "" where the assertion alone names the client
	Assertion Secret
}

func (f ForwardedAssertion) prove(r *outgoing) error {
	if err := check("client assertion", string(f.Assertion)); err != nil {
		return err
	}
	if f.ID != "" {
		if err := check("client id", f.ID); err != nil {
			return err
		}
		r.form.Set("client_id", f.ID)
	}
	r.assert(string(f.Assertion))
	r.once = true
	return nil
}

func checkPair(id string, secret Secret) error {
	if err := check("client id", id); err != nil {
		return err
	}
	return check("client secret", string(secret))
}

// check refuses what no provider could take.
func check(name, v string) error {
	if v == "" {
		return fmt.Errorf("%w: no %s", ErrCredentials, name)
	}
	for i := range len(v) {
		if v[i] < ' ' || v[i] == 0x7f {
			return fmt.Errorf("%w: the %s has control characters", ErrCredentials, name)
		}
	}
	return nil
}

// formEncodeOnce encodes v for the form unless it is encoded already: operators are told to
// configure the encoded secret, and encoding it twice would make it another one.
func formEncodeOnce(v string) string {
	if isFormEncoded(v) {
		return v
	}
	return url.QueryEscape(v)
}

// isFormEncoded reports whether each % of v begins a %XX and all else needs no encoding.
// A plus needs it: nobody can tell whether it stands for a space or for itself.
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
