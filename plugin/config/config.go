// Package config is the plugin's configuration, declared once: each field of Kong's openid-connect
// plugin is one Go line whose tag carries its constraints and whose comment is its description.
// Kong's schema (SchemaJSON), the decoder (Decode), the rules across fields (Check), the linter
// (Lint) and docs/config.md all come from these declarations.
//
// Not its job: deciding which methods are built (plugin/authn), reading endpoints, or any I/O.
//
// The first tag is `kong:"name,option,option=value"`; pkg/kongschema.Of lists the options. The
// second one says what the field takes part in, `oidc:"word,word=value"`; | separates values:
//
//	shapes=token|bearer   the remembered results that depend on the field: the values of Use, or
//	                      none. none is right only for what is judged anew for each request, or
//	                      shapes the answer to the client. Without this word: all of them
//	header=upstream       the field names headers that we write to the upstream, and that no
//	                      client may set; downstream: to the client; provider: to the provider;
//	                      replay: from the provider to the client; read: we only look for them.
//	                      Of a record, the first member is the name
//	prefix=Session-       what comes before each of these names
//	bearer                ":bearer" may follow the name
//	unbuilt=refuse        what the field asks for is not built, and requests must not pass without
//	                      it: any value but the default is refused
//	unbuilt=warn          the same, but it only has no effect: a warning says so
//	unbuilt=session|...   it belongs to these methods or fields, which are not built. There
//	                      is no message about it: that of the method or of the other field is enough
//	ignored               the field has no effect, on purpose: docs/compatibility.md says why
//
// Tests hold each field to its words: Digest changes with the fields that count, and a field that
// no code reads says that it is not built.
package config

import "net/url"

// Config is the `config` of one plugin, complete: defaults are filled in and deprecated names are
// folded into their successors. Fields that may be left without a value are pointers, or empty
// strings and lists. It is immutable once decoded. Formatting it reveals no secret.
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
	// Whether the credentials that authenticated a request are removed before the request goes to
	// the upstream.
	HideCredentials bool `kong:"hide_credentials,default=true" oidc:"shapes=none"`
	// Whether CORS preflight requests (OPTIONS) must authenticate too. With false, every OPTIONS
	// request passes.
	RunOnPreflight bool `kong:"run_on_preflight,default=true" oidc:"shapes=none"`
}

// IssuerName is an issuer as it may be logged: without the credentials that an address may hold;
// "" if it is none.
func IssuerName(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}
