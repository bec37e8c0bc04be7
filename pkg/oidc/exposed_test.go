package oidc

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"
)

// behaviour.md §5: a private key beside its public half: refused, however its numbers are written.
func TestExposedHoweverWritten(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	strict := base64.RawURLEncoding.EncodeToString
	wrapped := func(b []byte) string { // MIME, lines of 64
		s := base64.StdEncoding.EncodeToString(b)
		var out []string
		for len(s) > 64 {
			out, s = append(out, s[:64]), s[64:]
		}
		return strings.Join(append(out, s), "\r\n")
	}
	unused := func(b []byte) string { // unused bits that are not zero
		s := strict(b)
		const abc = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		return s[:len(s)-1] + string(abc[strings.IndexByte(abc, s[len(s)-1])|1])
	}
	hexed := func(b []byte) string { return new(big.Int).SetBytes(b).Text(16) + "\n" }
	for name, write := range map[string]func([]byte) string{"strict": strict, "wrapped": wrapped, "unused bits": unused, "hex+newline": hexed} {
		e := big.NewInt(int64(key.E)).Bytes()
		doc, _ := json.Marshal(map[string]any{"keys": []any{
			map[string]any{"kty": "RSA", "kid": "a", "n": strict(key.N.Bytes()), "e": strict(e)},
			map[string]any{"kty": "RSA", "kid": "b", "n": write(key.N.Bytes()), "e": write(e), "d": write(key.D.Bytes()), "p": write(key.Primes[0].Bytes()), "q": write(key.Primes[1].Bytes())},
		}})
		set, err := ParseKeySet(doc)
		if set == nil || set.Len() != 0 {
			t.Errorf("%s: %v keys are left, %v", name, set.Len(), err)
		}
	}
}

// A new kid is found within one fetch (security.md row 60), also where another source has a key of that name.
func TestKidOfAnotherSource(t *testing.T) {
	own := &place{answer: published("a")}
	extra := &place{answer: func(context.Context) (*KeySet, error) {
		return ParseKeySet([]byte(strings.ReplaceAll(keySetOf("x"), `"kid":"x"`, `"kid":"b"`)))
	}}
	inBubble(t, nil, []*place{own, extra}, func(t *testing.T, p *Provider) {
		want(t, "first", judged(t, p, "a", "a"), "ok 0s")
		time.Sleep(time.Minute)
		own.serve(published("a", "b"))
		got := ""
		for i := range 20 {
			got = judged(t, p, "b", "b")
			if strings.HasPrefix(got, "ok") {
				t.Logf("after %d minutes", i)
				return
			}
			time.Sleep(time.Minute)
		}
		t.Errorf("20 minutes later: %s; own set fetched %d times, the other %d times", got, own.count(), extra.count())
	})
}
