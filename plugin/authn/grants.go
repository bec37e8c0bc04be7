package authn

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// refusalTTL is how long a refusal is remembered where cache_ttl_neg is null.
const refusalTTL = 5 * time.Second

// grants asks the token endpoint for tokens, for the credentials of one method, and verifies what
// it answers. It remembers nothing: that is the Keeper's.
type grants struct {
	env *Env
	cfg *config.Config
	grantOf

	log *slog.Logger // names the issuer

	args       url.Values // scope, audience and the configured arguments
	headers    http.Header
	access, id oidc.Policy
	replay     []string

	keyer  cache.Keyer
	digest string
	terms  terms
	opaque atomic.Bool // the last tokens needed no keys: most likely the next ones will not either
}

// grantOf says whose tokens they are.
type grantOf struct {
	provider *Provider
	method   config.AuthMethod
	grant    config.Grant
}

// tokenAsk is what one credential makes of a token request.
type tokenAsk struct {
	auth        oauth2.AuthMethod // "": the provider's metadata choose
	proof       func(oauth2.AuthMethod) oauth2.Proof
	credential  string     // whose it is, for a pause that the provider asks of it
	form        url.Values // beside the configured arguments
	header      http.Header
	issuedTo    []string // the ids that tokens may name as their client; nil: not known
	clientInput bool     // arguments, headers or an assertion of the client's own
}

func newGrants(cfg *config.Config, env *Env, of grantOf) *grants {
	g := &grants{
		env: env, cfg: cfg, grantOf: of,
		log:     env.Logger.With("issuer", config.IssuerName(cfg.Issuer)),
		args:    tokenArgs(cfg, of.grant),
		headers: http.Header{},
		access:  tokenPolicy(cfg, of.method),
		keyer:   env.ProcessKey,
		digest:  tokenDigest(cfg, of),
	}
	g.terms = terms{
		remember: cfg.CacheTokens, budget: cfg.Timeout.Duration(), negative: refusalTTL,
		load: of.provider.Load, notRenewed: g.notRenewed,
	}
	g.id = g.access
	g.id.Kind, g.id.KeysAtHand = oidc.IDToken, true // nobody asked for it, so nobody waits for its key
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
		g.terms.negative = cfg.CacheTTLNeg.Duration()
	}
	return g
}

// once are the terms of a credential that is good for one use.
func (g *grants) once() *terms {
	t := g.terms
	t.remember = false
	return &t
}

// obtain asks the token endpoint and verifies what it answers. Its error is a *Refusal.
func (g *grants) obtain(ctx context.Context, a *tokenAsk) (*Result, Life, error) {
	asked := g.env.Now()
	if until, paused := g.provider.Load.paused(asked, a.credential); paused {
		return nil, Life{}, &Refusal{
			Status: Unavailable, Reason: "idp_pause", Cause: errors.New("the provider has asked to be left alone"),
			Code: unavailableCode, Description: unavailableText, RetryAt: until,
		}
	}
	request, err := g.request(ctx, a)
	if err != nil {
		return nil, Life{}, providerFault(err, g.env.Now())
	}
	if !g.opaque.Load() && !g.access.SkipSignature {
		g.provider.Prime() // the keys come while the token endpoint works
	}
	answer, err := oauth2.RequestToken(ctx, g.provider.Client, request)
	if err != nil {
		return nil, Life{}, g.tokenRefusal(err, a)
	}
	res := &Result{
		Method:      g.method,
		AccessToken: string(answer.AccessToken), IDToken: string(answer.IDToken), RefreshToken: string(answer.RefreshToken),
		Replay: g.replayed(answer.Header),
	}
	if keepsResponse(g.cfg, g.method) {
		res.Response = bytes.TrimPrefix(answer.Body, []byte("\ufeff")) // who reads it on may not know a BOM
	}
	if err := g.verify(ctx, res, a.issuedTo); err != nil {
		return nil, Life{}, providerFault(err, g.env.Now())
	}
	g.warn(res, answer)
	return res, tokenLife(res, answer.ExpiresIn, asked, g.cfg), nil
}

func (g *grants) request(ctx context.Context, a *tokenAsk) (oauth2.Request, error) {
	request := oauth2.Request{Endpoint: g.cfg.TokenEndpoint, Form: url.Values{}, Header: g.headers.Clone(), Now: g.env.Now}
	auth := a.auth
	if request.Endpoint == "" || auth == "" {
		metadata, err := g.provider.Metadata(ctx)
		if err != nil {
			return request, err
		}
		if request.Endpoint == "" {
			if request.Endpoint, err = metadata.Endpoint("token_endpoint"); err != nil {
				return request, err
			}
		}
		if auth == "" {
			auth = advertisedAuth(metadata)
		}
	}
	request.Proof = a.proof(auth)
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

// advertisedAuth is the first of the provider's methods that send the secret itself. Where it names
// none, basic: every provider must support it (RFC 6749 §2.3.1).
func advertisedAuth(md *oidc.Metadata) oauth2.AuthMethod {
	for _, method := range md.TokenEndpointAuthMethods {
		switch m := oauth2.AuthMethod(method); m {
		case oauth2.ClientSecretBasic, oauth2.ClientSecretPost:
			return m
		}
	}
	return oauth2.ClientSecretBasic
}

// verify judges the tokens of a grant. An access token that is no JWT is opaque to us and taken
// as it is. An ID token that does not verify is dropped: nobody asked for it.
func (g *grants) verify(ctx context.Context, res *Result, issuedTo []string) (err error) {
	jwt := looksLikeJWT(res.AccessToken)
	g.opaque.Store(!jwt && res.IDToken == "")
	if jwt {
		if res.Access, err = g.provider.Verify(ctx, res.AccessToken, g.access); err != nil {
			return err
		}
		if g.cfg.VerifyClaims && issuedTo != nil && !namesOnly(res.Access, issuedTo) {
			return &oidc.Rejection{Reason: oidc.ReasonBadAud, Detail: "client_id or azp names another client"}
		}
	}
	if res.IDToken == "" {
		return nil
	}
	policy := g.id
	policy.Audience = issuedTo
	if res.ID, err = g.provider.Verify(ctx, res.IDToken, policy); err != nil {
		res.dropIDToken()
		if g.env.Due(day, "ID token", g.cfg.Issuer, string(g.grant)) {
			g.log.Warn("an ID token that came with the access token is dropped: it does not verify",
				"grant", string(g.grant), "cause", err)
		}
	}
	return nil
}

// tokenRefusal says what the token endpoint's error means for the request, and heeds a pause that
// the provider asks for.
func (g *grants) tokenRefusal(err error, a *tokenAsk) *Refusal {
	now := g.env.Now()
	refusal := endpointRefusal(err, a.clientInput, now)
	var answer *oauth2.Error
	if errors.As(err, &answer) && asksForPause(answer) {
		refusal.RetryAt = g.provider.Load.pause(now, a.credential, answer.Status, answer.RetryAfter)
		refusal.keep = keepUntilRetry
	}
	if scopes := g.args.Get("scope"); refusal.Code == "invalid_scope" && !a.clientInput && g.env.Due(day, "invalid_scope", g.cfg.Issuer, scopes) {
		g.log.Warn("the provider refuses the scopes asked for: see config.scopes; many refuse openid for this grant",
			"scopes", scopes)
	}
	return refusal
}

// asksForPause: a 503 that names no time is a fault like any other.
func asksForPause(e *oauth2.Error) bool {
	return e.Status == tooManyRequests || e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0
}

func (g *grants) notRenewed(r *Refusal, more ...any) {
	if g.env.Due(time.Second, "renewal", g.cfg.Issuer, r.Reason) {
		g.log.Warn("token not renewed", append([]any{"reason", r.Reason, "cause", r.Cause}, more...)...)
	}
}

// replayed picks the token endpoint's headers that go on to the client. What Kong would not take
// is left out.
func (g *grants) replayed(from http.Header) []kong.Header {
	var replay []kong.Header
	for _, name := range g.replay {
		var values []string
		for _, v := range from.Values(name) {
			if kong.ValidValue(v) {
				values = append(values, strings.Clone(v))
			} else if g.env.Due(day, "replay", g.cfg.Issuer, name) {
				g.log.Warn("a header of the token endpoint is not passed on: it has characters that Kong does not take",
					"header", name)
			}
		}
		if len(values) > 0 {
			replay = append(replay, kong.Header{Name: g.cfg.TokenHeadersPrefix + name, Values: values})
		}
	}
	return replay
}

const (
	// largeToken is the length in bytes from which upstreams refuse a header.
	largeToken = 8 << 10
	// day is how long a warning is not repeated.
	day = 24 * time.Hour
)

// warn says once what works now and will trouble the operator.
func (g *grants) warn(res *Result, answer *oauth2.TokenResponse) {
	if len(res.AccessToken) > largeToken && g.env.Due(day, "large token", g.cfg.Issuer) {
		g.log.Warn("access tokens above 8 KiB: many upstreams refuse such a header", "bytes", len(res.AccessToken))
	}
	if !strings.EqualFold(answer.TokenType, "Bearer") && g.env.Due(day, "token_type", g.cfg.Issuer) {
		g.log.Warn("the token endpoint does not say token_type Bearer: its tokens are taken as such", "token_type", answer.TokenType)
	}
	for _, warning := range g.provider.Warnings() {
		if g.env.Due(day, "key", g.cfg.Issuer, warning) {
			g.log.Warn("the provider publishes what cannot be used", "warning", warning)
		}
	}
}
