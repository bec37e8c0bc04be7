package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// Kinds of a Fault beside those of package egress.
const (
	DiscoveryMismatch egress.Kind = "discovery_mismatch" // the document is another issuer's
	BadDiscovery      egress.Kind = "idp_bad_discovery"  // no metadata document, or one that cannot be used
	BadKeys           egress.Kind = "idp_bad_keys"       // no key set, or one without a usable key
	BadStatus         egress.Kind = "idp_status"         // answered, but not with 200
	NoKeySource       egress.Kind = "no_key_source"      // the configuration names no place for keys
	Internal          egress.Kind = "internal"           // a bug
)

// Fault is the error of a provider that cannot be used now: nothing is said about the
// token at hand. errors.As tells it from a *Rejection; errors.Is finds its Kind and, behind it, an
// *egress.Error. Its text is safe to log and not for a client.
type Fault struct {
	Kind       egress.Kind
	RetryAfter time.Duration // until the provider is asked again; 0 if that may be at once
	Err        error
}

func (f *Fault) Error() string { return "oidc: provider: " + f.Err.Error() }

// Unwrap returns Err.
func (f *Fault) Unwrap() error { return f.Err }

// Is reports whether target is f's Kind.
func (f *Fault) Is(target error) bool {
	k, ok := target.(egress.Kind)
	return ok && k == f.Kind
}

func faultf(kind egress.Kind, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// asFault gives any error of a fetch a kind.
func asFault(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var e *egress.Error
	if errors.As(err, &e) {
		return &Fault{Kind: e.Kind, Err: err}
	}
	return &Fault{Kind: Internal, Err: err}
}

// Metadata is what a provider says about itself (OpenID Connect Discovery §3, RFC 8414 §2). Absent
// members are empty, and so are those that cannot be used, which Warnings names: a provider may be
// wrong about what nobody needs.
type Metadata struct {
	Issuer                    string
	TokenEndpointAuthMethods  []string
	IDTokenSigningAlgs        []string
	CodeChallengeMethods      []string
	GrantTypes                []string
	ResponseTypes             []string
	ScopesSupported           []string
	MTLSEndpointAliases       map[string]string // by the endpoint's name, RFC 8705 §5
	RequirePushedAuthRequests bool

	host      string
	foreign   bool              // the issuer is not the configured one
	endpoints map[string]string // those that passed egress.CheckURL, and are https where the document came by https
	unusable  map[string]error  // a *Fault each: why others did not
	warnings  []string
}

// Endpoint returns a member that is a URL we or a browser may call, by its name in the document.
// The error is a *Fault: the document has no such member, or one that must not be called.
func (m *Metadata) Endpoint(name string) (string, error) {
	if endpoint, ok := m.endpoints[name]; ok {
		return endpoint, nil
	}
	if why, ok := m.unusable[name]; ok {
		return "", why
	}
	return "", faultf(BadDiscovery, "metadata of %s has no %s", m.host, name)
}

// Warnings says which members cannot be used and why, one line each, safe to log.
func (m *Metadata) Warnings() []string { return slices.Clone(m.warnings) }

// discovery is where a provider's document is and what its issuer must be.
type discovery struct {
	url    *url.URL
	id     string // the issuer by the configuration alone, without a trailing slash
	issuer string // the same if the document must name it; "" if the document's word is taken
}

// newDiscovery reads config.issuer: an issuer's id, or the whole URL of a document in
// /.well-known/ (OpenID Connect Discovery §4, RFC 8414 §3).
func newDiscovery(issuer string) (discovery, error) {
	if err := egress.CheckURL(issuer, nil); err != nil {
		return discovery{}, asFault(fmt.Errorf("issuer: %w", err))
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return discovery{}, faultf(egress.RefusedURL, "issuer is no URL")
	}
	if before, after, found := strings.Cut(u.Path, "/.well-known/"); found {
		id := u.Scheme + "://" + u.Host + before
		if _, tenant, has := strings.Cut(after, "/"); has { // RFC 8414 §3.1
			id += "/" + tenant
		}
		return discovery{url: u, id: id}, nil
	}
	if u.RawQuery != "" || u.ForceQuery {
		return discovery{}, faultf(egress.RefusedURL, "issuer has a query")
	}
	id := strings.TrimSuffix(issuer, "/")
	if u, err = url.Parse(id + "/.well-known/openid-configuration"); err != nil {
		return discovery{}, faultf(egress.RefusedURL, "issuer is no URL")
	}
	return discovery{url: u, id: id, issuer: id}, nil
}

// parseMetadata reads a document that came from d's URL. The error is a *Fault.
func (d discovery) parseMetadata(raw []byte) (*Metadata, error) {
	doc, err := strictjson.Object(string(raw), metadataJSON)
	if err != nil {
		return nil, faultf(BadDiscovery, "metadata of %s: %w", d.url.Host, err)
	}
	m := &Metadata{host: d.url.Host, endpoints: map[string]string{}, unusable: map[string]error{}}
	issuer, _, isString := optString(doc, "issuer")
	switch m.Issuer = strings.Clone(issuer); {
	case !isString && doc["issuer"] != nil:
		return nil, faultf(BadDiscovery, "metadata of %s: issuer is not a string", d.url.Host)
	case m.Issuer == "":
		return nil, faultf(DiscoveryMismatch, "metadata of %s names no issuer", d.url.Host)
	}
	m.foreign = d.issuer != "" && strings.TrimSuffix(m.Issuer, "/") != d.issuer
	m.readEndpoints(doc, d.url)
	m.readLists(doc)
	return m, nil
}

// mismatch is the fault of a document that is another issuer's; nil if it is not.
func (m *Metadata) mismatch() error {
	if !m.foreign {
		return nil
	}
	return faultf(DiscoveryMismatch, "metadata of %s is of another issuer, %s", m.host, escape(withoutUser(m.Issuer)))
}

func (m *Metadata) refuse(name string, why error) {
	f := asFault(why)
	m.unusable[name] = &Fault{Kind: f.Kind, Err: fmt.Errorf("metadata of %s: %s: %w", m.host, name, f.Err)}
	m.warnings = append(m.warnings, "metadata of "+m.host+": "+name+" is not used: "+f.Err.Error())
}

// endpointNames are the members that are URLs we or a browser may call.
var endpointNames = []string{
	"authorization_endpoint", "end_session_endpoint", "introspection_endpoint", "jwks_uri",
	"pushed_authorization_request_endpoint", "revocation_endpoint", "token_endpoint", "userinfo_endpoint",
}

// readEndpoints passes over what leads out of https or to where no provider is.
func (m *Metadata) readEndpoints(doc map[string]any, base *url.URL) {
	read := func(name string, v any) (string, bool) {
		s, isString := v.(string)
		if !isString {
			m.refuse(name, faultf(BadDiscovery, "not a string"))
			return "", false
		}
		if err := egress.CheckURL(s, base); err != nil {
			m.refuse(name, err)
			return "", false
		}
		return strings.Clone(s), true
	}
	for _, name := range endpointNames {
		if v := doc[name]; v != nil && v != "" {
			if endpoint, ok := read(name, v); ok {
				m.endpoints[name] = endpoint
			}
		}
	}
	aliases, isObject := doc["mtls_endpoint_aliases"].(map[string]any)
	if !isObject && doc["mtls_endpoint_aliases"] != nil {
		m.refuse("mtls_endpoint_aliases", faultf(BadDiscovery, "not an object"))
	}
	m.MTLSEndpointAliases = map[string]string{}
	for _, name := range endpointNames {
		if v := aliases[name]; v != nil {
			if endpoint, ok := read("mtls_endpoint_aliases."+name, v); ok {
				m.MTLSEndpointAliases[name] = endpoint
			}
		}
	}
}

// readLists reads the other members. A string alone is a list of one.
func (m *Metadata) readLists(doc map[string]any) {
	for _, list := range []struct {
		name string
		to   *[]string
	}{
		{"code_challenge_methods_supported", &m.CodeChallengeMethods},
		{"grant_types_supported", &m.GrantTypes},
		{"id_token_signing_alg_values_supported", &m.IDTokenSigningAlgs},
		{"response_types_supported", &m.ResponseTypes},
		{"scopes_supported", &m.ScopesSupported},
		{"token_endpoint_auth_methods_supported", &m.TokenEndpointAuthMethods},
	} {
		v, _, ok := optStrings(doc, list.name)
		if s, isString := doc[list.name].(string); isString {
			v, ok = []string{s}, true
		}
		if !ok && doc[list.name] != nil {
			m.refuse(list.name, faultf(BadDiscovery, "not a list of strings"))
		}
		for _, s := range v {
			*list.to = append(*list.to, strings.Clone(s)) // not the whole document
		}
	}
	if slices.Equal(m.IDTokenSigningAlgs, []string{"none"}) { // nobody needs the list, and none is never accepted
		m.IDTokenSigningAlgs = nil
		m.refuse("id_token_signing_alg_values_supported", faultf(BadDiscovery, "only none"))
	}
	const par = "require_pushed_authorization_requests"
	var isBool bool
	if m.RequirePushedAuthRequests, isBool = doc[par].(bool); !isBool && doc[par] != nil {
		m.refuse(par, faultf(BadDiscovery, "neither true nor false"))
	}
}

// fetch asks for the document.
func (d discovery) fetch(ctx context.Context, c *egress.Client, header http.Header) (*Metadata, error) {
	body, err := get(ctx, c, egress.Request{URL: d.url.String(), Header: header})
	if err != nil {
		return nil, err
	}
	return d.parseMetadata(body)
}

// fetchKeys asks for a key set. One without a usable key is an error: it must not take
// the place of a good one, nor ever mean that there is nothing to verify. One exception: a set that
// has no usable key because it publishes private keys is no error, and does replace the good one,
// which may have their public halves.
func fetchKeys(ctx context.Context, c *egress.Client, from string) (*KeySet, error) {
	body, err := get(ctx, c, egress.Request{URL: from})
	if err != nil {
		return nil, err
	}
	set, err := ParseKeySet(body)
	if err != nil && (set == nil || len(set.exposed) == 0) {
		return nil, faultf(BadKeys, "keys of %s: %w", host(from), err)
	}
	return set, nil
}

// get makes one exchange that has to be answered with 200.
func get(ctx context.Context, c *egress.Client, req egress.Request) ([]byte, error) {
	if req.Header = req.Header.Clone(); req.Header == nil {
		req.Header = http.Header{}
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	resp, err := c.Do(ctx, req)
	switch {
	case err != nil:
		return nil, asFault(err)
	case resp.Status >= 300 && resp.Status < 400:
		return nil, faultf(BadStatus, "%s answered with a redirect (%d), which is never followed", host(req.URL), resp.Status)
	case resp.Status != http.StatusOK:
		return nil, faultf(BadStatus, "%s answered %d", host(req.URL), resp.Status)
	}
	return resp.Body, nil
}

// host is what of a URL may be logged.
func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the provider"
	}
	return u.Host
}
