package oauth2

import (
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

const (
	maxToken    = 64 << 10
	maxLifetime = 10 * 365 * 24 * 3600 // seconds; above it is as good as for ever, and a time.Duration still holds it
)

// Lifetime is expires_in: how long an access token lives from now, in seconds.
type Lifetime struct {
	// Known is false where the endpoint does not say.
	Known bool
	// Seconds are whole ones, rounded down and at most ten years. Zero where the endpoint
	// says zero, less, or nothing that can be read: do not keep the token.
	Seconds int64
}

// Duration is the lifetime; zero means unknown or not to be kept, see Known.
func (l Lifetime) Duration() time.Duration { return time.Duration(l.Seconds) * time.Second }

// parseTokenResponse turns an answer into a token response, an *Error or a *BadResponse.
// repeats reports whether a text of the answer holds what was sent.
func parseTokenResponse(resp *egress.Response, now time.Time, repeats func(string) bool) (*TokenResponse, error) {
	switch {
	case resp.Status >= 300 && resp.Status < 400:
		return nil, &BadResponse{Reason: "redirect (" + strconv.Itoa(resp.Status) + "), which is never followed"}
	case resp.Status < 200 || resp.Status >= 400:
		return nil, newError(resp, now, repeats)
	}
	members, err := parseObject(resp.Body)
	if err != nil {
		return nil, err
	}
	if code, err := optionalString(members, "error"); err != nil {
		return nil, err
	} else if code != "" {
		return nil, newError(resp, now, repeats)
	}
	t := &TokenResponse{Header: ownHeader(resp.Header), Body: resp.Body, ExpiresIn: parseLifetime(members["expires_in"])}
	tokens := []struct {
		name string
		to   *Secret
	}{{"access_token", &t.AccessToken}, {"refresh_token", &t.RefreshToken}, {"id_token", &t.IDToken}}
	for _, token := range tokens {
		v, err := optionalString(members, token.name)
		if err != nil {
			return nil, err
		}
		if why := unsafeToken(v); why != "" {
			return nil, &BadResponse{Reason: token.name + " " + why}
		}
		*token.to = Secret(v)
	}
	if t.AccessToken == "" {
		return nil, &BadResponse{Reason: "no access_token"}
	}
	if t.TokenType, err = optionalString(members, "token_type"); err != nil {
		return nil, err
	}
	switch strings.ToLower(t.TokenType) {
	case "bearer", "bearertoken", "": // Apigee sends the second, or none
	default:
		return nil, &BadResponse{Reason: "token_type is not Bearer"}
	}
	return t, nil
}

// ownHeader copies a header so that one value that is kept keeps no other: net/http and
// Header.Clone put the values of all names into one array.
func ownHeader(h http.Header) http.Header {
	own := make(http.Header, len(h))
	for name, values := range h {
		own[name] = slices.Clone(values)
	}
	return own
}

// answerJSON bounds what is read of an answer, which egress has bounded in length.
var answerJSON = strictjson.Options{Depth: 64, Members: 10_000, SkipBOM: true}

// parseObject reads an answer that is one JSON object. The error is a *BadResponse.
func parseObject(body []byte) (map[string]any, error) {
	members, err := strictjson.Object(string(body), answerJSON)
	if err != nil {
		return nil, &BadResponse{Reason: err.Error()}
	}
	return members, nil
}

// optionalString returns a member that is a string; "" if it is absent or null. It is a copy, which
// does not keep the whole answer alive.
func optionalString(members map[string]any, name string) (string, error) {
	v := members[name]
	s, isString := v.(string)
	if v != nil && !isString {
		return "", &BadResponse{Reason: name + " is not a string"}
	}
	return strings.Clone(s), nil
}

// unsafeToken says why a token cannot stand in a header; "" if it can. RFC 6750 §2.1 is
// narrower, but providers do send tokens with a bar or a colon in them.
func unsafeToken(v string) string {
	if len(v) > maxToken {
		return "is above 64 KiB"
	}
	for i := range len(v) {
		if v[i] <= ' ' || v[i] >= 0x7f {
			return "has characters that no header may carry"
		}
	}
	return ""
}

var decimal = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,4})?$`)

// parseLifetime reads expires_in: a number, or a number in a string as some endpoints send.
func parseLifetime(v any) Lifetime {
	var text string
	switch v := v.(type) {
	case nil:
		return Lifetime{}
	case string:
		text = v
	case json.Number:
		text = v.String()
	}
	if len(text) > 64 || !decimal.MatchString(text) {
		return Lifetime{Known: true}
	}
	// Out of range is an infinity with the right sign, which the bounds below take.
	seconds, _ := strconv.ParseFloat(text, 64)
	return Lifetime{Known: true, Seconds: int64(math.Floor(min(max(seconds, 0), maxLifetime)))}
}
