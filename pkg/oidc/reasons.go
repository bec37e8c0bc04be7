package oidc

import (
	"strconv"
	"strings"
)

// A Reason names why a token was rejected. It is a fixed word that may stand in a log line or be
// the label of a metric.
type Reason string

// The reasons of a Rejection. Everything that is wrong with the form of a token is ReasonMalformed;
// the rest is what it says.
const (
	ReasonMalformed Reason = "malformed"  // size, segments, base64url, JSON, or the type of a header member
	ReasonDupMember Reason = "dup_member" // an object in the header or the claims names a member twice
	ReasonBadAlg    Reason = "bad_alg"    // alg absent, not allowed, or not the key's
	ReasonBadCrit   Reason = "bad_crit"   // crit, b64 or a zip other than NONE
	ReasonBadTyp    Reason = "bad_typ"    // not the kind of token that was asked for
	ReasonNoKey     Reason = "no_key"     // no key of the set is meant for it
	ReasonBadKey    Reason = "bad_key"    // the key meant for it is too weak, malformed, private or of another type
	ReasonBadSig    Reason = "bad_sig"    // the signature does not verify
	ReasonBadIss    Reason = "bad_iss"    // iss absent, or not one of the issuers
	ReasonBadAud    Reason = "bad_aud"    // aud of another type or for others, or azp does not fit
	ReasonBadExp    Reason = "bad_exp"    // exp absent or no usable number
	ReasonBadNbf    Reason = "bad_nbf"    // nbf is no number
	ReasonBadIat    Reason = "bad_iat"    // iat is no number
	ReasonExpired   Reason = "expired"    // exp is not in the future
	ReasonNotYet    Reason = "not_yet"    // nbf or iat is in the future
)

// A Rejection is the error of Verify: the token was read and is not good. It never carries the
// token.
type Rejection struct {
	Reason Reason
	// Detail is for the operator's log: printable ASCII, at most 64 characters. It may repeat an
	// alg, kid, typ, iss or aud of the token, so it is no label for a metric and nothing to show to
	// a client.
	Detail string
}

func (r *Rejection) Error() string {
	if r.Detail == "" {
		return "oidc: token rejected: " + string(r.Reason)
	}
	return "oidc: token rejected: " + string(r.Reason) + ": " + r.Detail
}

const maxDetail = 64

// reject makes a Rejection of fixed text and, where the token has a say in it, an escaped value
// behind it.
func reject(reason Reason, text string, values ...string) *Rejection {
	var b strings.Builder
	b.WriteString(text)
	for _, v := range values {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(escape(v))
	}
	return &Rejection{Reason: reason, Detail: cut(b.String())}
}

// withoutUser is an issuer without the user and password that it may have in front of its host.
func withoutUser(issuer string) string {
	scheme, rest, ok := strings.Cut(issuer, "://")
	if !ok {
		return issuer
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	return scheme + "://" + rest[strings.LastIndexByte(authority, '@')+1:]
}

// escape quotes v in printable ASCII. It looks at no more of v than can be shown.
func escape(v string) string {
	return strconv.QuoteToASCII(cut(v))
}

func cut(s string) string {
	if len(s) > maxDetail {
		return s[:maxDetail]
	}
	return s
}
