package authn

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestParseBasic(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		name, encoded string
		id, secret    string
		ok            bool
	}{
		{name: "well-formed", encoded: encode("service:secret"), id: "service", secret: "secret", ok: true},
		{name: "first colon splits", encoded: encode("a:b:c:d"), id: "a", secret: "b:c:d", ok: true},
		{name: "as given, never decoded", encoded: encode("a%3Ab:c+d%zz"), id: "a%3Ab", secret: "c+d%zz", ok: true},
		{name: "padding missing", encoded: strings.TrimRight(encode("ab:c"), "="), id: "ab", secret: "c", ok: true},
		{name: "un-encoded", encoded: "id:se:cret", id: "id", secret: "se:cret", ok: true},
		{name: "bytes above 0x7F", encoded: encode("id:\xff\xfe"), id: "id", secret: "\xff\xfe", ok: true},
		{name: "no colon", encoded: encode("service")},
		{name: "empty id", encoded: encode(":secret")},
		{name: "empty secret", encoded: encode("service:")},
		{name: "nothing", encoded: ""},
		{name: "NUL", encoded: encode("service:se\x00cret")},
		{name: "CRLF in the id", encoded: encode("ser\r\nvice:secret")},
		{name: "DEL", encoded: encode("service:\x7f")},
		{name: "url-safe alphabet", encoded: "Pz8_Pj4-OnNlY3JldA"},
		{name: "inner space", encoded: "c2Vydmlj ZTpzZWNyZXQ="},
		{name: "too much padding", encoded: encode("ab:c") + "=="},
		{name: "not base64", encoded: "!!!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, secret, ok := parseBasic(c.encoded)
			if ok != c.ok || ok && (id != c.id || secret != c.secret) {
				t.Errorf("got %q %q %v, want %q %q %v", id, secret, ok, c.id, c.secret, c.ok)
			}
		})
	}
}

// FuzzParseBasic: what is accepted can be presented to a provider, and says the same
// when it is encoded as it should be.
func FuzzParseBasic(f *testing.F) {
	for _, seed := range []string{"c2VydmljZTpzZWNyZXQ=", "id:secret", "", ":", "====", "\xff:\xff", "YTpiOmM"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		id, secret, ok := parseBasic(encoded)
		if !ok {
			return
		}
		if !presentable(id) || !presentable(secret) || strings.Contains(id, ":") {
			t.Fatalf("accepted %q as %q and %q", encoded, id, secret)
		}
		again, secretAgain, ok := parseBasic(base64.StdEncoding.EncodeToString([]byte(id + ":" + secret)))
		if !ok || again != id || secretAgain != secret {
			t.Fatalf("%q: %q and %q became %q and %q", encoded, id, secret, again, secretAgain)
		}
	})
}
