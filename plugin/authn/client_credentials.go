package authn

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// clientCredentials forwards a client's own id and secret to the token endpoint
// (RFC 6749 §4.4). The plugin's client plays no part in it.
type clientCredentials struct {
	*grants
	places    []config.Place
	auth      oauth2.AuthMethod // empty: the provider's metadata choose
	assertAlg string            // of client_secret_jwt
}

// searchOrder is the order of the places; that of client_credentials_param_type
// means nothing.
var searchOrder = []config.Place{config.InHeader, config.InQuery, config.InBody}

func newClientCredentials(cfg *config.Config, env *Env, provider *Provider) Method {
	m := &clientCredentials{
		auth:      forwardedAuth(cfg),
		assertAlg: firstHMAC(cfg.ClientAlg),
	}
	m.grants = newGrants(cfg, env, grantOf{
		provider: provider, method: config.ClientCredentials, grant: config.GrantClientCredentials,
	})
	for _, place := range searchOrder {
		if slices.Contains(cfg.ClientCredentialsParamType, place) {
			m.places = append(m.places, place)
		}
	}
	return m
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

// Scheme implements Method.
func (m *clientCredentials) Scheme() string {
	if slices.Contains(m.places, config.InHeader) {
		return "Basic"
	}
	return ""
}

// Find implements Method.
func (m *clientCredentials) Find(r *kong.Request) (Attempt, error) {
	for _, place := range m.places {
		c, err := m.findIn(place, r)
		if err != nil {
			return nil, err
		}
		if c != nil {
			return c, c.addClientArgs(r)
		}
	}
	return nil, nil
}

func (m *clientCredentials) findIn(place config.Place, r *kong.Request) (*clientAttempt, error) {
	var params *kong.Params
	var err error
	switch place {
	case config.InHeader:
		id, secret, err := basicCredential(r)
		if id == "" || err != nil {
			return nil, err
		}
		return &clientAttempt{m: m, place: place, id: id, secret: secret}, nil
	case config.InQuery:
		params, err = r.Query()
	default:
		params, err = form(r)
	}
	if err != nil {
		return nil, err
	}
	return m.findParams(place, params)
}

// findParams reads client_id with client_secret, or with an RFC 7523 client assertion, from the
// query or the body. An id alone is no credential.
func (m *clientCredentials) findParams(place config.Place, params *kong.Params) (*clientAttempt, error) {
	values := func(name string) []string {
		return slices.DeleteFunc(params.Values(name), func(v string) bool { return v == "" })
	}
	secrets, assertions := values("client_secret"), values("client_assertion")
	if kind := values("client_assertion_type"); len(kind) != 1 || kind[0] != oauth2.AssertionType {
		assertions = nil
	}
	ids := values("client_id")
	switch {
	case len(secrets) == 0 && len(assertions) == 0, len(assertions) == 0 && len(ids) == 0:
		return nil, nil
	case len(ids) > 1 || len(secrets)+len(assertions) > 1:
		return nil, ambiguous("the " + string(place) + " holds two credentials")
	}
	c := &clientAttempt{m: m, place: place, params: params}
	if len(ids) == 1 {
		c.id = ids[0]
	}
	secret := slices.Concat(secrets, assertions)[0]
	if len(assertions) > 0 {
		c.assertion = oauth2.Secret(secret)
	} else {
		c.secret = oauth2.Secret(secret)
	}
	if !presentable(secret) || len(ids) == 1 && !presentable(c.id) {
		return nil, malformed("the " + string(place) + " holds control characters")
	}
	return c, nil
}

// clientAttempt is a client's id with its secret or assertion.
type clientAttempt struct {
	m     *clientCredentials
	place config.Place

	id                string
	secret, assertion oauth2.Secret // one of them

	// args and headers are what token_post_args_client and token_headers_client took from the
	// request for the token endpoint, as name and value in turn.
	args, headers []string

	params *kong.Params // the query's or the body's
}

// credentialParams are the parameters that authenticate the client, in its request and in ours.
var credentialParams = []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"}

// addClientArgs collects what token_post_args_client and token_headers_client pass on.
func (c *clientAttempt) addClientArgs(r *kong.Request) error {
	for _, name := range c.m.cfg.TokenPostArgsClient {
		if name == "grant_type" || slices.Contains(credentialParams, name) {
			continue // what the client may add to the token request never takes their place
		}
		value, ok, err := clientArg(r, name)
		if err != nil {
			return err
		}
		if ok {
			c.args = append(c.args, name, value)
		}
	}
	for _, name := range c.m.cfg.TokenHeadersClient {
		for _, value := range r.Header(strings.ToLower(name)) {
			c.headers = append(c.headers, name, value)
		}
	}
	return nil
}

// Authenticate implements Attempt.
func (c *clientAttempt) Authenticate(ctx context.Context) (Outcome, error) {
	terms := &c.m.terms
	if c.assertion != "" {
		terms = c.m.once() // an assertion is made for one use: a second one is the provider's to judge
	}
	res, err := c.m.env.Results.get(ctx, c.key(), terms, c)
	return Outcome{Result: res}, err
}

// key names all that the answer of the token endpoint depends on.
func (c *clientAttempt) key() cache.Key {
	fields := make([]string, 0, 16)
	fields = append(fields, c.m.digest, string(c.place), c.id, string(c.secret), string(c.assertion), strconv.Itoa(len(c.args)))
	return c.m.keyer.Key(string(c.m.grant), append(append(fields, c.args...), c.headers...)...)
}

// obtain implements question.
func (c *clientAttempt) obtain(ctx context.Context) (*Result, Life, error) {
	return c.m.obtain(ctx, c.ask())
}

// ask is the token request for c.
func (c *clientAttempt) ask() *tokenAsk {
	a := &tokenAsk{
		auth:       c.m.auth,
		proof:      c.proof,
		credential: c.id,
		form:       url.Values{}, header: http.Header{},
		clientInput: len(c.args) > 0 || len(c.headers) > 0 || c.assertion != "",
	}
	for i := 0; i < len(c.args); i += 2 {
		a.form.Set(c.args[i], c.args[i+1])
	}
	for i := 0; i < len(c.headers); i += 2 {
		a.header.Add(c.headers[i], c.headers[i+1])
	}
	if c.id != "" {
		a.issuedTo = []string{c.id}
	}
	if c.place == config.InHeader {
		// Basic carries an id with reserved characters form-encoded (RFC 6749 §2.3.1); the
		// token names it as it is.
		if id, err := url.QueryUnescape(c.id); err == nil && id != c.id {
			a.issuedTo = append(a.issuedTo, id)
		}
	}
	if c.assertion != "" {
		a.auth = oauth2.None // the assertion is all, whatever the configuration or the metadata say
	}
	return a
}

// proof presents c to the token endpoint by this method.
func (c *clientAttempt) proof(by oauth2.AuthMethod) oauth2.Proof {
	switch {
	case c.assertion != "":
		return oauth2.ForwardedAssertion{ID: c.id, Assertion: c.assertion}
	case by == oauth2.ClientSecretPost:
		return oauth2.Post{ID: c.id, Secret: c.secret}
	case by == oauth2.ClientSecretJWT:
		signer := oauth2.HMAC{Algorithm: c.m.assertAlg, Secret: c.secret}
		if signer.Short() && c.m.env.Due(day, "short secret", c.m.cfg.Issuer) {
			c.m.log.Warn("a client's secret is shorter than the 32 bytes that client_secret_jwt asks for (RFC 7518 §3.2)")
		}
		return oauth2.Assertion{ID: c.id, Signer: signer}
	case c.place == config.InHeader:
		return oauth2.Forwarded{Authorization: basicAuthorization(c.id, c.secret)}
	}
	return oauth2.Basic{ID: c.id, Secret: c.secret}
}

// Hide implements Attempt.
func (c *clientAttempt) Hide(d *kong.Decision) {
	switch c.place {
	case config.InHeader:
		d.RemoveHeader("authorization")
	case config.InQuery:
		d.RawQuery = c.params.Without(credentialParams...)
	case config.InBody:
		d.Body = c.params.Without(credentialParams...)
	}
}
