package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// ParseTokenHeader splits the value of upstream_access_token_header or its downstream sibling: "name:bearer" is a
// header whose value begins with "Bearer ", any other text is the header's name.
func ParseTokenHeader(value string) (name string, bearer bool) {
	if head, scheme, ok := strings.Cut(value, ":"); ok && strings.EqualFold(scheme, "bearer") {
		return head, true
	}
	return value, false
}

// FoldHeader gives the one spelling of a header's name: nginx lets X_Consumer_ID through, and what reads CGI-style
// names takes it for X-Consumer-ID.
func FoldHeader(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// namedHeader is a field whose value is the name of a header.
type namedHeader struct {
	field string
	name  *string
}

// valueHeaders are the fields that name a header for one thing each.
func (c *Config) valueHeaders() []namedHeader {
	return []namedHeader{
		{"upstream_access_token_header", &c.UpstreamAccessTokenHeader},
		{"upstream_access_token_jwk_header", &c.UpstreamAccessTokenJWKHeader},
		{"upstream_id_token_header", &c.UpstreamIDTokenHeader},
		{"upstream_id_token_jwk_header", &c.UpstreamIDTokenJWKHeader},
		{"upstream_refresh_token_header", &c.UpstreamRefreshTokenHeader},
		{"upstream_user_info_header", &c.UpstreamUserInfoHeader},
		{"upstream_user_info_jwt_header", &c.UpstreamUserInfoJWTHeader},
		{"upstream_introspection_header", &c.UpstreamIntrospectionHeader},
		{"upstream_introspection_jwt_header", &c.UpstreamIntrospectionJWTHeader},
		{"upstream_session_id_header", &c.UpstreamSessionIDHeader},
		{"downstream_access_token_header", &c.DownstreamAccessTokenHeader},
		{"downstream_access_token_jwk_header", &c.DownstreamAccessTokenJWKHeader},
		{"downstream_id_token_header", &c.DownstreamIDTokenHeader},
		{"downstream_id_token_jwk_header", &c.DownstreamIDTokenJWKHeader},
		{"downstream_refresh_token_header", &c.DownstreamRefreshTokenHeader},
		{"downstream_user_info_header", &c.DownstreamUserInfoHeader},
		{"downstream_user_info_jwt_header", &c.DownstreamUserInfoJWTHeader},
		{"downstream_introspection_header", &c.DownstreamIntrospectionHeader},
		{"downstream_introspection_jwt_header", &c.DownstreamIntrospectionJWTHeader},
		{"downstream_session_id_header", &c.DownstreamSessionIDHeader},
	}
}

// dropNil empties the header fields that say "nil": Kong's curity example writes that word where it means no value.
func (c *Config) dropNil() []Problem {
	var warnings []Problem
	for _, h := range c.valueHeaders() {
		if *h.name == "nil" {
			*h.name = ""
			warnings = append(warnings, Problem{h.field, `"nil" is taken for no value; write null`, true})
		}
	}
	return warnings
}

// checkHeaders: names of headers are names, and none that rules the connection is written.
func checkHeaders(c *Config, r *report) {
	for _, h := range c.valueHeaders() {
		name, _ := ParseTokenHeader(*h.name)
		if !strings.HasSuffix(h.field, "_access_token_header") {
			name = *h.name
		}
		checkHeader(r, h.field, name, true)
	}
	for _, list := range []struct {
		field   string
		names   []string
		written bool
	}{
		{"upstream_headers_names", c.UpstreamHeadersNames, true},
		{"downstream_headers_names", c.DownstreamHeadersNames, true},
		{"discovery_headers_names", c.DiscoveryHeadersNames, true},
		{"token_headers_names", c.TokenHeadersNames, true},
		{"token_headers_client", c.TokenHeadersClient, true},
		{"token_headers_replay", c.TokenHeadersReplay, c.TokenHeadersPrefix == ""},
		{"introspection_headers_names", c.IntrospectionHeadersNames, true},
		{"introspection_headers_client", c.IntrospectionHeadersClient, true},
		{"introspection_post_args_client_headers", c.IntrospectionPostArgsClientHeaders, false},
		{"userinfo_headers_names", c.UserinfoHeadersNames, true},
		{"userinfo_headers_client", c.UserinfoHeadersClient, true},
	} {
		for i, name := range list.names {
			checkHeader(r, fmt.Sprintf("%s[%d]", list.field, i+1), name, list.written)
		}
	}
	for i, h := range c.UpstreamHeaders {
		checkHeader(r, fmt.Sprintf("upstream_headers[%d].header", i+1), h.Header, true)
	}
	for i, h := range c.DownstreamHeaders {
		checkHeader(r, fmt.Sprintf("downstream_headers[%d].header", i+1), h.Header, true)
	}
	for _, read := range []struct{ field, name string }{
		{"token_headers_prefix", c.TokenHeadersPrefix},
		{"bearer_token_header_name", c.BearerTokenHeaderName},
		{"bearer_token_cookie_name", c.BearerTokenCookieName},
		{"jwt_session_cookie", c.JWTSessionCookie},
		{"authorization_cookie_name", c.AuthorizationCookieName},
		{"session_cookie_name", c.SessionCookieName},
		{"session_remember_cookie_name", c.SessionRememberCookieName},
	} {
		checkHeader(r, read.field, read.name, false)
	}
	if h := c.ProofOfPossessionMTLSFromHeader; h != nil {
		checkHeader(r, "proof_of_possession_mtls_from_header.certificate_header_name", h.CertificateHeaderName, false)
	}
}

// neverWritten are the headers that rule the connection or its framing; Proxy-* are as well.
var neverWritten = []string{
	"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "keep-alive",
}

func checkHeader(r *report, field, name string, written bool) {
	if name == "" || kongschema.IsReference(name) {
		return
	}
	folded := FoldHeader(name)
	switch {
	case !isToken(name):
		r.refuse(field, "is no valid name (RFC 9110 §5.6.2)")
	case written && (slices.Contains(neverWritten, folded) || strings.HasPrefix(folded, "proxy-")):
		r.refuse(field, "%s rules the connection and cannot be written", folded)
	}
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}
