package oidc

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// Types of keys (RFC 7518 §6.1, RFC 8037 §2).
const (
	ktyRSA = "RSA"
	ktyEC  = "EC"
	ktyOKP = "OKP"
	ktyOct = "oct"
)

// An algorithm is bound to the one type of key, and for curves to the one curve, that it may be used with (RFC 8725 §3.1).
type algorithm struct {
	kty  string
	crv  string
	jwx  jwa.SignatureAlgorithm
	hash crypto.Hash // set for PSS, which jwx verifies with any salt length

	minSecret int // bytes that an oct key of a set must have
}

var algorithms = map[string]algorithm{
	"RS256": {kty: ktyRSA, jwx: jwa.RS256},
	"RS384": {kty: ktyRSA, jwx: jwa.RS384},
	"RS512": {kty: ktyRSA, jwx: jwa.RS512},
	"PS256": {kty: ktyRSA, hash: crypto.SHA256},
	"PS384": {kty: ktyRSA, hash: crypto.SHA384},
	"PS512": {kty: ktyRSA, hash: crypto.SHA512},
	"ES256": {kty: ktyEC, crv: "P-256", jwx: jwa.ES256},
	"ES384": {kty: ktyEC, crv: "P-384", jwx: jwa.ES384},
	"ES512": {kty: ktyEC, crv: "P-521", jwx: jwa.ES512},
	"EdDSA": {kty: ktyOKP, crv: "Ed25519", jwx: jwa.EdDSA},
	"HS256": {kty: ktyOct, jwx: jwa.HS256, minSecret: 32},
	"HS384": {kty: ktyOct, jwx: jwa.HS384, minSecret: 48},
	"HS512": {kty: ktyOct, jwx: jwa.HS512, minSecret: 64},
}

var errSignature = errors.New("signature does not verify")

// check verifies signature over signed with a public key or, for HMAC, a []byte.
func (a algorithm) check(signed, signature []byte, key any) error {
	if a.hash != 0 {
		// RFC 7518 §3.5: the salt is as long as the hash. jwx lets the signature choose.
		pub, isRSA := key.(*rsa.PublicKey)
		if !isRSA {
			return errSignature
		}
		h := a.hash.New()
		h.Write(signed)
		return rsa.VerifyPSS(pub, a.hash, h.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	// The verifier alone: jws.Verify would parse the token once more, and leniently.
	v, err := jws.NewVerifier(a.jwx)
	if err != nil {
		return err
	}
	return v.Verify(signed, signature, key)
}

// A message is a token whose form and header have passed; nothing in it is verified.
type message struct {
	raw       string
	header    map[string]any
	claims    map[string]any // nil when Policy.SignatureOnly
	signed    []byte         // what the signature is over
	signature []byte
	alg       string
	kid       string
	hasKid    bool
	x5t       string // SHA-1, then SHA-256, thumbprints of the certificate; "" when absent
	x5tS256   string
}

// parseMessage is the gate: it refuses what is not one spelling of one JWS in compact serialization (RFC 7515 §7.1).
func parseMessage(raw string, p *Policy) (message, *Rejection) {
	m := message{raw: raw}
	// The length first, and the dots counted before anything is split: neither may cost memory.
	if size := p.maxSize(); len(raw) > size {
		return m, reject(ReasonMalformed, strconv.Itoa(len(raw))+" bytes, limit "+strconv.Itoa(size))
	}
	if n := strings.Count(raw, "."); n != 2 {
		return m, reject(ReasonMalformed, strconv.Itoa(n+1)+" segments instead of 3")
	}
	dot1, dot2 := strings.IndexByte(raw, '.'), strings.LastIndexByte(raw, '.')
	header, ok1 := decodeSegment(raw[:dot1])
	payload, ok2 := decodeSegment(raw[dot1+1 : dot2])
	signature, ok3 := decodeSegment(raw[dot2+1:])
	if !ok1 || !ok2 || !ok3 {
		return m, reject(ReasonMalformed, "not base64url without padding")
	}
	m.signed, m.signature = []byte(raw[:dot2]), signature

	var rej *Rejection
	if m.header, rej = parsePart("header", header); rej != nil {
		return m, rej
	}
	if rej = m.checkHeader(p); rej != nil || p.SignatureOnly {
		return m, rej
	}
	m.claims, rej = parsePart("payload", payload)
	return m, rej
}

// decodeSegment takes base64url without padding, with all unused bits zero: one value has one spelling.
func decodeSegment(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") { // encoding/base64 skips them, in strict mode too
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil
}

func parsePart(name string, doc []byte) (map[string]any, *Rejection) {
	obj, err := strictjson.Object(string(doc), tokenJSON)
	switch {
	case errors.Is(err, strictjson.ErrDuplicate):
		return nil, reject(ReasonDupMember, name+": "+err.Error())
	case err != nil:
		return nil, reject(ReasonMalformed, name+": "+err.Error())
	}
	return obj, nil
}

// checkHeader judges the members of the protected header and keeps those that choose the key. jku, jwk, x5u and x5c would let the
// token choose its own key and are not looked at; neither is cty, since the payload is an object.
func (m *message) checkHeader(p *Policy) *Rejection {
	alg, present, isString := optString(m.header, "alg")
	if !present || !isString {
		return reject(ReasonBadAlg, "alg is absent or no string")
	}
	a, known := algorithms[alg]
	if !known || !p.allows(alg, a) {
		return reject(ReasonBadAlg, "", alg)
	}
	m.alg = alg
	// No extension is understood here, so any crit asks for too much (RFC 7515 §4.1.11); b64 is RFC 7797, zip RFC 7516.
	for _, name := range []string{"crit", "b64", "zip"} {
		if v, present := m.header[name]; present && (name != "zip" || v != "NONE") {
			return reject(ReasonBadCrit, name+" in the header")
		}
	}
	if rej := m.checkTyp(p.Kind); rej != nil {
		return rej
	}
	return m.readKeyHints()
}

func (m *message) checkTyp(kind Kind) *Rejection {
	typ, present, isString := optString(m.header, "typ")
	if !isString {
		return reject(ReasonMalformed, "typ is no string")
	}
	if !present {
		return nil
	}
	// RFC 7515 §4.1.9: the prefix may be left out, and media types know no case.
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "jwt":
		return nil
	case "at+jwt": // RFC 9068 §2.1
		if kind == AccessToken {
			return nil
		}
	}
	return reject(ReasonBadTyp, "header typ", typ)
}

func (m *message) readKeyHints() *Rejection {
	var ok1, ok2, ok3 bool
	m.kid, m.hasKid, ok1 = optString(m.header, "kid")
	m.x5t, _, ok2 = optString(m.header, "x5t")
	m.x5tS256, _, ok3 = optString(m.header, "x5t#S256")
	if !ok1 || !ok2 || !ok3 {
		return reject(ReasonMalformed, "kid, x5t or x5t#S256 is no string")
	}
	return nil
}
