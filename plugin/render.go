package plugin

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// errorIDHeader ties an answer to the log line that has its cause.
const errorIDHeader = "X-Openid-Connect-Error-Id"

// retryAfter is what a client is told where the provider says nothing: by then a
// provider that is back has been found.
const retryAfter = 5 * time.Second

func newErrorID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	return hex.EncodeToString(b[:])
}

// renderer turns refusals into answers: the only place that knows what a client is
// told. Its answers hold nothing of the provider's address, of a token or a secret.
type renderer struct {
	messages      map[authn.Outcome]string
	redirects     map[authn.Outcome]string
	realm         string
	invitesBasic  bool
	displayErrors bool
	exposeCode    bool
}

func newRenderer(cfg *config.Config, basic bool) *renderer {
	r := &renderer{
		messages: map[authn.Outcome]string{
			authn.BadRequest: "Bad request", authn.Unavailable: "Service Unavailable", authn.Unexpected: "An unexpected error occurred",
			authn.Unauthorized: cfg.UnauthorizedErrorMessage, authn.Forbidden: cfg.ForbiddenErrorMessage,
		},
		redirects:     map[authn.Outcome]string{},
		invitesBasic:  basic,
		displayErrors: cfg.DisplayErrors,
		exposeCode:    cfg.ExposeErrorCode,
	}
	if u, err := url.Parse(cfg.Issuer); err == nil {
		r.realm = u.Host
	}
	for outcome, uris := range map[authn.Outcome][]string{
		authn.Unauthorized: cfg.UnauthorizedRedirectURI, authn.Forbidden: cfg.ForbiddenRedirectURI,
		authn.Unexpected: cfg.UnexpectedRedirectURI, authn.Unavailable: cfg.UnexpectedRedirectURI,
	} {
		if len(uris) > 0 {
			r.redirects[outcome] = uris[0]
		}
	}
	return r
}

// exit is the answer to a request that does not go on.
func (r *renderer) exit(refusal *authn.Refusal, id string) *kong.Exit {
	outcome := refusal.Outcome
	if _, known := r.messages[outcome]; !known {
		outcome = authn.Unexpected
	}
	headers := []kong.Header{header(errorIDHeader, id), header("Cache-Control", "no-store")}
	if uri, ok := r.redirects[outcome]; ok {
		return &kong.Exit{Status: 302, Headers: append(headers, header("Location", uri))}
	}
	headers = append(headers, header("Content-Type", "application/json; charset=utf-8"))
	if challenges := r.challenges(refusal); len(challenges) > 0 {
		// One line: of two lines with this name, Kong's nginx keeps the last.
		headers = append(headers, header("WWW-Authenticate", strings.Join(challenges, ", ")))
	}
	if outcome == authn.Unavailable {
		wait := refusal.RetryAfter
		if wait <= 0 {
			wait = retryAfter
		}
		headers = append(headers, header("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second))))
	}
	return &kong.Exit{Status: int(outcome), Headers: headers, Body: r.body(outcome, refusal)}
}

// challenges are the WWW-Authenticate values: RFC 6750 §3 for Bearer, RFC 7617 §2
// for Basic.
func (r *renderer) challenges(refusal *authn.Refusal) []string {
	bearer := "Bearer realm=" + quoted(r.realm)
	switch refusal.Outcome {
	case authn.Unauthorized:
		if refusal.TokenSent && r.exposeCode {
			bearer += `, error="invalid_token"`
		}
		if r.invitesBasic {
			return []string{bearer, "Basic realm=" + quoted(r.realm) + `, charset="UTF-8"`}
		}
		return []string{bearer}
	case authn.Forbidden:
		if r.exposeCode {
			bearer += `, error="insufficient_scope"`
			if len(refusal.Scopes) > 0 {
				bearer += ", scope=" + quoted(strings.Join(refusal.Scopes, " "))
			}
		}
		return []string{bearer}
	case authn.BadRequest:
		if r.exposeCode {
			bearer += `, error="invalid_request"`
		}
		return []string{bearer}
	}
	return nil
}

func (r *renderer) body(outcome authn.Outcome, refusal *authn.Refusal) []byte {
	body := struct {
		Message     string `json:"message"`
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description,omitempty"`
	}{Message: r.messages[outcome]}
	if r.displayErrors {
		body.Error, body.Description = refusal.Code, refusal.Description
	}
	encoded, _ := json.Marshal(body) // strings always encode
	return encoded
}

func header(name, value string) kong.Header {
	return kong.Header{Name: name, Values: []string{value}}
}

// quoted is a quoted-string of RFC 9110 §5.6.4; what may not stand in one is left out.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= 0x20 && c < 0x7f:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
