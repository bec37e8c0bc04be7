package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// The keys of the fuzz targets are constants: the workers are processes of their own and must know
// the tokens of the seeds.
var (
	fuzzSecret = []byte("a constant secret for the fuzz targets of this package")
	fuzzEd     = ed25519.NewKeyFromSeed([]byte("0123456789abcdef0123456789abcdef"))
)

func fuzzPolicy() Policy {
	return Policy{Issuers: []string{"https://idp.example"}, HMAC: Secrets{fuzzSecret}}
}

func fuzzKeys(t testing.TB) *KeySet {
	return parsedKeys(t, []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"`+b64(fuzzEd.Public().(ed25519.PublicKey))+`"}]}`))
}

func fuzzToken(alg, payload string) string {
	signed := b64([]byte(`{"alg":"`+alg+`"}`)) + "." + b64([]byte(payload))
	if alg == "EdDSA" {
		return signed + "." + b64(ed25519.Sign(fuzzEd, []byte(signed)))
	}
	return signed + "." + b64(mac(crypto.SHA256, fuzzSecret, []byte(signed)))
}

const fuzzClaims = `{"iss":"https://idp.example","exp":1900000300}`

// What is accepted is byte for byte a token that was minted.
func FuzzVerify(f *testing.F) {
	minted := map[string]bool{}
	for _, alg := range []string{"EdDSA", "HS256"} {
		token := fuzzToken(alg, fuzzClaims)
		minted[token] = true
		f.Add(token)
		f.Add(token + "=")
		f.Add(strings.ToUpper(token))
	}
	for _, v := range loadVectors(f) {
		token, _ := v.mint(f, v.algs()[0])
		f.Add(token)
	}
	keys := fuzzKeys(f)
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := Verify(raw, keys, fuzzPolicy(), time.Unix(testNow, 0))
		if err != nil {
			var rej *Rejection
			if !errors.As(err, &rej) || tok != nil || len(rej.Detail) > maxDetail {
				t.Fatalf("%v, %v", tok, err)
			}
			return
		}
		if !minted[raw] {
			t.Fatalf("accepted %q, which nobody minted", raw)
		}
	})
}

// Whatever a provider signs: what is accepted, encoding/json reads the same way, and it is not
// expired.
func FuzzVerifyClaims(f *testing.F) {
	f.Add(fuzzClaims)
	f.Add(`{"iss":"https://idp.example","exp":1900000300.5,"nbf":0,"iat":1,"aud":["a","b"],"typ":"Bearer"}`)
	for _, v := range loadVectors(f) {
		token, _ := v.mint(f, v.algs()[0])
		if seg := strings.Split(token, "."); len(seg) == 3 {
			doc, _ := decodeSegment(seg[1])
			f.Add(string(doc))
		}
	}
	keys := fuzzKeys(f)
	f.Fuzz(func(t *testing.T, payload string) {
		tok, err := Verify(fuzzToken("HS256", payload), keys, fuzzPolicy(), time.Unix(testNow, 0))
		if err != nil {
			return
		}
		var theirs map[string]any
		d := json.NewDecoder(strings.NewReader(payload))
		d.UseNumber() // a claim that nobody reads may hold a number that no float64 does
		if err := d.Decode(&theirs); err != nil {
			t.Fatalf("accepted %q: %v", payload, err)
		}
		number, _ := theirs["exp"].(json.Number)
		exp, err := number.Float64()
		if err != nil || exp <= testNow || theirs["iss"] != "https://idp.example" {
			t.Fatalf("accepted %q", payload)
		}
		if d := tok.Expiry.Sub(time.UnixMicro(int64(exp * 1e6))); d.Abs() > time.Millisecond && exp < 1e11 {
			t.Fatalf("%q: expiry %v", payload, tok.Expiry)
		}
	})
}

// Every key that may verify is public, strong and on its curve, and jwx reads it too.
func FuzzParseKeySet(f *testing.F) {
	f.Add(jwks(goodKeys...))
	f.Add(jwks("rsa", `rsa kid=1 +use="enc" +d="AQ"`, `ec256 +d="AQ"`))
	f.Add(jwks("oct", `rsa +d="AQ"`, `ec256 +use="enc"`, `ed +key_ops=["verify"]`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"","y":""},null]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := ParseKeySet(raw)
		if (set == nil) != (err != nil && !errors.Is(err, ErrNoKeys)) || err == nil && set.Len() == 0 {
			t.Fatalf("%v, %v", set, err)
		}
		if set == nil {
			return
		}
		for _, k := range set.keys {
			if k.fault == "" && k.kty != ktyOct && slices.Contains(set.exposed, k.identity) {
				t.Fatal("a key whose private half is published")
			}
			if k.fault != "" {
				if k.key != nil || k.public != nil {
					t.Fatal("a refused key kept its material")
				}
				continue
			}
			checkUsableKey(t, k)
		}
	})
}

func checkUsableKey(t *testing.T, k *setKey) {
	t.Helper()
	switch pub := k.key.(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < 2048 || bits > 8192 || pub.E < 3 || pub.E%2 == 0 || bits > 4096 && pub.E > 65537 {
			t.Fatalf("RSA of %d bits, e %d", bits, pub.E)
		}
	case *ecdsa.PublicKey:
		if _, err := pub.ECDH(); err != nil {
			t.Fatal(err)
		}
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			t.Fatal(len(pub))
		}
	case []byte:
		if k.kty != ktyOct || k.public != nil {
			t.Fatal("a secret that is public")
		}
		return
	default:
		t.Fatalf("%T", pub)
	}
	parsed, err := jwk.ParseKey(k.public)
	if err != nil {
		return // jwx also judges members that we do not use, x5c for one
	}
	if private, err := jwk.IsPrivateKey(parsed); err != nil || private {
		t.Fatalf("private %v, %v", private, err)
	}
}
