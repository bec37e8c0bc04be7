package oauth2

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

const (
	maxCode        = 64  // bytes of an error code that are kept
	maxDescription = 256 // bytes of an error_description
	maxRetryAfter  = time.Hour
)

// Error is a token endpoint's refusal (RFC 6749 §5.2) or plain HTTP status. Code and
// Description are the endpoint's words, without control characters and cut; they are
// empty where its body is no JSON object. Any word can be a Code: see Reason.
type Error struct {
	Status      int // 2xx where an endpoint answers so and means an error
	Code        string
	Description string
	RetryAfter  time.Duration // 0 to 1 h; 0 if the endpoint does not say
}

// Refused is the Reason of a Code that is not registered.
const Refused = "idp_refused"

// Reason is Code if that is one of a fixed list, else Refused. What is kept or counted by
// reason stays bounded, whatever an endpoint makes up.
func (e *Error) Reason() string {
	if slices.Contains(codes, e.Code) {
		return e.Code
	}
	return Refused
}

func (e *Error) Error() string {
	s := "oauth2: token endpoint answered " + strconv.Itoa(e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Description != "" {
		s += ": " + e.Description
	}
	return s
}

// BadResponse is the error of an answer that is no token response.
type BadResponse struct {
	Reason string // in our words: safe to log
}

func (b *BadResponse) Error() string { return "oauth2: bad token response: " + b.Reason }

// codes are the error codes of RFC 6749 §4.1.2.1 and §5.2, and RFC 8707 §2: whatever was
// sent, they are the endpoint's own words.
var codes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"access_denied", "server_error", "temporarily_unavailable", "invalid_target",
}

// newError reads what an endpoint says about its refusal. A text that repeats what was
// sent is redacted as a whole.
func newError(resp *egress.Response, now time.Time, repeats func(string) bool) *Error {
	e := &Error{Status: resp.Status, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), now)}
	members, err := parseObject(resp.Body)
	if err != nil {
		return e
	}
	text := func(name string, most int) string {
		v, err := optionalString(members, name)
		if err != nil {
			return ""
		}
		// All of it is looked at, before it is cut.
		if v = plain(v, len(v)); repeats(v) && !slices.Contains(codes, v) {
			return redacted
		}
		// A copy: v may be a piece of a text of 1 MiB, which would be kept with it.
		return strings.Clone(plain(v, most))
	}
	e.Code = text("error", maxCode)
	e.Description = text("error_description", maxDescription)
	return e
}

// plain is v as one line of printable text, cut: no controls, line separators or direction
// marks.
func plain(v string, most int) string {
	v = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, v)
	if len(v) <= most {
		return v
	}
	return strings.ToValidUTF8(v[:most], "")
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3): seconds or a date.
func retryAfter(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	var d time.Duration
	if seconds, err := strconv.ParseUint(v, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(v); err == nil {
		d = date.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// basicSecret is the secret in a Basic Authorization; "" if there is none to be read.
func basicSecret(authorization string) string {
	_, encoded, _ := strings.Cut(authorization, " ")
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return ""
	}
	_, secret, _ := strings.Cut(string(plain), ":")
	return secret
}
