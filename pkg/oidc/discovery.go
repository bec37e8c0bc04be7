package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
// token at hand. It is told from a *Rejection by errors.As, and errors.Is finds its Kind
// and, behind it, an *egress.Error. Its text is safe to log and not for a client.
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

// Metadata is what a provider says about itself (OpenID Connect Discovery §3, RFC 8414
// §2). Absent members are empty. Its endpoints have passed egress.CheckURL, and are https
// where the document came by https.
type Metadata struct {
	Issuer                             string
	AuthorizationEndpoint              string
	TokenEndpoint                      string
	IntrospectionEndpoint              string
	UserinfoEndpoint                   string
	RevocationEndpoint                 string
	EndSessionEndpoint                 string
	PushedAuthorizationRequestEndpoint string
	JWKSURI                            string

	TokenEndpointAuthMethods  []string
	IDTokenSigningAlgs        []string
	CodeChallengeMethods      []string
	GrantTypes                []string
	ResponseTypes             []string
	ScopesSupported           []string
	MTLSEndpointAliases       map[string]string // by the endpoint's name, RFC 8705 §5
	RequirePushedAuthRequests bool

	Raw []byte // the document as it came, at most egress.MaxBody bytes
}

// discovery is where a provider's document is and what its issuer must be.
type discovery struct {
	url    *url.URL
	issuer string // without a trailing slash; "" if the document's word is taken
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
	if strings.Contains(u.Path, "/.well-known/") {
		return discovery{url: u}, nil
	}
	if u.RawQuery != "" || u.ForceQuery {
		return discovery{}, faultf(egress.RefusedURL, "issuer has a query")
	}
	id := strings.TrimSuffix(issuer, "/")
	if u, err = url.Parse(id + "/.well-known/openid-configuration"); err != nil {
		return discovery{}, faultf(egress.RefusedURL, "issuer is no URL")
	}
	return discovery{url: u, issuer: id}, nil
}

// parseMetadata reads a document that came from d's URL. The error is a *Fault.
func (d discovery) parseMetadata(raw []byte) (*Metadata, error) {
	doc, err := strictjson.Object(string(raw), metadataJSON)
	if err != nil {
		return nil, faultf(BadDiscovery, "metadata of %s: %w", d.url.Host, err)
	}
	m := &Metadata{Raw: raw}
	if err := m.readStrings(doc); err != nil {
		return nil, faultf(BadDiscovery, "metadata of %s: %w", d.url.Host, err)
	}
	if m.Issuer == "" {
		return nil, faultf(DiscoveryMismatch, "metadata of %s names no issuer", d.url.Host)
	}
	if d.issuer != "" && strings.TrimSuffix(m.Issuer, "/") != d.issuer {
		return nil, faultf(DiscoveryMismatch, "metadata of %s is of another issuer, %s", d.url.Host, escape(m.Issuer))
	}
	if len(m.IDTokenSigningAlgs) > 0 && !slices.ContainsFunc(m.IDTokenSigningAlgs, func(a string) bool { return a != "none" }) {
		return nil, faultf(BadDiscovery, "metadata of %s: id_token_signing_alg_values_supported has only none", d.url.Host)
	}
	if err := m.checkEndpoints(d.url); err != nil {
		return nil, err
	}
	return m, nil
}

// endpoints are the members that are URLs we or a browser may call.
func (m *Metadata) endpoints() map[string]*string {
	return map[string]*string{
		"authorization_endpoint":                &m.AuthorizationEndpoint,
		"token_endpoint":                        &m.TokenEndpoint,
		"introspection_endpoint":                &m.IntrospectionEndpoint,
		"userinfo_endpoint":                     &m.UserinfoEndpoint,
		"revocation_endpoint":                   &m.RevocationEndpoint,
		"end_session_endpoint":                  &m.EndSessionEndpoint,
		"pushed_authorization_request_endpoint": &m.PushedAuthorizationRequestEndpoint,
		"jwks_uri":                              &m.JWKSURI,
	}
}

// readStrings fills m from the document. A member of another type is an error, null is
// as if it were absent.
func (m *Metadata) readStrings(doc map[string]any) error {
	texts := m.endpoints()
	texts["issuer"] = &m.Issuer
	for name, to := range texts {
		v, _, ok := optString(doc, name)
		if !ok && doc[name] != nil {
			return fmt.Errorf("%s is not a string", name)
		}
		*to = v
	}
	lists := map[string]*[]string{
		"token_endpoint_auth_methods_supported": &m.TokenEndpointAuthMethods,
		"id_token_signing_alg_values_supported": &m.IDTokenSigningAlgs,
		"code_challenge_methods_supported":      &m.CodeChallengeMethods,
		"grant_types_supported":                 &m.GrantTypes,
		"response_types_supported":              &m.ResponseTypes,
		"scopes_supported":                      &m.ScopesSupported,
	}
	for name, to := range lists {
		v, _, ok := optStrings(doc, name)
		if !ok && doc[name] != nil {
			return fmt.Errorf("%s is not a list of strings", name)
		}
		*to = v
	}
	m.RequirePushedAuthRequests, _ = doc["require_pushed_authorization_requests"].(bool)
	aliases, ok := doc["mtls_endpoint_aliases"].(map[string]any)
	if !ok && doc["mtls_endpoint_aliases"] != nil {
		return errors.New("mtls_endpoint_aliases is not an object")
	}
	m.MTLSEndpointAliases = make(map[string]string, len(aliases))
	for name, v := range aliases {
		if s, isString := v.(string); isString {
			m.MTLSEndpointAliases[name] = s
		}
	}
	return nil
}

// checkEndpoints refuses a document that leads out of https or to where no provider is.
func (m *Metadata) checkEndpoints(base *url.URL) error {
	check := func(name, raw string) error {
		if err := egress.CheckURL(raw, base); err != nil {
			return asFault(fmt.Errorf("metadata of %s: %s: %w", base.Host, name, err))
		}
		return nil
	}
	for name, endpoint := range m.endpoints() {
		if *endpoint == "" {
			continue
		}
		if err := check(name, *endpoint); err != nil {
			return err
		}
	}
	for name, endpoint := range m.MTLSEndpointAliases {
		if err := check(escape(name), endpoint); err != nil {
			return err
		}
	}
	return nil
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
// the place of a good one, nor ever mean that there is nothing to verify.
func fetchKeys(ctx context.Context, c *egress.Client, from string) (*KeySet, error) {
	body, err := get(ctx, c, egress.Request{URL: from})
	if err != nil {
		return nil, err
	}
	set, err := ParseKeySet(body)
	if err != nil {
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
		return nil, faultf(BadStatus, "%s answered %s", host(req.URL), strconv.Itoa(resp.Status))
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
