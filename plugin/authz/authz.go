// Package authz decides who may pass with the tokens that package authn verified:
// required scopes, audiences, groups and roles, and forbidden claims. It runs again
// on every request, cached tokens included, and it never calls anybody.
package authz

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// Policy holds the compiled rules of one configuration. It is immutable.
type Policy struct {
	rules     []rule
	forbidden []string
}

// rule asks that the claim at path holds one of the alternatives, each of them a
// set of values that must all be there.
type rule struct {
	name         string // scopes, audience, groups, roles
	path         []string
	alternatives [][]string
}

// Compile reads the rules from cfg.
func Compile(cfg *config.Config) *Policy {
	p := &Policy{forbidden: cfg.ClaimsForbidden}
	for _, r := range []struct {
		name           string
		path, required []string
	}{
		{"scopes", cfg.ScopesClaim, cfg.ScopesRequired},
		{"audience", cfg.AudienceClaim, cfg.AudienceRequired},
		{"groups", cfg.GroupsClaim, cfg.GroupsRequired},
		{"roles", cfg.RolesClaim, cfg.RolesRequired},
	} {
		if len(r.required) == 0 {
			continue
		}
		compiled := rule{name: r.name, path: r.path}
		for _, entry := range r.required {
			compiled.alternatives = append(compiled.alternatives, strings.Fields(entry))
		}
		p.rules = append(p.rules, compiled)
	}
	return p
}

// Check returns nil when res may pass, else a Forbidden refusal. Only the access
// token counts: what an ID token says is not what the access token may do.
func (p *Policy) Check(res *authn.Result) *authn.Refusal {
	if len(p.rules) == 0 && len(p.forbidden) == 0 {
		return nil
	}
	if res.Access == nil {
		return &authn.Refusal{
			Status: authn.Forbidden, Reason: OpaqueToken, Code: "insufficient_scope",
			Description: "the access token is opaque: its claims are not known",
		}
	}
	for _, name := range p.forbidden {
		if _, ok := authn.Lookup(res.Access.Claims, []string{name}); ok {
			return &authn.Refusal{Status: authn.Forbidden, Reason: "forbidden_claim", Code: "access_denied", Description: "the token has a forbidden claim"}
		}
	}
	for _, r := range p.rules {
		if !r.met(res.Access.Claims) {
			return r.refusal(res.Access.Claims)
		}
	}
	return nil
}

// OpaqueToken is the reason of refusals that come from rules on claims and a token
// without any: a configuration to be warned about once.
const OpaqueToken = "opaque_token"

func (r rule) met(claims map[string]any) bool {
	claim, ok := authn.Lookup(claims, r.path)
	if !ok {
		return false
	}
	has := Values(claim)
	for _, all := range r.alternatives {
		// An entry of nothing but spaces asks for nothing and must not open.
		if len(all) > 0 && !slices.ContainsFunc(all, func(v string) bool { return !slices.Contains(has, v) }) {
			return true
		}
	}
	return false
}

func (r rule) refusal(claims map[string]any) *authn.Refusal {
	claim, _ := authn.Lookup(claims, r.path)
	refusal := &authn.Refusal{
		Status: authn.Forbidden, Reason: "missing_" + r.name, Code: "insufficient_scope",
		Description: fmt.Sprintf("the token lacks the required %s", r.name),
		Cause:       lacking{has: Values(claim), rule: r},
	}
	if r.name == "scopes" {
		for _, all := range r.alternatives {
			refusal.Scopes = append(refusal.Scopes, strings.Join(all, " "))
		}
	}
	return refusal
}

// lacking is why a rule is not met, for the log. Its text is made only where it is written.
type lacking struct {
	has  []string
	rule rule
}

// maxShown is how many values of a token a log line shows at most, and how many bytes of each.
const maxShown = 8

func (l lacking) Error() string {
	shown := l.has[:min(len(l.has), maxShown)]
	quoted := make([]string, len(shown))
	for i, v := range shown {
		quoted[i] = fmt.Sprintf("%.64q", v)
	}
	more := ""
	if len(l.has) > len(shown) {
		more = fmt.Sprintf(" and %d more", len(l.has)-len(shown))
	}
	return fmt.Sprintf("the token's %s has [%s]%s; %s_required asks for %q",
		strings.Join(l.rule.path, "."), strings.Join(quoted, " "), more, l.rule.name, l.rule.alternatives)
}

// Values reads a claim as a list of values: a string's space-separated words, the
// strings and numbers of an array, or one simple value. Objects and what is nested
// deeper have none.
func Values(claim any) []string {
	switch v := claim.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		var values []string
		for _, element := range v {
			if s, ok := simple(element); ok {
				values = append(values, s)
			}
		}
		return values
	}
	if s, ok := simple(claim); ok {
		return []string{s}
	}
	return nil
}

func simple(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}
