package oidc

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

func TestParseKeySetDocument(t *testing.T) {
	many := func(n int) string {
		return `{"keys":[` + strings.TrimSuffix(strings.Repeat(`{"kty":"AKP"},`, n), ",") + `]}`
	}
	tests := []struct {
		name, doc string
		set       bool // whether a set comes with the error
	}{
		{"empty", "", false},
		{"HTML", "<!doctype html><html></html>", false},
		{"empty object", "{}", false},
		{"keys null", `{"keys":null}`, false},
		{"keys an object", `{"keys":{}}`, false},
		{"list", `[]`, false},
		{"two documents", `{"keys":[]}{"keys":[]}`, false},
		{"keys twice", `{"keys":[],"keys":[]}`, false},
		{"kid twice", `{"keys":[{"kty":"RSA","kid":"a","kid":"b"}]}`, false},
		{"too large", `{"keys":[],"x":"` + strings.Repeat("x", MaxKeySetSize) + `"}`, false},
		{"101 keys", many(101), false},
		{"10000 keys", many(10_000), false},
		{"no keys", `{"keys":[]}`, true},
		{"100 keys of an unknown type", many(100), true},
		{"keys that are none", `{"keys":[null,1,"x",[]]}`, true},
		{"n = 0", `{"keys":[{"kty":"RSA","kid":"a","n":"AA","e":"AQAB"}]}`, true},
		{"only oct", string(jwks("oct")), true},
		{"only enc", string(jwks(`rsa +use="enc"`)), true},
		{"only private", string(jwks(`rsa +d="AQ"`, `ec256 +d="AQ"`, `ed +d="AQ"`)), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, err := ParseKeySet([]byte(tt.doc))
			if err == nil || errors.Is(err, ErrNoKeys) != tt.set || (set != nil) != tt.set {
				t.Fatalf("set %v, error %v", set, err)
			}
			if set != nil && set.Len() != 0 {
				t.Errorf("Len %d", set.Len())
			}
		})
	}
}

// Row 10: a bad key does not harm the good ones, and each is named once.
func TestWarnings(t *testing.T) {
	set, err := ParseKeySet(jwks("rsa", "rsa", `rsa2 +d="AQ"`, "rsa1024", `rsa kid="e1" e="AQ"`, "oct", `ec256 kid="a\nb" x="AAAA"`, `ec384 +use="enc"`, `oct kty="AKP"`, "ed", `oct kid="empty" k=""`))
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 2 {
		t.Errorf("Len %d, want rsa and ed", set.Len())
	}
	want := []string{"key 3 (kid \"rsa2\")", "key 4 (kid \"rsa1024\")", "key 5 (kid \"e1\")", "key 6 (kid \"oct\")", `key 7 (kid "a\nb")`, "key 11 (kid \"empty\")"}
	got := set.Warnings()
	if len(got) != len(want) {
		t.Fatalf("%d warnings: %q", len(got), got)
	}
	for i, w := range want {
		if !strings.HasPrefix(got[i], w) {
			t.Errorf("warning %q, want it to begin with %q", got[i], w)
		}
	}
	if out := fmt.Sprintf("%v %+v %#v %+v", *set, *set, set, set.keys); strings.Contains(out, "secret") || strings.Contains(out, "115 101 99") {
		t.Errorf("a set prints its secrets: %s", out)
	}
}

func TestPublicJWKHasNoPrivatePart(t *testing.T) {
	set := parsedKeys(t, jwks(append([]string{`rsa2 kid="p" +d="AQ"`, "oct"}, goodKeys...)...))
	for _, k := range set.keys {
		var m map[string]any
		if k.public != nil && json.Unmarshal(k.public, &m) != nil {
			t.Errorf("%s: %s", k.kid, k.public)
		}
		for _, name := range privateMembers {
			if _, present := m[name]; present {
				t.Errorf("%s has %s", k.kid, name)
			}
		}
	}
}

func rsaWith(n *big.Int) []byte {
	m := object("kid", `"x"`, "kty", `"RSA"`, "n", quote(b64(n.Bytes())), "e", `"AQAB"`)
	return []byte(`{"keys":[` + m.String() + `]}`)
}

func TestRSAModulus(t *testing.T) {
	good := testKeys()["rsa"].(*rsa.PrivateKey).N
	one := big.NewInt(1)
	// The fingerprint: a power of 65537 modulo the primorial.
	primorial := big.NewInt(1)
	for p := int64(2); p < 200; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			primorial.Mul(primorial, big.NewInt(p))
		}
	}
	faulty := new(big.Int).Exp(big.NewInt(65537), big.NewInt(1234567), primorial)
	faulty.Add(faulty, new(big.Int).Mul(primorial, new(big.Int).Div(good, primorial)))
	tests := []struct {
		name string
		n    *big.Int
		good bool
	}{
		{"good", good, true},
		{"even", new(big.Int).Sub(good, one), false},
		{"ROCA", faulty, false},
		{"2047 bits", new(big.Int).Rsh(good, 1).SetBit(new(big.Int).Rsh(good, 1), 0, 1), false},
		{"8192 bits", new(big.Int).SetBit(new(big.Int).Lsh(good, 8192-2048), 0, 1), true},
		{"8193 bits", new(big.Int).SetBit(new(big.Int).Lsh(good, 8193-2048), 0, 1), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseKeySet(rsaWith(tt.n)); (err == nil) != tt.good {
				t.Errorf("%d bits: %v", tt.n.BitLen(), err)
			}
		})
	}
}

func TestRSAModulusWithALeadingZero(t *testing.T) {
	n := append([]byte{0}, testKeys()["rsa"].(*rsa.PrivateKey).N.Bytes()...)
	parsedKeys(t, jwks("rsa n="+quote(b64(n))))
}
