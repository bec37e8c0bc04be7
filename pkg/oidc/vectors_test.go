package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// The tokens of these tests are minted by the standard library, not by jwx, from descriptions in
// testdata/*.txtar. A case is a file of an archive: its name begins with the row of the catalogue
// of attacks, its lines are `word: value`.
//
//	alg: ES256 | *       the algorithm (default RS256), or every asymmetric one in turn
//	header: EDIT         changes the header {"alg":…,"typ":"JWT","kid":…}
//	claim: EDIT          changes the claims {"iss":…,"aud":"api","sub":"s","iat":now,"exp":now+300}
//	payload: TEXT        instead of the claims; `header-text` instead of the header
//	WORD-go: "TEXT"      the same as a Go string literal, for payload, header-text and token
//	token: {h}.{p}.{s}   how the segments are joined
//	sign: HOW            see sign below
//	with: NAME           the private key (default the algorithm's)
//	key: NAME EDIT…      a key of the set; default are all good ones
//	policy: WORD         see policyWord below
//	now: +N              seconds after the time of minting
//	want: ok | REASON
//
// EDIT is name=JSON (replace or append), +name=JSON (append in any case) or -name (remove).

const testNow = 1_900_000_000

// A vector is the parsed description of one case.
type vector struct {
	name  string
	lines []vectorLine
}

type vectorLine struct{ word, value string }

func loadVectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	var all []vector
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ar.Files {
			v := vector{name: f.Name}
			for line := range strings.Lines(string(f.Data)) {
				line = strings.TrimRight(line, "\n")
				if line == "" || line[0] == '#' {
					continue
				}
				word, value, ok := strings.Cut(line, ":")
				if !ok {
					t.Fatalf("%s: %s: no colon in %q", file, f.Name, line)
				}
				v.lines = append(v.lines, vectorLine{word, strings.TrimPrefix(value, " ")})
			}
			all = append(all, v)
		}
	}
	return all
}

func (v vector) all(word string) []string {
	var out []string
	for _, l := range v.lines {
		if l.word == word {
			out = append(out, l.value)
		}
	}
	return out
}

func (v vector) get(word, fallback string) string {
	if all := v.all(word); len(all) > 0 {
		return all[0]
	}
	return fallback
}

// text returns word, or word-go unquoted, or the fallback.
func (v vector) text(t testing.TB, word, fallback string) string {
	if q := v.get(word+"-go", ""); q != "" {
		s, err := strconv.Unquote(q)
		if err != nil {
			t.Fatalf("%s: %s-go: %v", v.name, word, err)
		}
		return s
	}
	return v.get(word, fallback)
}

func (v vector) algs() []string {
	if alg := v.get("alg", "RS256"); alg != "*" {
		return []string{alg}
	}
	return asymmetric
}

var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// members is a JSON object as text, in order, so that it can be malformed on purpose.
type members []struct{ name, value string }

func (m members) edit(e string) members {
	if name, ok := strings.CutPrefix(e, "-"); ok {
		var out members
		for _, x := range m {
			if x.name != name {
				out = append(out, x)
			}
		}
		return out
	}
	e, add := strings.CutPrefix(e, "+")
	name, value, _ := strings.Cut(e, "=")
	if !add {
		for i := range m {
			if m[i].name == name {
				out := append(members(nil), m...)
				out[i].value = value
				return out
			}
		}
	}
	return append(m[:len(m):len(m)], struct{ name, value string }{name, value})
}

func (m members) String() string {
	parts := make([]string, len(m))
	for i, x := range m {
		parts[i] = `"` + x.name + `":` + x.value
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func object(pairs ...string) members {
	var m members
	for i := 0; i < len(pairs); i += 2 {
		m = append(m, struct{ name, value string }{pairs[i], pairs[i+1]})
	}
	return m
}

// testKeys are made once for a run; the secret is long enough for HS512.
var testKeys = sync.OnceValue(func() map[string]any {
	keys := map[string]any{"oct": []byte(strings.Repeat("a secret of 64 bytes or more. ", 3))}
	for name, bits := range map[string]int{"rsa": 2048, "rsa2": 2048, "rsa1024": 1024} {
		keys[name] = must(rsa.GenerateKey(rand.Reader, bits))
	}
	for name, curve := range map[string]elliptic.Curve{"ec256": elliptic.P256(), "ec384": elliptic.P384(), "ec521": elliptic.P521(), "ec256b": elliptic.P256()} {
		keys[name] = must(ecdsa.GenerateKey(curve, rand.Reader))
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	keys["ed"] = must(ed, err)
	return keys
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var goodKeys = []string{"rsa", "rsa2", "ec256", "ec384", "ec521", "ed", "ec256b"}

func keyName(alg string) string {
	switch alg {
	case "ES256":
		return "ec256"
	case "ES384":
		return "ec384"
	case "ES512":
		return "ec521"
	case "EdDSA":
		return "ed"
	case "HS256", "HS384", "HS512":
		return "oct"
	}
	return "rsa"
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func quote(s string) string { return string(must(json.Marshal(s))) }

// jwkOf writes a key in public form (an oct key with its secret); kid is its name.
func jwkOf(name string) members {
	m := object("kid", quote(name))
	add := func(pairs ...string) members {
		for i := 0; i < len(pairs); i += 2 {
			m = m.edit("+" + pairs[i] + "=" + quote(pairs[i+1]))
		}
		return m
	}
	switch k := testKeys()[name].(type) {
	case *rsa.PrivateKey:
		return add("kty", "RSA", "n", b64(k.N.Bytes()), "e", b64(big.NewInt(int64(k.E)).Bytes()))
	case *ecdsa.PrivateKey:
		size := (k.Params().BitSize + 7) / 8
		return add("kty", "EC", "crv", k.Params().Name, "x", b64(k.X.FillBytes(make([]byte, size))), "y", b64(k.Y.FillBytes(make([]byte, size))))
	case ed25519.PrivateKey:
		return add("kty", "OKP", "crv", "Ed25519", "x", b64(k.Public().(ed25519.PublicKey)))
	case []byte:
		return add("kty", "oct", "k", b64(k))
	}
	panic("no key " + name)
}

func jwks(lines ...string) []byte {
	var keys []string
	for _, line := range lines {
		words := strings.Fields(line)
		k := jwkOf(words[0])
		for _, e := range words[1:] {
			k = k.edit(e)
		}
		keys = append(keys, k.String())
	}
	return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`)
}

func hashOf(alg string) crypto.Hash {
	return map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[len(alg)-3:]]
}

func digest(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// sign makes a signature with the standard library. how: "" as the algorithm says; "none" empty;
// "salt0", "saltmax" PSS with another salt; "der" ECDSA in ASN.1; "zero" r = s = 0; "r+n" r out of
// range; "short" one byte less; "long" one more; "hmac-pem", "hmac-n", "hmac-empty" HS256 keyed
// with what everybody knows; "hmac" with the secret.
func sign(t testing.TB, alg, with, how string, signed []byte) []byte {
	t.Helper()
	switch how {
	case "none":
		return nil
	case "hmac-n":
		return mac(crypto.SHA256, testKeys()["rsa"].(*rsa.PrivateKey).N.Bytes(), signed)
	case "hmac-jwk":
		return mac(crypto.SHA256, []byte(jwkOf("rsa").String()), signed)
	case "hmac-empty":
		return mac(crypto.SHA256, nil, signed)
	case "hmac":
		return mac(hashOf(alg), testKeys()["oct"].([]byte), signed)
	case "short":
		s := sign(t, alg, with, "", signed)
		return s[:len(s)-1]
	case "long":
		return append(sign(t, alg, with, "", signed), 0)
	}
	switch k := testKeys()[with].(type) {
	case *rsa.PrivateKey:
		return signRSA(k, alg, how, signed)
	case *ecdsa.PrivateKey:
		return signECDSA(k, hashOf(alg), how, signed)
	case ed25519.PrivateKey:
		return ed25519.Sign(k, signed)
	case []byte:
		return mac(hashOf(alg), k, signed)
	}
	t.Fatalf("cannot sign %s with %q", alg, with)
	return nil
}

func mac(h crypto.Hash, key, signed []byte) []byte {
	m := hmac.New(h.New, key)
	m.Write(signed)
	return m.Sum(nil)
}

func signRSA(k *rsa.PrivateKey, alg, how string, signed []byte) []byte {
	h := hashOf(alg)
	if !strings.HasPrefix(alg, "PS") {
		return must(rsa.SignPKCS1v15(rand.Reader, k, h, digest(h, signed)))
	}
	salt := map[string]int{"": rsa.PSSSaltLengthEqualsHash, "saltmax": rsa.PSSSaltLengthAuto, "salt0": 0}[how]
	if how == "salt0" { // the constant for "auto" is 0: sign with a salt of one byte, which is as wrong
		salt = 1
	}
	return must(rsa.SignPSS(rand.Reader, k, h, digest(h, signed), &rsa.PSSOptions{SaltLength: salt}))
}

func signECDSA(k *ecdsa.PrivateKey, h crypto.Hash, how string, signed []byte) []byte {
	der := must(ecdsa.SignASN1(rand.Reader, k, digest(h, signed)))
	if how == "der" {
		return der
	}
	var sig struct{ R, S *big.Int }
	must(asn1.Unmarshal(der, &sig))
	size := (k.Params().BitSize + 7) / 8
	out := make([]byte, 2*size)
	switch how {
	case "zero":
		return out
	case "r+n":
		n := k.Params().N
		n.FillBytes(out[:size])
		sig.S.FillBytes(out[size:])
		return out
	}
	sig.R.FillBytes(out[:size])
	sig.S.FillBytes(out[size:])
	return out
}

// mint makes the token of a case for one algorithm, and the key set that it is judged by.
func (v vector) mint(t testing.TB, alg string) (token string, set []byte) {
	t.Helper()
	with := v.get("with", keyName(alg))
	header := object("alg", quote(alg), "typ", `"JWT"`, "kid", quote(with))
	for _, e := range v.all("header") {
		header = header.edit(e)
	}
	claims := object("iss", `"https://idp.example"`, "aud", `"api"`, "sub", `"s"`, "iat", strconv.Itoa(testNow), "exp", strconv.Itoa(testNow+300))
	for _, e := range v.all("claim") {
		claims = claims.edit(e)
	}
	h := b64([]byte(v.text(t, "header-text", header.String())))
	p := b64([]byte(v.text(t, "payload", claims.String())))
	s := b64(sign(t, alg, with, v.get("sign", ""), []byte(h+"."+p)))
	token = strings.NewReplacer("{h}", h, "{p}", p, "{s}", s).Replace(v.text(t, "token", "{h}.{p}.{s}"))
	lines := v.all("key")
	if len(lines) == 0 {
		lines = goodKeys
	}
	return token, jwks(lines...)
}

func (v vector) policy(t testing.TB) Policy {
	p := Policy{Issuers: []string{"https://idp.example", "https://second.example"}}
	for _, word := range v.all("policy") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "id":
			p.Kind = IDToken
		case "audience":
			p.Audience = append(p.Audience, value)
		case "alg":
			p.Algorithms = append(p.Algorithms, value)
		case "leeway":
			p.Leeway = must(time.ParseDuration(value))
		case "grant":
			p.FromGrant = true
		case "skip-claims":
			p.SkipClaims = true
		case "skip-signature":
			p.SkipSignature = true
		case "signature-only":
			p.SignatureOnly = true
		case "secret":
			p.HMAC = Secrets{nil, []byte("another"), testKeys()["oct"].([]byte)}
		case "hs":
			p.HMACFromKeySet = true
		default:
			t.Fatalf("%s: unknown policy word %q", v.name, word)
		}
	}
	return p
}

func (v vector) now() time.Time {
	return time.Unix(testNow, 0).Add(must(time.ParseDuration(v.get("now", "0s"))))
}

// reasonOf turns the outcome of Verify into the word of a vector.
func reasonOf(t testing.TB, tok *Token, err error) string {
	t.Helper()
	if err == nil {
		if tok == nil {
			t.Fatal("neither a token nor an error")
		}
		return "ok"
	}
	rej, isRejection := err.(*Rejection)
	if !isRejection || tok != nil {
		t.Fatalf("token %v, error %T %v: want a *Rejection alone", tok, err, err)
	}
	return string(rej.Reason)
}

func TestVectors(t *testing.T) {
	for _, v := range loadVectors(t) {
		for _, alg := range v.algs() {
			t.Run(v.name+"/"+alg, func(t *testing.T) {
				token, set := v.mint(t, alg)
				keys, err := ParseKeySet(set)
				if keys == nil {
					t.Fatalf("key set: %v", err)
				}
				tok, err := Verify(token, keys, v.policy(t), v.now())
				if got, want := reasonOf(t, tok, err), v.get("want", ""); got != want {
					t.Errorf("got %s (%v), want %s", got, err, want)
				}
				if err != nil {
					checkDetail(t, err.(*Rejection), token)
				}
			})
		}
	}
}

// checkDetail holds what may be logged against what may not.
func checkDetail(t *testing.T, rej *Rejection, token string) {
	t.Helper()
	if len(rej.Detail) > maxDetail {
		t.Errorf("detail has %d characters: %q", len(rej.Detail), rej.Detail)
	}
	for _, c := range []byte(rej.Detail) {
		if c < ' ' || c > '~' {
			t.Fatalf("detail is not printable ASCII: %q", rej.Detail)
		}
	}
	for seg := range strings.SplitSeq(token, ".") {
		if len(seg) >= 8 && strings.Contains(fmt.Sprintf("%v", rej), seg) {
			t.Errorf("the rejection shows a segment of the token: %v", rej)
		}
	}
}
