package config

import "github.com/kong-openid-connect/openid-connect/pkg/oauth2"

// TokenRequests: requests for tokens.
type TokenRequests struct {
	// Address of the token endpoint; without it, the discovered one.
	TokenEndpoint string `kong:"token_endpoint" oidc:"shapes=token|exchange"`
	// How clients authenticate at the token endpoint; comes before `client_auth`.
	TokenEndpointAuthMethod oauth2.AuthMethod `kong:"token_endpoint_auth_method" oidc:"shapes=token|exchange"`
	// Names of extra headers for the token endpoint; paired with `token_headers_values` by
	// position.
	TokenHeadersNames []string `kong:"token_headers_names" oidc:"shapes=token|exchange,header=provider"`
	// Values of the extra headers named in `token_headers_names`, in the same order.
	TokenHeadersValues []oauth2.Secret `kong:"token_headers_values" oidc:"shapes=token|exchange"`
	// Names of headers of the client's request that are passed on to the token endpoint.
	TokenHeadersClient []string `kong:"token_headers_client" oidc:"shapes=token|exchange,header=provider"`
	// Names of headers of the token endpoint's answer that are passed on to the client.
	TokenHeadersReplay []string `kong:"token_headers_replay" oidc:"shapes=token,header=replay"`
	// Put before the name of each header that `token_headers_replay` passes on.
	TokenHeadersPrefix string `kong:"token_headers_prefix" oidc:"shapes=token,header=read"`
	// Grants for which `token_headers_replay` passes headers on.
	TokenHeadersGrants []Grant `kong:"token_headers_grants" oidc:"shapes=token"`
	// Names of extra form arguments for the token endpoint; paired with `token_post_args_values` by
	// position.
	TokenPostArgsNames []string `kong:"token_post_args_names" oidc:"shapes=token|exchange"`
	// Values of the extra arguments named in `token_post_args_names`, in the same order.
	TokenPostArgsValues []oauth2.Secret `kong:"token_post_args_values" oidc:"shapes=token|exchange"`
	// Names of arguments of the client's request (query, body or header) that are passed on to the
	// token endpoint.
	TokenPostArgsClient []string `kong:"token_post_args_client" oidc:"shapes=token|exchange"`
	// Address of the token endpoint for clients that authenticate with a certificate; comes before
	// the provider's `mtls_endpoint_aliases`.
	MTLSTokenEndpoint string `kong:"mtls_token_endpoint" oidc:"shapes=token|exchange,unbuilt=warn"`
}

// IntrospectionRequests: questions about opaque tokens (RFC 7662).
type IntrospectionRequests struct {
	// Address of the introspection endpoint; without it, the discovered one.
	IntrospectionEndpoint string `kong:"introspection_endpoint,referenceable" oidc:"shapes=introspection,unbuilt=introspection"`
	// How clients authenticate at the introspection endpoint; comes before `client_auth`.
	IntrospectionEndpointAuthMethod oauth2.AuthMethod `kong:"introspection_endpoint_auth_method" oidc:"shapes=introspection,unbuilt=introspection"`
	// Value of `token_type_hint` in introspection requests.
	IntrospectionHint string `kong:"introspection_hint,default=access_token" oidc:"shapes=introspection,unbuilt=introspection"`
	// Whether a token passes only when the answer says `active: true`.
	IntrospectionCheckActive bool `kong:"introspection_check_active,default=true" oidc:"shapes=introspection,unbuilt=introspection"`
	// Media type that is asked for in introspection requests.
	IntrospectionAccept IntrospectionAccept `kong:"introspection_accept,default=application/json" oidc:"shapes=introspection,unbuilt=introspection"`
	// Names of extra headers for the introspection endpoint; paired with
	// `introspection_headers_values`.
	IntrospectionHeadersNames []string `kong:"introspection_headers_names" oidc:"shapes=introspection,header=provider,unbuilt=introspection"`
	// Values of the extra headers named in `introspection_headers_names`, in the same order.
	IntrospectionHeadersValues []oauth2.Secret `kong:"introspection_headers_values,encrypted,referenceable" oidc:"shapes=introspection,unbuilt=introspection"`
	// Names of headers of the client's request that are passed on to the introspection endpoint.
	IntrospectionHeadersClient []string `kong:"introspection_headers_client" oidc:"shapes=introspection,header=provider,unbuilt=introspection"`
	// Names of extra form arguments for the introspection endpoint; paired with
	// `introspection_post_args_values`.
	IntrospectionPostArgsNames []string `kong:"introspection_post_args_names" oidc:"shapes=introspection,unbuilt=introspection"`
	// Values of the extra arguments named in `introspection_post_args_names`, in the same order.
	IntrospectionPostArgsValues []oauth2.Secret `kong:"introspection_post_args_values" oidc:"shapes=introspection,unbuilt=introspection"`
	// Names of arguments of the client's request that are passed on to the introspection endpoint.
	IntrospectionPostArgsClient []string `kong:"introspection_post_args_client" oidc:"shapes=introspection,unbuilt=introspection"`
	// Names of headers of the client's request that are passed on to the introspection endpoint as
	// form arguments.
	IntrospectionPostArgsClientHeaders []string `kong:"introspection_post_args_client_headers" oidc:"shapes=introspection,header=read,unbuilt=introspection"`
	// Whether access tokens that are JWTs are introspected as well.
	IntrospectJWTTokens bool `kong:"introspect_jwt_tokens,default=false" oidc:"shapes=introspection,unbuilt=introspection"`
	// Name of the form argument that carries the token to the introspection endpoint.
	IntrospectionTokenParamName string `kong:"introspection_token_param_name,default=token" oidc:"shapes=introspection,unbuilt=introspection"`
	// Address of the introspection endpoint for clients that authenticate with a certificate.
	MTLSIntrospectionEndpoint string `kong:"mtls_introspection_endpoint" oidc:"shapes=introspection,unbuilt=introspection"`
}

// OtherEndpoints: userinfo, revocation and end of session.
type OtherEndpoints struct {
	// Address of the userinfo endpoint; without it, the discovered one.
	UserinfoEndpoint string `kong:"userinfo_endpoint" oidc:"shapes=userinfo,unbuilt=userinfo"`
	// Media type that is asked for at the userinfo endpoint.
	UserinfoAccept UserinfoAccept `kong:"userinfo_accept,default=application/json" oidc:"shapes=userinfo,unbuilt=userinfo"`
	// Names of extra headers for the userinfo endpoint; paired with `userinfo_headers_values` by
	// position.
	UserinfoHeadersNames []string `kong:"userinfo_headers_names" oidc:"shapes=userinfo,header=provider,unbuilt=userinfo"`
	// Values of the extra headers named in `userinfo_headers_names`, in the same order.
	UserinfoHeadersValues []oauth2.Secret `kong:"userinfo_headers_values" oidc:"shapes=userinfo,unbuilt=userinfo"`
	// Names of headers of the client's request that are passed on to the userinfo endpoint.
	UserinfoHeadersClient []string `kong:"userinfo_headers_client" oidc:"shapes=userinfo,header=provider,unbuilt=userinfo"`
	// Names of extra query arguments for the userinfo endpoint; paired with
	// `userinfo_query_args_values`.
	UserinfoQueryArgsNames []string `kong:"userinfo_query_args_names" oidc:"shapes=userinfo,unbuilt=userinfo"`
	// Values of the extra arguments named in `userinfo_query_args_names`, in the same order.
	UserinfoQueryArgsValues []oauth2.Secret `kong:"userinfo_query_args_values" oidc:"shapes=userinfo,unbuilt=userinfo"`
	// Names of arguments of the client's request that are passed on to the userinfo endpoint.
	UserinfoQueryArgsClient []string `kong:"userinfo_query_args_client" oidc:"shapes=userinfo,unbuilt=userinfo"`
	// Whether the userinfo endpoint is asked as well, so that its claims can be used for consumers
	// and headers.
	SearchUserInfo bool `kong:"search_user_info,default=false" oidc:"unbuilt=warn"`
	// Address of the revocation endpoint (RFC 7009); without it, the discovered one.
	RevocationEndpoint string `kong:"revocation_endpoint" oidc:"shapes=none,unbuilt=logout_revoke"`
	// How clients authenticate at the revocation endpoint; comes before `client_auth`.
	RevocationEndpointAuthMethod oauth2.AuthMethod `kong:"revocation_endpoint_auth_method" oidc:"shapes=none,unbuilt=logout_revoke"`
	// Name of the form argument that carries the token to the revocation endpoint.
	RevocationTokenParamName string `kong:"revocation_token_param_name,default=token" oidc:"shapes=none,unbuilt=logout_revoke"`
	// Address of the revocation endpoint for clients that authenticate with a certificate.
	MTLSRevocationEndpoint string `kong:"mtls_revocation_endpoint" oidc:"shapes=none,unbuilt=logout_revoke"`
	// Address at which the provider ends its own session; without it, the discovered one.
	EndSessionEndpoint string `kong:"end_session_endpoint" oidc:"shapes=none,unbuilt=session"`
}

// Exchange: access tokens that are exchanged for others.
type Exchange struct {
	// Address of an endpoint that answers a valid access token with another one as its body (not
	// RFC 8693).
	TokenExchangeEndpoint string `kong:"token_exchange_endpoint" oidc:"shapes=exchange,unbuilt=warn"`
	// Whether the answers of `token_exchange_endpoint` are cached.
	CacheTokenExchange bool `kong:"cache_token_exchange,default=true" oidc:"shapes=none,unbuilt=token_exchange_endpoint"`
	// Exchange of access tokens at the token endpoint (RFC 8693).
	TokenExchange *TokenExchange `kong:"token_exchange,since=3.14" oidc:"shapes=exchange,unbuilt=warn"`
}

// TokenExchange is the exchange of access tokens by RFC 8693.
type TokenExchange struct {
	// Issuers whose tokens are exchanged, and when.
	SubjectTokenIssuers []SubjectTokenIssuer `kong:"subject_token_issuers,required,len_min=1"`
	// What the exchange asks for.
	Request ExchangeRequest `kong:"request,required"`
	// How long exchanged tokens are remembered.
	Cache ExchangeCache `kong:"cache,required"`
}

// SubjectTokenIssuer is an issuer whose tokens are exchanged.
type SubjectTokenIssuer struct {
	// Issuer of the tokens that are exchanged, as their `iss` says.
	Issuer string `kong:"issuer,required"`
	// Conditions under which a token is exchanged; without them, always.
	Conditions *ExchangeConditions `kong:"conditions"`
	// Whether the signature of the token is verified before the exchange.
	VerifySignature bool `kong:"verify_signature,default=false,since=3.15"`
	// Address of the key set that verifies tokens of this issuer.
	JWKSURI string `kong:"jwks_uri,since=3.15"`
}

// ExchangeConditions are the conditions under which a token is exchanged.
type ExchangeConditions struct {
	// Exchange a token that has one of these audiences.
	HasAudience []string `kong:"has_audience"`
	// Exchange a token that lacks one of these audiences.
	MissingAudience []string `kong:"missing_audience"`
	// Exchange a token that has one of these scopes.
	HasScopes []string `kong:"has_scopes"`
	// Exchange a token that lacks one of these scopes.
	MissingScopes []string `kong:"missing_scopes"`
}

// ExchangeRequest is what a token exchange asks for.
type ExchangeRequest struct {
	// Audiences asked for in the exchange; without them, `audience` of the plugin.
	Audience []string `kong:"audience"`
	// Whether the exchange names no audience at all.
	EmptyAudience bool `kong:"empty_audience,default=false"`
	// Scopes asked for in the exchange; without them, `scopes` of the plugin.
	Scopes []string `kong:"scopes"`
	// Whether the exchange names no scopes at all.
	EmptyScopes bool `kong:"empty_scopes,default=false"`
}

// ExchangeCache is how long exchanged tokens are remembered.
type ExchangeCache struct {
	// Whether exchanged tokens are remembered.
	Enabled bool `kong:"enabled,default=true"`
	// Longest time in seconds for which an exchanged token is remembered; without it, its own
	// lifetime.
	TTL *Seconds `kong:"ttl,integer"`
}
