package plugin

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// loginResponse answers a login with its tokens instead of calling the upstream:
// login_action=response makes a route a token endpoint.
type loginResponse struct {
	cfg *config.Config
}

// answers reports whether res is a login that is answered here.
func (l loginResponse) answers(res *authn.Result) bool { return l.cfg.AnswersLogin(res.Method) }

// answer hands res to the client: the token endpoint's own answer with login_tokens=tokens, else
// the tokens that are listed.
func (l loginResponse) answer(res *authn.Result, now time.Time) *kong.Exit {
	body := aged(res, now)
	if !slices.Contains(l.cfg.LoginTokens, config.LoginTokens) {
		tokens := map[string]string{}
		for name, token := range map[config.LoginToken]string{
			"access_token": res.AccessToken, "id_token": res.IDToken, "refresh_token": res.RefreshToken,
		} {
			if token != "" && slices.Contains(l.cfg.LoginTokens, name) {
				tokens[string(name)] = token
			}
		}
		body, _ = json.Marshal(tokens) // strings always encode
	}
	return &kong.Exit{
		Status: 200,
		Headers: append(slices.Clone(res.Replay),
			header("Content-Type", "application/json; charset=utf-8"), header("Cache-Control", "no-store")), // RFC 6749 §5.1
		Body: body,
	}
}

// aged is the token endpoint's answer with the expires_in that is left of it: a cached
// token is no longer as young as it was.
func aged(res *authn.Result, now time.Time) []byte {
	var answer map[string]json.RawMessage
	if json.Unmarshal(res.Response, &answer) != nil || answer["expires_in"] == nil || res.Expires.IsZero() {
		return res.Response
	}
	answer["expires_in"] = strconv.AppendInt(nil, int64(max(0, res.Expires.Sub(now))/time.Second), 10)
	body, _ := json.Marshal(answer) // it has just been decoded
	return body
}
