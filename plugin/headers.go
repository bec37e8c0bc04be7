package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/authz"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// identityHeaders are the names by which Kong tells an upstream who the client is.
// A client never sets them itself, on whatever path the request goes on.
var identityHeaders = []string{
	"x-consumer-id", "x-consumer-username", "x-consumer-custom-id", "x-consumer-groups",
	"x-credential-identifier", "x-anonymous-consumer", "x-authenticated-groups",
}

// identityPrefix covers the X-Consumer-* names that Kong may yet invent.
const identityPrefix = "x-consumer-"

// The longest values, in bytes, that a claim and a token may put into a header; a
// token's bound is the gate's for a grant.
const (
	maxClaimValue = 8 << 10
	maxTokenValue = oidc.DefaultGrantMaxSize
)

// headerPlan is what a configuration does to headers, compiled.
type headerPlan struct {
	// managed are the folded names that we write or clear: the client's are removed.
	managed    map[string]bool
	upstream   []headerRule
	downstream []headerRule
	hide       bool
	groups     []string // path of the claim that Kong's acl plugin gets; empty: none
}

// headerRule writes one header from a result.
type headerRule struct {
	name, prefix string
	limit        int // of the value, in bytes
	// source returns what the header is to say; false where the result has none.
	source func(*authn.Result) (any, bool)
}

func compileHeaders(cfg *config.Config) *headerPlan {
	plan := &headerPlan{managed: map[string]bool{}, hide: cfg.HideCredentials, groups: cfg.AuthenticatedGroupsClaim}
	for _, name := range identityHeaders {
		plan.managed[name] = true
	}
	plan.upstream = rules(headerFields{
		accessToken: cfg.UpstreamAccessTokenHeader, accessTokenJWK: cfg.UpstreamAccessTokenJWKHeader,
		idToken: cfg.UpstreamIDTokenHeader, idTokenJWK: cfg.UpstreamIDTokenJWKHeader, refreshToken: cfg.UpstreamRefreshTokenHeader,
		claims: cfg.UpstreamHeadersClaims, names: cfg.UpstreamHeadersNames, paths: cfg.UpstreamHeaders,
	})
	plan.downstream = rules(headerFields{
		accessToken: cfg.DownstreamAccessTokenHeader, accessTokenJWK: cfg.DownstreamAccessTokenJWKHeader,
		idToken: cfg.DownstreamIDTokenHeader, idTokenJWK: cfg.DownstreamIDTokenJWKHeader, refreshToken: cfg.DownstreamRefreshTokenHeader,
		claims: cfg.DownstreamHeadersClaims, names: cfg.DownstreamHeadersNames, paths: cfg.DownstreamHeaders,
	})
	for _, rule := range append(plan.upstream[:len(plan.upstream):len(plan.upstream)], plan.downstream...) {
		plan.managed[config.FoldHeader(rule.name)] = true
	}
	// Also headers of what is not built yet: nobody writes them, the client included.
	for _, name := range cfg.WrittenHeaders() {
		plan.managed[name] = true
	}
	return plan
}

// headerFields are the header settings of one direction.
type headerFields struct {
	accessToken, accessTokenJWK, idToken, idTokenJWK, refreshToken string

	claims, names []string
	paths         []config.Header
}

func rules(f headerFields) []headerRule {
	var list []headerRule
	limit := maxTokenValue
	add := func(header string, source func(*authn.Result) (any, bool)) {
		name, bearer := config.ParseTokenHeader(header)
		if name == "" {
			return
		}
		rule := headerRule{name: name, limit: limit, source: source}
		if bearer {
			rule.prefix = "Bearer "
		}
		list = append(list, rule)
	}
	add(f.accessToken, func(r *authn.Result) (any, bool) { return r.AccessToken, r.AccessToken != "" })
	add(f.idToken, func(r *authn.Result) (any, bool) { return r.IDToken, r.IDToken != "" })
	add(f.refreshToken, func(r *authn.Result) (any, bool) { return r.RefreshToken, r.RefreshToken != "" })
	add(f.accessTokenJWK, func(r *authn.Result) (any, bool) { return jwk(r.Access) })
	add(f.idTokenJWK, func(r *authn.Result) (any, bool) { return jwk(r.ID) })
	limit = maxClaimValue
	for i, claim := range f.claims {
		add(f.names[i], func(r *authn.Result) (any, bool) { return r.Claim([]string{claim}) })
	}
	for _, h := range f.paths {
		add(h.Header, func(r *authn.Result) (any, bool) { return r.Claim(h.Path) })
	}
	return list
}

// jwk is the key that verified the token, as JSON.
func jwk(t *oidc.Token) (any, bool) {
	if t == nil || len(t.JWK) == 0 {
		return nil, false
	}
	return t.JWK, true
}

// headerValue writes a claim as a header value: text and simple values as they are,
// a list of text separated by ", ", anything else as JSON. A value that could end
// the header line or that is too long is refused, never cut.
func headerValue(claim any, limit int) (string, error) {
	value, err := claimText(claim)
	switch {
	case err != nil:
		return "", err
	case len(value) > limit:
		return "", fmt.Errorf("longer than %d bytes", limit)
	case strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "", errors.New("control characters")
	}
	return value, nil
}

func claimText(claim any) (string, error) {
	switch v := claim.(type) {
	case string:
		return v, nil
	case []any:
		if words, ok := texts(v); ok {
			return strings.Join(words, ", "), nil
		}
	}
	encoded, err := json.Marshal(claim)
	return string(encoded), err
}

func texts(list []any) ([]string, bool) {
	words := make([]string, len(list))
	for i, element := range list {
		word, ok := element.(string)
		if !ok {
			return nil, false
		}
		words[i] = word
	}
	return words, true
}

// namedByConnection reports a managed header that the client's Connection names:
// Kong removes those after all plugins, from a copy taken before them, and ours
// with them.
func (p *headerPlan) namedByConnection(r *kong.Request) (string, bool) {
	for _, line := range r.Header("connection") {
		for name := range strings.SplitSeq(line, ",") {
			if name = config.FoldHeader(strings.TrimSpace(name)); p.manages(name) {
				return name, true
			}
		}
	}
	return "", false
}

func (p *headerPlan) manages(folded string) bool {
	return p.managed[folded] || strings.HasPrefix(folded, identityPrefix)
}

// cleared returns the removal of every managed header that the client sent, each by
// the spelling that it came in.
func (p *headerPlan) cleared(r *kong.Request) []kong.Header {
	var removals []kong.Header
	for _, h := range r.Headers() {
		if p.manages(config.FoldHeader(h.Name)) {
			removals = append(removals, kong.Header{Name: h.Name})
		}
	}
	return removals
}

// preflight lets a request through as it is, but for spoofed identity headers.
func (p *headerPlan) preflight(r *kong.Request) *kong.Decision {
	return &kong.Decision{Pass: true, Upstream: p.cleared(r)}
}

// pass is the decision for a request that may go on with res.
func (p *headerPlan) pass(r *kong.Request, c *authn.Credential, res *authn.Result) (*kong.Decision, error) {
	d := &kong.Decision{Pass: true, Upstream: p.cleared(r), Downstream: slices.Clone(res.Replay)}
	for _, rule := range p.upstream {
		if err := rule.apply(&d.Upstream, res); err != nil {
			return nil, err
		}
	}
	for _, rule := range p.downstream {
		if err := rule.apply(&d.Downstream, res); err != nil {
			return nil, err
		}
	}
	if p.hide {
		p.hideCredential(d, c)
	}
	return d, p.addGroups(d, res)
}

// addGroups names the client's groups to the upstream and to Kong's acl plugin.
func (p *headerPlan) addGroups(d *kong.Decision, res *authn.Result) error {
	claim, ok := res.Claim(p.groups)
	if !ok {
		return nil
	}
	d.Groups = authz.Values(claim)
	list := make([]any, len(d.Groups))
	for i, group := range d.Groups {
		list[i] = group
	}
	rule := headerRule{name: "X-Authenticated-Groups", limit: maxClaimValue, source: func(*authn.Result) (any, bool) { return list, len(list) > 0 }}
	return rule.apply(&d.Upstream, res)
}

// apply sets the header where res has a value for it. Kong compares header names
// without case, so a removal of the same name gives way to the value.
func (h headerRule) apply(headers *[]kong.Header, res *authn.Result) error {
	claim, ok := h.source(res)
	if !ok {
		return nil
	}
	value, err := headerValue(claim, h.limit)
	if err != nil {
		return &authn.Refusal{
			Outcome: authn.Unauthorized, Reason: "bad_claim_value", Cause: fmt.Errorf("no value for header %s: %w", h.name, err),
		}
	}
	written := kong.Header{Name: h.name, Values: []string{h.prefix + value}}
	for i := range *headers {
		if strings.EqualFold((*headers)[i].Name, h.name) {
			(*headers)[i] = written
			return nil
		}
	}
	*headers = append(*headers, written)
	return nil
}

// hideCredential takes the credential that was used out of what goes upstream.
func (p *headerPlan) hideCredential(d *kong.Decision, c *authn.Credential) {
	without := []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"}
	switch c.Place {
	case config.InHeader:
		for _, h := range d.Upstream {
			if strings.EqualFold(h.Name, "authorization") {
				return // replaced or removed already
			}
		}
		d.Upstream = append(d.Upstream, kong.Header{Name: "authorization"})
	case config.InQuery:
		d.RawQuery = c.Params.Without(without...)
	case config.InBody:
		d.Body = c.Params.Without(without...)
	}
}
