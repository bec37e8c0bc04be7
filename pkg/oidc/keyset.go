package oidc

import (
	"crypto"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// Bounds of a key set, and how many keys one token may be tried with: of them, one slow one.
const (
	MaxKeySetSize = 1 << 20
	MaxKeys       = 100
	maxTries      = 3
	maxNamed      = 10 // keys that an error names
)

// ErrNoKeys is wrapped by the error of ParseKeySet for a set that is well-formed and has no key to
// verify a signature with. It must never be read as "nothing to verify".
var ErrNoKeys = errors.New("no usable key for signatures")

// A KeySet is a JWK Set (RFC 7517 §5), judged once. It is immutable.
type KeySet struct {
	keys    []*setKey
	exposed []string // what identifies the keys whose private part is published
	notices []notice
}

// notice is a sentence about a key.
type notice struct {
	text   string
	normal bool // no reason for a warning, as long as there are other keys
}

// Format implements fmt.Formatter for every verb: an oct key would print its secret.
func (s KeySet) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "[%d keys]", len(s.keys)) }

// ParseKeySet reads a JWK Set of at most MaxKeySetSize bytes and MaxKeys keys. A document that is
// no such set, or names a member twice, is an error and gives no set. Keys of unknown types are
// skipped; keys that may not be used are refused one by one, with a warning, and do not harm the
// others. When none is left to verify with (oct keys do not count: a published secret is none), the
// error wraps ErrNoKeys and says what is wrong with each key, and the set is returned with it.
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
			set.note(&setKey{position: i}, "is not used: it is no object", false)
			continue
		}
		set.add(i, members)
	}
	set.refuseExposed()
	if set.Len() == 0 {
		return set, fmt.Errorf("oidc: key set: %w%s", ErrNoKeys, set.named())
	}
	return set, nil
}

// named is the end of an error about a set without a usable key.
func (s *KeySet) named() string {
	warnings := s.Warnings()
	if len(warnings) == 0 {
		return ": it is empty"
	}
	more := ""
	if n := len(warnings) - maxNamed; n > 0 {
		warnings, more = warnings[:maxNamed], "; and "+strconv.Itoa(n)+" more"
	}
	return ": " + strings.Join(warnings, "; ") + more
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

// Warnings says which keys were refused or are written loosely, and why, one line each, safe to
// log. Keys for encryption and of unknown types are named only where no other key is left.
func (s *KeySet) Warnings() []string {
	var warnings []string
	none := s.Len() == 0
	for _, n := range s.notices {
		if none || !n.normal {
			warnings = append(warnings, n.text)
		}
	}
	return warnings
}

func (s *KeySet) note(k *setKey, what string, normal bool) {
	s.notices = append(s.notices, notice{"key " + ordinal(k.position) + " (kid " + escape(k.kid) + ") " + what, normal})
}

func (s *KeySet) add(i int, members map[string]any) {
	// Some providers write null for what a key does not have.
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	s.exposed = append(s.exposed, exposes(members)...)
	k, loose, why := parseKey(members)
	k.position = i
	switch {
	case errors.Is(why, errKeyType):
		s.note(k, "is not used: "+why.Error(), true)
		return
	case errors.Is(why, errKeyUse): // keys for encryption are normal beside the others
		k.refuse(ReasonNoKey)
		s.note(k, "is not used: "+why.Error(), true)
	case why != nil:
		k.refuse(ReasonBadKey)
		s.note(k, "is not used: "+why.Error(), false)
	case k.kty == ktyOct:
		s.note(k, "is not used: a secret in a key set is no secret", false)
	case loose:
		s.note(k, "is used, though its numbers are not base64url of the right length", false)
	}
	if !slices.ContainsFunc(s.keys, k.same) {
		s.keys = append(s.keys, k)
	}
}

// refuseExposed takes out the keys whose private part stands elsewhere in the set, and the oct keys
// of a set that has public keys too: that is the wrong place for a secret, whoever asks.
func (s *KeySet) refuseExposed() {
	mixed := slices.ContainsFunc(s.keys, func(k *setKey) bool { return k.kty != ktyOct })
	for _, k := range s.keys {
		switch {
		case mixed && k.kty == ktyOct:
			k.refuse(ReasonBadKey)
		case k.fault == "" && slices.Contains(s.exposed, k.identity):
			k.refuse(ReasonBadKey)
			s.note(k, "is not used: "+errKeyPrivate.Error(), false)
		}
	}
}

// merge is the union of the sets of several sources; nil stands for a source without one. A key
// that is private in one of them is refused in all.
func merge(sets []*KeySet) *KeySet {
	out := &KeySet{}
	for i, set := range sets {
		if set == nil {
			continue
		}
		out.exposed = append(out.exposed, set.exposed...)
		for _, n := range set.notices {
			out.notices = append(out.notices, notice{"source " + ordinal(i) + ": " + n.text, n.normal})
		}
		for _, k := range set.keys {
			own := *k
			own.source = i
			out.keys = append(out.keys, &own)
		}
	}
	for _, k := range out.keys {
		if k.fault == "" && k.kty != ktyOct && slices.Contains(out.exposed, k.identity) {
			k.refuse(ReasonBadKey)
			out.note(k, "of source "+ordinal(k.source)+" is not used: "+errKeyPrivate.Error(), false)
		}
	}
	return out
}

// same finds the same key published twice, which is one key.
func (k *setKey) same(o *setKey) bool {
	if k.kid != o.kid || k.alg != o.alg || k.fault != "" || o.fault != "" {
		return false
	}
	if secret, isSecret := k.key.([]byte); isSecret {
		other, _ := o.key.([]byte)
		return hmac.Equal(secret, other)
	}
	public, canEqual := k.key.(interface{ Equal(crypto.PublicKey) bool })
	return canEqual && public.Equal(o.key)
}

// fits says whether the key may verify alg, and if not, why.
func (k *setKey) fits(alg string, a *algorithm) Reason {
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

// verify finds the key among those of the sources that vouch for the token (nil: all do) and checks
// the signature. It returns the key in public form, nil for HMAC.
func (s *KeySet) verify(m *message, p *Policy, vouches func(source int) bool) (json.RawMessage, *Rejection) {
	if s == nil {
		s = &KeySet{}
	}
	a := algorithms[m.alg]
	if a.kty == ktyOct && !p.HMACFromKeySet {
		return nil, verifyHMAC(m, a, p)
	}
	c, rej := s.choose(m, a, vouches)
	if rej != nil {
		return nil, rej
	}
	for _, k := range c.tries[:c.n] {
		if a.check(m.signed, m.signature, k.key) == nil {
			return k.public, nil
		}
	}
	return nil, badSignature(m, &c)
}

func verifyHMAC(m *message, a *algorithm, p *Policy) *Rejection {
	for _, secret := range p.HMAC {
		if notEmpty(secret) && a.check(m.signed, m.signature, secret) == nil {
			return nil
		}
	}
	return badSignature(m, &choice{})
}

func badSignature(m *message, c *choice) *Rejection {
	switch {
	case m.graphNonce:
		return reject(ReasonBadSig, "nonce in the header: only Microsoft Graph can verify it")
	case c.untried > 0:
		return reject(ReasonNoKey, "of the keys that fit "+strconv.Itoa(c.untried)+" were not tried")
	case c.nameless && m.kid != "":
		return reject(ReasonNoKey, "kid", m.kid)
	}
	return reject(ReasonBadSig, "kid", m.kid)
}

// choice is which keys a token is tried with.
type choice struct {
	tries    [maxTries]*setKey
	n        int
	untried  int  // keys that fit and would be too much work
	nameless bool // no key has the token's kid: these are keys without one
	slow     bool
}

func (c *choice) add(k *setKey) {
	switch {
	case slices.ContainsFunc(c.tries[:c.n], k.same):
	case c.n == maxTries || k.slow && c.slow:
		c.untried++
	default:
		c.tries[c.n] = k
		c.n++
		c.slow = c.slow || k.slow
	}
}

// How a key is named by a token.
const (
	byKid = iota
	withoutKid
	byThumbprint
	byNothing
)

func (k *setKey) named(how int, m *message) bool {
	switch how {
	case byKid:
		return k.kid == m.kid
	case withoutKid:
		return k.kid == ""
	case byThumbprint:
		return m.x5t != "" && k.x5t == m.x5t || m.x5tS256 != "" && k.x5tS256 == m.x5tS256
	}
	return true
}

// choose takes the keys with the token's kid, and those without one where no key has it; for a
// token without a kid those with its certificate's thumbprint, else all that fit.
func (s *KeySet) choose(m *message, a *algorithm, vouches func(int) bool) (c choice, rej *Rejection) {
	how, next := byThumbprint, byNothing
	if m.kid != "" {
		how, next = byKid, withoutKid
	}
	if !slices.ContainsFunc(s.keys, func(k *setKey) bool { return k.named(how, m) && (vouches == nil || vouches(k.source)) }) {
		how = next
	}
	c.nameless = how == withoutKid
	var why Reason
	matches := 0
	for _, k := range s.keys {
		if !k.named(how, m) || vouches != nil && !vouches(k.source) {
			continue
		}
		matches++
		switch r := k.fits(m.alg, a); {
		case r == "":
			c.add(k)
		case why == "" || r == ReasonBadKey:
			why = r
		}
	}
	switch {
	case how == byKid && matches > 1 && a.kty == ktyOct:
		return c, reject(ReasonNoKey, "several secrets have this kid", m.kid)
	case c.n > 0:
		return c, nil
	case why == "" || why == ReasonNoKey || c.nameless:
		return c, reject(ReasonNoKey, "kid", m.kid)
	}
	return c, reject(why, "key", m.kid)
}

// has says whether source has a key with this kid.
func (s *KeySet) has(kid string, source int) bool {
	return kid != "" && slices.ContainsFunc(s.keys, func(k *setKey) bool { return k.kid == kid && k.source == source })
}
