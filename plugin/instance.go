package plugin

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/authz"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// Instance is one configuration, compiled once and never changed.
type Instance struct {
	plugin *Plugin
	issuer string // for the log
	// broken is why this configuration cannot work; everything below is nil then.
	broken error

	cfg     *config.Config
	methods *authn.Methods
	policy  *authz.Policy
	headers *headerPlan
	render  *renderer
	login   *loginResponse // nil unless login_action answers in the upstream's place
}

// Close implements pluginserver.Instance. What is worth keeping belongs to Plugin.
func (i *Instance) Close() {}

func (p *Plugin) compile(raw json.RawMessage) (*Instance, error) {
	cfg, problems, err := config.Decode(raw)
	if invalid := config.Invalid(nil); errors.As(err, &invalid) {
		return nil, refused(invalid)
	} else if err != nil {
		return nil, err
	}
	var broken, warnings []config.Problem
	for _, problem := range slices.Concat(problems, cfg.Check(), unbuilt(cfg)) {
		if problem.Warning {
			warnings = append(warnings, problem)
		} else {
			broken = append(broken, problem)
		}
	}
	if len(broken) > 0 {
		return nil, refused(broken)
	}
	methods, err := authn.Compile(cfg, p.env, p.provider(cfg))
	if err != nil {
		return nil, err
	}
	i := &Instance{
		plugin: p, issuer: cfg.Issuer, cfg: cfg, methods: methods,
		policy: authz.Compile(cfg), headers: compileHeaders(cfg), render: newRenderer(cfg, methods.Basic),
		login: compileLogin(cfg),
	}
	if p.firstTime(raw) {
		i.warn(warnings)
	}
	return i, nil
}

// refused is what a configuration cannot work with, each named as in Kong's answers.
func refused(problems []config.Problem) error {
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = strings.TrimSuffix("config."+p.Field, ".") + ": " + p.Message
	}
	return errors.New(strings.Join(lines, "; "))
}

func (i *Instance) warn(warnings []config.Problem) {
	log := i.plugin.env.Logger.With("issuer", i.cfg.Issuer)
	for _, w := range warnings {
		log.Warn("configuration", "field", "config."+w.Field, "warning", w.Message)
	}
	if passed := i.methods.PassedOver; len(passed) > 0 {
		level := log.Warn
		if i.methods.All {
			level = log.Info
		}
		level("authentication methods passed over", "methods", strings.Join(passed, "; "))
	}
}

// provider returns the identity provider of cfg, shared by all configurations that
// reach it in the same way.
func (p *Plugin) provider(cfg *config.Config) *authn.Provider {
	client := p.env.Egress.Client(egress.Settings{
		VerifyTLS: cfg.SSLVerify, HTTPVersion: httpVersion(cfg.HTTPVersion), Keepalive: cfg.Keepalive,
		HTTPProxy: cfg.HTTPProxy, HTTPProxyAuthorization: string(cfg.HTTPProxyAuthorization),
		HTTPSProxy: cfg.HTTPSProxy, HTTPSProxyAuthorization: string(cfg.HTTPSProxyAuthorization),
		NoProxy: cfg.NoProxy,
	})
	headers := http.Header{}
	for i, name := range cfg.DiscoveryHeadersNames {
		headers.Add(name, string(cfg.DiscoveryHeadersValues[i]))
	}
	load, _ := p.env.Loads.LoadOrStore(cfg.Issuer, new(authn.Load))
	return &authn.Provider{
		Client: client,
		Load:   load.(*authn.Load),
		Provider: p.env.Registry.Provider(oidc.ProviderConfig{
			Issuer: cfg.Issuer, Pseudo: cfg.UsingPseudoIssuer, DiscoveryHeaders: headers,
			JWKSEndpoint: cfg.JWKSEndpoint, ExtraJWKSURIs: cfg.ExtraJWKSURIs,
			RediscoveryLifetime: cfg.RediscoveryLifetime.Duration(), MaxAge: cfg.CacheTTL.Duration(),
			Timeout: cfg.Timeout.Duration(), Client: client,
		}),
	}
}

func httpVersion(v float64) string {
	if v == 1 {
		return egress.HTTP10
	}
	return egress.HTTP11
}

// Lint judges a kong.yml or a plugin's JSON as config.Lint does, and by what this
// version has: problems that are no warnings make every request 500.
func Lint(file []byte) ([]config.Finding, error) { return config.Lint(file, unbuilt) }

// unbuilt refuses settings that would let more requests through if they were
// silently passed over, and a configuration without any method that works. Of other
// settings without effect it warns.
func unbuilt(cfg *config.Config) []config.Problem {
	var problems []config.Problem
	for _, f := range []struct {
		set  bool
		name string
	}{
		{len(cfg.ConsumerClaim) > 0, "consumer_claim"},
		{len(cfg.ConsumerClaims) > 0, "consumer_claims"},
		{len(cfg.ConsumerGroupsClaim) > 0, "consumer_groups_claim"},
		{cfg.ProofOfPossessionDPoP != config.ProofOff, "proof_of_possession_dpop"},
		{cfg.ProofOfPossessionMTLS != config.ProofOff, "proof_of_possession_mtls"},
		{len(cfg.Domains) > 0, "domains"},
		{cfg.MaxAge != nil, "max_age"},
		{cfg.JWTSessionCookie != "", "jwt_session_cookie"},
		{cfg.LoginAction == config.LoginRedirect && slices.Contains(cfg.LoginMethods, config.ClientCredentials), "login_action"},
	} {
		if f.set {
			problems = append(problems, config.Problem{Field: f.name, Message: "not built in this version, and requests must not pass without it"})
		}
	}
	for _, f := range []struct {
		set  bool
		name string
	}{
		{cfg.Anonymous != "", "anonymous"},
		{cfg.ClusterCacheStrategy != config.StrategyOff, "cluster_cache_strategy"},
		{cfg.SearchUserInfo, "search_user_info"},
		{cfg.VerifyParameters, "verify_parameters"},
		{cfg.ResolveDistributedClaims, "resolve_distributed_claims"},
		{cfg.TokenExchange != nil, "token_exchange"},
		{cfg.TokenExchangeEndpoint != "", "token_exchange_endpoint"},
		{cfg.UpstreamUserInfoHeader != "", "upstream_user_info_header"},
		{cfg.UpstreamUserInfoJWTHeader != "", "upstream_user_info_jwt_header"},
		{cfg.UpstreamIntrospectionHeader != "", "upstream_introspection_header"},
		{cfg.UpstreamIntrospectionJWTHeader != "", "upstream_introspection_jwt_header"},
		{cfg.UpstreamSessionIDHeader != "", "upstream_session_id_header"},
		{cfg.DownstreamUserInfoHeader != "", "downstream_user_info_header"},
		{cfg.DownstreamUserInfoJWTHeader != "", "downstream_user_info_jwt_header"},
		{cfg.DownstreamIntrospectionHeader != "", "downstream_introspection_header"},
		{cfg.DownstreamIntrospectionJWTHeader != "", "downstream_introspection_jwt_header"},
		{cfg.DownstreamSessionIDHeader != "", "downstream_session_id_header"},
		{cfg.MTLSTokenEndpoint != "", "mtls_token_endpoint"},
		{!slices.Equal(cfg.CredentialClaim, []string{"sub"}), "credential_claim"},
		{cfg.LogoutURISuffix != "", "logout_uri_suffix"},
		{cfg.LogoutQueryArg != "", "logout_query_arg"},
		{cfg.LogoutPostArg != "", "logout_post_arg"},
		{cfg.LogoutRevoke, "logout_revoke"},
		{cfg.CacheTTLResurrect != nil, "cache_ttl_resurrect"},
		{cfg.ConsumerOptional, "consumer_optional"},
		{cfg.ByUsernameIgnoreCase, "by_username_ignore_case"},
	} {
		if f.set {
			problems = append(problems, config.Problem{Field: f.name, Message: "not built in this version: it has no effect", Warning: true})
		}
	}
	if err := authn.Usable(cfg); err != nil && len(cfg.AuthMethods) > 0 {
		problems = append(problems, config.Problem{Field: "auth_methods", Message: err.Error()})
	}
	return problems
}
