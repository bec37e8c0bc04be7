// Package oidc verifies JSON Web Tokens of OpenID Connect providers, and finds out from a provider
// what that takes: its metadata and its key set.
//
// A token passes one strict gate (strictjson, jws.go) before any library sees it; keys are judged
// once, when a set is parsed (jwk.go, keyset.go); Verify is a pure function of token, keys, policy
// and time. It is the only package that imports jwx.
//
// Not its job: to look for tokens in requests, to decide what a good token may do (scopes, groups,
// consumers), JWE, opaque tokens, and to remember what it has verified.
package oidc

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// A Token is a token that Verify accepted.
type Token struct {
	// Claims is the payload: nil, bool, string, json.Number (so that no digit is lost), []any and
	// map[string]any. Treat it as read-only: it is shared by all who hold the token.
	Claims map[string]any
	// Expiry is exp, without leeway; zero when there is none that can be read, which only
	// Policy.SkipClaims lets pass.
	Expiry time.Time
	// JWK is the public key that verified the signature, as the provider published it; nil for HMAC
	// and for SkipSignature.
	JWK json.RawMessage
}

// Format implements fmt.Formatter for every verb, since the token is a credential.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// Verify judges one compact JWS (RFC 7515 §7.1, RFC 7519 §7.2, RFC 8725). It does no I/O and reads
// no clock: now is the time for every comparison. Its error is always a *Rejection.
//
// It does not check sub, jti, nonce, at_hash, auth_time, scopes, revocation or proof of possession,
// and it does not follow jku, jwk, x5u or x5c of the header.
func Verify(raw string, keys *KeySet, p Policy, now time.Time) (*Token, error) {
	u, err := inspect(raw, p, now)
	if err != nil {
		return nil, err
	}
	return u.verify(keys, nil)
}

// An unverified token has passed every check that needs no key.
type unverified struct {
	message
	policy Policy
	expiry time.Time
}

// inspect makes every check that needs no key, so that a token which cannot be good costs neither a
// signature nor a fetch of keys. Its error is always a *Rejection.
func inspect(raw string, p Policy, now time.Time) (unverified, error) {
	m, rej := parseMessage(raw, &p)
	if rej != nil {
		return unverified{}, rej
	}
	u := unverified{message: m, policy: p}
	if p.SignatureOnly {
		return u, nil
	}
	if u.expiry, rej = checkClaims(m.claims, &p, now); rej != nil {
		return unverified{}, rej
	}
	return u, nil
}

// verify makes the checks that inspect left, with the keys of the sources that vouch; nil: of all.
// Its error is always a *Rejection.
func (u *unverified) verify(keys *KeySet, vouches func(source int) bool) (*Token, error) {
	t := &Token{Claims: u.claims, Expiry: u.expiry}
	if u.policy.SkipSignature {
		return t, nil
	}
	jwk, rej := keys.verify(&u.message, &u.policy, vouches)
	if rej != nil {
		return nil, rej
	}
	t.JWK = jwk
	return t, nil
}

// checkClaims judges the payload and returns exp where it can be read.
func checkClaims(c map[string]any, p *Policy, now time.Time) (time.Time, *Rejection) {
	if rej := checkPayloadTyp(c, p.Kind); rej != nil {
		return time.Time{}, rej
	}
	exp, expOK := expiry(c["exp"])
	if !p.SkipClaims {
		if rej := checkIssuer(c, p); rej != nil {
			return time.Time{}, rej
		}
		if !expOK {
			return time.Time{}, reject(ReasonBadExp, "exp is absent or no usable number")
		}
		if rej := checkTimes(c, p, times{now: now, exp: exp}); rej != nil {
			return time.Time{}, rej
		}
	}
	return exp, checkAudience(c, p)
}

// checkPayloadTyp reads the typ that Keycloak writes into the payload. Other providers use the name
// as they like.
func checkPayloadTyp(c map[string]any, kind Kind) *Rejection {
	typ, isString := c["typ"].(string)
	if !isString {
		return nil
	}
	switch typ {
	case "ID":
		if kind == IDToken {
			return nil
		}
	case "Refresh", "Offline", "Logout":
	case "Bearer", "DPoP":
		if kind == AccessToken {
			return nil
		}
	default:
		return nil
	}
	return reject(ReasonBadTyp, "payload typ", typ)
}

func checkIssuer(c map[string]any, p *Policy) *Rejection {
	iss, isString := c["iss"].(string)
	if !isString {
		return reject(ReasonBadIss, "iss is absent or no string")
	}
	if !slices.Contains(p.Issuers, iss) {
		return reject(ReasonBadIss, "", withoutUser(iss))
	}
	return nil
}

// checkAudience also holds azp of an ID token against the audience (OpenID Connect Core §3.1.3.7).
func checkAudience(c map[string]any, p *Policy) *Rejection {
	if p.SkipClaims && len(p.Audience) == 0 {
		return nil
	}
	aud, ok := audience(c)
	if !ok {
		return reject(ReasonBadAud, "aud is neither a string nor a list of strings")
	}
	if len(p.Audience) > 0 && !slices.ContainsFunc(aud, p.isAudience) {
		return reject(ReasonBadAud, "", aud...)
	}
	if p.Kind != IDToken {
		return nil
	}
	azp, present := c["azp"]
	if !present {
		if len(aud) > 1 {
			return reject(ReasonBadAud, "several audiences and no azp")
		}
		return nil
	}
	name, isString := azp.(string)
	if !isString || len(p.Audience) > 0 && !p.isAudience(name) {
		return reject(ReasonBadAud, "azp", name)
	}
	return nil
}

func (p *Policy) isAudience(s string) bool { return slices.Contains(p.Audience, s) }

// audience reads aud (RFC 7519 §4.1.3); absent is an empty list. It is small enough to be inlined,
// unlike optStrings: one audience then costs no allocation.
func audience(c map[string]any) ([]string, bool) {
	v, present := c["aud"]
	if !present {
		return nil, true
	}
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, isString := e.(string)
			if !isString {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}

type times struct{ now, exp time.Time }

func checkTimes(c map[string]any, p *Policy, t times) *Rejection {
	if !t.now.Before(t.exp.Add(p.Leeway)) {
		return reject(ReasonExpired, fmt.Sprintf("exp %d, now %d", t.exp.Unix(), t.now.Unix()))
	}
	if rej := checkNotAhead(c, "nbf", t.now.Add(p.ahead(true))); rej != nil {
		return rej
	}
	return checkNotAhead(c, "iat", t.now.Add(p.ahead(false)))
}

// checkNotAhead refuses a claim that names a time after latest.
func checkNotAhead(c map[string]any, name string, latest time.Time) *Rejection {
	v, present := c[name]
	if !present {
		return nil
	}
	sec, isNumber := number(v)
	switch {
	case !isNumber && name == "nbf":
		return reject(ReasonBadNbf, "nbf is no number")
	case !isNumber:
		return reject(ReasonBadIat, "iat is no number")
	case sec > maxTime || sec > 0 && numericDate(sec).After(latest):
		return reject(ReasonNotYet, fmt.Sprintf("%s %.0f, latest %d: clocks?", name, sec, latest.Unix()))
	}
	return nil
}

// maxTime is the end of the year 9999. What lies beyond is milliseconds, an overflow or "for ever".
const maxTime = 253402300799

// expiry reads exp: a finite number above zero, fractions included (RFC 7519 §2, NumericDate).
func expiry(v any) (time.Time, bool) {
	sec, isNumber := number(v)
	if !isNumber || sec <= 0 || sec > maxTime {
		return time.Time{}, false
	}
	return numericDate(sec), true
}

func number(v any) (float64, bool) {
	n, isNumber := v.(json.Number)
	if !isNumber {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

// numericDate keeps microseconds: more than a float64 of this size holds would be noise.
func numericDate(sec float64) time.Time { return time.UnixMicro(int64(sec * 1e6)).UTC() }
