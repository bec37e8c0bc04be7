package config

import "github.com/kong-openid-connect/openid-connect/pkg/oauth2"

// Discovery: the provider and its keys.
type Discovery struct {
	// The provider: its issuer identifier, or the full address of its discovery document (ending in
	// `/.well-known/openid-configuration`). Endpoints and keys are discovered from it.
	Issuer string `kong:"issuer,required,referenceable"`
	// Skip discovery: the issuer is then only compared with the `iss` claim, and every endpoint and
	// key address must be configured.
	UsingPseudoIssuer bool `kong:"using_pseudo_issuer,default=false"`
	// Names of extra headers that are sent when discovery documents and keys are fetched; paired
	// with `discovery_headers_values` by position.
	DiscoveryHeadersNames []string `kong:"discovery_headers_names" oidc:"header=provider"`
	// Values of the extra headers named in `discovery_headers_names`, in the same order.
	DiscoveryHeadersValues []oauth2.Secret `kong:"discovery_headers_values"`
	// Address of the key set to use instead of the one that the provider's discovery document
	// names.
	JWKSEndpoint string `kong:"jwks_endpoint,since=3.14"`
	// Addresses of further key sets whose keys may also verify tokens.
	ExtraJWKSURIs []string `kong:"extra_jwks_uris,set,referenceable"`
	// Shortest time in seconds between two fetches of discovery and keys that an unknown key id or
	// a bad signature may cause. With 0 it is one second.
	RediscoveryLifetime Seconds `kong:"rediscovery_lifetime,default=30" oidc:"shapes=none"`
}

// Methods: how requests may authenticate.
type Methods struct {
	// Methods by which requests may authenticate. Their order of precedence is fixed and does not
	// follow this list.
	AuthMethods []AuthMethod `kong:"auth_methods,default=password|client_credentials|authorization_code|bearer|introspection|userinfo|kong_oauth2|refresh_token|session" oidc:"shapes=none"`
}
