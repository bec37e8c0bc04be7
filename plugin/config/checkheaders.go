package config

import (
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// ParseTokenHeader splits the value of upstream_access_token_header or its downstream sibling:
// "name:bearer" is a header whose value begins with "Bearer ", any other text is the header's name.
func ParseTokenHeader(value string) (name string, bearer bool) {
	if head, scheme, ok := strings.Cut(value, ":"); ok && strings.EqualFold(scheme, "bearer") {
		return head, true
	}
	return value, false
}

// FoldHeader gives the one spelling of a header's name: nginx lets X_Consumer_ID through, and what
// reads CGI-style names takes it for X-Consumer-ID.
func FoldHeader(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// dropNil takes the value from the header fields that say "nil": Kong's curity example writes that
// word where it means no value.
func dropNil(object map[string]any) []Problem {
	var warnings []Problem
	for _, s := range settings() {
		if s.writes() && object[s.Name] == "nil" {
			object[s.Name] = nil
			warnings = append(warnings, Problem{s.Name, `"nil" is taken for no value; write null`, true})
		}
	}
	return warnings
}

// checkHeaders: names of headers are names, and none that rules the connection is written.
func checkHeaders(c *Config, r *report) {
	values := schema().Encode(c)
	for _, s := range settings() {
		written := s.header != headerRead && (s.header != headerReplay || c.TokenHeadersPrefix == "")
		for _, h := range s.headers(values) {
			checkHeader(r, h.path, h.name, written)
		}
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
