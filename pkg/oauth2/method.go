package oauth2

// AuthMethod names how a client proves itself to an endpoint, in the words of the
// "OAuth Token Endpoint Authentication Methods" registry (RFC 7591 §2, RFC 8705 §2).
type AuthMethod string

// The registered methods.
const (
	ClientSecretBasic       AuthMethod = "client_secret_basic"
	ClientSecretPost        AuthMethod = "client_secret_post"
	ClientSecretJWT         AuthMethod = "client_secret_jwt"
	PrivateKeyJWT           AuthMethod = "private_key_jwt"
	TLSClientAuth           AuthMethod = "tls_client_auth"
	SelfSignedTLSClientAuth AuthMethod = "self_signed_tls_client_auth"
	None                    AuthMethod = "none"
)

// NeedsOnlySecret reports whether the method works with nothing but a client id and a
// secret: what a caller can hand over in a request of its own.
func (m AuthMethod) NeedsOnlySecret() bool {
	switch m {
	case ClientSecretBasic, ClientSecretPost, ClientSecretJWT:
		return true
	}
	return false
}
