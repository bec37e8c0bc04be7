package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
)

// Outcome is the kind of answer that a refusal asks for; its number is the HTTP
// status. The zero Outcome is treated as Unexpected.
type Outcome int

// The outcomes of behaviour.md §2.3.
const (
	BadRequest   Outcome = 400
	Unauthorized Outcome = 401
	Forbidden    Outcome = 403
	Unexpected   Outcome = 500
	Unavailable  Outcome = 503
)

// Refusal is why a request does not go on. Everything in it but Cause may be shown
// to the client, and only with display_errors; Cause is for the log.
type Refusal struct {
	Outcome Outcome
	// Reason is a short code for the log, such as invalid_client or idp_timeout.
	Reason string
	Cause  error

	// Code and Description are an OAuth 2.0 error, without secrets or addresses.
	Code, Description string

	// TokenSent says that the client sent a token rather than other credentials, or
	// none: only then does a challenge carry error="invalid_token" (RFC 6750 §3.1).
	TokenSent bool
	// CredentialsRefused says that the provider itself does not take the credentials.
	CredentialsRefused bool
	// Scopes are those whose lack is the reason of a 403.
	Scopes []string
	// RetryAfter is how long the provider asks to be left alone; 0 if it says nothing.
	RetryAfter time.Duration
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
	return &Refusal{Outcome: Unexpected, Reason: "internal", Cause: err}
}

// What display_errors shows where the provider cannot be used.
const (
	unavailableCode = "temporarily_unavailable" // RFC 6749 §4.1.2.1's word
	unavailableText = "the identity provider cannot be used at the moment"
)

// badToken is the reason of a provider's token that does not verify.
const badToken = "idp_bad_token"

// providerFault is what an unusable answer of the provider, or none, makes of a
// request: 503, whatever the client sent.
func providerFault(err error) *Refusal {
	r := &Refusal{
		Outcome: Unavailable, Reason: "idp_unreachable", Cause: err,
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
		return &Refusal{Outcome: Unexpected, Reason: string(oidc.Internal), Cause: err}
	case errors.As(err, &fault):
		r.Reason, r.RetryAfter = string(fault.Kind), fault.RetryAfter
	case errors.As(err, &call):
		r.Reason = string(call.Kind)
	case errors.As(err, &bad):
		r.Reason = "idp_bad_response"
	case errors.As(err, &rejected):
		r.Reason = badToken
	}
	return r
}

// endpointRefusal classifies an error of the token endpoint, as behaviour.md §4 says.
// withClientInput tells that arguments, headers or an assertion of the client went
// along: then a 4xx may be the client's doing and not the configuration's.
func endpointRefusal(err error, withClientInput bool) *Refusal {
	var answer *oauth2.Error
	switch {
	case errors.As(err, &answer):
	case errors.Is(err, oauth2.ErrCredentials), errors.Is(err, egress.BadRequest) && withClientInput:
		// Nothing was sent: what the client gave us cannot be.
		refusal := malformed("the credentials cannot be sent to the identity provider")
		refusal.Cause = err
		return refusal
	default:
		return providerFault(err)
	}
	r := &Refusal{Cause: answer, Code: answer.Code, Reason: answer.Code}
	switch {
	case answer.Status == http.StatusUnauthorized:
		r.Outcome, r.Code, r.CredentialsRefused = Unauthorized, "invalid_client", true
	case answer.Status == http.StatusTooManyRequests || answer.Status >= 500:
		fault := providerFault(err)
		fault.Reason, fault.RetryAfter = "idp_status", answer.RetryAfter
		return fault
	case slices.Contains([]string{"invalid_client", "invalid_grant", "unauthorized_client"}, answer.Code):
		r.Outcome, r.CredentialsRefused = Unauthorized, true
	case slices.Contains([]string{"invalid_scope", "access_denied"}, answer.Code):
		r.Outcome = Forbidden
	case answer.Status < 400:
		fault := providerFault(err)
		fault.Reason = "idp_bad_response"
		return fault
	case withClientInput:
		r.Outcome, r.Code = Unauthorized, "invalid_request"
	default:
		r.Outcome, r.Code = Unexpected, "server_error"
	}
	if r.Reason == "" {
		r.Reason = "idp_refused"
	}
	// The provider's own description may name anything; ours names nothing.
	r.Description = "the identity provider refused the credentials or the request"
	return r
}

// waitRefusal is what an error of a shared call means for one that waited: the call's
// Refusal, or its own time ran out.
func waitRefusal(err error) *Refusal {
	var refusal *Refusal
	if errors.As(err, &refusal) || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return AsRefusal(err)
	}
	fault := providerFault(err)
	fault.Reason = "idp_timeout"
	return fault
}
