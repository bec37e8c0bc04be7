package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

const (
	// refusalTTL is how long a refusal is remembered where cache_ttl_neg is null.
	refusalTTL = 5 * time.Second
	// badTokenTTL is how long a token that does not verify is remembered, so that
	// one wrong setting does not fetch for ever.
	badTokenTTL = 5 * time.Second
	// renewPause lets a failed renewal rest before a hit tries again.
	renewPause = 5 * time.Second
)

// clientCredentials forwards a client's own id and secret to the token endpoint
// (RFC 6749 §4.4). The plugin's client plays no part in it.
type clientCredentials struct {
	env      *Env
	provider *Provider
	cfg      *config.Config

	places     []config.Place
	auth       oauth2.AuthMethod // empty: the provider's metadata choose
	assertAlg  string            // of client_secret_jwt
	args       url.Values        // scope, audience and the configured arguments
	headers    http.Header
	access, id oidc.Policy
	replay     []string

	keyer    cache.Keyer
	digest   string
	budget   time.Duration
	negative time.Duration
}

// searchOrder is the order of the places; that of client_credentials_param_type
// means nothing.
var searchOrder = []config.Place{config.InHeader, config.InQuery, config.InBody}

func newClientCredentials(cfg *config.Config, env *Env, provider *Provider) (Authenticator, error) {
	m := &clientCredentials{
		env: env, provider: provider, cfg: cfg,
		auth:      forwardedAuth(cfg),
		assertAlg: firstHMAC(cfg.ClientAlg),
		args:      tokenArgs(cfg),
		headers:   http.Header{},
		access:    tokenPolicy(cfg, config.ClientCredentials),
		keyer:     env.ProcessKey,
		digest:    tokenDigest(cfg, config.ClientCredentials),
		budget:    cfg.Timeout.Duration(),
		negative:  refusalTTL,
	}
	m.id = m.access
	m.id.Kind = oidc.IDToken
	for _, place := range searchOrder {
		if slices.Contains(cfg.ClientCredentialsParamType, place) {
			m.places = append(m.places, place)
		}
	}
	for i, name := range cfg.TokenHeadersNames {
		m.headers.Add(name, string(cfg.TokenHeadersValues[i]))
	}
	if len(cfg.TokenHeadersGrants) == 0 || slices.Contains(cfg.TokenHeadersGrants, config.GrantClientCredentials) {
		m.replay = cfg.TokenHeadersReplay
	}
	if cfg.CacheTokensSalt != "" {
		m.keyer = cache.NewKeyer([]byte(cfg.CacheTokensSalt))
	}
	if cfg.CacheTTLNeg != nil {
		m.negative = cfg.CacheTTLNeg.Duration()
	}
	return m, nil
}

// forwardedAuth picks how the forwarded credentials are presented: by a method that
// needs nothing but the id and the secret. client_auth may speak of the plugin's own
// client and name none (the how-to's private_key_jwt).
func forwardedAuth(cfg *config.Config) oauth2.AuthMethod {
	for _, method := range append([]oauth2.AuthMethod{cfg.TokenEndpointAuthMethod}, cfg.ClientAuth...) {
		if method.NeedsOnlySecret() {
			return method
		}
	}
	return ""
}

func firstHMAC(algs []config.SigningAlgorithm) string {
	for _, alg := range algs {
		if strings.HasPrefix(string(alg), "HS") {
			return string(alg)
		}
	}
	return ""
}

// Find implements Authenticator.
func (m *clientCredentials) Find(r *kong.Request) (*Credential, error) {
	for _, place := range m.places {
		c, err := m.findIn(place, r)
		if err != nil {
			return nil, err
		}
		if c != nil {
			c.Method = config.ClientCredentials
			return c, m.addClientArgs(c, r)
		}
	}
	return nil, nil
}

func (m *clientCredentials) findIn(place config.Place, r *kong.Request) (*Credential, error) {
	switch place {
	case config.InHeader:
		return basicCredential(r)
	case config.InQuery:
		params, err := r.Query()
		if err != nil {
			return nil, err
		}
		return paramCredential(Query, params)
	default:
		params, err := r.Form()
		if err != nil {
			return nil, err
		}
		return paramCredential(Body, params)
	}
}

// ownArgs are the parameters that authenticate the client or name the grant: what
// the client may add to the token request is never one of them.
var ownArgs = []string{"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type"}

// addClientArgs collects what token_post_args_client and token_headers_client pass on.
func (m *clientCredentials) addClientArgs(c *Credential, r *kong.Request) error {
	for _, name := range m.cfg.TokenPostArgsClient {
		if slices.Contains(ownArgs, name) {
			continue
		}
		value, ok, err := clientArg(r, name)
		if err != nil {
			return err
		}
		if ok {
			c.Args = append(c.Args, name, value)
		}
	}
	for _, name := range m.cfg.TokenHeadersClient {
		for _, value := range r.Header(strings.ToLower(name)) {
			c.Headers = append(c.Headers, name, value)
		}
	}
	return nil
}

// clientArg reads one argument from the query, the body or the headers.
func clientArg(r *kong.Request, name string) (string, bool, error) {
	for _, read := range []func() (*kong.Params, error){r.Query, r.Form} {
		params, err := read()
		if err != nil {
			return "", false, err
		}
		if values := params.Values(name); len(values) > 0 {
			return values[0], true, nil
		}
	}
	for _, header := range []string{name, strings.ReplaceAll(name, "_", "-")} {
		if values := r.Header(strings.ToLower(header)); len(values) > 0 {
			return values[0], true, nil
		}
	}
	return "", false, nil
}

// Authenticate implements Authenticator: from the cache, or by one call that all
// requests with the same credentials share.
func (m *clientCredentials) Authenticate(ctx context.Context, c *Credential) (*Result, error) {
	// A client assertion is made for one use: a second one is the provider's to judge.
	cached := m.cfg.CacheTokens && c.Assertion == ""
	key := m.key(c)
	if res, err := m.remembered(key, cached); res != nil || err != nil {
		if res != nil && res.renewalDue(m.env.Now()) {
			m.env.Flight.Go(key, m.budget, func(ctx context.Context) (*Result, error) { return m.renew(ctx, c, key) })
		}
		return res, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.budget)
	defer cancel()
	if !cached {
		return m.obtainOnce(ctx, c, key)
	}
	res, err := m.env.Flight.Do(ctx, key, m.callBudget(), func(ctx context.Context) (*Result, error) {
		// Whoever held the call a moment ago may have filled the cache.
		if res, err := m.remembered(key, cached); res != nil || err != nil {
			return res, err
		}
		res, err := m.obtainOnce(ctx, c, key)
		if err == nil {
			m.env.Tokens.Set(key, res, res.ttl)
		}
		return res, err
	})
	if err != nil {
		return nil, waitRefusal(err)
	}
	return res, nil
}

// callBudget is a little less than a request's own time, so that who waits for the call
// still learns why it failed.
func (m *clientCredentials) callBudget() time.Duration { return m.budget / 20 * 19 }

// remembered returns what is known of these credentials without a call: nil and nil
// when nothing is.
func (m *clientCredentials) remembered(key cache.Key, cached bool) (*Result, error) {
	if cached {
		if res, ok := m.env.Tokens.Get(key); ok && res.Alive(m.env.Now()) {
			return res, nil
		}
	}
	if refusal, ok := m.env.Refusals.Get(key); ok {
		return nil, refusal
	}
	return nil, nil
}

// obtainOnce calls the provider, and remembers its refusal for as long as that may
// stand.
func (m *clientCredentials) obtainOnce(ctx context.Context, c *Credential, key cache.Key) (*Result, error) {
	res, err := m.obtain(ctx, c)
	if err != nil {
		refusal := AsRefusal(err)
		m.env.Refusals.Set(key, refusal, m.retention(refusal))
		return nil, refusal
	}
	return res, nil
}

// renew replaces a cached result before it ends. Only a 401 ends the old one: the
// provider no longer takes these credentials.
func (m *clientCredentials) renew(ctx context.Context, c *Credential, key cache.Key) (res *Result, err error) {
	defer func() {
		if v := recover(); v != nil { // nobody waits who could log it; v itself may hold a secret
			m.env.Logger.Error("a renewal panicked", "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			res, err = nil, &Refusal{Outcome: Unexpected, Reason: "internal"}
		}
	}()
	res, err = m.obtain(ctx, c)
	if err == nil {
		m.env.Tokens.Set(key, res, res.ttl)
		return res, nil
	}
	refusal := AsRefusal(err)
	if refusal.Outcome == Unauthorized {
		m.env.Tokens.Delete(key)
		m.env.Refusals.Set(key, refusal, m.retention(refusal))
	} else if old, ok := m.env.Tokens.Get(key); ok {
		old.pauseRenewal(m.env.Now())
	}
	m.env.Logger.Warn("token not renewed", "issuer", m.cfg.Issuer, "reason", refusal.Reason, "cause", refusal.Cause)
	return nil, refusal
}

func (m *clientCredentials) retention(r *Refusal) time.Duration {
	switch {
	case r.Retained():
		return m.negative
	case r.Reason == "idp_bad_token":
		return badTokenTTL
	}
	return 0
}

// key identifies what the cached result depends on: everything that goes into the
// token request, and the part of the configuration that makes and verifies it.
func (m *clientCredentials) key(c *Credential) cache.Key {
	fields := make([]string, 0, 6+len(c.Args)+len(c.Headers))
	fields = append(fields, m.digest, string(c.Place), c.ID, string(c.Secret), string(c.Assertion), "args")
	fields = append(fields, c.Args...)
	fields = append(fields, "headers")
	fields = append(fields, c.Headers...)
	return m.keyer.Key("client_credentials", fields...)
}

// obtain asks the token endpoint and verifies what it answers. Its error is a
// *Refusal.
func (m *clientCredentials) obtain(ctx context.Context, c *Credential) (*Result, error) {
	asked := m.env.Now()
	request, err := m.request(ctx, c)
	if err != nil {
		return nil, providerFault(err)
	}
	answer, err := oauth2.RequestToken(ctx, m.provider.Client, request)
	if err != nil {
		return nil, m.tokenRefusal(err, c)
	}
	res := &Result{
		Method:      config.ClientCredentials,
		AccessToken: string(answer.AccessToken), IDToken: string(answer.IDToken), RefreshToken: string(answer.RefreshToken),
		Response: answer.Body, Replay: replayed(answer.Header, m.replay, m.cfg.TokenHeadersPrefix),
		Obtained: asked,
	}
	if err := m.verify(ctx, res, c); err != nil {
		return nil, providerFault(err)
	}
	res.limit(answer.ExpiresIn, m.cfg)
	m.warn(res)
	return res, nil
}

// largeToken is the length in bytes from which upstreams refuse a header.
const largeToken = 8 << 10

// warn says once what works now and will trouble the operator.
func (m *clientCredentials) warn(res *Result) {
	log := m.env.Logger.With("issuer", m.cfg.Issuer)
	if len(res.AccessToken) > largeToken && m.env.Once("large token", m.cfg.Issuer) {
		log.Warn("access tokens above 8 KiB: many upstreams refuse such a header", "bytes", len(res.AccessToken))
	}
	for _, warning := range m.provider.Warnings() {
		if m.env.Once("key", m.cfg.Issuer, warning) {
			log.Warn("a key of the provider is passed over", "key", warning)
		}
	}
}

func (m *clientCredentials) request(ctx context.Context, c *Credential) (oauth2.TokenRequest, error) {
	request := oauth2.TokenRequest{Endpoint: m.cfg.TokenEndpoint, Form: url.Values{}, Header: m.headers.Clone()}
	auth := oauth2.ClientAuth{Method: m.auth, ID: c.ID, Secret: c.Secret, Authorization: c.Authorization, Alg: m.assertAlg}
	if request.Endpoint == "" || auth.Method == "" {
		metadata, err := m.provider.Metadata(ctx)
		if err != nil {
			return request, err
		}
		if request.Endpoint == "" {
			request.Endpoint = metadata.TokenEndpoint
		}
		if request.Endpoint == "" {
			return request, &oidc.Fault{
				Kind: oidc.BadDiscovery, Err: errors.New("neither the metadata nor config.token_endpoint names a token endpoint"),
			}
		}
		if auth.Method == "" {
			auth.Method = advertisedAuth(metadata)
		}
	}
	for name, values := range m.args {
		request.Form[name] = values
	}
	for i := 0; i < len(c.Args); i += 2 {
		request.Form.Set(c.Args[i], c.Args[i+1])
	}
	for i := 0; i < len(c.Headers); i += 2 {
		request.Header.Add(c.Headers[i], c.Headers[i+1])
	}
	if c.Assertion != "" {
		auth = oauth2.ClientAuth{Method: oauth2.None, ID: c.ID}
		request.Form.Set("client_assertion_type", assertionType)
		request.Form.Set("client_assertion", string(c.Assertion))
	}
	request.Auth = auth
	return request, nil
}

// advertisedAuth is the first of the provider's methods that forwarded credentials
// can use; basic is every provider's to have (RFC 6749 §2.3.1).
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
func (m *clientCredentials) verify(ctx context.Context, res *Result, c *Credential) (err error) {
	if looksLikeJWT(res.AccessToken) {
		if res.Access, err = m.provider.Verify(ctx, res.AccessToken, m.access); err != nil {
			return err
		}
		if m.cfg.VerifyClaims && c.ID != "" && !issuedTo(res.Access, c.ID) {
			return &oidc.Rejection{Reason: oidc.ReasonBadAud, Detail: "client_id or azp names another client"}
		}
	}
	if res.IDToken != "" {
		policy := m.id
		if c.ID != "" {
			policy.Audience = []string{c.ID}
		}
		if res.ID, err = m.provider.Verify(ctx, res.IDToken, policy); err != nil {
			return err
		}
	}
	return nil
}

// issuedTo reports whether a token names no other client than id: by client_id (RFC
// 9068 §2.2) or by azp, where it has them. Ids that are GUIDs come back in lower case.
func issuedTo(t *oidc.Token, id string) bool {
	for _, claim := range []string{"client_id", "azp"} {
		name, present := t.Claims[claim]
		if text, ok := name.(string); present && !(ok && strings.EqualFold(text, id)) {
			return false
		}
	}
	return true
}

// tokenRefusal says what the token endpoint's error means for the request.
func (m *clientCredentials) tokenRefusal(err error, c *Credential) *Refusal {
	refusal := endpointRefusal(err, len(c.Args) > 0 || len(c.Headers) > 0 || c.Assertion != "")
	if refusal.Code == "invalid_scope" && m.env.Once("invalid_scope", m.cfg.Issuer, m.args.Get("scope")) {
		m.env.Logger.Warn("the provider refuses the scopes asked for: see config.scopes; many refuse openid for this grant",
			"issuer", m.cfg.Issuer, "scopes", m.args.Get("scope"))
	}
	return refusal
}
