package authn

import (
	"encoding/base64"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// basicCredential reads HTTP Basic credentials; without an id there are none. Another scheme is
// not ours; a Basic header that cannot be read is refused without a call.
func basicCredential(r *kong.Request) (id string, secret oauth2.Secret, err error) {
	values := r.Header("authorization")
	switch len(values) {
	case 0:
		return "", "", nil
	case 1:
	default:
		return "", "", ambiguous("two Authorization headers")
	}
	scheme, encoded, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", nil
	}
	id, text, ok := parseBasic(strings.Trim(encoded, " "))
	if !ok {
		return "", "", malformed("the Authorization header holds no Basic credentials")
	}
	return id, oauth2.Secret(text), nil
}

// basicAuthorization is a well-formed header for credentials that came in one. Their bytes are
// those that came; only padding and base64 are added where they were missing.
func basicAuthorization(id string, secret oauth2.Secret) oauth2.Secret {
	return oauth2.Secret("Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+string(secret))))
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
		decoded, err := base64.RawStdEncoding.AppendDecode(make([]byte, 0, 512), []byte(unpadded))
		if err != nil {
			return "", "", false
		}
		plain = string(decoded)
	}
	id, secret, _ = strings.Cut(plain, ":")
	return id, secret, presentable(id) && presentable(secret)
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
	return &Refusal{Status: Unauthorized, Reason: "malformed_credentials", Code: "invalid_request", Description: description}
}

func ambiguous(description string) *Refusal {
	return &Refusal{Status: BadRequest, Reason: "ambiguous_credentials", Code: "invalid_request", Description: description}
}
