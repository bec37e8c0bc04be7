package demoidp

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

// TestSign holds the standard library's signatures against go-jose, as the client with its own way
// to sign.
func TestSign(t *testing.T) {
	algs := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	var clients []Client
	for _, a := range algs {
		clients = append(clients, Client{ID: a, Alg: a})
	}
	s := start(t, Options{Clients: clients})
	for _, alg := range algs {
		raw, err := s.Sign(Token{Alg: alg, Header: map[string]any{"typ": nil, "x": 1}, Claims: map[string]any{"sub": nil, "role": "admin"}})
		if err != nil {
			t.Fatal(err)
		}
		header, claims, err := verify(t, s, raw)
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		_, typ := header.ExtraHeaders["typ"]
		_, sub := claims["sub"]
		if header.Algorithm != alg || typ || sub || claims["role"] != "admin" || claims["iss"] != s.Issuer() {
			t.Errorf("%s: %+v %v", alg, header, claims)
		}
		for name, bad := range map[string]Token{
			"changed": {Alg: alg, Signature: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
			"cut":     {Alg: alg, Signature: func(b []byte) []byte { return b[:len(b)-1] }},
		} {
			raw, err := s.Sign(bad)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := verify(t, s, raw); err == nil {
				t.Errorf("%s with a signature that was %s verifies", alg, name)
			}
		}
	}
}

func TestSignWithOtherKeys(t *testing.T) {
	s := start(t, Options{})
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		k, err := NewKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := s.Sign(Token{Key: k})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := verify(t, s, raw); err == nil {
			t.Errorf("%s: a key that is not published verifies", alg)
		}
		s.Publish(k)
		if _, _, err := verify(t, s, raw); err != nil {
			t.Errorf("%s: published: %v", alg, err)
		}
		jwk, err := k.JWK()
		if err != nil || !strings.Contains(string(s.JWKS()), string(jwk)) || strings.Contains(string(jwk), `"d":`) {
			t.Errorf("%s: %s, %v", alg, jwk, err)
		}
		// The provider's id on another key.
		current, err := s.Key(alg)
		if err != nil {
			t.Fatal(err)
		}
		k.ID = current.ID + "-not" // so as not to change what is published under k's old id
		raw, err = s.Sign(Token{Key: k, Header: map[string]any{"kid": current.ID}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := verify(t, s, raw); err == nil {
			t.Errorf("%s: another key under a published id verifies", alg)
		}
	}
}

func TestSignBadTokens(t *testing.T) {
	s := start(t, Options{})
	none, err := s.Sign(Token{Alg: "none"})
	if err != nil || !strings.HasSuffix(none, ".") {
		t.Errorf("none: %q, %v", none, err)
	}
	// HS256 with the public key as its secret, the classic.
	k, err := s.Key("RS256")
	if err != nil {
		t.Fatal(err)
	}
	modulus := k.Signer.Public().(*rsa.PublicKey).N.Bytes()
	raw, err := s.Sign(Token{Key: &Key{ID: k.ID, Alg: "HS256", Secret: modulus}})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify(modulus); err != nil {
		t.Errorf("HS256: %v", err)
	}
	// Another salt length is still a PSS signature of the right key, for those who do not look.
	raw, err = s.Sign(Token{Alg: "PS256", SaltLength: 20, Payload: []byte("[1,2]")})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || string(payload) != "[1,2]" {
		t.Errorf("payload %q, %v", payload, err)
	}
	usual, err := s.Sign(Token{Alg: "PS256", Payload: []byte("[1,2]")})
	if err != nil {
		t.Fatal(err)
	}
	for tok, ok := range map[string]bool{raw: false, usual: true} {
		if err := pssWithHashSalt(t, s, tok); (err == nil) != ok {
			t.Errorf("salt of the hash's length: %v, want %v", err, ok)
		}
	}
	for _, bad := range []Token{
		{Alg: "RS257"},
		{Alg: "XX256", Key: k},
		{Alg: "RS1", Key: k},
		{Alg: "RS999", Key: k},
		{Alg: "ES256", Key: k},
		{Alg: "RS256", Key: &Key{}},
		{Claims: map[string]any{"x": func() {}}},
		{Header: map[string]any{"x": func() {}}},
	} {
		if raw, err := s.Sign(bad); err == nil {
			t.Errorf("%+v made %q", bad.Alg, raw)
		}
	}
}

func TestKeySetServesAllKinds(t *testing.T) {
	s := start(t, Options{})
	var set struct {
		Keys []struct{ Kty, Alg, Use, Kid string }
	}
	if err := json.Unmarshal(s.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range set.Keys {
		got = append(got, k.Kty+" "+k.Alg+" "+k.Use)
	}
	if want := []string{"RSA RS256 sig", "RSA PS256 sig", "EC ES256 sig", "OKP EdDSA sig"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if raw := get(t, client(t), s.URL()+"/keys").raw; raw != string(s.JWKS()) {
		t.Errorf("served %s", raw)
	}
}

func pssWithHashSalt(t *testing.T, s *Server, raw string) error {
	t.Helper()
	k, err := s.Key("PS256")
	if err != nil {
		t.Fatal(err)
	}
	i := strings.LastIndexByte(raw, '.')
	sig, err := base64.RawURLEncoding.DecodeString(raw[i+1:])
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(raw[:i]))
	return rsa.VerifyPSS(k.Signer.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
}
