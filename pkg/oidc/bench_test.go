package oidc

import (
	"strings"
	"testing"
	"time"
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
