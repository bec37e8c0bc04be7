package authn

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// namesOnly reports whether a token names no other client than ids: by client_id (RFC
// 9068 §2.2) or by azp, where it has them. Ids that are GUIDs come back in lower case.
func namesOnly(t *oidc.Token, ids []string) bool {
	for _, claim := range []string{"client_id", "azp"} {
		name, present := t.Claims[claim]
		text, _ := name.(string)
		if present && !slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, text) }) {
			return false
		}
	}
	return true
}

// dropIDToken takes the ID token out of r, and out of the answer that is handed on.
func (r *Result) dropIDToken() {
	r.ID, r.IDToken = nil, ""
	var answer map[string]json.RawMessage
	if r.Response == nil {
		return
	}
	if json.Unmarshal(r.Response, &answer) != nil {
		r.Response = nil // what cannot be read is not handed on
		return
	}
	delete(answer, "id_token")
	r.Response, _ = json.Marshal(answer) // it has just been decoded
}

// tokenLife works out how long the result of a grant is kept: expires_in, else the access token's
// exp, else cache_ttl, from when it was asked for; clamped by cache_ttl_min and cache_ttl_max, and
// never past the first end of its tokens, which it sets.
//
// A token that is handed out must still live when the upstream looks at it: with a tenth of its
// own life left, at least a second and at most ten, a hit waits for the renewal. At an end that
// cache_ttl_max sets, the token itself goes on living: no hit waits for a renewal then.
func tokenLife(r *Result, in oauth2.Lifetime, asked time.Time, cfg *config.Config) Life {
	ttl := cfg.CacheTTL.Duration()
	if r.Access != nil && !r.Access.Expiry.IsZero() {
		r.Expires = r.Access.Expiry
		ttl = r.Expires.Sub(asked)
	}
	if in.Known {
		ttl = in.Duration()
		if end := asked.Add(ttl); ttl > 0 && (r.Expires.IsZero() || end.Before(r.Expires)) {
			r.Expires = end
		}
	}
	if r.ID != nil && !r.ID.Expiry.IsZero() && (r.Expires.IsZero() || r.ID.Expiry.Before(r.Expires)) {
		r.Expires = r.ID.Expiry
	}
	if ttl <= 0 {
		return Life{}
	}
	if cfg.CacheTTLMin != nil {
		ttl = max(ttl, cfg.CacheTTLMin.Duration())
	}
	if cfg.CacheTTLMax != nil {
		ttl = min(ttl, cfg.CacheTTLMax.Duration())
	}
	var life Life
	if !r.Expires.IsZero() {
		own := r.Expires.Sub(asked)
		ttl = min(ttl, own)
		life.Wait = r.Expires.Add(-min(own/2, max(leastMargin, min(mostMargin, own/10))))
	}
	life.Ends, life.Renew = asked.Add(ttl), asked.Add(ttl/5*4)
	if life.Wait.Before(life.Renew) && !life.Wait.IsZero() {
		life.Renew = life.Wait // of a token of a few seconds
	}
	return life
}

// The bounds of the part of a token's life that a hit does not hand out without trying to renew.
const (
	leastMargin = time.Second
	mostMargin  = 10 * time.Second
)

// Cost is how many bytes r keeps alive, about: what a Keeper of Results counts.
func (r *Result) Cost() int {
	const own = 512
	n := own + len(r.AccessToken) + len(r.IDToken) + len(r.RefreshToken) + len(r.Response) + r.memoRoom()
	if r.Access != nil {
		n += jsonCost(r.Access.Claims) + len(r.AccessToken)*3/4 // its strings are parts of the decoded payload
	}
	if r.ID != nil {
		n += jsonCost(r.ID.Claims) + len(r.IDToken)*3/4
	}
	for _, h := range r.Replay {
		n += len(h.Name) + len(strings.Join(h.Values, "")) + 64
	}
	return n
}

// jsonCost is what decoded JSON takes beside its text.
func jsonCost(v any) int {
	const value, object = 64, 256
	n := value
	switch v := v.(type) {
	case map[string]any:
		n += object
		for _, member := range v {
			n += value + jsonCost(member)
		}
	case []any:
		for _, element := range v {
			n += jsonCost(element)
		}
	}
	return n
}

// memoRoom is how many bytes the headers that are made of r may take and still be kept: the access
// token once more, and claims of a usual length.
func (r *Result) memoRoom() int { return len(r.AccessToken) + 512 }
