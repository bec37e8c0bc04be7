package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
)

// Status is the kind of answer that a refusal asks for, by its HTTP status. The zero Status is
// treated as Unexpected.
type Status int

// The kinds of refusals.
const (
	BadRequest   Status = 400
	Unauthorized Status = 401
	Forbidden    Status = 403
	Unexpected   Status = 500
	Unavailable  Status = 503
)

// Refusal is why a request does not go on. It may be shared by requests: nobody changes it.
// Everything in it but Cause may be shown to the client, and only with display_errors; Cause is
// for the log.
type Refusal struct {
	Status Status
	// Reason is a short code for the log, such as invalid_client or idp_timeout. There is a
	// finite list of them, whatever a client or a provider sends.
	Reason string
	Cause  error

	// Code and Description are an OAuth 2.0 error, without secrets or addresses.
	Code, Description string

	// TokenSent says that the client sent a token rather than other credentials, or none: only
	// then does a challenge carry error="invalid_token" (RFC 6750 §3.1).
	TokenSent bool
	// CredentialsRefused says that the provider itself does not take the credentials.
	CredentialsRefused bool
	// Scopes are those whose lack is the reason of a 403.
	Scopes []string
	// RetryAt is until when the provider asks to be left alone; zero if it says nothing.
	RetryAt time.Time

	keep keeping
}

// keeping is for how long a refusal stands in for the next call with the same question.
type keeping int

const (
	keepNot        keeping = iota
	keepNegative           // cache_ttl_neg: it speaks of the credentials
	keepBriefly            // so that one wrong setting does not ask for ever
	keepUntilRetry         // the provider's own wish
)

// maxCause is how much of a cause is remembered, in bytes.
const maxCause = 512

// compact is r as it is remembered: its cause is a text, so that nothing else stays alive.
func (r *Refusal) compact() *Refusal {
	c := *r
	if r.Cause != nil {
		text := r.Cause.Error()
		c.Cause = errors.New(strings.Clone(strings.ToValidUTF8(text[:min(len(text), maxCause)], "")))
	}
	return &c
}

// cost is how many bytes a compact refusal keeps alive, about.
func (r *Refusal) cost() int {
	const own = 256
	if r.Cause == nil {
		return own
	}
	return own + len(r.Cause.Error())
}

// Error is for the log: it carries the cause.
func (r *Refusal) Error() string {
	if r.Cause == nil {
		return r.Reason
	}
	return fmt.Sprintf("%s: %v", r.Reason, r.Cause)
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// AsRefusal returns err's Refusal, or an Unexpected one around it.
func AsRefusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{Status: Unexpected, Reason: "internal", Cause: err}
}

// What display_errors shows where the provider cannot be used.
const (
	unavailableCode = "temporarily_unavailable" // RFC 6749 §4.1.2.1's word
	unavailableText = "the identity provider cannot be used at the moment"
)

// badToken is the reason of a provider's token that does not verify.
const badToken = "idp_bad_token"

// providerFault is the refusal where the provider's answer cannot be used, or did not come: 503,
// whatever the client sent.
func providerFault(err error, now time.Time) *Refusal {
	r := &Refusal{
		Status: Unavailable, Reason: "idp_unreachable", Cause: err,
		Code: unavailableCode, Description: unavailableText,
	}
	var (
		call     *egress.Error
		bad      *oauth2.BadResponse
		fault    *oidc.Fault
		rejected *oidc.Rejection
	)
	switch {
	case errors.Is(err, oidc.Internal):
		return &Refusal{Status: Unexpected, Reason: string(oidc.Internal), Cause: err}
	case errors.As(err, &fault):
		r.Reason = string(fault.Kind)
		if fault.RetryAfter > 0 {
			r.RetryAt = now.Add(fault.RetryAfter)
		}
	case errors.As(err, &call):
		r.Reason = string(call.Kind)
	case errors.As(err, &bad):
		r.Reason = "idp_bad_response"
	case errors.As(err, &rejected):
		r.Reason, r.keep = badToken, keepBriefly
	}
	return r
}

// tooManyRequests is the status by which a provider speaks of one client (RFC 6585 §4).
const tooManyRequests = http.StatusTooManyRequests

// endpointRefusal classifies an error of the token endpoint, as behaviour.md §4 and §5 say. Every
// "no" to a credential is remembered, also one that is the configuration's fault. The client's own
// credentials were sent, so invalid_request may be its doing; more says that arguments, headers or
// an assertion of the client were sent too: then every 4xx may be.
func endpointRefusal(err error, more bool, now time.Time) *Refusal {
	var answer *oauth2.Error
	switch {
	case errors.As(err, &answer):
	case errors.Is(err, oauth2.ErrCredentials), errors.Is(err, egress.BadRequest) && more:
		// Nothing was sent: what the client gave us cannot be.
		refusal := malformed("the credentials cannot be sent to the identity provider")
		refusal.Cause = err
		return refusal
	default:
		return providerFault(err, now)
	}
	r := &Refusal{Cause: answer, Code: answer.Code, Reason: answer.Reason(), keep: keepNegative}
	switch {
	case answer.Status == http.StatusUnauthorized:
		r.Status, r.Code, r.CredentialsRefused = Unauthorized, "invalid_client", true
	case answer.Status == tooManyRequests || answer.Status >= 500:
		fault := providerFault(err, now)
		fault.Reason = "idp_status"
		return fault
	case slices.Contains([]string{"invalid_client", "invalid_grant", "unauthorized_client"}, answer.Code):
		r.Status, r.CredentialsRefused = Unauthorized, true
	case slices.Contains([]string{"invalid_scope", "access_denied"}, answer.Code):
		r.Status = Forbidden
	case answer.Status < 400:
		fault := providerFault(err, now)
		fault.Reason = "idp_bad_response"
		return fault
	case more, answer.Code == "invalid_request": // the forwarded credentials are the client's input, too
		r.Status, r.Code = Unauthorized, "invalid_request"
	default:
		r.Status, r.Code = Unexpected, "server_error"
	}
	// The provider's own description may name anything; ours names nothing.
	r.Description = "the identity provider refused the credentials or the request"
	return r
}

// waitRefusal is what an error of a shared call means for a request that waited for it: the call's
// own Refusal, or one that says that the request's time ran out.
func waitRefusal(err error) *Refusal {
	var refusal *Refusal
	if errors.As(err, &refusal) || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return AsRefusal(err)
	}
	fault := providerFault(err, time.Time{})
	fault.Reason = "idp_timeout"
	return fault
}
