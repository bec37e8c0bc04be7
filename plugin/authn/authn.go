// Package authn finds a request's credential and turns it into verified tokens: one file a
// method, and their order in methods.go. It knows what the methods of the configuration mean; who
// may pass with the result is package authz's, and what the client is told is package plugin's.
package authn

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// Method is one authentication method, compiled from a configuration.
type Method interface {
	// Find looks for this method's credential without any I/O but reads of the request. It
	// returns nil when there is none: the next method looks. An error is final; it is a
	// *Refusal unless Kong failed.
	Find(r *kong.Request) (Attempt, error)
	// Scheme is the scheme of the Authorization header that the method takes (RFC 9110 §11.1),
	// which a 401 invites; "" if it takes none.
	Scheme() string
}

// Attempt is one credential that a method found, with what can be done with it.
type Attempt interface {
	// Authenticate judges the credential. ErrNotMine lets the next method look; every other
	// error is final and a *Refusal.
	Authenticate(ctx context.Context) (Outcome, error)
	// Hide takes the credential out of what goes upstream.
	Hide(d *kong.Decision)
}

// ErrNotMine says that a credential may be another method's. Where no other method knows it, the
// *Refusal that it is wrapped with stands.
var ErrNotMine = errors.New("authn: not this method's credential")

// Outcome is what an attempt led to: a Result that may go on, or an Answer in the upstream's
// place.
type Outcome struct {
	Result *Result
	Answer *kong.Exit
	// Cookies are values of Set-Cookie for the client, whichever way the request goes.
	Cookies []string
}

// Result is a successful authentication: tokens that have been verified as the configuration
// asks. It is shared by requests; nobody changes it.
type Result struct {
	Method config.AuthMethod

	AccessToken  string
	Access       *oidc.Token // nil: the access token is opaque
	IDToken      string
	ID           *oidc.Token // nil: there is none
	RefreshToken string

	// Response is the token endpoint's whole answer, where login_action=response hands it on.
	Response []byte
	// Replay are the token endpoint's headers that token_headers_replay passes on.
	Replay []kong.Header

	// Expires is when the first of its tokens ends; zero where nothing says so.
	Expires time.Time

	memo atomic.Pointer[memo]
}

// memo is what one owner has worked out from a Result.
type memo struct{ owner, value any }

// Recall returns what owner has memorized last; nil if another owner has since.
func (r *Result) Recall(owner any) any {
	if m := r.memo.Load(); m != nil && m.owner == owner {
		return m.value
	}
	return nil
}

// Memorize keeps what owner has worked out from r, for the next request with r, if its size in
// bytes is within what Cost has counted for it. There is room for one: routes that share tokens
// mostly share the rest.
func (r *Result) Memorize(owner, value any, size int) {
	if size <= r.memoRoom() {
		r.memo.Store(&memo{owner, value})
	}
}

// Claim looks path up in the access token, then in the ID token: the one order of sources for
// everything that identifies the client.
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

// Lookup follows path through nested JSON objects. Names match exactly; an empty path, a missing
// member and a null are not found.
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
