package plugin

import (
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// Lint judges a kong.yml or a plugin's JSON as config.Lint does, and by what this
// version has: problems that are no warnings make every request 500.
func Lint(file []byte) ([]config.Finding, error) { return config.Lint(file, unbuilt, passedOver) }

// passedOver warns of the methods that a configuration enables and this version does not have,
// as the log does when the configuration is loaded.
func passedOver(cfg *config.Config) []config.Problem {
	if list := authn.PassedOver(cfg); len(list) > 0 && authn.Usable(cfg) == nil {
		return []config.Problem{{
			Field: "auth_methods", Message: "ignored: " + strings.Join(list, "; ") + ": a request with such credentials alone gets 401", Warning: true,
		}}
	}
	return nil
}

// unbuilt says what a configuration asks for that this version does not have: single
// settings by their tags, and what depends on more than one.
func unbuilt(cfg *config.Config) []config.Problem {
	problems := cfg.Unbuilt()
	if cfg.LoginAction == config.LoginRedirect && slices.Contains(cfg.LoginMethods, config.ClientCredentials) {
		problems = append(problems, config.Problem{
			Field: "login_action", Message: "not built in this version, and requests must not pass without it",
		})
	}
	if err := authn.Usable(cfg); err != nil && len(cfg.AuthMethods) > 0 {
		problems = append(problems, config.Problem{Field: "auth_methods", Message: err.Error()})
	}
	return problems
}
