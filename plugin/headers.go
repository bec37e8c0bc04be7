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
	managed map[string]bool
	// initials and lengths tell cheaply what cannot be managed: first letters, and a bit for each
	// length below identityPrefix's.
	initials [256]bool
	lengths  uint64

	upstream   []headerRule
	downstream []headerRule
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
	plan := &headerPlan{managed: map[string]bool{}, groups: cfg.AuthenticatedGroupsClaim}
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
	// Also headers of what is not built yet: nobody writes them, and neither may the client.
	for _, name := range cfg.WrittenHeaders() {
		plan.managed[name] = true
	}
	for name := range plan.managed {
		plan.initials[name[0]|0x20] = true
		if name[0] == '-' {
			plan.initials['_'|0x20] = true // the other spelling
		}
		if len(name) < len(identityPrefix) {
			plan.lengths |= 1 << len(name)
		}
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
	case !kong.ValidValue(value):
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

// mayManage is a cheap look at a name as it came: false where no spelling of it is managed.
func (p *headerPlan) mayManage(name string) bool {
	return name != "" && p.initials[name[0]|0x20] && (len(name) >= len(identityPrefix) || p.lengths&(1<<len(name)) != 0)
}

// clear adds the removal of every managed header that the client sent, each by the spelling that
// it came in; d.Prepared has set those that are written.
func (p *headerPlan) clear(d *kong.Decision, r *kong.Request) {
	for _, h := range r.Headers() {
		// Kong names each header once, whatever the number of its lines.
		if p.mayManage(h.Name) && p.manages(config.FoldHeader(h.Name)) && !d.Prepared.Names(h.Name) {
			d.Upstream = append(d.Upstream, kong.Header{Name: h.Name})
		}
	}
}

// preflight lets a request through as it is, but for spoofed identity headers.
func (p *headerPlan) preflight(r *kong.Request) *kong.Decision {
	d := r.Passing()
	p.clear(d, r)
	return d
}

// pass is the decision for a request that may go on with res.
func (p *headerPlan) pass(r *kong.Request, res *authn.Result) (*kong.Decision, error) {
	w, known := res.Recall(p).(*written)
	if !known {
		var err error
		if w, err = p.write(res); err != nil {
			return nil, err
		}
		res.Memorize(p, w, w.size())
	}
	d := r.Passing()
	d.Prepared, d.Downstream, d.Groups = w.upstream, w.downstream, w.groups
	p.clear(d, r)
	return d, nil
}

// written is what one plan makes of one result.
type written struct {
	upstream   *kong.Prepared
	downstream []kong.Header
	groups     []string
}

// size is how many bytes w keeps alive, about.
func (w *written) size() int {
	n := w.upstream.Len()
	for _, h := range w.downstream {
		n += len(h.Name)
		for _, v := range h.Values {
			n += len(v)
		}
	}
	for _, group := range w.groups {
		n += len(group)
	}
	return n
}

func (p *headerPlan) write(res *authn.Result) (*written, error) {
	w := &written{downstream: slices.Clone(res.Replay)}
	var upstream []kong.Header
	for _, rule := range p.upstream {
		if err := rule.apply(&upstream, res); err != nil {
			return nil, err
		}
	}
	for _, rule := range p.downstream {
		if err := rule.apply(&w.downstream, res); err != nil {
			return nil, err
		}
	}
	if claim, ok := res.Claim(p.groups); ok {
		// The client's groups are for the upstream and for Kong's acl plugin.
		w.groups = authz.Values(claim)
		if err := groupsHeader(w.groups).apply(&upstream, res); err != nil {
			return nil, err
		}
	}
	var err error
	if w.upstream, err = kong.Prepare(upstream); err != nil {
		return nil, err
	}
	return w, nil
}

func groupsHeader(groups []string) headerRule {
	list := make([]any, len(groups))
	for i, group := range groups {
		list[i] = group
	}
	return headerRule{name: "X-Authenticated-Groups", limit: maxClaimValue, source: func(*authn.Result) (any, bool) { return list, len(list) > 0 }}
}

// apply sets the header where res has a value for it, in the place of one of the same name: Kong
// compares header names without case.
func (h headerRule) apply(headers *[]kong.Header, res *authn.Result) error {
	claim, ok := h.source(res)
	if !ok {
		return nil
	}
	value, err := headerValue(claim, h.limit)
	if err != nil {
		return &authn.Refusal{
			Status: authn.Unauthorized, Reason: "bad_claim_value", Cause: fmt.Errorf("no value for header %s: %w", h.name, err),
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
