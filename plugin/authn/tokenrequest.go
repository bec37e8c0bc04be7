package authn

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

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

// tokenDigest condenses what a token request and the verification of its answer depend on beside
// the credential, and nothing else: a PATCH of what only shapes the answer to the client keeps the
// cache.
func tokenDigest(cfg *config.Config, of grantOf) string {
	return config.Digest(cfg, config.ForToken,
		string(of.method), string(of.grant), strconv.FormatBool(keepsResponse(cfg, of.method)))
}

// keepsResponse says whether the token endpoint's whole answer is handed to the client.
func keepsResponse(cfg *config.Config, method config.AuthMethod) bool {
	return cfg.AnswersLogin(method) && slices.Contains(cfg.LoginTokens, config.LoginTokens)
}
