package demoidp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// defaultLifetime of access tokens.
const defaultLifetime = 5 * time.Minute

// Client is a confidential client of the provider.
type Client struct {
	ID, Secret string
	// AuthMethods are those of client_secret_basic and client_secret_post that it may use, default
	// both. A client with only other ones, such as private_key_jwt, cannot get a token here: op
	// does not take assertions for this grant.
	AuthMethods []string
	Lifetime    time.Duration  // of its tokens, in whole seconds; default 5 minutes
	Alg         string         // of its tokens: RS256 (default) to RS512, PS256 to PS512, ES256 to ES512, EdDSA
	Type        string         // of its tokens' header: default "JWT"; "at+jwt" for RFC 9068
	Opaque      bool           // its tokens are no JWTs
	Scopes      []string       // it may ask for; nil: any
	Audience    []string       // of its tokens when the request names none; default the client's id
	Claims      map[string]any // added to its tokens; iss, sub, aud, exp, iat, nbf, client_id and jti stay op's
}

// DefaultClients are the story's clients: "service" with its secret, "kong", which has no secret,
// and "short", whose tokens live 5 seconds.
func DefaultClients() []Client {
	const secret = "cf4c655a-0622-4ce6-a0de-d3353ef0b714"
	return []Client{
		{ID: "service", Secret: secret, Claims: map[string]any{"preferred_username": "service-account-service"}},
		{ID: "kong", AuthMethods: []string{string(oidc.AuthMethodPrivateKeyJWT)}},
		{ID: "short", Secret: secret, Lifetime: 5 * time.Second},
	}
}

// storage is what op asks about clients and keys. The embedded interface stands for all that
// belongs to endpoints that are not served.
type storage struct {
	op.Storage
	clients map[string]*Client
	keys    *keyring
}

func newStorage(clients []Client, keys *keyring) (*storage, error) {
	st := &storage{clients: map[string]*Client{}, keys: keys}
	for _, c := range clients {
		if c.ID == "" || st.clients[c.ID] != nil {
			return nil, fmt.Errorf("demoidp: client id %q is empty or stands twice", c.ID)
		}
		if c.AuthMethods == nil {
			c.AuthMethods = []string{string(oidc.AuthMethodBasic), string(oidc.AuthMethodPost)}
		}
		if c.Lifetime == 0 {
			c.Lifetime = defaultLifetime
		}
		if c.Alg == "" {
			c.Alg = "RS256"
		}
		st.clients[c.ID] = &c
	}
	return st, nil
}

// allows tells whether a client may authenticate by basic, or else by post.
func (st *storage) allows(id string, basic bool) bool {
	method := oidc.AuthMethodPost
	if basic {
		method = oidc.AuthMethodBasic
	}
	c := st.clients[id]
	return c != nil && slices.Contains(c.AuthMethods, string(method))
}

// ClientCredentials authenticates a client.
func (st *storage) ClientCredentials(_ context.Context, id, secret string) (op.Client, error) {
	c := st.clients[id]
	if c == nil || c.Secret == "" {
		return nil, errors.New("unknown client, or one without a secret")
	}
	want, got := sha256.Sum256([]byte(c.Secret)), sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return nil, errors.New("wrong secret")
	}
	return opClient{client: c}, nil
}

// ClientCredentialsTokenRequest is asked once the client is authenticated.
func (st *storage) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	c := st.clients[id]
	scopes = slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return s == "" })
	for _, s := range scopes {
		if c.Scopes != nil && !slices.Contains(c.Scopes, s) {
			return nil, oidc.ErrInvalidScope().WithDescription("the client may not ask for this scope")
		}
	}
	return &grant{client: c, scopes: scopes, audience: c.Audience}, nil
}

// CreateAccessToken gives a token its id and its end.
func (st *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	return rand.Text(), time.Now().Add(r.(*grant).client.Lifetime), nil
}

// GetPrivateClaimsFromRequest adds the scope, which op leaves out, and Keycloak's azp.
func (st *storage) GetPrivateClaimsFromRequest(_ context.Context, r op.TokenRequest, _ []string) (map[string]any, error) {
	g := r.(*grant)
	claims := map[string]any{"azp": g.client.ID}
	if len(g.scopes) > 0 {
		claims["scope"] = strings.Join(g.scopes, " ")
	}
	maps.Copy(claims, g.client.Claims)
	return claims, nil
}

// algKey is for withAlg: op's SigningKey has no other way to learn whose token it is.
type algKey struct{}

func withAlg(ctx context.Context, alg string) context.Context {
	return context.WithValue(ctx, algKey{}, alg)
}

func (st *storage) SigningKey(ctx context.Context) (op.SigningKey, error) {
	alg, _ := ctx.Value(algKey{}).(string)
	k, err := st.keys.current(alg)
	if err != nil {
		return nil, err
	}
	return opKey{k}, nil
}

func (st *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	var algs []jose.SignatureAlgorithm
	for _, a := range st.keys.algs {
		algs = append(algs, jose.SignatureAlgorithm(a))
	}
	return algs, nil
}

// grant is a request that was found good.
type grant struct {
	client           *Client
	scopes, audience []string
}

func (g *grant) GetSubject() string    { return g.client.ID }
func (g *grant) GetAudience() []string { return g.audience }
func (g *grant) GetScopes() []string   { return g.scopes }

// opClient is a Client as op wants it. The embedded interface stands for what belongs to users and
// logins.
type opClient struct {
	op.Client
	client *Client
}

func (c opClient) GetID() string { return c.client.ID }
func (c opClient) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeClientCredentials}
}
func (c opClient) ClockSkew() time.Duration { return 0 }

func (c opClient) AccessTokenType() op.AccessTokenType {
	if c.client.Opaque {
		return op.AccessTokenTypeBearer
	}
	return op.AccessTokenTypeJWT
}

func (c opClient) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

// opKey is a Key as op wants it.
type opKey struct{ key *Key }

func (k opKey) ID() string { return k.key.ID }
func (k opKey) Key() any   { return k.key.Signer }
func (k opKey) SignatureAlgorithm() jose.SignatureAlgorithm {
	return jose.SignatureAlgorithm(k.key.Alg)
}
