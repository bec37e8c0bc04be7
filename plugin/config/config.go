// Package config is the plugin's configuration, declared once: each field of Kong's openid-connect plugin is one Go
// line whose tag carries its constraints and whose comment is its description. Kong's schema (SchemaJSON), the decoder
// (Decode), the rules across fields (Check), the linter (Lint) and docs/config.md all come from these declarations.
//
// Not its job: deciding which methods are built (plugin/authn), reading endpoints, or any I/O.
//
// The tag is `kong:"name,option,option=value"`; pkg/kongschema.Of lists the options.
package config

// Config is the `config` of one plugin, complete: defaults are filled in and deprecated names are folded into their
// successors. Fields that may be left without a value are pointers, or empty strings and lists. It is immutable once
// decoded. Formatting it reveals no secret.
type Config struct {
	Discovery
	Methods
	Clients
	Refusals
	AuthorizationRequest
	AuthorizationCookie
	TokenRequests
	IntrospectionRequests
	OtherEndpoints
	Exchange
	CredentialLookup
	Verification
	Authorization
	Consumers
	Upstream
	Downstream
	Login
	Logout
	Sessions
	SessionStores
	Caching
	HTTPClient
	ProofOfPossession
	Behaviour
	OldNames
}

// Header is a header that carries a claim to the upstream or to the client.
type Header struct {
	// Name of the header that carries the value.
	Header string `kong:"header,required"`
	// Path to the claim: one entry for each level of nesting.
	Path []string `kong:"path,required"`
}

// Behaviour: what is not of one part.
type Behaviour struct {
	// Whether the credentials that authenticated a request are removed before the request goes to the upstream.
	HideCredentials bool `kong:"hide_credentials,default=true"`
	// Whether CORS preflight requests (OPTIONS) must authenticate too. With false, every OPTIONS request passes.
	RunOnPreflight bool `kong:"run_on_preflight,default=true"`
}
