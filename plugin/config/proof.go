package config

// ProofOfPossession: tokens bound to a key of their sender, and certificates of the plugin's own
// clients.
type ProofOfPossession struct {
	// Whether access tokens must be bound to the client's certificate (RFC 8705).
	ProofOfPossessionMTLS Proof `kong:"proof_of_possession_mtls,default=off" oidc:"unbuilt=refuse"`
	// Whether access tokens must be bound to a key that a DPoP proof shows (RFC 9449).
	ProofOfPossessionDPoP Proof `kong:"proof_of_possession_dpop,default=off" oidc:"unbuilt=refuse"`
	// Whether a method that cannot check bound tokens is refused beside proof of possession.
	ProofOfPossessionAuthMethodsValidation bool `kong:"proof_of_possession_auth_methods_validation,default=true" oidc:"shapes=none,unbuilt=proof_of_possession_mtls|proof_of_possession_dpop"`
	// Certificate of the client taken from a header that a trusted proxy in front of Kong writes.
	ProofOfPossessionMTLSFromHeader *CertificateHeader `kong:"proof_of_possession_mtls_from_header,since=3.15" oidc:"shapes=none,header=read,unbuilt=proof_of_possession_mtls"`
	// Whether DPoP proofs must carry a nonce that this gateway issued.
	DPoPUseNonce bool `kong:"dpop_use_nonce,default=false" oidc:"shapes=none,unbuilt=proof_of_possession_dpop"`
	// Seconds for which a DPoP proof is valid.
	DPoPProofLifetime Seconds `kong:"dpop_proof_lifetime,default=300" oidc:"shapes=none,unbuilt=proof_of_possession_dpop"`
	// Id of the certificate with which the plugin's clients authenticate at the provider.
	TLSClientAuthCertID string `kong:"tls_client_auth_cert_id,uuid" oidc:"shapes=token|introspection|exchange,unbuilt=password|introspection|refresh_token|authorization_code"`
	// Whether the provider's certificate is verified when a client authenticates with a
	// certificate.
	TLSClientAuthSSLVerify bool `kong:"tls_client_auth_ssl_verify,default=true" oidc:"shapes=token|introspection|exchange,unbuilt=password|introspection|refresh_token|authorization_code"`
}

// CertificateHeader is a header in which a trusted proxy hands over the client's certificate.
type CertificateHeader struct {
	// Name of the header that carries the certificate.
	CertificateHeaderName string `kong:"certificate_header_name,required"`
	// Encoding of the certificate in the header.
	CertificateHeaderFormat CertificateFormat `kong:"certificate_header_format,default=url_encoded"`
	// Ids of the CA certificates that may have signed the certificate.
	CACertificates []string `kong:"ca_certificates"`
	// Whether the header is taken only from Kong's trusted addresses.
	SecureSource bool `kong:"secure_source,default=true"`
	// Whether the servers that answer about revocation are verified.
	SSLVerify bool `kong:"ssl_verify,default=true"`
	// How strictly revocation of the certificate is checked.
	RevocationCheckMode RevocationMode `kong:"revocation_check_mode,default=IGNORE_CA_ERROR"`
	// Whether a chain that ends at an intermediate CA is enough.
	AllowPartialChain bool `kong:"allow_partial_chain,default=false"`
	// Milliseconds for which the verdict about a certificate is remembered.
	CertCacheTTL Milliseconds `kong:"cert_cache_ttl,default=60000"`
	// Milliseconds within which the servers that answer about revocation must answer.
	HTTPTimeout Milliseconds `kong:"http_timeout,default=30000"`
	// Host of the proxy for http calls about revocation.
	HTTPProxyHost string `kong:"http_proxy_host"`
	// Port of the proxy for http calls about revocation.
	HTTPProxyPort *int `kong:"http_proxy_port,between=0|65535"`
	// Host of the proxy for https calls about revocation.
	HTTPSProxyHost string `kong:"https_proxy_host"`
	// Port of the proxy for https calls about revocation.
	HTTPSProxyPort *int `kong:"https_proxy_port,between=0|65535"`
}
