package config

// Upstream: what the upstream is told.
type Upstream struct {
	// Claims that are sent to the upstream in the headers of `upstream_headers_names`, in the same
	// order.
	UpstreamHeadersClaims []string `kong:"upstream_headers_claims" oidc:"shapes=none"`
	// Names of the headers for the claims of `upstream_headers_claims`, in the same order.
	UpstreamHeadersNames []string `kong:"upstream_headers_names" oidc:"shapes=none,header=upstream"`
	// Headers that carry claims to the upstream; each names its header and the path to its claim.
	UpstreamHeaders []Header `kong:"upstream_headers,since=3.14" oidc:"shapes=none,header=upstream"`
	// Header that carries the access token to the upstream. `name:bearer` writes `Bearer` before
	// it; no value sends none.
	UpstreamAccessTokenHeader string `kong:"upstream_access_token_header,none,default=authorization:bearer" oidc:"shapes=none,header=upstream,bearer"`
	// Header that carries the key that verified the access token to the upstream.
	UpstreamAccessTokenJWKHeader string `kong:"upstream_access_token_jwk_header" oidc:"shapes=none,header=upstream"`
	// Header that carries the ID token to the upstream.
	UpstreamIDTokenHeader string `kong:"upstream_id_token_header" oidc:"shapes=none,header=upstream"`
	// Header that carries the key that verified the ID token to the upstream.
	UpstreamIDTokenJWKHeader string `kong:"upstream_id_token_jwk_header" oidc:"shapes=none,header=upstream"`
	// Header that carries the refresh token to the upstream.
	UpstreamRefreshTokenHeader string `kong:"upstream_refresh_token_header" oidc:"shapes=none,header=upstream"`
	// Header that carries the user's claims to the upstream.
	UpstreamUserInfoHeader string `kong:"upstream_user_info_header" oidc:"shapes=none,header=upstream,unbuilt=warn"`
	// Header that carries the userinfo answer to the upstream when it is a JWT.
	UpstreamUserInfoJWTHeader string `kong:"upstream_user_info_jwt_header" oidc:"shapes=none,header=upstream,unbuilt=warn"`
	// Header that carries the introspection answer to the upstream.
	UpstreamIntrospectionHeader string `kong:"upstream_introspection_header" oidc:"shapes=none,header=upstream,unbuilt=warn"`
	// Header that carries the introspection answer to the upstream when it is a JWT.
	UpstreamIntrospectionJWTHeader string `kong:"upstream_introspection_jwt_header" oidc:"shapes=none,header=upstream,unbuilt=warn"`
	// Header that carries the id of the session to the upstream.
	UpstreamSessionIDHeader string `kong:"upstream_session_id_header" oidc:"shapes=none,header=upstream,unbuilt=warn"`
}

// Downstream: what the client is told, in the response.
type Downstream struct {
	// Claims that are sent to the client in the headers of `downstream_headers_names`, in the same
	// order.
	DownstreamHeadersClaims []string `kong:"downstream_headers_claims" oidc:"shapes=none"`
	// Names of the headers for the claims of `downstream_headers_claims`, in the same order.
	DownstreamHeadersNames []string `kong:"downstream_headers_names" oidc:"shapes=none,header=downstream"`
	// Headers that carry claims to the client; each names its header and the path to its claim.
	DownstreamHeaders []Header `kong:"downstream_headers,since=3.14" oidc:"shapes=none,header=downstream"`
	// Header that carries the access token to the client. `name:bearer` writes `Bearer` before it.
	DownstreamAccessTokenHeader string `kong:"downstream_access_token_header" oidc:"shapes=none,header=downstream,bearer"`
	// Header that carries the key that verified the access token to the client.
	DownstreamAccessTokenJWKHeader string `kong:"downstream_access_token_jwk_header" oidc:"shapes=none,header=downstream"`
	// Header that carries the ID token to the client.
	DownstreamIDTokenHeader string `kong:"downstream_id_token_header" oidc:"shapes=none,header=downstream"`
	// Header that carries the key that verified the ID token to the client.
	DownstreamIDTokenJWKHeader string `kong:"downstream_id_token_jwk_header" oidc:"shapes=none,header=downstream"`
	// Header that carries the refresh token to the client.
	DownstreamRefreshTokenHeader string `kong:"downstream_refresh_token_header" oidc:"shapes=none,header=downstream"`
	// Header that carries the user's claims to the client.
	DownstreamUserInfoHeader string `kong:"downstream_user_info_header" oidc:"shapes=none,header=downstream,unbuilt=warn"`
	// Header that carries the userinfo answer to the client when it is a JWT.
	DownstreamUserInfoJWTHeader string `kong:"downstream_user_info_jwt_header" oidc:"shapes=none,header=downstream,unbuilt=warn"`
	// Header that carries the introspection answer to the client.
	DownstreamIntrospectionHeader string `kong:"downstream_introspection_header" oidc:"shapes=none,header=downstream,unbuilt=warn"`
	// Header that carries the introspection answer to the client when it is a JWT.
	DownstreamIntrospectionJWTHeader string `kong:"downstream_introspection_jwt_header" oidc:"shapes=none,header=downstream,unbuilt=warn"`
	// Header that carries the id of the session to the client.
	DownstreamSessionIDHeader string `kong:"downstream_session_id_header" oidc:"shapes=none,header=downstream,unbuilt=warn"`
}
