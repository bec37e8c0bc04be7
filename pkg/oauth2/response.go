package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
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

// parseTokenResponse makes of an answer a token response, an *Error or a *BadResponse.
// repeats tells which of its texts hold what was sent.
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

// parseObject reads one JSON object (RFC 8259) whose members have different names, with
// nothing behind it. Names count byte for byte. The error is a *BadResponse.
func parseObject(body []byte) (map[string]json.RawMessage, error) {
	bad := func(reason string) error { return &BadResponse{Reason: reason} }
	if !utf8.Valid(body) {
		return nil, bad("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, bad("not a JSON object")
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, bad("not JSON")
		}
		key, isString := name.(string)
		if _, twice := members[key]; twice || !isString {
			return nil, bad("an object names a member twice")
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, bad("not JSON")
		}
		members[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad("not JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("something follows the JSON object")
	}
	return members, nil
}

// optionalString returns a member that is a string; "" if it is absent or null.
func optionalString(members map[string]json.RawMessage, name string) (string, error) {
	raw, ok := members[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", &BadResponse{Reason: name + " is not a string"}
	}
	return s, nil
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
func parseLifetime(raw json.RawMessage) Lifetime {
	text := string(raw)
	if text == "" || text == "null" {
		return Lifetime{}
	}
	if text[0] == '"' && json.Unmarshal(raw, &text) != nil {
		return Lifetime{Known: true}
	}
	if len(text) > 64 || !decimal.MatchString(text) {
		return Lifetime{Known: true}
	}
	// Out of range is an infinity with the right sign, which the bounds below take.
	seconds, _ := strconv.ParseFloat(text, 64)
	return Lifetime{Known: true, Seconds: int64(math.Floor(min(max(seconds, 0), maxLifetime)))}
}
