package config

import "github.com/kong-openid-connect/openid-connect/pkg/oauth2"

// Clients: the plugin's own registrations at the provider. The lists run in parallel: position 1 of
// each is the first client, and a list that is shorter lends its first entry.
type Clients struct {
	// Client ids under which the plugin itself calls the provider. The client credentials grant
	// does not need one: it forwards the credentials of the request.
	ClientID []string `kong:"client_id,encrypted,referenceable" oidc:"unbuilt=password|introspection|refresh_token|authorization_code"`
	// Secrets of the clients in `client_id`, in the same order.
	ClientSecret []oauth2.Secret `kong:"client_secret,encrypted,referenceable"`
	// How each client authenticates at the provider's endpoints. Without it, the provider's own
	// list decides, then `client_secret_basic`.
	ClientAuth []oauth2.AuthMethod `kong:"client_auth" oidc:"shapes=token|introspection|exchange"`
	// Private keys with which clients sign their assertions (`private_key_jwt`), one for each
	// client.
	ClientJWK []JWK `kong:"client_jwk" oidc:"shapes=token|introspection|exchange,unbuilt=password|introspection|refresh_token|authorization_code"`
	// Algorithm with which each client signs its assertions. Without it: HS256 for
	// `client_secret_jwt`, RS256 for `private_key_jwt`.
	ClientAlg []SigningAlgorithm `kong:"client_alg" oidc:"shapes=token|introspection|exchange"`
	// Name of the argument with which a request chooses a client, looked for in headers, query and
	// body. Its value is a position in `client_id` or a client id.
	ClientArg string `kong:"client_arg,default=client_id" oidc:"shapes=none,unbuilt=password|introspection|refresh_token|authorization_code"`
	// Addresses to which the provider returns the browser after the login, one for each client.
	// Without them it is the address of the request.
	RedirectURI []string `kong:"redirect_uri" oidc:"shapes=none,unbuilt=authorization_code"`
	// Addresses to which the browser goes after the login when `login_action` is `redirect`, one
	// for each client.
	LoginRedirectURI []string `kong:"login_redirect_uri,referenceable" oidc:"shapes=none,unbuilt=authorization_code"`
	// Addresses to which the browser goes after the logout, one for each client.
	LogoutRedirectURI []string `kong:"logout_redirect_uri,referenceable" oidc:"shapes=none,unbuilt=session"`
}

// JWK is a JSON Web Key (RFC 7517) of a client, and the issuer for which it is meant.
type JWK struct {
	// Issuer for which this key is meant.
	Issuer string `kong:"issuer"`
	// Key type: RSA, EC, OKP or oct.
	Kty string `kong:"kty"`
	// Intended use of the key: sig or enc.
	Use string `kong:"use"`
	// Operations for which the key may be used.
	KeyOps []string `kong:"key_ops"`
	// Algorithm for which the key is meant.
	Alg string `kong:"alg"`
	// Id of the key, sent in the header of what it signs.
	Kid string `kong:"kid"`
	// Address of the X.509 certificate that belongs to the key.
	X5u string `kong:"x5u"`
	// X.509 certificate chain of the key, each in base64.
	X5c []string `kong:"x5c"`
	// SHA-1 thumbprint of the X.509 certificate.
	X5t string `kong:"x5t"`
	// SHA-256 thumbprint of the X.509 certificate.
	X5tS256 string `kong:"x5t#S256"`
	// Symmetric key in base64url (type oct).
	K oauth2.Secret `kong:"k,encrypted,referenceable"`
	// X coordinate of the public point, or the public key of type OKP.
	X string `kong:"x"`
	// Y coordinate of the public point.
	Y string `kong:"y"`
	// Curve: P-256, P-384, P-521 or Ed25519.
	Crv string `kong:"crv"`
	// Modulus of an RSA key.
	N string `kong:"n"`
	// Public exponent of an RSA key.
	E string `kong:"e"`
	// Private exponent of an RSA key, or the private key of an elliptic curve.
	D oauth2.Secret `kong:"d,encrypted,referenceable"`
	// First prime factor of an RSA key.
	P oauth2.Secret `kong:"p,encrypted,referenceable"`
	// Second prime factor of an RSA key.
	Q oauth2.Secret `kong:"q,encrypted,referenceable"`
	// CRT exponent of the first prime factor.
	Dp oauth2.Secret `kong:"dp,encrypted,referenceable"`
	// CRT exponent of the second prime factor.
	Dq oauth2.Secret `kong:"dq,encrypted,referenceable"`
	// CRT coefficient of an RSA key.
	Qi oauth2.Secret `kong:"qi,encrypted,referenceable"`
	// Further primes of an RSA key (RFC 7518 §6.3.2.7), as text.
	Oth oauth2.Secret `kong:"oth,encrypted,referenceable"`
	// Prime factor of a further prime of an RSA key.
	R oauth2.Secret `kong:"r,encrypted,referenceable"`
	// CRT coefficient of a further prime of an RSA key.
	T oauth2.Secret `kong:"t,encrypted,referenceable"`
}
