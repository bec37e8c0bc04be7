package oidc

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Kind is the kind of token that the caller expects.
type Kind int

const (
	// AccessToken refuses what says of itself that it is something else: by the header's typ (RFC
	// 9068 §2.1, RFC 8725 §3.11), or by the payload's typ that Keycloak writes (ID, Refresh,
	// Offline, Logout).
	AccessToken Kind = iota
	// IDToken refuses access tokens (typ at+jwt, or another payload typ than ID) and demands azp
	// where there are several audiences (OpenID Connect Core §3.1.3.7).
	IDToken
)

// Sizes of a token in bytes, when Policy.MaxSize is zero.
const (
	DefaultMaxSize      = 16 << 10 // of a client's token
	DefaultGrantMaxSize = 64 << 10 // of a token that a token endpoint has just returned
)

// aheadAllowed is how far in the future iat may lie, and nbf of a token that a grant has just
// returned: the clocks of two machines.
const aheadAllowed = 10 * time.Second

// A Policy says which tokens are good. The zero Policy accepts none, since no issuer is trusted.
type Policy struct {
	Kind Kind

	// Algorithms are the accepted values of alg, exact case. Empty: RS, PS and ES with 256, 384 and
	// 512, EdDSA (with Ed25519, which is also its other name), and HS where HMAC has a secret.
	// `none` is never accepted.
	Algorithms []string

	// Issuers are the accepted values of iss, compared byte for byte. Empty: none, unless
	// SkipClaims.
	Issuers []string

	// Audience: at least one of them must be in aud. Empty: aud is not asked for, though a
	// malformed one is refused.
	Audience []string

	// Leeway moves exp and nbf in the token's favour. iat may be ahead by it or by 10 s, whichever
	// is more; nbf too when FromGrant.
	Leeway time.Duration

	// KeysAtHand verifies with the keys that are at hand, or on their way for the first time: none is
	// fetched anew for a token that nobody needs.
	KeysAtHand bool
	// SkipSignature accepts any signature (config.ignore_signature). Form, algorithm and claims are
	// checked all the same.
	SkipSignature bool

	// SkipClaims leaves iss, exp, nbf and iat unchecked (config.verify_claims false). aud is
	// checked where Audience is set, and the kind always.
	SkipClaims bool

	// SignatureOnly judges header, key and signature and does not look into the payload, which may
	// be any bytes. Token.Claims stays nil. For tools; a gateway has no use for it.
	SignatureOnly bool

	// MaxSize bounds the token in bytes. Zero: DefaultMaxSize, or DefaultGrantMaxSize when
	// FromGrant.
	MaxSize int

	// HMAC are the shared secrets for HS256, HS384 and HS512: the client secret's bytes, whose
	// length the caller checks. Empty ones are passed over. With none HS is refused before any
	// MAC is computed.
	HMAC Secrets

	// HMACFromKeySet takes the secrets from the oct keys of the key set instead of HMAC. Only for a
	// set that the operator brings himself (the verify command): a published secret is none.
	HMACFromKeySet bool

	// FromGrant says that a token endpoint returned this token just now to us, over a connection
	// that we opened.
	FromGrant bool
}

// Supported says whether alg may stand in Policy.Algorithms.
func Supported(alg string) bool {
	_, known := algorithms[canonicalAlg(alg)]
	return known
}

// Secrets are shared secrets; they print and marshal as [redacted].
type Secrets [][]byte

// Format implements fmt.Formatter for every verb.
func (Secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Secrets) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const redacted = "[redacted]"

func (p *Policy) maxSize() int {
	switch {
	case p.MaxSize > 0:
		return p.MaxSize
	case p.FromGrant:
		return DefaultGrantMaxSize
	}
	return DefaultMaxSize
}

// allows says whether alg, which is in the table, may be used at all.
func (p *Policy) allows(alg string, a *algorithm) bool {
	if len(p.Algorithms) > 0 && !slices.ContainsFunc(p.Algorithms, func(s string) bool { return canonicalAlg(s) == alg }) {
		return false
	}
	// Nothing is computed when the signature is not looked at, so no secret is needed for that.
	return a.kty != ktyOct || p.SkipSignature || p.HMACFromKeySet || p.hasHMAC()
}

func notEmpty(b []byte) bool { return len(b) > 0 }

func (p *Policy) ahead(grantOnly bool) time.Duration {
	if grantOnly && !p.FromGrant {
		return p.Leeway
	}
	return max(p.Leeway, aheadAllowed)
}

func (p *Policy) hasHMAC() bool { return slices.ContainsFunc(p.HMAC, notEmpty) }
