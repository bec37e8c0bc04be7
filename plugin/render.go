package plugin

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
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

// renderer turns refusals into answers: the only place that knows what a client is told. Its
// answers hold nothing of the provider's address, of a token or a secret. What does not depend on
// the refusal is made once.
type renderer struct {
	answers       map[authn.Status]*answer
	realm         string
	displayErrors bool
	exposeCode    bool
}

// answer is what is the same for all refusals of one status.
type answer struct {
	status  int
	headers []kong.Header // beside the error id, Retry-After and what an error adds to a challenge
	message string
	body    []byte
	invites string // a challenge that goes behind that of Bearer; "" if there is none
	// bearer is the challenge for a refusal that adds nothing to it.
	bearer kong.Header
}

// newRenderer makes the answers of a configuration whose methods take these schemes of the
// Authorization header.
func newRenderer(cfg *config.Config, schemes []string) *renderer {
	r := &renderer{answers: map[authn.Status]*answer{}, displayErrors: cfg.DisplayErrors, exposeCode: cfg.ExposeErrorCode}
	if u, err := url.Parse(cfg.Issuer); err == nil {
		r.realm = u.Host
	}
	for status, text := range map[authn.Status]struct {
		message   string
		redirects []string
	}{
		authn.BadRequest:   {"Bad request", nil},
		authn.Unauthorized: {cfg.UnauthorizedErrorMessage, cfg.UnauthorizedRedirectURI},
		authn.Forbidden:    {cfg.ForbiddenErrorMessage, cfg.ForbiddenRedirectURI},
		authn.Unexpected:   {"An unexpected error occurred", cfg.UnexpectedRedirectURI},
		authn.Unavailable:  {"Service Unavailable", cfg.UnexpectedRedirectURI},
	} {
		a := &answer{status: int(status), message: text.message, headers: []kong.Header{header("Cache-Control", "no-store")}}
		r.answers[status] = a
		if len(text.redirects) > 0 {
			a.status, a.headers = 302, append(a.headers, header("Location", text.redirects[0]))
			continue
		}
		a.headers = append(a.headers, header("Content-Type", "application/json; charset=utf-8"))
		a.body = body(a.message, "", "")
		if status == authn.Unauthorized && slices.Contains(schemes, "Basic") {
			a.invites = ", Basic realm=" + quoted(r.realm) + `, charset="UTF-8"`
		}
		if challenge := r.challenge(status, &authn.Refusal{}); challenge != "" {
			a.bearer = header("WWW-Authenticate", challenge+a.invites)
		}
	}
	return r
}

// exit is the answer to a request that does not go on.
func (r *renderer) exit(refusal *authn.Refusal, id string, now time.Time) *kong.Exit {
	a, known := r.answers[refusal.Status]
	if !known {
		a = r.answers[authn.Unexpected]
	}
	exit := &kong.Exit{Status: a.status, Body: a.body, Headers: make([]kong.Header, 0, len(a.headers)+3)}
	exit.Headers = append(append(exit.Headers, header(errorIDHeader, id)), a.headers...)
	if a.status == 302 {
		return exit
	}
	// One line: of two lines with this name, Kong's nginx keeps the last.
	if a.bearer.Values != nil && (refusal.TokenSent || len(refusal.Scopes) > 0) {
		exit.Headers = append(exit.Headers, header("WWW-Authenticate", r.challenge(refusal.Status, refusal)+a.invites))
	} else if a.bearer.Values != nil {
		exit.Headers = append(exit.Headers, a.bearer)
	}
	if a.status == int(authn.Unavailable) {
		exit.Headers = append(exit.Headers, header("Retry-After", seconds(refusal.RetryAt.Sub(now))))
	}
	if r.displayErrors {
		exit.Body = body(a.message, refusal.Code, refusal.Description)
	}
	return exit
}

// seconds writes a time for Retry-After; retryAfter stands in for one that has passed or is not
// known.
func seconds(wait time.Duration) string {
	if wait <= 0 {
		wait = retryAfter
	}
	return strconv.Itoa(int((wait + time.Second - 1) / time.Second))
}

// challenge is the WWW-Authenticate value of RFC 6750 §3; "" for a status that has none.
func (r *renderer) challenge(status authn.Status, refusal *authn.Refusal) string {
	code := ""
	switch status {
	case authn.Unauthorized:
		if refusal.TokenSent {
			code = "invalid_token"
		}
	case authn.Forbidden:
		code = "insufficient_scope"
	case authn.BadRequest:
		code = "invalid_request"
	default:
		return ""
	}
	bearer := "Bearer realm=" + quoted(r.realm)
	if code == "" || !r.exposeCode {
		return bearer
	}
	bearer += `, error="` + code + `"`
	if len(refusal.Scopes) > 0 {
		bearer += ", scope=" + quoted(strings.Join(refusal.Scopes, " "))
	}
	return bearer
}

func body(message, code, description string) []byte {
	encoded, _ := json.Marshal(struct {
		Message     string `json:"message"`
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description,omitempty"`
	}{message, code, description}) // strings always encode
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
