// Package authn finds a request's credential and turns it into verified tokens:
// one file a method, and their order in methods.go. It knows what the methods of
// the configuration mean; who may pass with the result is package authz's, and
// what the client is told is package plugin's.
package authn

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// Authenticator is one authentication method, compiled from a configuration.
type Authenticator interface {
	// Find looks for this method's credential without any I/O but reads of the
	// request. It returns nil when there is none: the next method looks. An error
	// is final; it is a *Refusal unless Kong failed.
	Find(r *kong.Request) (*Credential, error)
	// Authenticate turns the credential into verified tokens. Its error is a
	// *Refusal.
	Authenticate(ctx context.Context, c *Credential) (*Result, error)
}

// Credential is what a client sent to prove itself.
type Credential struct {
	Place config.Place // where it was found

	ID     string
	Secret oauth2.Secret
	// Assertion is an RFC 7523 client assertion, in the place of a secret.
	Assertion oauth2.Secret

	// Args and Headers are what token_post_args_client and token_headers_client took
	// from the request for the token endpoint, as name and value in turn.
	Args    []string
	Headers []string

	// Params are the query's or the body's, for hiding the credential.
	Params *kong.Params
}

// Result is a successful authentication: tokens that have been verified as the
// configuration asks. It is shared by requests; nobody changes it.
type Result struct {
	AccessToken  string
	Access       *oidc.Token // nil: the access token is opaque
	IDToken      string
	ID           *oidc.Token // nil: there is none
	RefreshToken string

	// Response is the token endpoint's whole answer, where login_action=response hands
	// it on.
	Response []byte
	// Replay are the token endpoint's headers that token_headers_replay passes on.
	Replay []kong.Header

	// Obtained and Expires bound the result's life; a zero Expires means that
	// nothing says when it ends.
	Obtained, Expires time.Time

	ttl     time.Duration // in the cache; 0: not to be kept
	renewAt atomic.Int64  // UnixNano from which a hit renews the result
}

// Claim looks path up in the access token, then in the ID token: the one order of
// sources for everything that identifies the client.
func (r *Result) Claim(path []string) (any, bool) {
	for _, t := range []*oidc.Token{r.Access, r.ID} {
		if t == nil {
			continue
		}
		if v, ok := Lookup(t.Claims, path); ok {
			return v, true
		}
	}
	return nil, false
}

// Lookup follows path through nested JSON objects. Names match exactly; an empty
// path, a missing member and a null are not found.
func Lookup(claims map[string]any, path []string) (any, bool) {
	if len(path) == 0 {
		return nil, false
	}
	var v any = claims
	for _, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = object[name]; !ok || v == nil {
			return nil, false
		}
	}
	return v, true
}

// Env is what methods share and what outlives them: a PATCH replaces the compiled
// configuration, not the caches.
type Env struct {
	Tokens   *cache.Memory[*Result]
	Refusals *cache.Memory[*Refusal]
	Flight   *cache.Flight[*Result]
	// ProcessKey keys the caches where cache_tokens_salt is not set.
	ProcessKey cache.Keyer
	Registry   *oidc.Registry
	Egress     *egress.Pool
	Logger     *slog.Logger
	// Due reports whether the thing named is to be said now; it is then not due again
	// before every is over.
	Due func(every time.Duration, name ...string) bool
	Now func() time.Time

	// Loads has a *Load for each issuer that was ever configured.
	Loads sync.Map
}

// Provider is the identity provider of one configuration.
type Provider struct {
	*oidc.Provider
	Client *egress.Client
	Load   *Load
}

// Load counts what waits for one provider, of all configurations.
type Load struct {
	Requests, Renewals atomic.Int64
}
