package config

// Refusals: what a client gets when its request does not pass.
type Refusals struct {
	// Addresses to which a browser is sent instead of a 401, one for each client.
	UnauthorizedRedirectURI []string `kong:"unauthorized_redirect_uri" oidc:"shapes=none"`
	// Text of the 401 answer.
	UnauthorizedErrorMessage string `kong:"unauthorized_error_message,default=Unauthorized" oidc:"shapes=none"`
	// Whether a 401 also ends the session.
	UnauthorizedDestroySession bool `kong:"unauthorized_destroy_session,default=true" oidc:"shapes=none,unbuilt=session"`
	// Addresses to which a browser is sent instead of a 403, one for each client.
	ForbiddenRedirectURI []string `kong:"forbidden_redirect_uri" oidc:"shapes=none"`
	// Text of the 403 answer.
	ForbiddenErrorMessage string `kong:"forbidden_error_message,default=Forbidden" oidc:"shapes=none"`
	// Whether a 403 also ends the session.
	ForbiddenDestroySession bool `kong:"forbidden_destroy_session,default=true" oidc:"shapes=none,unbuilt=session"`
	// Addresses to which a browser is sent instead of a 500 or 503, one for each client.
	UnexpectedRedirectURI []string `kong:"unexpected_redirect_uri" oidc:"shapes=none"`
	// Whether refusals tell the client the reason, as `error` and `error_description`. Secrets,
	// tokens and the provider's address are never shown.
	DisplayErrors bool `kong:"display_errors,default=false" oidc:"shapes=none"`
	// Whether refusals carry a WWW-Authenticate header with the error code of RFC 6750.
	ExposeErrorCode bool `kong:"expose_error_code,default=true" oidc:"shapes=none"`
}
