package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

var (
	verifyEd     = ed25519.NewKeyFromSeed([]byte("a constant seed of 32 bytes long"))
	verifySecret = []byte("a constant secret of 32 bytes, and more")
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func verifyToken(alg, payload string) string {
	signed := b64([]byte(`{"alg":"`+alg+`"}`)) + "." + b64([]byte(payload))
	if alg == "HS256" {
		m := hmac.New(sha256.New, verifySecret)
		m.Write([]byte(signed))
		return signed + "." + b64(m.Sum(nil))
	}
	return signed + "." + b64(ed25519.Sign(verifyEd, []byte(signed)))
}

func edSet() string {
	return `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + b64(verifyEd.Public().(ed25519.PublicKey)) + `"}]}`
}

func octSet() string { return `{"keys":[{"kty":"oct","k":"` + b64(verifySecret) + `"}]}` }

const verifyClaims = `{"iss":"https://idp.example","aud":"api","exp":1900000300}`

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ed, oct, html := file("ed.json", edSet()), file("oct.json", octSet()), file("bad.json", "<html>")
	token, hs := verifyToken("EdDSA", verifyClaims), verifyToken("HS256", verifyClaims)
	batch := func(lines ...string) string { return strings.Join(lines, "\n") }
	line := func(m map[string]any) string {
		b, _ := json.Marshal(m)
		return string(b)
	}
	const now = " -now 1900000000"
	tests := []struct {
		name, args, stdin string
		code              int
		want              string // the reasons printed, "ok" for a valid one, separated by spaces
	}{
		{"good", "-jwks " + ed + " -issuer https://idp.example" + now, token + "\n", 0, "ok"},
		{"good with audience", "-jwks " + ed + " -issuer https://idp.example -audience api -alg EdDSA,RS256" + now, token + "\r\n", 0, "ok"},
		{"other issuer", "-jwks " + ed + " -issuer https://idp.example/" + now, token, 1, "bad_iss"},
		{"other audience", "-jwks " + ed + " -issuer https://idp.example -audience b" + now, token, 1, "bad_aud"},
		{"other alg", "-jwks " + ed + " -issuer https://idp.example -alg RS256" + now, token, 1, "bad_alg"},
		{"expired", "-jwks " + ed + " -issuer https://idp.example -now 1900000300", token, 1, "expired"},
		{"expired within the leeway", "-jwks " + ed + " -issuer https://idp.example -now 1900000300 -leeway 0.5", token, 0, "ok"},
		{"now of 1970", "-jwks " + ed + " -issuer https://idp.example -now 0", token, 0, "ok"},
		{"by the clock", "-jwks " + ed + " -issuer https://idp.example", verifyToken("EdDSA", `{"iss":"https://idp.example","exp":1}`), 1, "expired"},
		{"claims false", "-jwks " + ed + " -claims=false", verifyToken("EdDSA", "any bytes"), 0, "ok"},
		{"claims false, wrong signature", "-jwks " + ed + " -claims=false", verifyToken("EdDSA", "x") + "AA", 1, "bad_sig"},
		{"hs", "-jwks " + oct + " -hs -issuer https://idp.example" + now, hs, 0, "ok"},
		{"hs not allowed", "-jwks " + oct + " -issuer https://idp.example" + now, hs, 1, "bad_alg"},
		{"nothing on stdin", "-jwks " + ed + " -issuer https://idp.example", "\n", 2, ""},
		{"too long", "-jwks " + ed + " -issuer https://idp.example", strings.Repeat(".", 1<<20), 1, "malformed"},
		{"no key set", "-jwks " + html + " -issuer https://idp.example", token, 2, ""},
		{"no key set for a batch", "-batch -jwks " + html + " -issuer https://idp.example", line(map[string]any{"token": token}), 2, ""},
		{"a set without keys", "-jwks " + file("none.json", `{"keys":[]}`) + " -issuer https://idp.example" + now, token, 1, "no_key"},
		{"a folder", "-jwks " + dir + " -issuer https://idp.example", token, 2, ""},

		{"no issuer", "-jwks " + ed, token, 2, ""},
		{"no file", "-issuer https://idp.example", token, 2, ""},
		{"missing file", "-jwks " + dir + "/none -issuer https://idp.example", token, 2, ""},
		{"unknown alg", "-jwks " + ed + " -issuer i -alg none", token, 2, ""},
		{"unknown flag", "-frobnicate", token, 2, ""},
		{"an argument", "-jwks " + ed + " -issuer i extra", token, 2, ""},
		{"negative leeway", "-jwks " + ed + " -issuer i -leeway -1", token, 2, ""},
		{"leeway that is no number", "-jwks " + ed + " -issuer i -leeway NaN", token, 2, ""},

		{"batch", "-batch -issuer https://idp.example" + now, batch(
			line(map[string]any{"jwks": json.RawMessage(edSet()), "token": token}),
			line(map[string]any{"jwks": edSet(), "token": token}),
			"",
			line(map[string]any{"jwks": edSet(), "token": token + "="}),
			line(map[string]any{"jwks": edSet(), "token": token, "issuer": "https://other.example"}),
			line(map[string]any{"jwks": edSet(), "token": token, "audience": "b"}),
			line(map[string]any{"jwks": nil, "token": token}),
			line(map[string]any{"token": token}),
		), 0, "ok ok malformed bad_iss bad_aud bad_key bad_key"},
		{"batch with a file", "-batch -jwks " + ed + " -issuer https://idp.example" + now, line(map[string]any{"token": token}) + "\n", 0, "ok"},
		{"batch, unreadable line", "-batch -issuer https://idp.example" + now, batch("{", line(map[string]any{"jwks": edSet(), "token": token})), 2, "malformed ok"},
		{"batch, jwks twice in a set", "-batch -claims=false", `{"jwks":{"keys":[],"keys":[]},"token":"` + token + `"}`, 0, "bad_key"},
		{"batch, long line", "-batch -claims=false", strings.Repeat(" ", 100) + strings.Repeat("x", maxBatchLine) + "\n" + line(map[string]any{"jwks": edSet(), "token": token}), 2, "malformed ok"},
		{"batch of nothing", "-batch -claims=false", "", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := runVerify(strings.Fields(tt.args), strings.NewReader(tt.stdin), &stdout, &stderr)
			if got := reasons(t, &stdout); code != tt.code || got != tt.want {
				t.Errorf("exit %d, %q; want %d, %q\n%s", code, got, tt.code, tt.want, stderr.String())
			}
			if code == 2 && stderr.Len() == 0 {
				t.Error("nothing on stderr")
			}
		})
	}
}

// reasons turns the printed lines into words.
func reasons(t *testing.T, out io.Reader) string {
	t.Helper()
	var words []string
	d := json.NewDecoder(out)
	for {
		var v struct {
			Valid  *bool
			Reason *string
		}
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return strings.Join(words, " ")
		} else if err != nil || v.Valid == nil || v.Reason == nil || *v.Valid != (*v.Reason == "") {
			t.Fatalf("%+v, %v", v, err)
		}
		if *v.Valid {
			*v.Reason = "ok"
		}
		words = append(words, *v.Reason)
	}
}

func TestVerifyUnreadableInput(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, []byte(edSet()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"-batch -claims=false", "-claims=false -jwks " + keys} {
		var stdout, stderr bytes.Buffer
		in := iotest.ErrReader(errors.New("broken pipe"))
		if code := runVerify(strings.Fields(args), in, &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), "broken pipe") {
			t.Errorf("%s: exit %d, %s", args, code, stderr.String())
		}
	}
}
