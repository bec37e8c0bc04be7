package authn

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// basicCredential reads HTTP Basic credentials. Another scheme is not ours; a
// Basic header that cannot be read is refused without a call.
func basicCredential(r *kong.Request) (*Credential, error) {
	values := r.Header("authorization")
	switch len(values) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, ambiguous("two Authorization headers")
	}
	scheme, encoded, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil, nil
	}
	id, secret, ok := parseBasic(strings.Trim(encoded, " "))
	if !ok {
		return nil, malformed("the Authorization header holds no Basic credentials")
	}
	return &Credential{Place: config.InHeader, ID: id, Secret: oauth2.Secret(secret)}, nil
}

// authorization is the header's value that c came with, well-formed: credentials go on
// byte for byte, where only padding is mended and what came un-encoded.
func (c *Credential) authorization() oauth2.Secret {
	return oauth2.Secret("Basic " + base64.StdEncoding.EncodeToString([]byte(c.ID+":"+string(c.Secret))))
}

// parseBasic decodes the credentials of RFC 7617, and "id:secret" un-encoded: a
// colon is outside the base64 alphabet, so the two cannot be taken for each other.
// Missing padding is forgiven; control characters are not, nor an empty part.
func parseBasic(encoded string) (id, secret string, ok bool) {
	plain := encoded
	if !strings.Contains(encoded, ":") {
		unpadded := strings.TrimRight(encoded, "=")
		if len(encoded)-len(unpadded) > 2 || strings.ContainsAny(unpadded, "\r\n") {
			return "", "", false
		}
		decoded, err := base64.RawStdEncoding.DecodeString(unpadded)
		if err != nil {
			return "", "", false
		}
		plain = string(decoded)
	}
	id, secret, _ = strings.Cut(plain, ":")
	return id, secret, presentable(id) && presentable(secret)
}

// paramCredential reads client_id with client_secret, or with an RFC 7523 client
// assertion, from the query or the body. An id alone is no credential.
func paramCredential(place config.Place, params *kong.Params) (*Credential, error) {
	values := func(name string) []string {
		return slices.DeleteFunc(params.Values(name), func(v string) bool { return v == "" })
	}
	secrets, assertions := values("client_secret"), values("client_assertion")
	if kind := values("client_assertion_type"); len(kind) != 1 || kind[0] != oauth2.AssertionType {
		assertions = nil
	}
	ids := values("client_id")
	switch {
	case len(secrets) == 0 && len(assertions) == 0, len(assertions) == 0 && len(ids) == 0:
		return nil, nil
	case len(ids) > 1 || len(secrets)+len(assertions) > 1:
		return nil, ambiguous("the " + string(place) + " holds two credentials")
	}
	c := &Credential{Place: place, Params: params}
	if len(ids) == 1 {
		c.ID = ids[0]
	}
	secret := slices.Concat(secrets, assertions)[0]
	if len(assertions) > 0 {
		c.Assertion = oauth2.Secret(secret)
	} else {
		c.Secret = oauth2.Secret(secret)
	}
	if !presentable(secret) || len(ids) == 1 && !presentable(c.ID) {
		return nil, malformed("the " + string(place) + " holds control characters")
	}
	return c, nil
}

// presentable reports whether s can be an id or a secret: not empty and without
// control characters. Bytes above 0x7F are kept as they are.
func presentable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

func malformed(description string) *Refusal {
	return &Refusal{Outcome: Unauthorized, Reason: "malformed_credentials", Code: "invalid_request", Description: description}
}

func ambiguous(description string) *Refusal {
	return &Refusal{Outcome: BadRequest, Reason: "ambiguous_credentials", Code: "invalid_request", Description: description}
}
