package oidc

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// Bounds of an RSA key. Below: factored (NIST SP 800-131A). Above: a verification would take
// milliseconds; a large exponent makes it slow from half of that size on.
const (
	minRSABits  = 2048
	slowRSABits = 4096
	maxRSABits  = 8192
	maxRSAExp   = 1<<31 - 1 // the most that crypto/rsa takes
	slowRSAExp  = 65537     // the most above slowRSABits
)

// setKey is a key of a known type, good or not: a bad one is kept to say why a token that names it
// was refused.
type setKey struct {
	position     int    // in its set, from 0
	source       int    // of the provider's, in a merged set
	kid          string // "" when it has none
	alg          string // "" when the key does not say
	x5t, x5tS256 string
	kty, crv     string
	identity     string          // of its numbers by value, see identify
	key          any             // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or, for oct, []byte; nil when it cannot be used
	slow         bool            // a verification takes a millisecond or more
	public       json.RawMessage // its public members as published; nil for oct
	fault        Reason          // "" or ReasonBadKey or, for a key that is not meant for signatures, ReasonNoKey
}

// Format implements fmt.Formatter for every verb.
func (setKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

func (k *setKey) refuse(fault Reason) { k.key, k.public, k.fault = nil, nil, fault }

var (
	errKeyType    = errors.New("unknown type")
	errKeyUse     = errors.New("not meant for signatures")
	errKeyForm    = errors.New("a member is missing or malformed")
	errKeyPrivate = errors.New("its private part is published")
	errKeyCurve   = errors.New("unknown curve")
	errKeyPoint   = errors.New("its point is not on the curve")
	errKeyOrder   = errors.New("its point has a small order")
	errKeyRSASize = errors.New("its modulus must have 2048 to 8192 bits")
	errKeyRSAExp  = errors.New("its exponent must be odd, 3 to 2^31-1, and at most 65537 above 4096 bits")
	errKeyRSAEven = errors.New("its modulus is even")
	errKeyROCA    = errors.New("it was made by a faulty generator (ROCA)")
)

// privateMembers are those of RFC 7518 §6.2.2, §6.3.2, §6.4.1 and RFC 8037 §2.
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// parseKey judges one key. What could be read is returned with an error too, so that a kid still
// finds its bad key. loose says that a number is taken though it is not written as RFC 7518 asks.
func parseKey(members map[string]any) (k *setKey, loose bool, err error) {
	k = &setKey{}
	var isString bool
	if k.kty, _, isString = optString(members, "kty"); !isString || !slices.Contains([]string{ktyRSA, ktyEC, ktyOKP, ktyOct}, k.kty) {
		return k, false, errKeyType
	}
	for name, dst := range map[string]*string{"kid": &k.kid, "alg": &k.alg, "x5t": &k.x5t, "x5t#S256": &k.x5tS256, "crv": &k.crv} {
		var ok bool
		if *dst, _, ok = optString(members, name); !ok {
			err = errKeyForm
		}
	}
	k.alg = canonicalAlg(k.alg)
	switch {
	case k.kty != ktyOct && hasPrivate(members): // whoever has fetched the set can sign with it
		return k, false, errKeyPrivate
	case err != nil:
		return k, false, err
	}
	if err := checkUse(members); err != nil {
		return k, false, err
	}
	if k.kty == ktyOct {
		secret, _, _ := optString(members, "k")
		b, ok := decodeSegment(secret)
		if !ok || len(b) == 0 {
			return k, false, errKeyForm
		}
		k.key = b
		return k, false, nil
	}
	if loose, err = k.readPublic(members); err != nil {
		return k, loose, err
	}
	k.public, err = json.Marshal(members)
	return k, loose, err
}

// checkUse reads use and key_ops (RFC 7517 §4.2, §4.3); where both are present, both must allow
// verification.
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

// keyNumber decodes a member that is a number (RFC 7518 §2, Base64urlUInt). Padding and the
// standard alphabet are loose and leave no doubt about the value; what else is wrong does.
func keyNumber(members map[string]any, name string) (b []byte, loose, ok bool) {
	s, _, isString := optString(members, name)
	if b, ok = decodeSegment(s); !ok && isString {
		bare := strings.TrimSuffix(strings.TrimSuffix(s, "="), "=")
		b, ok = decodeSegment(strings.NewReplacer("+", "-", "/", "_").Replace(bare))
		loose = true
	}
	return b, loose, ok && isString && len(b) > 0
}

func hasPrivate(members map[string]any) bool {
	return slices.ContainsFunc(privateMembers, func(name string) bool { _, has := members[name]; return has })
}

// identify turns the number by which a key is known, n or x, into a text that is the same however
// the number is written. The top bit of the last byte is left out: in an Edwards point it is the
// sign, and whoever knows the private key of one sign knows that of the other.
func identify(name string, number []byte) string {
	b := bytes.Clone(trimZeros(number))
	if name == "x" && len(b) > 0 {
		b[len(b)-1] &= 0x7f
	}
	return name + string(b)
}

// exposes identifies the keys whose private part members publish, whatever else is wrong there:
// each number is read in every way in which somebody may have meant it.
func exposes(members map[string]any) []string {
	if !hasPrivate(members) {
		return nil
	}
	found := exposedBy(members, LenientBase64)
	return append(found, exposedBy(members, anyHex)...)
}

// LenientBase64 decodes either alphabet as far as it goes; other characters and the unused last bits
// are passed over. It tells what somebody else may read in a text, and never decides that one is good.
func LenientBase64(s string) []byte {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '+':
			return '-'
		case c == '/':
			return '_'
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			return c
		}
		return -1
	}, s)
	b, _ := base64.RawURLEncoding.DecodeString(s)
	return b
}

// anyHex decodes hexadecimal digits with white space or colons between them.
func anyHex(s string) []byte {
	s = strings.Map(func(c rune) rune {
		if strings.ContainsRune(" \t\r\n:", c) {
			return -1
		}
		return c
	}, s)
	if len(s)%2 == 1 {
		s = "0" + s
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

func exposedBy(members map[string]any, decode func(string) []byte) []string {
	number := func(name string) ([]byte, bool) {
		s, _, _ := optString(members, name)
		b := decode(s)
		return b, len(b) > 0
	}
	var found []string
	for _, name := range []string{"n", "x"} {
		if b, ok := number(name); ok {
			found = append(found, identify(name, b))
		}
	}
	// The public part may be missing, or be another key's.
	p, okP := number("p")
	q, okQ := number("q")
	if okP && okQ && len(p)+len(q) <= 2*maxRSABits/8 {
		n := new(big.Int).Mul(new(big.Int).SetBytes(p), new(big.Int).SetBytes(q))
		found = append(found, identify("n", n.Bytes()))
	}
	d, okD := number("d")
	crv, _, _ := optString(members, "crv")
	if curve := curves[crv]; okD && curve.size > 0 && len(trimZeros(d)) <= curve.size {
		d = append(make([]byte, curve.size-len(trimZeros(d))), trimZeros(d)...)
		if private, err := curve.NewPrivateKey(d); err == nil {
			found = append(found, identify("x", private.PublicKey().Bytes()[1:1+curve.size]))
		}
	}
	if okD && crv == "Ed25519" && len(d) == ed25519.SeedSize {
		found = append(found, identify("x", ed25519.NewKeyFromSeed(d)[ed25519.SeedSize:]))
	}
	return found
}

// curves are those of RFC 7518 §6.2.1.1, with the length of a coordinate in bytes.
var curves = map[string]struct {
	ecdh.Curve
	size int
}{"P-256": {ecdh.P256(), 32}, "P-384": {ecdh.P384(), 48}, "P-521": {ecdh.P521(), 66}}

// readPublic judges the numbers of a public key, and lets jwx make a key of them, written strictly.
func (k *setKey) readPublic(members map[string]any) (loose bool, err error) {
	fields := map[string]any{"kty": k.kty}
	if k.kty != ktyRSA {
		fields["crv"] = k.crv
	}
	for _, name := range map[string][]string{ktyRSA: {"n", "e"}, ktyEC: {"x", "y"}, ktyOKP: {"x"}}[k.kty] {
		b, isLoose, ok := keyNumber(members, name)
		if !ok {
			return loose, errKeyForm
		}
		if k.identity == "" { // the first is the one
			k.identity = identify(name, b)
		}
		if size := curves[k.crv].size; k.kty == ktyRSA {
			isLoose = isLoose || b[0] == 0
			b = trimZeros(b)
		} else if k.kty == ktyEC && size > 0 && len(b) != size { // RFC 7518 §6.2.1.2: leading zeros stay
			isLoose = true
			if b = trimZeros(b); len(b) > size {
				return loose, errKeyPoint
			}
		}
		loose = loose || isLoose
		fields[name] = base64.RawURLEncoding.EncodeToString(b)
	}
	switch {
	case k.kty == ktyEC && curves[k.crv].size == 0, k.kty == ktyOKP && k.crv != "Ed25519":
		if k.crv == "X25519" || k.crv == "X448" {
			return loose, errKeyUse
		}
		return loose, errKeyCurve
	}
	doc, err := json.Marshal(fields)
	if err != nil {
		return loose, errKeyForm
	}
	parsed, err := jwk.ParseKey(doc)
	if err != nil {
		return loose, errKeyForm
	}
	switch k.kty {
	case ktyRSA:
		k.key, k.slow, err = rsaKey(parsed)
	case ktyEC:
		k.key, err = ecKey(parsed)
		k.slow = k.crv == "P-521"
	default:
		k.key, err = edKey(parsed)
	}
	return loose, err
}

func rsaKey(parsed jwk.Key) (key any, slow bool, err error) {
	var pub rsa.PublicKey
	src, isRSA := parsed.(jwk.RSAPublicKey)
	if !isRSA || parsed.Raw(&pub) != nil {
		return nil, false, errKeyForm
	}
	bits := pub.N.BitLen()
	slow = bits > slowRSABits
	switch {
	case bits < minRSABits || bits > maxRSABits:
		return nil, false, errKeyRSASize
	// pub.E is an int and may have wrapped round; the bytes have not.
	case len(src.E()) > 4 || pub.E < 3 || pub.E > maxRSAExp || pub.E%2 == 0, slow && pub.E > slowRSAExp:
		return nil, false, errKeyRSAExp
	case pub.N.Bit(0) == 0:
		return nil, false, errKeyRSAEven
	case isROCA(pub.N):
		return nil, false, errKeyROCA
	}
	return &pub, slow, nil
}

// rocaPrimes are small primes that tell most: each divides the primorial from which Infineon's
// faulty library built its primes, and 65537 generates only a part of the numbers modulo it.
var rocaPrimes = []int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157}

// isROCA finds the fingerprint of CVE-2017-15361: the modulus is a power of 65537 modulo every one
// of the primes. Such keys can be factored.
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

func trimZeros(b []byte) []byte { return bytes.TrimLeft(b, "\x00") }

func ecKey(parsed jwk.Key) (any, error) {
	var pub ecdsa.PublicKey
	if parsed.Raw(&pub) != nil {
		return nil, errKeyForm
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
	if smallOrder(pub) {
		return nil, errKeyOrder
	}
	return pub, nil
}

// smallOrders are the y of the points whose order divides 8, without the sign, in every way that
// 32 bytes can write them. With such a key one signature fits many messages.
var smallOrders = [][]byte{
	bytes.Repeat([]byte{0}, 32),
	append([]byte{1}, bytes.Repeat([]byte{0}, 31)...),
	[]byte("\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05"),
	[]byte("\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a"),
	[]byte("\xec" + strings.Repeat("\xff", 30) + "\x7f"),
	[]byte("\xed" + strings.Repeat("\xff", 30) + "\x7f"),
	[]byte("\xee" + strings.Repeat("\xff", 30) + "\x7f"),
}

func smallOrder(pub ed25519.PublicKey) bool {
	y := bytes.Clone(pub)
	y[31] &= 0x7f
	return slices.ContainsFunc(smallOrders, func(small []byte) bool { return bytes.Equal(small, y) })
}
