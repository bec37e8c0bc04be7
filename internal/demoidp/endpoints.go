package demoidp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// answer is a whole HTTP answer, before a fault may get at it.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// handle is the provider's HTTP interface. op's own router is not used: it logs to the process's
// default logger, and its token endpoint leaves nothing to add.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	e := s.endpoint(r)
	parsed := r.ParseForm() // also lets the server notice that the client leaves: it watches only when the body was read
	s.count(e, r)
	f := s.strike(e)
	if f != nil && !f.wait(r.Context()) {
		panic(http.ErrAbortHandler) // the client has left or the provider stops: no answer
	}
	if f != nil && f.Hang {
		f = nil // and is over
	}
	if f != nil && f.Status != 0 {
		f.deliver(w, r, answer{f.Status, f.Header, f.Body})
		return
	}
	a := s.answer(r, e, parsed)
	s.logger.Debug("demo identity provider answers", "endpoint", e, "status", a.status)
	if f != nil {
		f.deliver(w, r, f.change(a))
		return
	}
	a.write(w)
}

func (s *Server) endpoint(r *http.Request) Endpoint {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), s.base)
	switch {
	case ok && path == oidc.DiscoveryEndpoint:
		return DiscoveryEndpoint
	case ok && path == s.provider.KeysEndpoint().Relative():
		return JWKSEndpoint
	case ok && path == s.provider.TokenEndpoint().Relative():
		return TokenEndpoint
	}
	return OtherEndpoint
}

func (s *Server) answer(r *http.Request, e Endpoint, parsed error) answer {
	switch {
	case e == DiscoveryEndpoint && r.Method == http.MethodGet:
		return jsonAnswer(http.StatusOK, s.discovery())
	case e == JWKSEndpoint && r.Method == http.MethodGet:
		return jsonAnswer(http.StatusOK, s.keys.jwks())
	case e == TokenEndpoint && r.Method == http.MethodPost:
		if parsed != nil {
			return tokenError(r, oidc.ErrInvalidRequest().WithDescription("the form cannot be read"))
		}
		return s.token(r)
	case e == OtherEndpoint:
		return answer{status: http.StatusNotFound}
	}
	return answer{status: http.StatusMethodNotAllowed}
}

// discovery is op's document without what is not served here.
func (s *Server) discovery() *oidc.DiscoveryConfiguration {
	ctx := op.ContextWithIssuer(context.Background(), s.issuer)
	d := op.CreateDiscoveryConfig(ctx, s.provider, s.storage)
	d.AuthorizationEndpoint, d.IntrospectionEndpoint, d.UserinfoEndpoint, d.RevocationEndpoint = "", "", "", ""
	d.EndSessionEndpoint, d.DeviceAuthorizationEndpoint, d.CheckSessionIframe = "", "", ""
	d.IntrospectionEndpointAuthMethodsSupported, d.IntrospectionEndpointAuthSigningAlgValuesSupported = nil, nil
	d.RevocationEndpointAuthMethodsSupported, d.RevocationEndpointAuthSigningAlgValuesSupported = nil, nil
	d.ResponseTypesSupported, d.CodeChallengeMethodsSupported, d.RequestObjectSigningAlgValuesSupported = nil, nil, nil
	d.GrantTypesSupported = []oidc.GrantType{oidc.GrantTypeClientCredentials}
	d.TokenEndpointAuthMethodsSupported = []oidc.AuthMethod{oidc.AuthMethodBasic, oidc.AuthMethodPost}
	d.TokenEndpointAuthSigningAlgValuesSupported = nil
	return d
}

// token is the client credentials grant, from op's parts.
func (s *Server) token(r *http.Request) answer {
	switch r.PostForm.Get("grant_type") {
	case string(oidc.GrantTypeClientCredentials):
	case "":
		return tokenError(r, oidc.ErrInvalidRequest().WithDescription("grant_type missing"))
	default:
		return tokenError(r, oidc.ErrUnsupportedGrantType())
	}
	ctx := op.ContextWithIssuer(r.Context(), s.issuer)
	req, err := op.ParseClientCredentialsRequest(r, s.provider.Decoder())
	if err != nil {
		return tokenError(r, err)
	}
	_, _, basic := r.BasicAuth()
	if !s.storage.allows(req.ClientID, basic) {
		return tokenError(r, oidc.ErrInvalidClient().WithDescription("unknown client, or it may not authenticate in this way"))
	}
	valid, client, err := op.ValidateClientCredentialsRequest(ctx, req, s.provider)
	if err != nil {
		return tokenError(r, err)
	}
	g := valid.(*grant)
	if audience := r.PostForm["audience"]; len(audience) > 0 {
		g.audience = audience
	}
	resp, err := op.CreateClientCredentialsTokenResponse(withAlg(ctx, g.client.Alg), g, s.provider, client)
	if err != nil {
		return tokenError(r, err)
	}
	resp.ExpiresIn = uint64(g.client.Lifetime.Seconds()) // op counts from now on and cuts: a second less
	switch {
	case g.client.Opaque:
		resp.AccessToken = rand.Text() // op's own is a JWE, which looks like a JWT to many
	case g.client.Type != "":
		if resp.AccessToken, err = s.retype(resp.AccessToken, g.client); err != nil {
			return tokenError(r, err)
		}
	}
	return jsonAnswer(http.StatusOK, resp)
}

// retype signs a token again with another typ: op knows only "JWT".
func (s *Server) retype(token string, c *Client) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("demoidp: op made no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	return s.Sign(Token{Alg: c.Alg, Payload: payload, Header: map[string]any{"typ": c.Type}})
}

// tokenError answers as RFC 6749 §5.2 says.
func tokenError(r *http.Request, err error) answer {
	e := oidc.DefaultToServerError(err, "internal error")
	status := http.StatusBadRequest
	switch e.ErrorType {
	case oidc.InvalidClient:
		status = http.StatusUnauthorized
	case oidc.ServerError:
		status = http.StatusInternalServerError
	}
	a := jsonAnswer(status, e)
	if status == http.StatusUnauthorized && r.Header.Get("Authorization") != "" {
		a.header.Set("WWW-Authenticate", `Basic realm="token"`)
	}
	return a
}

// jsonAnswer is v as JSON, not to be stored (RFC 6749 §5.1).
func jsonAnswer[T *oidc.DiscoveryConfiguration | *oidc.AccessTokenResponse | *oidc.Error | *jose.JSONWebKeySet](status int, v T) answer {
	body, err := json.Marshal(v)
	if err != nil {
		return answer{status: http.StatusInternalServerError}
	}
	return answer{status, http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Pragma": {"no-cache"}}, body}
}

// head writes what stands before the body, announcing length bytes; -1: chunked. A 204 has no
// length (RFC 9110 §8.6).
func (a answer) head(w http.ResponseWriter, length int) {
	for k, v := range a.header {
		w.Header()[http.CanonicalHeaderKey(k)] = v
	}
	if length >= 0 && a.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	w.WriteHeader(a.status)
}

func (a answer) write(w http.ResponseWriter) {
	a.head(w, len(a.body))
	w.Write(a.body) // an error means that the client is gone
}
