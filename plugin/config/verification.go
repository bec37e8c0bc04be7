package config

// CredentialLookup: where in a request credentials are looked for.
type CredentialLookup struct {
	// Where access tokens are looked for.
	BearerTokenParamType []BearerPlace `kong:"bearer_token_param_type,default=header|query|body" oidc:"shapes=none,unbuilt=bearer|introspection|userinfo"`
	// Name of a further header in which access tokens are looked for.
	BearerTokenHeaderName string `kong:"bearer_token_header_name,since=3.15" oidc:"shapes=none,header=read,unbuilt=bearer|introspection|userinfo"`
	// Name of the cookie in which access tokens are looked for.
	BearerTokenCookieName string `kong:"bearer_token_cookie_name" oidc:"shapes=none,header=read,unbuilt=bearer|introspection|userinfo"`
	// Where client ids and secrets of the client credentials grant are looked for.
	ClientCredentialsParamType []Place `kong:"client_credentials_param_type,default=header|query|body" oidc:"shapes=none"`
	// Where user names and passwords of the password grant are looked for.
	PasswordParamType []Place `kong:"password_param_type,default=header|query|body" oidc:"shapes=none,unbuilt=password"`
	// Where ID tokens that accompany an access token are looked for.
	IDTokenParamType []Place `kong:"id_token_param_type,default=header|query|body" oidc:"shapes=none,unbuilt=bearer"`
	// Name under which ID tokens are looked for.
	IDTokenParamName string `kong:"id_token_param_name" oidc:"shapes=none,unbuilt=bearer"`
	// Where refresh tokens are looked for.
	RefreshTokenParamType []Place `kong:"refresh_token_param_type,default=header|query|body" oidc:"shapes=none,unbuilt=refresh_token"`
	// Name under which refresh tokens are looked for; in headers, `_` is read as `-`.
	RefreshTokenParamName string `kong:"refresh_token_param_name" oidc:"shapes=none,unbuilt=refresh_token"`
}

// Verification: what a token must hold.
type Verification struct {
	// Seconds by which the clocks of the provider and of this gateway may differ.
	Leeway Seconds `kong:"leeway,default=0"`
	// Whether the configuration is compared with what the provider's discovery document says.
	VerifyParameters bool `kong:"verify_parameters,default=false" oidc:"shapes=none,unbuilt=warn"`
	// Whether the nonce of a login is compared with the one in the ID token.
	VerifyNonce bool `kong:"verify_nonce,default=true" oidc:"shapes=session,unbuilt=authorization_code"`
	// Whether the standard claims of tokens (issuer and times) are checked.
	VerifyClaims bool `kong:"verify_claims,default=true"`
	// Whether the signatures of tokens are verified.
	VerifySignature bool `kong:"verify_signature,default=true"`
	// Methods whose tokens are taken without verifying their signatures, since they come straight
	// from the provider.
	IgnoreSignature []UnsignedSource `kong:"ignore_signature,default=[]"`
	// Whether tokens signed with HMAC (HS256 and its siblings) are taken; their key is the client's
	// secret.
	EnableHSSignatures bool `kong:"enable_hs_signatures,default=false"`
	// The only issuers whose tokens are taken. Without it, the discovered one, or the pseudo
	// issuer.
	IssuersAllowed []string `kong:"issuers_allowed,referenceable"`
	// Allowed values of the claim `hd`, the domain that a user of Google belongs to.
	Domains []string `kong:"domains" oidc:"unbuilt=refuse"`
	// Claim that is compared with the cookie `jwt_session_cookie`.
	JWTSessionClaim string `kong:"jwt_session_claim,default=sid" oidc:"shapes=none,unbuilt=jwt_session_cookie"`
	// Name of a cookie whose value must equal the claim `jwt_session_claim`.
	JWTSessionCookie string `kong:"jwt_session_cookie" oidc:"shapes=none,header=read,unbuilt=refuse"`
	// Whether claims that a token only points to are fetched (OpenID Connect Core §5.6.2).
	ResolveDistributedClaims bool `kong:"resolve_distributed_claims,default=false" oidc:"unbuilt=warn"`
}

// Authorization: which claims let a request pass. In the `…_required` lists one entry must hold; an
// entry with spaces holds when all of its words do. The `…_claim` lists are paths into nested
// claims.
type Authorization struct {
	// Scopes of which one entry must be granted; words within an entry must all be granted.
	ScopesRequired []string `kong:"scopes_required" oidc:"shapes=none"`
	// Path to the claim that has the scopes.
	ScopesClaim []string `kong:"scopes_claim,default=scope" oidc:"shapes=none"`
	// Audiences of which one entry must be named; words within an entry must all be named.
	AudienceRequired []string `kong:"audience_required" oidc:"shapes=none"`
	// Path to the claim that has the audience.
	AudienceClaim []string `kong:"audience_claim,default=aud" oidc:"shapes=none"`
	// Groups of which one entry must be held; words within an entry must all be held.
	GroupsRequired []string `kong:"groups_required" oidc:"shapes=none"`
	// Path to the claim that has the groups.
	GroupsClaim []string `kong:"groups_claim,default=groups" oidc:"shapes=none"`
	// Roles of which one entry must be held; words within an entry must all be held.
	RolesRequired []string `kong:"roles_required" oidc:"shapes=none"`
	// Path to the claim that has the roles.
	RolesClaim []string `kong:"roles_claim,default=roles" oidc:"shapes=none"`
	// Claims that must not be present.
	ClaimsForbidden []string `kong:"claims_forbidden" oidc:"shapes=none"`
	// Path to the claim whose groups are given to the ACL plugin.
	AuthenticatedGroupsClaim []string `kong:"authenticated_groups_claim" oidc:"shapes=none"`
}

// Consumers: how a token becomes a consumer of Kong.
type Consumers struct {
	// Path to the claim that names the consumer.
	ConsumerClaim []string `kong:"consumer_claim" oidc:"shapes=none,unbuilt=refuse"`
	// Paths to claims that may name the consumer; the first that is present counts.
	ConsumerClaims [][]string `kong:"consumer_claims,since=3.14" oidc:"shapes=none,unbuilt=refuse"`
	// Properties of consumers with which the claim is compared.
	ConsumerBy []ConsumerKey `kong:"consumer_by,default=username|custom_id" oidc:"shapes=none,unbuilt=consumer_claim|consumer_claims"`
	// Whether user names of consumers are compared without regard to case.
	ByUsernameIgnoreCase bool `kong:"by_username_ignore_case,default=false" oidc:"shapes=none,unbuilt=warn"`
	// Whether a request passes when no consumer is found.
	ConsumerOptional bool `kong:"consumer_optional,default=false" oidc:"shapes=none,unbuilt=warn"`
	// Path to the claim that names consumer groups.
	ConsumerGroupsClaim []string `kong:"consumer_groups_claim,since=3.12" oidc:"shapes=none,unbuilt=refuse"`
	// Whether a request passes when no consumer group is found.
	ConsumerGroupsOptional bool `kong:"consumer_groups_optional,default=false,since=3.12" oidc:"shapes=none,unbuilt=consumer_groups_claim"`
	// Path to the claim that becomes the credential's id when no consumer is mapped.
	CredentialClaim []string `kong:"credential_claim,default=sub" oidc:"shapes=none,unbuilt=warn"`
	// Consumer (id or user name) for requests that do not authenticate.
	Anonymous string `kong:"anonymous" oidc:"shapes=none,unbuilt=warn"`
	// Principals of Kong Identity, which only a hosted Kong service has.
	Principals *Principals `kong:"principals,since=3.15,refused=principals need a hosted Kong service (Kong Identity) that Kong Gateway OSS does not have" oidc:"shapes=none"`
}

// Principals is the look-up of principals in Kong Identity; configuring it is refused.
type Principals struct {
	// Whether principals are looked up in Kong Identity.
	Enabled bool `kong:"enabled,default=false"`
	// Directory in which principals are looked up.
	Directory string `kong:"directory,default=default"`
	// Property of principals with which the claim is compared.
	PrincipalBy string `kong:"principal_by"`
	// Path to the claim that names the principal.
	PrincipalClaim []string `kong:"principal_claim"`
	// Whether the principal also selects a consumer.
	MatchConsumer bool `kong:"match_consumer,default=true"`
	// Whether the principal also selects consumer groups.
	MatchConsumerGroups bool `kong:"match_consumer_groups,default=true"`
	// Whether a request without a principal is refused.
	ErrorOnMiss bool `kong:"error_on_miss,default=true"`
}
