package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// Bounds of a key set, and how many keys one token may be tried with.
const (
	MaxKeySetSize = 1 << 20
	MaxKeys       = 100
	maxTries      = 3
)

// Bounds of an RSA key. Below: factored (NIST SP 800-131A). Above: a verification would take milliseconds.
const (
	minRSABits = 2048
	maxRSABits = 8192
	maxRSAExp  = 1<<31 - 1 // the most that crypto/rsa takes
)

// ErrNoKeys is wrapped by the error of ParseKeySet for a set that is well-formed and has no key to verify a signature with. It must
// never be read as "nothing to verify".
var ErrNoKeys = errors.New("no usable key for signatures")

// A KeySet is a JWK Set (RFC 7517 §5), judged once. It is immutable.
type KeySet struct {
	keys     []setKey
	warnings []string
}

// setKey is a key of a known type, good or not: a bad one is kept to say why a token that names it was refused.
type setKey struct {
	kid          string
	hasKid       bool
	alg          string // "" when the key does not say
	x5t, x5tS256 string
	kty, crv     string
	value        string          // n or x, as published
	exposed      bool            // its private part is published
	key          any             // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or, for oct, []byte; nil when it cannot be used
	public       json.RawMessage // its public members as published; nil for oct
	fault        Reason          // "" or ReasonBadKey or, for a key that is not meant for signatures, ReasonNoKey
}

// Format implements fmt.Formatter for every verb: an oct key would print its secret.
func (k KeySet) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "[%d keys]", len(k.keys)) }

// Format implements fmt.Formatter for every verb.
func (setKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// ParseKeySet reads a JWK Set of at most MaxKeySetSize bytes and MaxKeys keys. A document that is no such set, or names a member
// twice, is an error and gives no set. Keys of unknown types are skipped; keys that may not be used are refused one by one, with
// a warning, and do not harm the others. When none is left to verify with (oct keys do not count: a published secret is none),
// the error wraps ErrNoKeys and the set is returned with it, so that Verify can say what is wrong with each key.
func ParseKeySet(raw []byte) (*KeySet, error) {
	if len(raw) > MaxKeySetSize {
		return nil, fmt.Errorf("oidc: key set has %d bytes, limit %d", len(raw), MaxKeySetSize)
	}
	doc, err := strictjson.Object(string(raw), keySetJSON)
	if err != nil {
		return nil, fmt.Errorf("oidc: key set: %w", err)
	}
	list, isList := doc["keys"].([]any)
	if !isList {
		return nil, errors.New("oidc: key set: keys is absent or no list")
	}
	if len(list) > MaxKeys {
		return nil, fmt.Errorf("oidc: key set has %d keys, limit %d", len(list), MaxKeys)
	}
	set := &KeySet{}
	for i, e := range list {
		members, isObject := e.(map[string]any)
		if !isObject {
			set.warn(i, "", "it is no object")
			continue
		}
		set.add(i, members)
	}
	set.refuseExposed()
	if set.Len() == 0 {
		return set, fmt.Errorf("oidc: key set: %w", ErrNoKeys)
	}
	return set, nil
}

// Len is the number of public keys that signatures can be verified with.
func (s *KeySet) Len() int {
	n := 0
	for _, k := range s.keys {
		if k.fault == "" && k.kty != ktyOct {
			n++
		}
	}
	return n
}

// Warnings says which keys were refused and why, one line each, safe to log.
func (s *KeySet) Warnings() []string { return slices.Clone(s.warnings) }

func (s *KeySet) warn(i int, kid, why string) {
	s.warnings = append(s.warnings, "key "+ordinal(i)+" (kid "+escape(kid)+") is not used: "+why)
}

func (s *KeySet) add(i int, members map[string]any) {
	// Some providers write null for what a key does not have.
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	k, why := parseKey(members)
	switch {
	case errors.Is(why, errKeyType):
		return
	case errors.Is(why, errKeyUse): // keys for encryption are normal beside the others: no warning
		k.refuse(ReasonNoKey)
	case why != nil:
		k.refuse(ReasonBadKey)
		s.warn(i, k.kid, why.Error())
	case k.kty == ktyOct:
		s.warn(i, k.kid, "a secret in a key set is no secret")
	}
	if !slices.ContainsFunc(s.keys, k.same) {
		s.keys = append(s.keys, k)
	}
}

func (k *setKey) refuse(fault Reason) { k.key, k.public, k.fault = nil, nil, fault }

// refuseExposed takes out the keys whose private part stands elsewhere in the set, and the oct keys of a set that has public keys too:
// that is the wrong place for a secret, whoever asks.
func (s *KeySet) refuseExposed() {
	mixed := slices.ContainsFunc(s.keys, func(k setKey) bool { return k.kty != ktyOct })
	for i := range s.keys {
		k := &s.keys[i]
		private := func(o setKey) bool { return o.exposed && o.value == k.value }
		if mixed && k.kty == ktyOct || k.fault == "" && slices.ContainsFunc(s.keys, private) {
			k.refuse(ReasonBadKey)
		}
	}
}

// same finds the same key published twice, which is one key.
func (k setKey) same(o setKey) bool {
	if k.hasKid != o.hasKid || k.kid != o.kid || k.alg != o.alg || k.fault != "" || o.fault != "" {
		return false
	}
	if secret, isSecret := k.key.([]byte); isSecret {
		other, _ := o.key.([]byte)
		return hmac.Equal(secret, other)
	}
	pub, comparable := k.key.(interface{ Equal(crypto.PublicKey) bool })
	return comparable && pub.Equal(o.key)
}

var (
	errKeyType    = errors.New("unknown type")
	errKeyUse     = errors.New("not meant for signatures")
	errKeyForm    = errors.New("a member is missing or malformed")
	errKeyPrivate = errors.New("its private part is published")
	errKeyCurve   = errors.New("unknown curve")
	errKeyPoint   = errors.New("its point is not on the curve")
	errKeyRSASize = errors.New("its modulus must have 2048 to 8192 bits")
	errKeyRSAExp  = errors.New("its exponent must be odd, 3 to 2^31-1")
	errKeyRSAEven = errors.New("its modulus is even")
	errKeyROCA    = errors.New("it was made by a faulty generator (ROCA)")
)

// privateMembers are those of RFC 7518 §6.2.2, §6.3.2, §6.4.1 and RFC 8037 §2.
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// parseKey judges one key. What could be read is returned with an error too, so that a kid still finds its bad key.
func parseKey(members map[string]any) (k setKey, err error) {
	var ok bool
	if k.kty, _, ok = optString(members, "kty"); !ok {
		return k, errKeyType
	}
	if !slices.Contains([]string{ktyRSA, ktyEC, ktyOKP, ktyOct}, k.kty) {
		return k, errKeyType
	}
	for name, dst := range map[string]*string{"kid": &k.kid, "alg": &k.alg, "x5t": &k.x5t, "x5t#S256": &k.x5tS256, "crv": &k.crv} {
		var ok bool
		if *dst, _, ok = optString(members, name); !ok {
			err = errKeyForm
		}
	}
	_, k.hasKid = members["kid"]
	if err != nil {
		return k, err
	}
	if err := checkUse(members); err != nil {
		return k, err
	}
	if k.kty == ktyOct {
		secret, _, _ := optString(members, "k")
		b, ok := decodeSegment(secret)
		if !ok || len(b) == 0 {
			return k, errKeyForm
		}
		k.key = b
		return k, nil
	}
	k.value, _, _ = optString(members, map[string]string{ktyRSA: "n", ktyEC: "x", ktyOKP: "x"}[k.kty])
	for _, name := range privateMembers {
		if _, k.exposed = members[name]; k.exposed { // whoever has fetched the set can sign with it
			return k, errKeyPrivate
		}
	}
	k.key, err = publicKey(k, members)
	if err != nil {
		return k, err
	}
	k.public, err = json.Marshal(members)
	return k, err
}

// checkUse reads use and key_ops (RFC 7517 §4.2, §4.3); where both are present, both must allow verification.
func checkUse(members map[string]any) error {
	use, hasUse, ok1 := optString(members, "use")
	ops, hasOps, ok2 := optStrings(members, "key_ops")
	switch {
	case !ok1 || !ok2:
		return errKeyForm
	case hasUse && use != "sig", hasOps && !slices.Contains(ops, "verify"):
		return errKeyUse
	}
	return nil
}

// publicKey lets jwx make a key of the members that matter, after their form was checked and before their value is.
func publicKey(k setKey, members map[string]any) (any, error) {
	fields := map[string]any{"kty": k.kty}
	names := map[string][]string{ktyRSA: {"n", "e"}, ktyEC: {"crv", "x", "y"}, ktyOKP: {"crv", "x"}}[k.kty]
	for _, name := range names {
		v, _, isString := optString(members, name)
		if b, ok := decodeSegment(v); name != "crv" && (!ok || len(b) == 0 || !isString) {
			return nil, errKeyForm
		}
		fields[name] = v
	}
	switch {
	case k.kty == ktyEC && curveSize[k.crv] == 0, k.kty == ktyOKP && k.crv != "Ed25519":
		if k.crv == "X25519" || k.crv == "X448" {
			return nil, errKeyUse
		}
		return nil, errKeyCurve
	}
	doc, err := json.Marshal(fields)
	if err != nil {
		return nil, errKeyForm
	}
	parsed, err := jwk.ParseKey(doc)
	if err != nil {
		return nil, errKeyForm
	}
	switch k.kty {
	case ktyRSA:
		return rsaKey(parsed)
	case ktyEC:
		return ecKey(parsed, members)
	default:
		return edKey(parsed)
	}
}

func rsaKey(parsed jwk.Key) (any, error) {
	var pub rsa.PublicKey
	src, isRSA := parsed.(jwk.RSAPublicKey)
	if !isRSA || parsed.Raw(&pub) != nil {
		return nil, errKeyForm
	}
	// pub.E is an int and may have wrapped round; the bytes have not.
	e := trimZeros(src.E())
	switch bits := pub.N.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return nil, errKeyRSASize
	case len(e) > 4 || pub.E < 3 || pub.E > maxRSAExp || pub.E%2 == 0:
		return nil, errKeyRSAExp
	case pub.N.Bit(0) == 0:
		return nil, errKeyRSAEven
	case isROCA(pub.N):
		return nil, errKeyROCA
	}
	return &pub, nil
}

// rocaPrimes are small primes that tell most: each divides the primorial from which Infineon's faulty library built its primes, and 65537
// generates only a part of the numbers modulo it.
var rocaPrimes = []int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157}

// isROCA finds the fingerprint of CVE-2017-15361: the modulus is a power of 65537 modulo every one of the primes. Such keys can be
// factored.
func isROCA(n *big.Int) bool {
	for _, p := range rocaPrimes {
		rest := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power := int64(1)
		for power != rest {
			if power = power * 65537 % p; power == 1 {
				return false
			}
		}
	}
	return true
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// curveSize is the length of a coordinate in bytes.
var curveSize = map[string]int{"P-256": 32, "P-384": 48, "P-521": 66}

func ecKey(parsed jwk.Key, members map[string]any) (any, error) {
	var pub ecdsa.PublicKey
	if parsed.Raw(&pub) != nil {
		return nil, errKeyForm
	}
	size := curveSize[pub.Curve.Params().Name]
	for _, name := range []string{"x", "y"} {
		v, _, _ := optString(members, name)
		if b, _ := decodeSegment(v); len(b) != size { // RFC 7518 §6.2.1.2: leading zeros stay
			return nil, errKeyForm
		}
	}
	if _, err := pub.ECDH(); err != nil {
		return nil, errKeyPoint
	}
	return &pub, nil
}

func edKey(parsed jwk.Key) (any, error) {
	var pub ed25519.PublicKey
	if parsed.Raw(&pub) != nil || len(pub) != ed25519.PublicKeySize {
		return nil, errKeyForm
	}
	return pub, nil
}

// fits says whether the key may verify alg, and if not, why.
func (k *setKey) fits(alg string) Reason {
	a := algorithms[alg]
	switch {
	case k.fault == ReasonNoKey:
		return ReasonNoKey
	case k.alg != "" && k.alg != alg:
		return ReasonBadAlg
	case k.fault != "":
		return k.fault
	case k.kty != a.kty || a.crv != "" && k.crv != a.crv:
		return ReasonBadKey
	}
	if secret, isSecret := k.key.([]byte); isSecret && len(secret) < a.minSecret { // RFC 7518 §3.2
		return ReasonBadKey
	}
	return ""
}

// verify finds the key and checks the signature. It returns the key in public form, nil for HMAC.
func (s *KeySet) verify(m *message, p *Policy) (json.RawMessage, *Rejection) {
	if s == nil {
		s = &KeySet{}
	}
	a := algorithms[m.alg]
	if a.kty == ktyOct && !p.HMACFromKeySet {
		return nil, verifyHMAC(m, p)
	}
	candidates, rej := s.candidates(m)
	if rej != nil {
		return nil, rej
	}
	tries := candidates[:min(len(candidates), maxTries)]
	for _, k := range tries {
		if a.check(m.signed, m.signature, k.key) == nil {
			return k.public, nil
		}
	}
	return nil, badSignature(m, len(candidates)-len(tries))
}

func verifyHMAC(m *message, p *Policy) *Rejection {
	a := algorithms[m.alg]
	for _, secret := range p.HMAC {
		if notEmpty(secret) && a.check(m.signed, m.signature, secret) == nil {
			return nil
		}
	}
	return badSignature(m, 0)
}

func badSignature(m *message, untried int) *Rejection {
	if _, graph := m.header["nonce"]; graph {
		return reject(ReasonBadSig, "nonce in the header: only Microsoft Graph can verify it")
	}
	if untried > 0 {
		return reject(ReasonNoKey, "no kid, and of the keys that fit "+ordinal(untried-1)+" were not tried")
	}
	return reject(ReasonBadSig, "kid", m.kid)
}

// candidates chooses by kid, else by the certificate's thumbprint, else all that fit.
func (s *KeySet) candidates(m *message) ([]setKey, *Rejection) {
	match := func(k setKey) bool { return k.hasKid && k.kid == m.kid }
	if !m.hasKid {
		match = func(k setKey) bool {
			return m.x5t != "" && k.x5t == m.x5t || m.x5tS256 != "" && k.x5tS256 == m.x5tS256
		}
		if !slices.ContainsFunc(s.keys, match) {
			match = func(setKey) bool { return true }
		}
	}
	var fitting []setKey
	var why Reason
	matches := 0
	for _, k := range s.keys {
		if !match(k) {
			continue
		}
		matches++
		switch r := k.fits(m.alg); {
		case r == "":
			fitting = append(fitting, k)
		case why == "" || r == ReasonBadKey:
			why = r
		}
	}
	switch {
	case m.hasKid && matches > 1 && algorithms[m.alg].kty == ktyOct:
		return nil, reject(ReasonNoKey, "several secrets have this kid", m.kid)
	case len(fitting) > 0:
		return fitting, nil
	case why == "" || why == ReasonNoKey:
		return nil, reject(ReasonNoKey, "kid", m.kid)
	}
	return nil, reject(why, "key", m.kid)
}
