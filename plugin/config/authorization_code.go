package config

import "github.com/kong-openid-connect/openid-connect/pkg/oauth2"

// AuthorizationRequest: the request that sends a browser to the provider.
type AuthorizationRequest struct {
	// How the provider returns the answer to an authorization request.
	ResponseMode ResponseMode `kong:"response_mode,default=query" oidc:"shapes=none,unbuilt=authorization_code"`
	// Response types that are asked for together: joined by spaces, for every client.
	ResponseType []string `kong:"response_type,default=code" oidc:"shapes=none,unbuilt=authorization_code"`
	// Scopes asked for at the authorization and the token endpoint. An empty list sends no `scope`
	// at all; many providers refuse `openid` for the client credentials grant.
	Scopes []string `kong:"scopes,referenceable,default=openid" oidc:"shapes=token|exchange"`
	// Audiences asked for at the authorization and the token endpoint, as the parameter `audience`.
	Audience []string `kong:"audience" oidc:"shapes=token|exchange"`
	// Longest time in seconds since the user last logged in at the provider; also checked against
	// `auth_time`.
	MaxAge *Seconds `kong:"max_age" oidc:"shapes=token|session,unbuilt=refuse"`
	// Address of the authorization endpoint; without it, the discovered one.
	AuthorizationEndpoint string `kong:"authorization_endpoint" oidc:"shapes=none,unbuilt=authorization_code"`
	// Names of extra arguments of the authorization request; paired with
	// `authorization_query_args_values`.
	AuthorizationQueryArgsNames []string `kong:"authorization_query_args_names" oidc:"shapes=none,unbuilt=authorization_code"`
	// Values of the extra arguments named in `authorization_query_args_names`, in the same order.
	AuthorizationQueryArgsValues []string `kong:"authorization_query_args_values" oidc:"shapes=none,unbuilt=authorization_code"`
	// Names of arguments of the client's request that are passed on to the authorization endpoint.
	AuthorizationQueryArgsClient []string `kong:"authorization_query_args_client" oidc:"shapes=none,unbuilt=authorization_code"`
	// Address of the endpoint for pushed authorization requests (RFC 9126); without it, the
	// discovered one.
	PushedAuthorizationRequestEndpoint string `kong:"pushed_authorization_request_endpoint" oidc:"shapes=none,unbuilt=authorization_code"`
	// How the client authenticates at the endpoint for pushed authorization requests.
	PushedAuthorizationRequestEndpointAuthMethod oauth2.AuthMethod `kong:"pushed_authorization_request_endpoint_auth_method" oidc:"shapes=none,unbuilt=authorization_code"`
	// Whether authorization requests must be pushed (RFC 9126). Without a value, discovery decides.
	RequirePushedAuthorizationRequests *bool `kong:"require_pushed_authorization_requests" oidc:"shapes=none,unbuilt=authorization_code"`
	// Whether PKCE (RFC 7636) must be used. Without a value, it is used when the provider says that
	// it knows it.
	RequireProofKeyForCodeExchange *bool `kong:"require_proof_key_for_code_exchange" oidc:"shapes=none,unbuilt=authorization_code"`
	// Whether authorization requests must be signed (RFC 9101). Without a value, discovery decides.
	RequireSignedRequestObject *bool `kong:"require_signed_request_object" oidc:"shapes=none,unbuilt=authorization_code"`
	// Whether the query of the request that caused the login is there again after it.
	PreserveQueryArgs bool `kong:"preserve_query_args,default=false" oidc:"shapes=none,unbuilt=authorization_code"`
}

// AuthorizationCookie: the cookie that holds the state of a login under way.
type AuthorizationCookie struct {
	// Name of the cookie that holds the state of a login under way.
	AuthorizationCookieName string `kong:"authorization_cookie_name,default=authorization" oidc:"shapes=none,header=read,unbuilt=authorization_code"`
	// Path of the authorization cookie.
	AuthorizationCookiePath string `kong:"authorization_cookie_path,default=/,starts_with=/,match_none=//" oidc:"shapes=none,unbuilt=authorization_code"`
	// Domain of the authorization cookie; without it, the host of the request.
	AuthorizationCookieDomain string `kong:"authorization_cookie_domain" oidc:"shapes=none,unbuilt=authorization_code"`
	// SameSite attribute of the authorization cookie; `Default` leaves it out.
	AuthorizationCookieSameSite SameSite `kong:"authorization_cookie_same_site,default=Default" oidc:"shapes=none,unbuilt=authorization_code"`
	// Whether the authorization cookie is hidden from scripts (HttpOnly).
	AuthorizationCookieHTTPOnly bool `kong:"authorization_cookie_http_only,default=true" oidc:"shapes=none,unbuilt=authorization_code"`
	// Whether the authorization cookie travels over HTTPS only (Secure). Without a value, the
	// scheme of the request decides.
	AuthorizationCookieSecure *bool `kong:"authorization_cookie_secure" oidc:"shapes=none,unbuilt=authorization_code"`
	// Time in seconds within which a login must be finished. 0 is 24 hours.
	AuthorizationRollingTimeout Seconds `kong:"authorization_rolling_timeout,default=600" oidc:"shapes=none,unbuilt=authorization_code"`
}
