package plugin

import (
	"encoding/json"
	"slices"

	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// The values of login_action and login_tokens that mean something here.
const (
	answerWithTokens  config.LoginAction = "response"
	redirectWithToken config.LoginAction = "redirect"
	wholeResponse     config.LoginToken  = "tokens"
)

// loginResponse answers a login with its tokens instead of calling the upstream:
// login_action=response makes a route a token endpoint.
type loginResponse struct {
	tokens []config.LoginToken
}

// compileLogin returns nil where a login goes on to the upstream.
func compileLogin(cfg *config.Config) *loginResponse {
	if cfg.LoginAction != answerWithTokens || !loginBy(cfg, config.ClientCredentials) {
		return nil
	}
	return &loginResponse{tokens: cfg.LoginTokens}
}

func loginBy(cfg *config.Config, method config.AuthMethod) bool {
	return slices.Contains(cfg.LoginMethods, method)
}

// respond is the answer that hands res to the client: the token endpoint's own
// answer with login_tokens=tokens, else the tokens that are listed.
func (l *loginResponse) respond(res *authn.Result) *kong.Decision {
	body := res.Response
	if !slices.Contains(l.tokens, wholeResponse) {
		tokens := map[string]string{}
		for name, token := range map[config.LoginToken]string{
			"access_token": res.AccessToken, "id_token": res.IDToken, "refresh_token": res.RefreshToken,
		} {
			if token != "" && slices.Contains(l.tokens, name) {
				tokens[string(name)] = token
			}
		}
		body, _ = json.Marshal(tokens) // strings always encode
	}
	return &kong.Decision{Exit: &kong.Exit{
		Status: 200,
		Headers: append(slices.Clone(res.Replay),
			header("Content-Type", "application/json; charset=utf-8"), header("Cache-Control", "no-store")), // RFC 6749 §5.1
		Body: body,
	}}
}
