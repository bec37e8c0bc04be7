package authn

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

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

// tokenDigest condenses the settings that a token request and the verification of
// its answer depend on, and no others: a PATCH of what only shapes the answer to
// the client keeps the cache.
func tokenDigest(cfg *config.Config, of grantOf) string {
	var secrets [][]string
	for _, list := range [][]oauth2.Secret{
		cfg.ClientSecret, {cfg.HTTPProxyAuthorization, cfg.HTTPSProxyAuthorization}, cfg.DiscoveryHeadersValues, cfg.TokenHeadersValues,
	} {
		revealed := make([]string, len(list)) // a Secret encodes as [redacted]
		for i, secret := range list {
			revealed[i] = string(secret)
		}
		secrets = append(secrets, revealed)
	}
	// Field by field, so that a reader sees what counts.
	settings := []any{
		cfg.Issuer, cfg.UsingPseudoIssuer, cfg.DiscoveryHeadersNames, cfg.JWKSEndpoint, cfg.ExtraJWKSURIs,
		cfg.TokenEndpoint, of.auth, tokenArgs(cfg, of.grant), keepsResponse(cfg, of.method),
		cfg.TokenHeadersNames, cfg.TokenHeadersReplay, cfg.TokenHeadersPrefix, cfg.TokenHeadersGrants,
		cfg.Leeway, cfg.VerifyClaims, cfg.VerifySignature, slices.Contains(cfg.IgnoreSignature, config.UnsignedSource(of.method)), cfg.IssuersAllowed, cfg.EnableHSSignatures,
		cfg.CacheTTL, cfg.CacheTTLMin, cfg.CacheTTLMax, cfg.CacheTTLNeg,
		cfg.SSLVerify, cfg.HTTPVersion, cfg.HTTPProxy, cfg.HTTPSProxy, cfg.NoProxy, secrets,
	}
	encoded, err := json.Marshal(settings)
	if err != nil {
		// Strings, numbers and lists of them always encode.
		panic(err)
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// keepsResponse says whether the token endpoint's whole answer is handed to the client.
func keepsResponse(cfg *config.Config, method config.AuthMethod) bool {
	return cfg.AnswersLogin(method) && slices.Contains(cfg.LoginTokens, config.LoginTokens)
}
