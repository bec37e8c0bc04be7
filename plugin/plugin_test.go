package plugin

import "testing"

// TestIssuerOf: a log names a broken configuration's issuer, and no credentials.
func TestIssuerOf(t *testing.T) {
	for raw, want := range map[string]string{
		`{"issuer":"https://idp.example/realm"}`:           "https://idp.example/realm",
		`{"issuer":"https://user:canary@idp.example/"}`:    "https://idp.example/",
		`{"issuer":"https://user:can%zzary@idp.example/"}`: "",
		`{"issuer":7}`: "",
		`{}`:           "",
		`null`:         "",
	} {
		if got := issuerOf([]byte(raw)); got != want {
			t.Errorf("%s: %q", raw, got)
		}
	}
}
