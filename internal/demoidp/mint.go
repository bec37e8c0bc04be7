package demoidp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"time"

	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
)

// Token describes a JWT to be made, a good one unless something is changed.
type Token struct {
	Alg        string              // how it is signed, default the Key's, else RS256; "none": with an empty signature
	Key        *Key                // default: the provider's current one for Alg
	Header     map[string]any      // laid over alg, kid and typ; nil as a value removes
	Claims     map[string]any      // laid over iss, sub, aud, client_id, iat, nbf, exp (in 5 minutes) and jti; nil as a value removes
	Payload    []byte              // instead of all claims, byte for byte
	SaltLength int                 // of PS*, in bytes; default the hash's length (RFC 7518 §3.5)
	Signature  func([]byte) []byte // changes the signature
}

// Sign makes a token, with the standard library's cryptography alone.
func (s *Server) Sign(t Token) (string, error) {
	if t.Alg == "" && t.Key != nil {
		t.Alg = t.Key.Alg
	}
	if t.Alg == "" {
		t.Alg = "RS256"
	}
	header := map[string]any{"alg": t.Alg, "typ": "JWT"}
	if t.Alg != "none" {
		if t.Key == nil {
			var err error
			if t.Key, err = s.Key(t.Alg); err != nil {
				return "", err
			}
		}
		header["kid"] = t.Key.ID
	}
	head, err := json.Marshal(overlay(header, t.Header))
	if err != nil {
		return "", fmt.Errorf("demoidp: header: %w", err)
	}
	if t.Payload == nil {
		if t.Payload, err = json.Marshal(overlay(s.claims(), t.Claims)); err != nil {
			return "", fmt.Errorf("demoidp: claims: %w", err)
		}
	}
	input := encode(head) + "." + encode(t.Payload)
	var sig []byte
	if t.Alg != "none" {
		if sig, err = t.sign([]byte(input)); err != nil {
			return "", err
		}
	}
	if t.Signature != nil {
		sig = t.Signature(sig)
	}
	return input + "." + encode(sig), nil
}

// claims are those of a good token of the first client.
func (s *Server) claims() map[string]any {
	now := time.Now().Unix()
	id := "service"
	if len(s.opts.Clients) > 0 {
		id = s.opts.Clients[0].ID
	}
	return map[string]any{
		"iss": s.issuer, "sub": id, "aud": []string{id}, "client_id": id, "jti": rand.Text(),
		"iat": now, "nbf": now, "exp": now + int64(defaultLifetime.Seconds()),
	}
}

func overlay(m, over map[string]any) map[string]any {
	maps.Copy(m, over)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign is RFC 7518 §3 and RFC 8037 §3.1.
func (t Token) sign(input []byte) ([]byte, error) {
	if t.Alg == "EdDSA" {
		return t.private(input, crypto.Hash(0))
	}
	if len(t.Alg) != 5 {
		return nil, fmt.Errorf("demoidp: algorithm %q", t.Alg)
	}
	hash, ok := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[t.Alg[2:]]
	if !ok {
		return nil, fmt.Errorf("demoidp: algorithm %q", t.Alg)
	}
	if t.Alg[:2] == "HS" {
		mac := hmac.New(hash.New, t.Key.Secret)
		mac.Write(input)
		return mac.Sum(nil), nil
	}
	h := hash.New()
	h.Write(input)
	switch t.Alg[:2] {
	case "RS":
		return t.private(h.Sum(nil), hash)
	case "PS":
		salt := t.SaltLength
		if salt == 0 {
			salt = rsa.PSSSaltLengthEqualsHash
		}
		return t.private(h.Sum(nil), &rsa.PSSOptions{SaltLength: salt, Hash: hash})
	case "ES":
		return t.ecdsa(h.Sum(nil), hash)
	}
	return nil, fmt.Errorf("demoidp: algorithm %q", t.Alg)
}

func (t Token) private(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if t.Key.Signer == nil {
		return nil, errors.New("demoidp: the key has no private key")
	}
	return t.Key.Signer.Sign(rand.Reader, digest, opts)
}

// ecdsa writes both numbers in the curve's width, not as the DER that the library makes.
func (t Token) ecdsa(digest []byte, hash crypto.Hash) ([]byte, error) {
	key, ok := t.Key.Signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("demoidp: %s needs an ECDSA key", t.Alg)
	}
	der, err := t.private(digest, hash)
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return nil, fmt.Errorf("demoidp: signature: %w", err)
	}
	width := (key.Curve.Params().BitSize + 7) / 8
	out := make([]byte, 2*width)
	sig.R.FillBytes(out[:width])
	sig.S.FillBytes(out[width:])
	return out, nil
}
