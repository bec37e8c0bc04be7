package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// BenchmarkVerify is one fresh verification with a set of seven keys.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range append([]string{"HS256"}, asymmetric...) {
		b.Run(alg, func(b *testing.B) {
			v := vector{lines: []vectorLine{{"claim", `typ="Bearer"`}, {"claim", `realm_access={"roles":["a","b"]}`}, {"policy", "secret"}}}
			token, set := v.mint(b, alg)
			keys, p := parsedKeys(b, set), v.policy(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(token, keys, p, time.Unix(testNow, 0)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBare is the least that RS256 costs: the hash and crypto/rsa.
func BenchmarkBare(b *testing.B) {
	token, _ := mintedToken(b, "RS256")
	dot := strings.LastIndexByte(token, '.')
	signature, _ := decodeSegment(token[dot+1:])
	signed, pub := []byte(token[:dot]), &testKeys()["rsa"].(*rsa.PrivateKey).PublicKey
	b.ReportAllocs()
	for b.Loop() {
		hash := sha256.Sum256(signed)
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, hash[:], signature); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJWX is RS256 by jwx alone: no gate, no claims.
func BenchmarkJWX(b *testing.B) {
	token, _ := mintedToken(b, "RS256")
	pub := &testKeys()["rsa"].(*rsa.PrivateKey).PublicKey
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jws.Verify([]byte(token), jws.WithKey(jwa.RS256, pub)); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAllocations: the standard library's RSA makes nine of them, and each claim is one.
func TestAllocations(t *testing.T) {
	token, keys := mintedToken(t, "RS256")
	p := Policy{Issuers: []string{"https://idp.example"}}
	n := testing.AllocsPerRun(100, func() {
		if _, err := Verify(token, keys, p, time.Unix(testNow, 0)); err != nil {
			t.Fatal(err)
		}
	})
	if n > 20 {
		t.Errorf("%v allocations, want 20 at most", n)
	}
}

// BenchmarkWork is the most that one token may cost: without a kid, with the slowest keys that are
// taken.
func BenchmarkWork(b *testing.B) {
	slow := []string{}
	for range 3 {
		k := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
		m := object("kty", `"EC"`, "crv", `"P-521"`, "x", quote(b64(k.X.FillBytes(make([]byte, 66)))), "y", quote(b64(k.Y.FillBytes(make([]byte, 66)))))
		slow = append(slow, m.String())
	}
	n := testKeys()["rsa"].(*rsa.PrivateKey).N
	large := new(big.Int).SetBit(new(big.Int).Lsh(n, maxRSABits-2048), 0, 1)
	for name, tt := range map[string]struct{ alg, keys string }{
		"three P-521": {"ES512", strings.Join(slow, ",")},
		"RSA-8192":    {"RS256", object("kty", `"RSA"`, "n", quote(b64(large.Bytes())), "e", `"AQAB"`).String()},
	} {
		b.Run(name, func(b *testing.B) {
			v := vector{lines: []vectorLine{{"header", "-kid"}}}
			token, _ := v.mint(b, tt.alg)
			keys := parsedKeys(b, []byte(`{"keys":[`+tt.keys+`]}`))
			for b.Loop() {
				if _, err := Verify(token, keys, v.policy(b), time.Unix(testNow, 0)); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

// BenchmarkReject is what an attacker's token costs at most, by what it attacks.
func BenchmarkReject(b *testing.B) {
	good, keys := mintedToken(b, "RS256")
	seg := strings.Split(good, ".")
	payload := func(s string) string { return seg[0] + "." + b64([]byte(s)) + "." + seg[2] }
	noKid := vector{lines: []vectorLine{{"header", "-kid"}, {"sign", "short"}}}
	tried, _ := noKid.mint(b, "RS256")
	tests := []struct {
		name, token string
		policy      Policy
	}{
		{"dots 4 MiB", strings.Repeat(".", 4<<20), Policy{}},
		{"depth", payload(`{"x":` + strings.Repeat("[", 12_000)), Policy{}},
		{"members 16 KiB", payload("{" + strings.Repeat(`"a":`, 1) + "[" + strings.Repeat("{},", 3800) + "0]}"), Policy{}},
		{"elements 64 KiB", payload(`{"x":[` + strings.Repeat("1,", 22_000) + "0]}"), Policy{FromGrant: true}},
		{"objects 64 KiB", payload(`{"x":[` + strings.Repeat("{},", 15_000) + "0]}"), Policy{FromGrant: true}},
		{"no kid", tried, Policy{Issuers: []string{"https://idp.example"}}},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(tt.token, keys, tt.policy, time.Unix(testNow, 0)); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func BenchmarkParseKeySet(b *testing.B) {
	set := jwks(goodKeys...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseKeySet(set); err != nil {
			b.Fatal(err)
		}
	}
}
