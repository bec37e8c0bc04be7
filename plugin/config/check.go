package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
)

// minSecret is the shortest session_secret in bytes: what AES-256 and HMAC-SHA-256 take.
const minSecret = 32

// Check holds a configuration to the rules that Kong's schema cannot express. A Problem that is no
// warning means that the plugin must refuse every request. Which methods work is not decided here.
func (c *Config) Check() []Problem { return c.check(false) }

// check with written looks at a configuration before Kong has resolved its vault references: they
// are then in order where the schema takes them.
func (c *Config) check(written bool) []Problem {
	r := &report{}
	for _, rule := range []func(*Config, *report){
		checkPairs, checkAddresses, checkHeaders, checkTimes, checkProof, checkClients, checkRedis, checkTrust, checkRest,
	} {
		rule(c, r)
	}
	checkReferences(schema(), "", schema().Encode(c), written, r)
	return r.problems
}

// report collects problems in the order of the rules.
type report struct{ problems []Problem }

func (r *report) refuse(field, format string, args ...any) {
	r.problems = append(r.problems, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

func (r *report) warn(field, message string) {
	r.problems = append(r.problems, Problem{Field: field, Message: message, Warning: true})
}

// checkPairs: lists that run in parallel have the same length.
func checkPairs(c *Config, r *report) {
	for _, p := range []struct {
		names, values string
		n, v          int
	}{
		{"discovery_headers_names", "discovery_headers_values", len(c.DiscoveryHeadersNames), len(c.DiscoveryHeadersValues)},
		{"authorization_query_args_names", "authorization_query_args_values", len(c.AuthorizationQueryArgsNames), len(c.AuthorizationQueryArgsValues)},
		{"token_headers_names", "token_headers_values", len(c.TokenHeadersNames), len(c.TokenHeadersValues)},
		{"token_post_args_names", "token_post_args_values", len(c.TokenPostArgsNames), len(c.TokenPostArgsValues)},
		{"introspection_headers_names", "introspection_headers_values", len(c.IntrospectionHeadersNames), len(c.IntrospectionHeadersValues)},
		{"introspection_post_args_names", "introspection_post_args_values", len(c.IntrospectionPostArgsNames), len(c.IntrospectionPostArgsValues)},
		{"userinfo_headers_names", "userinfo_headers_values", len(c.UserinfoHeadersNames), len(c.UserinfoHeadersValues)},
		{"userinfo_query_args_names", "userinfo_query_args_values", len(c.UserinfoQueryArgsNames), len(c.UserinfoQueryArgsValues)},
		{"upstream_headers_names", "upstream_headers_claims", len(c.UpstreamHeadersNames), len(c.UpstreamHeadersClaims)},
		{"downstream_headers_names", "downstream_headers_claims", len(c.DownstreamHeadersNames), len(c.DownstreamHeadersClaims)},
	} {
		if p.n != p.v {
			r.refuse(p.names, "has %d entries, %s has %d: they are paired by position", p.n, p.values, p.v)
		}
	}
}

// checkAddresses: what is called is an absolute http or https address without credentials or
// fragment.
func checkAddresses(c *Config, r *report) {
	for _, a := range []struct{ field, value string }{
		{"jwks_endpoint", c.JWKSEndpoint},
		{"authorization_endpoint", c.AuthorizationEndpoint},
		{"pushed_authorization_request_endpoint", c.PushedAuthorizationRequestEndpoint},
		{"token_endpoint", c.TokenEndpoint},
		{"introspection_endpoint", c.IntrospectionEndpoint},
		{"userinfo_endpoint", c.UserinfoEndpoint},
		{"revocation_endpoint", c.RevocationEndpoint},
		{"end_session_endpoint", c.EndSessionEndpoint},
		{"token_exchange_endpoint", c.TokenExchangeEndpoint},
		{"mtls_token_endpoint", c.MTLSTokenEndpoint},
		{"mtls_introspection_endpoint", c.MTLSIntrospectionEndpoint},
		{"mtls_revocation_endpoint", c.MTLSRevocationEndpoint},
		{"http_proxy", c.HTTPProxy},
		{"https_proxy", c.HTTPSProxy},
	} {
		checkAddress(r, a.field, a.value)
	}
	if !c.UsingPseudoIssuer { // a pseudo issuer is only compared
		checkAddress(r, "issuer", c.Issuer)
	}
	for i, address := range c.ExtraJWKSURIs {
		field := fmt.Sprintf("extra_jwks_uris[%d]", i+1)
		if address != "" && !strings.Contains(address, "://") && !kongschema.IsReference(address) {
			r.warn(field, "has no scheme: taken for https, write https:// before it")
			continue
		}
		checkAddress(r, field, address)
	}
	for i, address := range c.RedirectURI {
		checkAddress(r, fmt.Sprintf("redirect_uri[%d]", i+1), address)
	}
}

func checkAddress(r *report, field, address string) {
	if address == "" || kongschema.IsReference(address) {
		return
	}
	u, err := url.Parse(address)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		r.refuse(field, "must be an absolute http or https address")
	case u.User != nil:
		r.refuse(field, "must not have credentials in it")
	case u.Fragment != "" || strings.Contains(address, "#"):
		r.refuse(field, "must not have a fragment")
	case u.Scheme == "http" && !strings.HasSuffix(field, "_proxy"):
		r.warn(field, "is not encrypted: anybody on the network path can read and change what is sent; use https")
	}
}

// checkTimes: lengths of time that make sense.
func checkTimes(c *Config, r *report) {
	for _, t := range []struct {
		field    string
		value    float64
		positive bool
	}{
		{"timeout", float64(c.Timeout), true},
		{"authorization_rolling_timeout", float64(c.AuthorizationRollingTimeout), false},
		{"dpop_proof_lifetime", float64(c.DPoPProofLifetime), true},
		{"rediscovery_lifetime", float64(c.RediscoveryLifetime), false},
		{"leeway", float64(c.Leeway), false},
		{"cache_ttl", float64(c.CacheTTL), false},
		{"session_remember_rolling_timeout", float64(c.SessionRememberRollingTimeout), false},
		{"session_remember_absolute_timeout", float64(c.SessionRememberAbsoluteTimeout), false},
		{"session_idling_timeout", float64(c.SessionIdlingTimeout), false},
		{"session_rolling_timeout", float64(c.SessionRollingTimeout), false},
		{"session_absolute_timeout", float64(c.SessionAbsoluteTimeout), false},
	} {
		checkTime(r, t.field, t.value, t.positive)
	}
	optional := map[string]*Seconds{
		"max_age": c.MaxAge, "cache_ttl_max": c.CacheTTLMax, "cache_ttl_min": c.CacheTTLMin,
		"cache_ttl_neg": c.CacheTTLNeg, "cache_ttl_resurrect": c.CacheTTLResurrect,
	}
	if c.TokenExchange != nil {
		optional["token_exchange.cache.ttl"] = c.TokenExchange.Cache.TTL
	}
	for _, field := range []string{
		"max_age", "cache_ttl_max", "cache_ttl_min", "cache_ttl_neg", "cache_ttl_resurrect", "token_exchange.cache.ttl",
	} {
		if s := optional[field]; s != nil {
			checkTime(r, field, float64(*s), false)
		}
	}
	if lo, hi := c.CacheTTLMin, c.CacheTTLMax; lo != nil && hi != nil && *lo > *hi {
		r.refuse("cache_ttl_min", "is above cache_ttl_max")
	}
	if h := c.ProofOfPossessionMTLSFromHeader; h != nil {
		checkTime(r, "proof_of_possession_mtls_from_header.http_timeout", float64(h.HTTPTimeout), true)
		checkTime(r, "proof_of_possession_mtls_from_header.cert_cache_ttl", float64(h.CertCacheTTL), false)
	}
}

func checkTime(r *report, field string, value float64, positive bool) {
	if positive && value <= 0 {
		r.refuse(field, "must be above zero")
	} else if value < 0 {
		r.refuse(field, "must not be negative")
	}
}

// checkProof: only some methods can check that a token is bound to its sender.
func checkProof(c *Config, r *report) {
	if !c.ProofOfPossessionAuthMethodsValidation ||
		c.ProofOfPossessionMTLS != ProofStrict && c.ProofOfPossessionMTLS != ProofOptional &&
			c.ProofOfPossessionDPoP != ProofStrict && c.ProofOfPossessionDPoP != ProofOptional {
		return
	}
	for i, m := range c.AuthMethods {
		if m != Bearer && m != Introspection && m != Session {
			r.refuse(fmt.Sprintf("auth_methods[%d]", i+1), "%s cannot be used with proof of possession, only bearer, introspection "+
				"and session can (or set proof_of_possession_auth_methods_validation to false)", m)
		}
	}
}

// checkClients: an authentication method has what it needs.
func checkClients(c *Config, r *report) {
	methods := []struct {
		field  string
		method oauth2.AuthMethod
	}{
		{"token_endpoint_auth_method", c.TokenEndpointAuthMethod},
		{"introspection_endpoint_auth_method", c.IntrospectionEndpointAuthMethod},
		{"revocation_endpoint_auth_method", c.RevocationEndpointAuthMethod},
		{"pushed_authorization_request_endpoint_auth_method", c.PushedAuthorizationRequestEndpointAuthMethod},
	}
	for i, m := range c.ClientAuth {
		methods = append(methods, struct {
			field  string
			method oauth2.AuthMethod
		}{fmt.Sprintf("client_auth[%d]", i+1), m})
	}
	for _, m := range methods {
		if (m.method == oauth2.TLSClientAuth || m.method == oauth2.SelfSignedTLSClientAuth) && c.TLSClientAuthCertID == "" {
			r.refuse(m.field, "%s needs tls_client_auth_cert_id", m.method)
		}
	}
	if c.EnableHSSignatures && len(c.ClientSecret) == 0 {
		r.warn("enable_hs_signatures", "has no key without client_secret, so that HMAC tokens are still refused")
	}
}

// checkRedis: the rules that need more than Kong's entity checks. A proxy hides the topology behind
// it.
func checkRedis(c *Config, r *report) {
	for _, rec := range []struct {
		field string
		redis *Redis
	}{{"redis", &c.Redis.Redis}, {"cluster_cache_redis", &c.ClusterCacheRedis}} {
		if (rec.redis.SentinelMaster != "") != (len(rec.redis.SentinelNodes) > 0) {
			r.refuse(rec.field, "all or none of sentinel_master, sentinel_role and sentinel_nodes must be set")
		}
		if !rec.redis.ConnectionIsProxied {
			continue
		}
		if rec.redis.Database != 0 {
			r.refuse(rec.field+".database", "must be 0 when connection_is_proxied is set")
		}
		if len(rec.redis.ClusterNodes) > 0 {
			r.refuse(rec.field+".cluster_nodes", "cannot be used when connection_is_proxied is set")
		}
		if rec.redis.SentinelRole != "" {
			r.refuse(rec.field+".sentinel_role", "cannot be used when connection_is_proxied is set")
		}
	}
}

// checkTrust: settings that switch a protection off are allowed, and said.
func checkTrust(c *Config, r *report) {
	if !c.SSLVerify {
		r.warn("ssl_verify", "the provider's certificate is not verified: anybody on the network path can forge tokens and read secrets")
	}
	if !c.VerifySignature {
		r.warn("verify_signature", "signatures are not verified: anybody can write a token that passes")
	}
	if !c.VerifyClaims {
		r.warn("verify_claims", "issuer and times of tokens are not checked: expired tokens pass")
	}
	for _, secret := range c.ClientSecret {
		if c.EnableHSSignatures && (oauth2.HMAC{Secret: secret}).Short() && !kongschema.IsReference(string(secret)) {
			r.warn("client_secret", "is shorter than the 32 bytes that HMAC signatures ask for: it can be guessed from one token")
			break
		}
	}
	seals := slices.Contains(c.AuthMethods, Session) || slices.Contains(c.AuthMethods, AuthorizationCode)
	if seals && len(c.SessionSecret) > 0 && len(c.SessionSecret) < minSecret && !kongschema.IsReference(string(c.SessionSecret)) {
		r.refuse("session_secret", "must have at least %d bytes", minSecret)
	}
}

// checkRest: what stands alone.
func checkRest(c *Config, r *report) {
	if len(c.AuthMethods) == 0 {
		r.refuse("auth_methods", "must name at least one method")
	}
	if c.HTTPVersion != 1.0 && c.HTTPVersion != 1.1 {
		r.refuse("http_version", "must be 1.0 or 1.1")
	}
	if c.UsingPseudoIssuer && c.VerifySignature && c.JWKSEndpoint == "" && len(c.ExtraJWKSURIs) == 0 {
		r.warn("using_pseudo_issuer", "nothing is discovered, so that jwks_endpoint or extra_jwks_uris must give the keys")
	}
	if c.UsingPseudoIssuer && c.TokenEndpoint == "" && slices.Contains(c.AuthMethods, ClientCredentials) && len(c.AuthMethods) == 1 {
		r.refuse("token_endpoint", "is needed: nothing is discovered with using_pseudo_issuer")
	}
	if x := c.TokenExchange; x != nil {
		if x.Request.EmptyAudience && len(x.Request.Audience) > 0 {
			r.refuse("token_exchange.request.empty_audience", "contradicts token_exchange.request.audience")
		}
		if x.Request.EmptyScopes && len(x.Request.Scopes) > 0 {
			r.refuse("token_exchange.request.empty_scopes", "contradicts token_exchange.request.scopes")
		}
	}
	for _, list := range []struct {
		field string
		uris  []string
	}{
		{"login_redirect_uri", c.LoginRedirectURI},
		{"logout_redirect_uri", c.LogoutRedirectURI},
		{"unauthorized_redirect_uri", c.UnauthorizedRedirectURI},
		{"forbidden_redirect_uri", c.ForbiddenRedirectURI},
		{"unexpected_redirect_uri", c.UnexpectedRedirectURI},
	} {
		for i, uri := range list.uris {
			if strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
				r.refuse(fmt.Sprintf("%s[%d]", list.field, i+1), "must not have spaces or control characters")
			}
		}
	}
}

// checkReferences: a reference that Kong has not resolved is no value. In a file that Kong has not
// read yet it is in order where the schema takes it.
func checkReferences(f *kongschema.Field, path string, v any, written bool, r *report) {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "{vault://") && (!written || !f.Referenceable) {
			message := "is a vault reference that Kong has not resolved"
			if !f.Referenceable {
				message = "is a vault reference, which Kong resolves in other fields only"
			}
			r.refuse(path, "%s", message)
		}
	case []any:
		for i, e := range v {
			checkReferences(f.Elements, fmt.Sprintf("%s[%d]", path, i+1), e, written, r)
		}
	case map[string]any:
		for _, sub := range f.Fields {
			checkReferences(sub, kongschema.Join(path, sub.Name), v[sub.Name], written, r)
		}
	}
}
