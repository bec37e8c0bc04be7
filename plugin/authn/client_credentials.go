package authn

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

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

func newClientCredentials(cfg *config.Config, env *Env, provider *Provider) Authenticator {
	m := &clientCredentials{
		auth:      forwardedAuth(cfg),
		assertAlg: firstHMAC(cfg.ClientAlg),
	}
	m.grants = newGrants(cfg, env, grantOf{
		provider: provider, method: config.ClientCredentials, grant: config.GrantClientCredentials, auth: string(m.auth) + " " + m.assertAlg,
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

// Find implements Authenticator.
func (m *clientCredentials) Find(r *kong.Request) (*Credential, error) {
	for _, place := range m.places {
		c, err := m.findIn(place, r)
		if err != nil {
			return nil, err
		}
		if c != nil {
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
		return paramCredential(place, params)
	default:
		params, err := r.Form()
		if err != nil {
			return nil, err
		}
		return paramCredential(place, params)
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

// Authenticate implements Authenticator.
func (m *clientCredentials) Authenticate(ctx context.Context, c *Credential) (*Result, error) {
	fields := make([]string, 0, 7+len(c.Args)+len(c.Headers))
	fields = append(fields, string(c.Place), c.ID, string(c.Secret), string(c.Assertion), strconv.Itoa(len(c.Args)))
	fields = append(append(fields, c.Args...), c.Headers...)
	return m.tokens(ctx, m.key(fields), func() *tokenAsk { return m.ask(c) })
}

// ask is the token request for c.
func (m *clientCredentials) ask(c *Credential) *tokenAsk {
	a := &tokenAsk{
		auth:  m.auth,
		proof: func(by oauth2.AuthMethod) oauth2.Proof { return m.proof(c, by) },
		form:  url.Values{}, header: http.Header{},
		clientInput: len(c.Args) > 0 || len(c.Headers) > 0 || c.Assertion != "",
	}
	for i := 0; i < len(c.Args); i += 2 {
		a.form.Set(c.Args[i], c.Args[i+1])
	}
	for i := 0; i < len(c.Headers); i += 2 {
		a.header.Add(c.Headers[i], c.Headers[i+1])
	}
	if c.ID != "" {
		a.issuedTo = []string{c.ID}
		// Basic carries an id with reserved characters form-encoded (RFC 6749 §2.3.1);
		// the token names it as it is.
		if id, err := url.QueryUnescape(c.ID); err == nil && id != c.ID {
			a.issuedTo = append(a.issuedTo, id)
		}
	}
	if c.Assertion != "" {
		a.auth = oauth2.None // the assertion is all, whatever the configuration or the metadata say
		a.once = true        // an assertion is made for one use: a second one is the provider's to judge
	}
	return a
}

// proof presents c to the token endpoint.
func (m *clientCredentials) proof(c *Credential, by oauth2.AuthMethod) oauth2.Proof {
	switch {
	case c.Assertion != "":
		return oauth2.ForwardedAssertion{ID: c.ID, Assertion: c.Assertion}
	case by == oauth2.ClientSecretPost:
		return oauth2.Post{ID: c.ID, Secret: c.Secret}
	case by == oauth2.ClientSecretJWT:
		return oauth2.Assertion{ID: c.ID, Signer: oauth2.HMAC{Algorithm: m.assertAlg, Secret: c.Secret}}
	case c.Place == config.InHeader:
		return oauth2.Forwarded{Authorization: c.authorization()}
	}
	return oauth2.Basic{ID: c.ID, Secret: c.Secret}
}
