package authn

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

const (
	// refusalTTL is how long a refusal is remembered where cache_ttl_neg is null.
	refusalTTL = 5 * time.Second
	// badTokenTTL is how long a token that does not verify is remembered, so that
	// one wrong setting does not fetch for ever.
	badTokenTTL = 5 * time.Second
	// renewPause lets a failed renewal rest before a hit tries again.
	renewPause = 5 * time.Second
	// maxWaiting bounds the requests that wait for one provider: where it hangs, they
	// must not take every connection from requests that need no call. A herd that waits
	// for one call is below it.
	maxWaiting = 4096
	// maxRenewals bounds the renewals under way at one provider; a token whose renewal
	// finds no place is served on, and the next hit tries again.
	maxRenewals = 256
)

var tooManyWait = &Refusal{
	Outcome: Unavailable, Reason: string(egress.Busy), Cause: errors.New("too many requests wait for the identity provider"),
	Code: unavailableCode, Description: unavailableText,
}

// grants gets tokens for the credentials of one method: from the cache, or by one call
// to the token endpoint that all requests with the same credentials share, verified.
type grants struct {
	env *Env
	cfg *config.Config
	grantOf

	args       url.Values // scope, audience and the configured arguments
	headers    http.Header
	access, id oidc.Policy
	replay     []string

	keyer    cache.Keyer
	digest   string
	budget   time.Duration
	negative time.Duration
}

// grantOf says whose tokens they are.
type grantOf struct {
	provider *Provider
	method   config.AuthMethod
	grant    config.Grant
	auth     string // how clients are authenticated, for the digest
}

// tokenAsk is what one credential makes of a token request.
type tokenAsk struct {
	auth        oauth2.ClientAuth // without a Method: the provider's metadata choose
	form        url.Values        // beside the configured arguments
	header      http.Header
	issuedTo    []string // the ids that tokens may name as their client; nil: not known
	clientInput bool     // arguments, headers or an assertion of the client's own
	once        bool     // neither cached nor shared
}

func newGrants(cfg *config.Config, env *Env, of grantOf) *grants {
	g := &grants{
		env: env, cfg: cfg, grantOf: of,
		args:     tokenArgs(cfg, of.grant),
		headers:  http.Header{},
		access:   tokenPolicy(cfg, of.method),
		keyer:    env.ProcessKey,
		digest:   tokenDigest(cfg, of),
		budget:   cfg.Timeout.Duration(),
		negative: refusalTTL,
	}
	g.id = g.access
	g.id.Kind = oidc.IDToken
	for i, name := range cfg.TokenHeadersNames {
		g.headers.Add(name, string(cfg.TokenHeadersValues[i]))
	}
	if len(cfg.TokenHeadersGrants) == 0 || slices.Contains(cfg.TokenHeadersGrants, of.grant) {
		g.replay = cfg.TokenHeadersReplay
	}
	if cfg.CacheTokensSalt != "" {
		g.keyer = cache.NewKeyer([]byte(cfg.CacheTokensSalt))
	}
	if cfg.CacheTTLNeg != nil {
		g.negative = cfg.CacheTTLNeg.Duration()
	}
	return g
}

// key identifies what a result depends on: the credential's fields, which say
// everything that it adds to the token request, and the part of the configuration that
// makes the request and verifies the answer.
func (g *grants) key(fields []string) cache.Key {
	return g.keyer.Key(string(g.grant), append(fields, g.digest)...)
}

// callKey identifies the call that requests with this key share: those with the same
// budget, since who is in more of a hurry fails alone.
func (g *grants) callKey(key cache.Key) cache.Key {
	return g.keyer.Key("call", string(key[:]), g.budget.String())
}

// tokens returns the verified tokens for the credential with this key. Its error is a
// *Refusal.
func (g *grants) tokens(ctx context.Context, key cache.Key, ask func() *tokenAsk) (*Result, error) {
	if res, err := g.remembered(key); res != nil || err != nil {
		if res != nil && res.renewalDue(g.env.Now()) {
			g.startRenewal(key, ask)
		}
		return res, err
	}
	defer g.provider.Load.Requests.Add(-1)
	if g.provider.Load.Requests.Add(1) > maxWaiting {
		return nil, tooManyWait
	}
	ctx, cancel := context.WithTimeout(ctx, g.budget)
	defer cancel()
	a := ask()
	if a.once || !g.cfg.CacheTokens {
		return g.obtainFirst(ctx, key, a)
	}
	// A little less than the request's own time, so that who waits learns why it failed.
	res, err := g.env.Flight.Do(ctx, g.callKey(key), g.budget/20*19, func(ctx context.Context) (*Result, error) {
		// Whoever held the call a moment ago may have filled the cache.
		if res, err := g.remembered(key); res != nil || err != nil {
			return res, err
		}
		return g.obtainFirst(ctx, key, a)
	})
	if err != nil {
		return nil, waitRefusal(err)
	}
	return res, nil
}

// remembered returns what is known of a credential without a call: nil and nil when
// nothing is.
func (g *grants) remembered(key cache.Key) (*Result, error) {
	if g.cfg.CacheTokens {
		if res, ok := g.env.Tokens.Get(key); ok && res.Alive(g.env.Now()) {
			return res, nil
		}
	}
	if refusal, ok := g.env.Refusals.Get(key); ok {
		return nil, refusal
	}
	return nil, nil
}

// obtainFirst calls the provider for a credential of which nothing is known, and
// remembers what it says for as long as that may stand.
func (g *grants) obtainFirst(ctx context.Context, key cache.Key, a *tokenAsk) (*Result, error) {
	res, err := g.obtain(ctx, a)
	if err != nil {
		refusal := AsRefusal(err)
		g.env.Refusals.Set(key, refusal, g.retention(refusal))
		return nil, refusal
	}
	if g.cfg.CacheTokens && !a.once {
		g.env.Tokens.Set(key, res, res.ttl)
	}
	return res, nil
}

// startRenewal renews in the background, with the credentials of the hit that found it
// due.
func (g *grants) startRenewal(key cache.Key, ask func() *tokenAsk) {
	renewals := &g.provider.Load.Renewals
	if renewals.Add(1) > maxRenewals || !g.env.Flight.Go(g.callKey(key), g.budget, func(ctx context.Context) (*Result, error) {
		defer renewals.Add(-1)
		return g.renew(ctx, key, ask())
	}) {
		renewals.Add(-1)
	}
}

// renew replaces a cached result before it ends. Only a provider that no longer takes
// the credentials ends the old one.
func (g *grants) renew(ctx context.Context, key cache.Key, a *tokenAsk) (res *Result, err error) {
	defer func() {
		if v := recover(); v != nil { // nobody waits who could log it
			panicked := cache.Recovered(v)
			res, err = nil, g.notRenewed(key, &Refusal{Outcome: Unexpected, Reason: "panic", Cause: panicked}, "stack", string(panicked.Stack))
		}
	}()
	if res, err = g.obtain(ctx, a); err != nil {
		return nil, g.notRenewed(key, AsRefusal(err))
	}
	if res.ttl <= 0 {
		return nil, g.notRenewed(key, &Refusal{Outcome: Unavailable, Reason: "not_to_be_kept", Cause: errors.New("the new token is not to be kept")})
	}
	g.env.Tokens.Set(key, res, res.ttl)
	return res, nil
}

func (g *grants) notRenewed(key cache.Key, refusal *Refusal, more ...any) error {
	if refusal.CredentialsRefused {
		g.env.Tokens.Delete(key)
		g.env.Refusals.Set(key, refusal, g.retention(refusal))
	} else if old, ok := g.env.Tokens.Get(key); ok {
		old.pauseRenewal(g.env.Now())
	}
	if g.env.Due(time.Second, "renewal", g.cfg.Issuer, refusal.Reason) {
		g.env.Logger.Warn("token not renewed", append([]any{"issuer", g.cfg.Issuer, "reason", refusal.Reason, "cause", refusal.Cause}, more...)...)
	}
	return refusal
}

func (g *grants) retention(r *Refusal) time.Duration {
	switch {
	case r.Outcome == Unauthorized || r.Outcome == Forbidden:
		return g.negative // it speaks of the credentials
	case r.Reason == badToken:
		return badTokenTTL
	}
	return 0
}

// obtain asks the token endpoint and verifies what it answers. Its error is a
// *Refusal.
func (g *grants) obtain(ctx context.Context, a *tokenAsk) (*Result, error) {
	asked := g.env.Now()
	request, err := g.request(ctx, a)
	if err != nil {
		return nil, providerFault(err)
	}
	answer, err := oauth2.RequestToken(ctx, g.provider.Client, request)
	if err != nil {
		return nil, g.tokenRefusal(err, a)
	}
	res := &Result{
		AccessToken: string(answer.AccessToken), IDToken: string(answer.IDToken), RefreshToken: string(answer.RefreshToken),
		Replay:   replayed(answer.Header, g.replay, g.cfg.TokenHeadersPrefix),
		Obtained: asked,
	}
	if keepsResponse(g.cfg, g.method) {
		res.Response = answer.Body
	}
	if err := g.verify(ctx, res, a.issuedTo); err != nil {
		return nil, providerFault(err)
	}
	res.limit(answer.ExpiresIn, g.cfg)
	g.warn(res)
	return res, nil
}

func (g *grants) request(ctx context.Context, a *tokenAsk) (oauth2.TokenRequest, error) {
	request := oauth2.TokenRequest{Endpoint: g.cfg.TokenEndpoint, Form: url.Values{}, Header: g.headers.Clone(), Auth: a.auth}
	if request.Endpoint == "" || request.Auth.Method == "" {
		metadata, err := g.provider.Metadata(ctx)
		if err != nil {
			return request, err
		}
		if request.Endpoint == "" {
			if request.Endpoint, err = metadata.Endpoint("token_endpoint"); err != nil {
				return request, err
			}
		}
		if request.Auth.Method == "" {
			request.Auth.Method = advertisedAuth(metadata)
		}
	}
	for _, form := range []url.Values{g.args, a.form} {
		for name, values := range form {
			request.Form[name] = values
		}
	}
	for name, values := range a.header {
		request.Header[name] = append(request.Header[name], values...)
	}
	return request, nil
}

// advertisedAuth is the first of the provider's methods that need only a secret which
// goes along; basic is every provider's to have (RFC 6749 §2.3.1).
func advertisedAuth(md *oidc.Metadata) oauth2.AuthMethod {
	for _, method := range md.TokenEndpointAuthMethods {
		switch m := oauth2.AuthMethod(method); m {
		case oauth2.ClientSecretBasic, oauth2.ClientSecretPost:
			return m
		}
	}
	return oauth2.ClientSecretBasic
}

// verify judges the tokens of a grant. An access token that is no JWT is opaque to
// us and taken as it is; an ID token never is.
func (g *grants) verify(ctx context.Context, res *Result, issuedTo []string) (err error) {
	if looksLikeJWT(res.AccessToken) {
		if res.Access, err = g.provider.Verify(ctx, res.AccessToken, g.access); err != nil {
			return err
		}
		if g.cfg.VerifyClaims && issuedTo != nil && !namesOnly(res.Access, issuedTo) {
			return &oidc.Rejection{Reason: oidc.ReasonBadAud, Detail: "client_id or azp names another client"}
		}
	}
	if res.IDToken != "" {
		policy := g.id
		policy.Audience = issuedTo
		if res.ID, err = g.provider.Verify(ctx, res.IDToken, policy); err != nil {
			return err
		}
	}
	return nil
}

// tokenRefusal says what the token endpoint's error means for the request.
func (g *grants) tokenRefusal(err error, a *tokenAsk) *Refusal {
	refusal := endpointRefusal(err, a.clientInput)
	if scopes := g.args.Get("scope"); refusal.Code == "invalid_scope" && !a.clientInput && g.env.Due(day, "invalid_scope", g.cfg.Issuer, scopes) {
		g.env.Logger.Warn("the provider refuses the scopes asked for: see config.scopes; many refuse openid for this grant",
			"issuer", g.cfg.Issuer, "scopes", scopes)
	}
	return refusal
}

const (
	// largeToken is the length in bytes from which upstreams refuse a header.
	largeToken = 8 << 10
	// day is how long a warning is not repeated.
	day = 24 * time.Hour
)

// warn says once what works now and will trouble the operator.
func (g *grants) warn(res *Result) {
	log := g.env.Logger.With("issuer", g.cfg.Issuer)
	if len(res.AccessToken) > largeToken && g.env.Due(day, "large token", g.cfg.Issuer) {
		log.Warn("access tokens above 8 KiB: many upstreams refuse such a header", "bytes", len(res.AccessToken))
	}
	for _, warning := range g.provider.Warnings() {
		if g.env.Due(day, "key", g.cfg.Issuer, warning) {
			log.Warn("the provider publishes what cannot be used", "warning", warning)
		}
	}
}
