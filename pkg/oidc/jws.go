package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// Types of keys (RFC 7518 §6.1, RFC 8037 §2).
const (
	ktyRSA = "RSA"
	ktyEC  = "EC"
	ktyOKP = "OKP"
	ktyOct = "oct"
)

// An algorithm is bound to the one type of key, and for curves to the one curve, that it may be
// used with (RFC 8725 §3.1).
type algorithm struct {
	kty  string
	crv  string
	hash crypto.Hash
	pss  bool

	minSecret int // bytes that an oct key of a set must have
}

var algorithms = map[string]*algorithm{
	"RS256": {kty: ktyRSA, hash: crypto.SHA256},
	"RS384": {kty: ktyRSA, hash: crypto.SHA384},
	"RS512": {kty: ktyRSA, hash: crypto.SHA512},
	"PS256": {kty: ktyRSA, hash: crypto.SHA256, pss: true},
	"PS384": {kty: ktyRSA, hash: crypto.SHA384, pss: true},
	"PS512": {kty: ktyRSA, hash: crypto.SHA512, pss: true},
	"ES256": {kty: ktyEC, crv: "P-256", hash: crypto.SHA256},
	"ES384": {kty: ktyEC, crv: "P-384", hash: crypto.SHA384},
	"ES512": {kty: ktyEC, crv: "P-521", hash: crypto.SHA512},
	"EdDSA": {kty: ktyOKP, crv: "Ed25519"},
	"HS256": {kty: ktyOct, hash: crypto.SHA256, minSecret: 32},
	"HS384": {kty: ktyOct, hash: crypto.SHA384, minSecret: 48},
	"HS512": {kty: ktyOct, hash: crypto.SHA512, minSecret: 64},
}

// canonicalAlg makes one name of the two that EdDSA with this curve has (RFC 9864 §2.2).
func canonicalAlg(alg string) string {
	if alg == "Ed25519" {
		return "EdDSA"
	}
	return alg
}

var errSignature = errors.New("signature does not verify")

// check verifies signature over signed with a public key or, for HMAC, a []byte. It calls the
// standard library itself: jwx does so too, through more allocations, and lets a PSS
// signature choose the length of its salt.
func (a *algorithm) check(signed string, signature []byte, key any) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if a.kty != ktyRSA {
			return errSignature
		}
		if a.pss { // RFC 7518 §3.5: the salt is as long as the hash
			return rsa.VerifyPSS(key, a.hash, a.digest(signed, new([sha512.Size]byte)), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		var room [sha512.Size]byte // on the stack, unlike the others
		return rsa.VerifyPKCS1v15(key, a.hash, a.digest(signed, &room), signature)
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		if a.kty != ktyEC || len(signature) != 2*curves[a.crv].size { // RFC 7518 §3.4
			return errSignature
		}
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		if ecdsa.Verify(key, a.digest(signed, new([sha512.Size]byte)), r, s) {
			return nil
		}
	case ed25519.PublicKey:
		if a.kty == ktyOKP && ed25519.Verify(key, []byte(signed), signature) {
			return nil
		}
	case []byte:
		if a.kty != ktyOct {
			return errSignature
		}
		h := hmac.New(a.hash.New, key)
		h.Write([]byte(signed))
		if hmac.Equal(h.Sum(nil), signature) {
			return nil
		}
	}
	return errSignature
}

// digest is the hash of signed, in room: crypto.Hash.New would allocate.
func (a *algorithm) digest(signed string, room *[sha512.Size]byte) []byte {
	switch a.hash {
	case crypto.SHA256:
		sum := sha256.Sum256([]byte(signed))
		return room[:copy(room[:], sum[:])]
	case crypto.SHA384:
		sum := sha512.Sum384([]byte(signed))
		return room[:copy(room[:], sum[:])]
	default:
		*room = sha512.Sum512([]byte(signed))
		return room[:]
	}
}

// A message is a token whose form and header have passed; nothing in it is verified.
type message struct {
	*header
	raw       string
	claims    map[string]any // nil when Policy.SignatureOnly
	signed    string         // what the signature is over
	signature []byte
}

// A header is what we read of a protected header.
type header struct {
	encoded    string
	alg        string // canonical; "" when it is absent or no string
	asked      string // as it was written
	extension  string // a member that asks for more than we have; "" when there is none
	typ        string // lower case, without the prefix
	kid        string // "" when absent
	x5t        string // SHA-1, then SHA-256, thumbprints of the certificate; "" when absent
	x5tS256    string
	malformed  string // why it is
	graphNonce bool
}

// lastHeader is the last one that was read: the tokens of a provider differ little in it. What is
// read depends on nothing but the bytes.
var lastHeader atomic.Pointer[header]

// maxKeptHeader bounds lastHeader in bytes.
const maxKeptHeader = 1 << 10

// parseMessage is the gate: it refuses what is not one spelling of one JWS in compact serialization
// (RFC 7515 §7.1).
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
	buf := make([]byte, 0, strictBase64.DecodedLen(len(raw)-dot1))
	payload, ok1 := appendSegment(buf, raw[dot1+1:dot2])
	signature, ok2 := appendSegment(payload[len(payload):], raw[dot2+1:])
	if !ok1 || !ok2 {
		return m, reject(ReasonMalformed, "not base64url without padding")
	}
	m.signed, m.signature = raw[:dot2], signature

	var rej *Rejection
	if m.header, rej = readHeader(raw[:dot1]); rej != nil {
		return m, rej
	}
	if rej = m.header.check(p); rej != nil || p.SignatureOnly {
		return m, rej
	}
	m.claims, rej = parsePart("payload", payload)
	return m, rej
}

// decodeSegment takes base64url without padding, with all unused bits zero: one value has one
// spelling.
func decodeSegment(s string) ([]byte, bool) {
	return appendSegment(nil, s)
}

// appendSegment is decodeSegment into the room behind buf's end.
func appendSegment(buf []byte, s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") { // encoding/base64 skips them, in strict mode too
		return nil, false
	}
	b, err := strictBase64.AppendDecode(buf, []byte(s))
	return b, err == nil
}

var strictBase64 = base64.RawURLEncoding.Strict()

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

// readHeader reads the protected header. jku, jwk, x5u and x5c would let the token choose its own
// key and are not looked at; neither is cty, since the payload is an object.
func readHeader(encoded string) (*header, *Rejection) {
	if h := lastHeader.Load(); h != nil && h.encoded == encoded {
		return h, nil
	}
	doc, ok := decodeSegment(encoded)
	if !ok {
		return nil, reject(ReasonMalformed, "not base64url without padding")
	}
	members, rej := parsePart("header", doc)
	if rej != nil {
		return nil, rej
	}
	h := &header{encoded: encoded}
	h.asked, _, _ = optString(members, "alg")
	h.alg = canonicalAlg(h.asked)
	// No extension is understood here, so any crit asks for too much (RFC 7515 §4.1.11); b64 is RFC
	// 7797, zip RFC 7516.
	for _, name := range []string{"crit", "b64", "zip"} {
		if v, present := members[name]; present && (name != "zip" || v != "NONE") && h.extension == "" {
			h.extension = name
		}
	}
	var okTyp, ok1, ok2, ok3 bool
	h.typ, _, okTyp = optString(members, "typ")
	// RFC 7515 §4.1.9: the prefix may be left out, and media types know no case.
	h.typ = strings.TrimPrefix(strings.ToLower(h.typ), "application/")
	if _, present := members["typ"]; present && okTyp && h.typ == "" {
		h.typ = "application/" // present and empty is no type of ours
	}
	h.kid, _, ok1 = optString(members, "kid")
	h.x5t, _, ok2 = optString(members, "x5t")
	h.x5tS256, _, ok3 = optString(members, "x5t#S256")
	switch {
	case !okTyp:
		h.malformed = "typ is no string"
	case !ok1 || !ok2 || !ok3:
		h.malformed = "kid, x5t or x5t#S256 is no string"
	}
	_, h.graphNonce = members["nonce"]
	if len(encoded) <= maxKeptHeader {
		kept := *h
		kept.encoded = strings.Clone(encoded) // not the whole token
		lastHeader.Store(&kept)
	}
	return h, nil
}

// check judges the header by what the caller expects.
func (h *header) check(p *Policy) *Rejection {
	if h.alg == "" {
		return reject(ReasonBadAlg, "alg is absent, empty or no string")
	}
	a, known := algorithms[h.alg]
	if !known || !p.allows(h.alg, a) {
		return reject(ReasonBadAlg, "", h.asked)
	}
	if h.extension != "" {
		return reject(ReasonBadCrit, h.extension+" in the header")
	}
	switch h.typ { // before kid and the thumbprints
	case "", "jwt":
	case "at+jwt": // RFC 9068 §2.1
		if p.Kind != AccessToken {
			return reject(ReasonBadTyp, "header typ", h.typ)
		}
	default:
		return reject(ReasonBadTyp, "header typ", h.typ)
	}
	if h.malformed != "" {
		return reject(ReasonMalformed, h.malformed)
	}
	return nil
}
