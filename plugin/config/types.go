package config

import (
	"reflect"
	"slices"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
)

// Seconds is a length of time as Kong's configuration writes it: a number of seconds, fractions
// allowed.
type Seconds float64

// Duration is s as Go's type, cut to the range that one can hold.
func (s Seconds) Duration() time.Duration { return duration(float64(s), time.Second) }

// Milliseconds is a length of time as Kong's configuration writes timeouts.
type Milliseconds float64

// Duration is m as Go's type, cut to the range that one can hold.
func (m Milliseconds) Duration() time.Duration { return duration(float64(m), time.Millisecond) }

func duration(n float64, unit time.Duration) time.Duration {
	const most = time.Duration(1<<63 - 1)
	switch d := n * float64(unit); {
	case d >= float64(most):
		return most
	case d <= -float64(most):
		return -most
	default:
		return time.Duration(d)
	}
}

// AuthMethod is a way to authenticate a request, as auth_methods lists it.
type AuthMethod string

// The methods of auth_methods. Their order of precedence is plugin/authn's matter.
const (
	Password          AuthMethod = "password"
	ClientCredentials AuthMethod = "client_credentials"
	AuthorizationCode AuthMethod = "authorization_code"
	Bearer            AuthMethod = "bearer"
	Introspection     AuthMethod = "introspection"
	Userinfo          AuthMethod = "userinfo"
	KongOAuth2        AuthMethod = "kong_oauth2"
	RefreshToken      AuthMethod = "refresh_token"
	Session           AuthMethod = "session"
)

// Grant is a grant type that calls the token endpoint.
type Grant string

// The grants of token_headers_grants.
const (
	GrantPassword          Grant = "password"
	GrantClientCredentials Grant = "client_credentials"
	GrantAuthorizationCode Grant = "authorization_code"
	GrantRefreshToken      Grant = "refresh_token"
)

// UnsignedSource is a method whose tokens may go unverified: ignore_signature. Bearer is left out
// on purpose.
type UnsignedSource string

// Place is where in a request a credential is looked for.
type Place string

// BearerPlace is a Place for access tokens, which may also be in a cookie.
type BearerPlace string

// The places of the *_param_type fields.
const (
	InHeader Place = "header"
	InQuery  Place = "query"
	InBody   Place = "body"

	BearerInHeader BearerPlace = "header"
	BearerInCookie BearerPlace = "cookie"
	BearerInQuery  BearerPlace = "query"
	BearerInBody   BearerPlace = "body"
)

// SameSite is the attribute of that name of a cookie; SameSiteDefault leaves it out.
type SameSite string

// The values of SameSite.
const (
	SameSiteStrict  SameSite = "Strict"
	SameSiteLax     SameSite = "Lax"
	SameSiteNone    SameSite = "None"
	SameSiteDefault SameSite = "Default"
)

// OldSameSite is what the deprecated names took: "off" beside the values of SameSite.
type OldSameSite string

// Proof says whether a token must be bound to a key of its sender.
type Proof string

// The values of Proof.
const (
	ProofOff      Proof = "off"
	ProofStrict   Proof = "strict"
	ProofOptional Proof = "optional"
)

// Strategy says whether a cache is shared by the nodes.
type Strategy string

// The values of Strategy.
const (
	StrategyOff   Strategy = "off"
	StrategyRedis Strategy = "redis"
)

// The types below constrain one field each; enums has their values.
type (
	// SigningAlgorithm is an algorithm of client_alg (RFC 7518 §3.1, RFC 8037).
	SigningAlgorithm string
	// ResponseMode is how the provider returns an authorization response.
	ResponseMode string
	// IntrospectionAccept is a media type of an introspection answer.
	IntrospectionAccept string
	// UserinfoAccept is a media type of a userinfo answer.
	UserinfoAccept string
	// SessionHeader is a property of a session that can travel in a header.
	SessionHeader string
	// SessionStorage is where sessions are kept.
	SessionStorage string
	// SessionBinding is a property of the client that a session is bound to.
	SessionBinding string
	// LoginAction is what follows a login.
	LoginAction string
	// LoginToken is what a login hands to the client.
	LoginToken string
	// LoginRedirectMode is how tokens travel in a redirect.
	LoginRedirectMode string
	// LogoutMethod is an HTTP method that may log out.
	LogoutMethod string
	// ConsumerKey is the property of a consumer that a claim is compared with.
	ConsumerKey string
	// CacheItem is a kind of answer that nodes share.
	CacheItem string
	// SentinelRole is the kind of Redis node asked of Sentinel.
	SentinelRole string
	// CertificateFormat is the encoding of a certificate in a header.
	CertificateFormat string
	// RevocationMode is how strictly revocation of certificates is checked.
	RevocationMode string
	// CloudProvider is a cloud that can sign in to Redis.
	CloudProvider string
)

// The values of LoginAction, and of LoginToken for the whole answer of the token endpoint.
const (
	LoginUpstream LoginAction = "upstream"
	LoginResponse LoginAction = "response"
	LoginRedirect LoginAction = "redirect"

	LoginTokens LoginToken = "tokens"
)

// AnswersLogin says whether a success of method is answered with tokens in the upstream's place.
func (l *Login) AnswersLogin(method AuthMethod) bool {
	return l.LoginAction == LoginResponse && slices.Contains(l.LoginMethods, method)
}

// enums is the one place where the values of constrained types stand, in the order of the schema.
var enums = kongschema.Enums{
	reflect.TypeFor[AuthMethod](): {
		"password", "client_credentials", "authorization_code", "bearer", "introspection",
		"userinfo", "kong_oauth2", "refresh_token", "session",
	},
	reflect.TypeFor[oauth2.AuthMethod](): {
		"client_secret_basic", "client_secret_post", "client_secret_jwt",
		"private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth", "none",
	},
	reflect.TypeFor[Grant]():          {"password", "client_credentials", "authorization_code", "refresh_token"},
	reflect.TypeFor[UnsignedSource](): {"password", "client_credentials", "authorization_code", "refresh_token", "session", "introspection", "userinfo"},
	reflect.TypeFor[Place]():          {"header", "query", "body"},
	reflect.TypeFor[BearerPlace]():    {"header", "cookie", "query", "body"},
	reflect.TypeFor[SameSite]():       {"Strict", "Lax", "None", "Default"},
	reflect.TypeFor[OldSameSite]():    {"Strict", "Lax", "None", "Default", "off"},
	reflect.TypeFor[Proof]():          {"off", "strict", "optional"},
	reflect.TypeFor[Strategy]():       {"off", "redis"},
	reflect.TypeFor[SigningAlgorithm](): {
		"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512",
		"PS256", "PS384", "PS512", "EdDSA",
	},
	reflect.TypeFor[ResponseMode]():        {"query", "form_post", "fragment", "query.jwt", "form_post.jwt", "fragment.jwt", "jwt"},
	reflect.TypeFor[IntrospectionAccept](): {"application/json", "application/token-introspection+jwt", "application/jwt"},
	reflect.TypeFor[UserinfoAccept]():      {"application/json", "application/jwt"},
	reflect.TypeFor[SessionHeader]():       {"id", "audience", "subject", "timeout", "idling-timeout", "rolling-timeout", "absolute-timeout"},
	reflect.TypeFor[SessionStorage]():      {"cookie", "memcache", "memcached", "redis"},
	reflect.TypeFor[SessionBinding]():      {"ip", "scheme", "user-agent"},
	reflect.TypeFor[LoginAction]():         {"upstream", "response", "redirect"},
	reflect.TypeFor[LoginToken]():          {"id_token", "access_token", "refresh_token", "tokens", "introspection"},
	reflect.TypeFor[LoginRedirectMode]():   {"query", "fragment"},
	reflect.TypeFor[LogoutMethod]():        {"POST", "GET", "DELETE"},
	reflect.TypeFor[ConsumerKey]():         {"id", "username", "custom_id"},
	reflect.TypeFor[CacheItem]():           {"introspection", "tokens"},
	reflect.TypeFor[SentinelRole]():        {"master", "slave", "any"},
	reflect.TypeFor[CertificateFormat]():   {"base64_encoded", "url_encoded"},
	reflect.TypeFor[RevocationMode]():      {"IGNORE_CA_ERROR", "SKIP", "STRICT"},
	reflect.TypeFor[CloudProvider]():       {"aws", "azure", "gcp"},
}
