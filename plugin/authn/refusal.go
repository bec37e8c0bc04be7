package authn

import (
	"errors"
	"fmt"
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

// Retained reports whether the refusal speaks of the credentials rather than of the
// provider's state, and may be remembered (cache_ttl_neg).
func (r *Refusal) Retained() bool { return r.Outcome == Unauthorized || r.Outcome == Forbidden }

// AsRefusal returns err's Refusal, or an Unexpected one around it.
func AsRefusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{Outcome: Unexpected, Reason: "internal", Cause: err}
}

// providerFault is what an unusable answer of the provider, or none, makes of a
// request: 503, whatever the client sent.
func providerFault(err error) *Refusal {
	r := &Refusal{
		Outcome: Unavailable, Reason: "idp_unreachable", Cause: err,
		Code: "temporarily_unavailable", Description: "the identity provider cannot be used at the moment",
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
		r.Reason = "idp_bad_token"
	}
	return r
}
