package authn

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// looksLikeJWT tells a token that claims to be a signed JWT, and must verify, from an
// opaque one, which nobody but the provider reads. A JWT with a flaw in its form is no
// opaque token: some upstream's lenient parser would read it.
func looksLikeJWT(token string) bool {
	if strings.HasPrefix(token, "{") {
		return true // a JSON serialization (RFC 7515 §7.2)
	}
	segment, rest, dotted := strings.Cut(token, ".")
	if !dotted {
		return false
	}
	header := lenientBase64(segment)
	switch {
	case !jsonObjectStart.Match(header):
		return false
	case strings.Count(rest, ".") == 1:
		return true
	case strings.Count(rest, ".") == 3 && bytes.Contains(header, []byte(`"enc"`)):
		return false // a JWE (RFC 7516 §7.1), for whoever has the key
	}
	return bytes.Contains(header, []byte(`"alg"`))
}

// jsonObjectStart asks for two bytes: one alone would be met by every 256th opaque token.
var jsonObjectStart = regexp.MustCompile(`^\x{feff}?[ \t\r\n]*\{[ \t\r\n]*["}]`)

// lenientBase64 decodes either alphabet as far as it goes, and passes over what is in
// neither, as some libraries do.
func lenientBase64(s string) []byte {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '+':
			return '-'
		case c == '/':
			return '_'
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			return c
		}
		return -1
	}, s)
	decoded, _ := base64.RawURLEncoding.DecodeString(s)
	return decoded
}

// tokenArgs are the arguments of every token request: scope, audience and what
// token_post_args_names adds or replaces. No scopes, no scope parameter.
func tokenArgs(cfg *config.Config, grant config.Grant) url.Values {
	args := url.Values{"grant_type": {string(grant)}}
	if len(cfg.Scopes) > 0 {
		args.Set("scope", strings.Join(cfg.Scopes, " "))
	}
	if len(cfg.Audience) > 0 {
		// RFC 6749 §3.2: a parameter goes once.
		args.Set("audience", strings.Join(cfg.Audience, " "))
	}
	for i, name := range cfg.TokenPostArgsNames {
		if !slices.Contains(cfg.TokenPostArgsNames[:i], name) {
			args.Del(name) // what is configured replaces what is built in
		}
		args.Add(name, string(cfg.TokenPostArgsValues[i])) // RFC 8707 repeats resource
	}
	return args
}

// tokenPolicy is how the tokens of a grant are verified.
func tokenPolicy(cfg *config.Config, method config.AuthMethod) oidc.Policy {
	policy := oidc.Policy{
		Issuers:       cfg.IssuersAllowed,
		Leeway:        cfg.Leeway.Duration(),
		SkipClaims:    !cfg.VerifyClaims,
		SkipSignature: !cfg.VerifySignature || slices.Contains(cfg.IgnoreSignature, config.UnsignedSource(method)),
		FromGrant:     true,
	}
	if cfg.EnableHSSignatures {
		for _, secret := range cfg.ClientSecret {
			policy.HMAC = append(policy.HMAC, []byte(secret))
		}
	}
	return policy
}

// tokenDigest condenses what a token request and the verification of its answer depend
// on beside the credential, and nothing else: a PATCH of what only shapes the answer to
// the client keeps the cache.
func tokenDigest(cfg *config.Config, of grantOf) string {
	return config.Digest(cfg, config.ForToken,
		string(of.method), string(of.grant), of.auth, strconv.FormatBool(keepsResponse(cfg, of.method)))
}

// keepsResponse says whether the token endpoint's whole answer is handed to the client.
func keepsResponse(cfg *config.Config, method config.AuthMethod) bool {
	return cfg.AnswersLogin(method) && slices.Contains(cfg.LoginTokens, config.LoginTokens)
}

// namesOnly reports whether a token names no other client than ids: by client_id (RFC
// 9068 §2.2) or by azp, where it has them. Ids that are GUIDs come back in lower case.
func namesOnly(t *oidc.Token, ids []string) bool {
	for _, claim := range []string{"client_id", "azp"} {
		name, present := t.Claims[claim]
		text, _ := name.(string)
		if present && !slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, text) }) {
			return false
		}
	}
	return true
}

// replayed picks the token endpoint's headers that go on to the client.
func replayed(from http.Header, names []string, prefix string) []kong.Header {
	var replay []kong.Header
	for _, name := range names {
		if values := from.Values(name); len(values) > 0 {
			replay = append(replay, kong.Header{Name: prefix + name, Values: values})
		}
	}
	return replay
}

// limit works out how long the result may be kept: expires_in, else the token's
// exp, else cache_ttl, clamped by cache_ttl_min and cache_ttl_max, and never past
// the end that the provider gave the token.
func (r *Result) limit(in oauth2.Lifetime, cfg *config.Config) {
	ttl := cfg.CacheTTL.Duration()
	if r.Access != nil && !r.Access.Expiry.IsZero() {
		r.Expires = r.Access.Expiry
		ttl = r.Expires.Sub(r.Obtained)
	}
	if in.Known {
		ttl = in.Duration()
		if end := r.Obtained.Add(ttl); ttl > 0 && (r.Expires.IsZero() || end.Before(r.Expires)) {
			r.Expires = end
		}
	}
	if ttl <= 0 {
		return
	}
	if cfg.CacheTTLMin != nil {
		ttl = max(ttl, cfg.CacheTTLMin.Duration())
	}
	if cfg.CacheTTLMax != nil {
		ttl = min(ttl, cfg.CacheTTLMax.Duration())
	}
	if !r.Expires.IsZero() {
		ttl = min(ttl, r.Expires.Sub(r.Obtained))
	}
	r.ttl = ttl
	r.renewAt.Store(r.Obtained.Add(ttl / 5 * 4).UnixNano())
}

// Alive reports whether the result may still be used at now.
func (r *Result) Alive(now time.Time) bool { return r.Expires.IsZero() || now.Before(r.Expires) }

// renewalDue reports whether 80 % of the result's life are over.
func (r *Result) renewalDue(now time.Time) bool { return now.UnixNano() >= r.renewAt.Load() }

func (r *Result) pauseRenewal(now time.Time) { r.renewAt.Store(now.Add(renewPause).UnixNano()) }
