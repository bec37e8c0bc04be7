package oidc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
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

// G07: numbers that RFC 7518 would have written otherwise are taken by value.
func TestLooseNumbers(t *testing.T) {
	k := testKeys()["rsa"].(*rsa.PrivateKey)
	std := base64.StdEncoding.EncodeToString
	// A P-521 key with a coordinate that begins with a zero byte: half of them do.
	short := testKeys()["ec521"].(*ecdsa.PrivateKey)
	for short.X.BitLen() > 520 {
		short = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	}
	x, y := short.X.FillBytes(make([]byte, 66)), short.Y.FillBytes(make([]byte, 66))
	ec := func(x, y []byte) string {
		return object("kid", `"loose"`, "kty", `"EC"`, "crv", `"P-521"`, "x", quote(b64(x)), "y", quote(b64(y))).String()
	}
	rsaKey := func(n string) string {
		return object("kid", `"loose"`, "kty", `"RSA"`, "n", quote(n), "e", `"AQAB"`).String()
	}
	tests := []struct {
		name, key   string
		good, loose bool
	}{
		{"strict", rsaKey(b64(k.N.Bytes())), true, false},
		{"padding", rsaKey(b64(k.N.Bytes()) + "=="), true, true},
		{"one sign of padding", rsaKey(b64(k.N.Bytes()) + "="), true, true},
		{"standard alphabet", rsaKey(std(k.N.Bytes())), true, true},
		{"leading zero", rsaKey(b64(append([]byte{0}, k.N.Bytes()...))), true, true},
		{"P-521", ec(x, y), true, false},
		{"P-521, x of 65 bytes", ec(x[1:], y), true, true},
		{"P-521, y of 67 bytes", ec(x, append([]byte{0}, y...)), true, true},
		{"coordinate too large", ec(append([]byte{1}, x...), y), false, false},
		{"three signs of padding", rsaKey(b64(k.N.Bytes()) + "==="), false, false},
		{"a line break", rsaKey(b64(k.N.Bytes()) + "\n"), false, false},
		{"no base64", rsaKey("*" + b64(k.N.Bytes())), false, false},
		{"unused bits", rsaKey(b64(k.N.Bytes()[:255]) + "B"), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, err := ParseKeySet([]byte(`{"keys":[` + tt.key + `]}`))
			if (err == nil) != tt.good {
				t.Fatal(err)
			}
			if w := set.Warnings(); len(w) > 1 || (len(w) == 1) != (tt.loose || !tt.good) || len(w) == 1 && !strings.Contains(w[0], "loose") {
				t.Errorf("warnings %q", w)
			}
			if !tt.good {
				return
			}
			switch pub := set.keys[0].key.(type) {
			case *rsa.PublicKey:
				if !pub.Equal(&k.PublicKey) {
					t.Error("another key")
				}
			case *ecdsa.PublicKey:
				if !pub.Equal(&short.PublicKey) {
					t.Error("another key")
				}
			}
		})
	}
}

// 3.1: a private key is known by its numbers, however they are written and whichever are there.
func TestPrivateTwins(t *testing.T) {
	r := testKeys()["rsa"].(*rsa.PrivateKey)
	e := testKeys()["ec256"].(*ecdsa.PrivateKey)
	d := testKeys()["ed"].(ed25519.PrivateKey)
	p, q := b64(r.Primes[0].Bytes()), b64(r.Primes[1].Bytes())
	flipped := bytes.Clone(d[32:])
	flipped[31] ^= 0x80
	for _, tt := range []struct{ name, key, twin string }{
		{"n with a leading zero", "rsa", object("n", quote(b64(append([]byte{0}, r.N.Bytes()...))), "d", `"AQ"`).String()},
		{"n with padding", "rsa", object("kty", `"RSA"`, "n", quote(b64(r.N.Bytes())+"=="), "d", `"AQ"`).String()},
		{"no n", "rsa", object("kty", `"RSA"`, "p", quote(p), "q", quote(q)).String()},
		{"another n", "rsa", object("kty", `"RSA"`, "n", `"AQAB"`, "p", quote(p), "q", quote(q)).String()},
		{"x without its leading zeros", "ec256", object("kty", `"EC"`, "crv", `"P-256"`, "x", quote(b64(e.X.Bytes())), "d", `"AQ"`).String()},
		{"no x", "ec256", object("kty", `"EC"`, "crv", `"P-256"`, "d", quote(b64(must(e.Bytes())))).String()},
		{"no x of Ed25519", "ed", object("kty", `"OKP"`, "crv", `"Ed25519"`, "d", quote(b64(d.Seed()))).String()},
		{"x of Ed25519 with the other sign", "ed", object("kty", `"OKP"`, "crv", `"Ed25519"`, "x", quote(b64(flipped)), "d", `"AQ"`).String()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, list := range []string{jwkOf(tt.key).String() + "," + tt.twin, tt.twin + "," + jwkOf(tt.key).String()} {
				set, err := ParseKeySet([]byte(`{"keys":[` + list + "," + jwkOf("rsa2").String() + `]}`))
				if err != nil || set.Len() != 1 {
					t.Errorf("%v, %d keys left, want one", err, set.Len())
				}
				if !strings.Contains(strings.Join(set.Warnings(), "\n"), `(kid "`+tt.key+`") is not used: its private part is published`) {
					t.Errorf("warnings %q", set.Warnings())
				}
			}
		})
	}
}

// Every key passed over is named with its reason where none is left, the normal ones too.
func TestNoneLeft(t *testing.T) {
	_, err := ParseKeySet(jwks(`rsa +use="enc"`, `ec256 kty="AKP"`, "rsa1024", "oct", `ed crv="Ed448"`))
	for _, part := range []string{
		`key 1 (kid "rsa") is not used: not meant for signatures`, `key 2 (kid "") is not used: unknown type`,
		`key 3 (kid "rsa1024") is not used: its modulus`, `key 4 (kid "oct") is not used: a secret`, `key 5 (kid "ed") is not used: unknown curve`,
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not have %s", err, part)
		}
	}
	many := strings.TrimSuffix(strings.Repeat(jwkOf("rsa1024").String()+",", 100), ",")
	if _, err = ParseKeySet([]byte(`{"keys":[` + many + `]}`)); err == nil || len(err.Error()) > 2000 || !strings.Contains(err.Error(), "and 90 more") {
		t.Error(err)
	}
	if _, err = ParseKeySet([]byte(`{"keys":[]}`)); err == nil || !strings.HasSuffix(err.Error(), ": it is empty") {
		t.Error(err)
	}
}

// 3.5: what one token may cost.
func TestWorkForOneToken(t *testing.T) {
	big1 := new(big.Int).SetBit(new(big.Int).Lsh(testKeys()["rsa"].(*rsa.PrivateKey).N, 4097-2048), 0, 1)
	big2 := new(big.Int).Add(big1, big.NewInt(2))
	withE := func(n *big.Int, e string) string {
		return object("kty", `"RSA"`, "n", quote(b64(n.Bytes())), "e", quote(e)).String()
	}
	for e, good := range map[string]bool{"Aw": true, "AQAB": true, "AQAD": false, "f____w": false} {
		if _, err := ParseKeySet([]byte(`{"keys":[` + withE(big1, e) + `]}`)); (err == nil) != good {
			t.Errorf("4097 bits, e %s: %v", e, err)
		}
	}
	ec := func() string {
		pub := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
		return object("kty", `"EC"`, "crv", `"P-521"`, "x", quote(b64(pub.X.FillBytes(make([]byte, 66)))), "y", quote(b64(pub.Y.FillBytes(make([]byte, 66))))).String()
	}
	ps := func(name string) string { return jwkOf(name).edit("-kid").String() }
	for _, tt := range []struct {
		name, alg  string
		keys       []string
		n, untried int
	}{
		{"P-521", "ES512", []string{ec(), ec(), ec()}, 1, 2},
		{"RSA above 4096 bits", "RS256", []string{withE(big1, "AQAB"), withE(big2, "AQAB")}, 1, 1},
		{"beside small ones", "RS256", []string{withE(big1, "AQAB"), withE(big2, "AQAB"), ps("rsa"), ps("rsa2")}, 3, 1},
		{"small ones", "RS256", []string{ps("rsa"), ps("rsa2"), withE(big1, "AQAB"), withE(big2, "AQAB")}, 3, 1},
	} {
		set := parsedKeys(t, []byte(`{"keys":[`+strings.Join(tt.keys, ",")+`]}`))
		m := &message{header: &header{alg: tt.alg}}
		c, rej := set.choose(m, algorithms[tt.alg], nil)
		if rej != nil || c.n != tt.n || c.untried != tt.untried {
			t.Errorf("%s: %d tried, %d not, %v", tt.name, c.n, c.untried, rej)
		}
	}
}
