package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// builder compiles a method; nil where the method is not built.
type builder func(*config.Config, *Env, *Provider) Method

// methods is THE order in which credentials are looked for. It is fixed: the order
// of auth_methods in a configuration means nothing, and the first credential found
// wins. A method without a builder is passed over, with the reason.
var methods = []struct {
	name   config.AuthMethod
	build  builder
	reason string
}{
	{config.Session, nil, notBuilt},
	{config.Bearer, nil, notBuilt},
	{config.KongOAuth2, nil, "an external plugin cannot read the tokens of Kong's oauth2 plugin"},
	{config.Introspection, nil, notBuilt},
	{config.Userinfo, nil, notBuilt},
	{config.RefreshToken, nil, notBuilt},
	{config.Password, nil, notBuilt}, // before client_credentials: a Basic header fits both
	{config.ClientCredentials, newClientCredentials, ""},
	{config.AuthorizationCode, nil, notBuilt},
}

const notBuilt = "not built in this version"

// Methods are the authentication methods of one configuration, in order.
type Methods struct {
	list []Method
	// PassedOver names each configured method that is not served, and says why.
	PassedOver []string
	// All says that the configuration names every method there is, as the default does:
	// then nobody chose the ones passed over.
	All bool
	// Schemes are those of the Authorization header that the methods take, in order: a 401
	// invites them.
	Schemes []string
}

// Compile builds the methods that cfg enables. It fails when none of them is left.
func Compile(cfg *config.Config, env *Env, provider *Provider) (*Methods, error) {
	if err := Usable(cfg); err != nil {
		return nil, err
	}
	m := &Methods{All: true, PassedOver: PassedOver(cfg)}
	for _, method := range methods {
		switch {
		case !slices.Contains(cfg.AuthMethods, method.name):
			m.All = false
			continue
		case method.build == nil:
			continue
		}
		built := method.build(cfg, env, provider)
		m.list = append(m.list, built)
		if scheme := built.Scheme(); scheme != "" && !slices.Contains(m.Schemes, scheme) {
			m.Schemes = append(m.Schemes, scheme)
		}
	}
	return m, nil
}

// PassedOver says of each method that cfg enables and that is not served, why.
func PassedOver(cfg *config.Config) []string {
	var list []string
	for _, method := range methods {
		if method.build == nil && slices.Contains(cfg.AuthMethods, method.name) {
			list = append(list, fmt.Sprintf("%s (%s)", method.name, method.reason))
		}
	}
	return list
}

// Usable reports whether one of the methods that cfg enables is built; the error names
// what is in the way of each.
func Usable(cfg *config.Config) error {
	var reasons []string
	for _, method := range methods {
		if slices.Contains(cfg.AuthMethods, method.name) {
			if method.build != nil {
				return nil
			}
			reasons = append(reasons, fmt.Sprintf("%s: %s", method.name, method.reason))
		}
	}
	return fmt.Errorf("no usable method is left (%s)", strings.Join(reasons, "; "))
}

// Authenticate looks for a credential and judges it. The first one that is found decides, unless
// it may be another method's: then the next one looks. Without any credential the attempt is nil
// and the outcome empty.
func (m *Methods) Authenticate(ctx context.Context, r *kong.Request) (Attempt, Outcome, error) {
	var notMine error
	for _, method := range m.list {
		attempt, err := method.Find(r)
		if err != nil {
			return nil, Outcome{}, err
		}
		if attempt == nil {
			continue
		}
		outcome, err := attempt.Authenticate(ctx)
		if errors.Is(err, ErrNotMine) {
			notMine = err
			continue
		}
		return attempt, outcome, err
	}
	return nil, Outcome{}, notMine
}
