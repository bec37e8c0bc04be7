package oidc

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

func parsedKeys(t testing.TB, set []byte) *KeySet {
	t.Helper()
	keys, err := ParseKeySet(set)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// mintedToken is a good token of an algorithm and the set that verifies it.
func mintedToken(t testing.TB, alg string) (string, *KeySet) {
	t.Helper()
	token, set := vector{name: "good"}.mint(t, alg)
	return token, parsedKeys(t, set)
}

// allocated is what f leaves for the garbage collector, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Rows 13 and 14: what is too big is refused before it costs anything.
func TestSizes(t *testing.T) {
	good, keys := mintedToken(t, "RS256")
	long := strings.Split(good, ".")
	payload := func(s string) string { return long[0] + "." + b64([]byte(s)) + "." + long[2] }
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, `"%d":0,`, i)
	}
	grant := Policy{FromGrant: true, Issuers: []string{"https://idp.example"}}
	wide := grant
	wide.MaxSize = 1 << 30
	tests := []struct {
		name   string
		token  string
		policy Policy
		free   bool // whether at most 64 KiB may be allocated
	}{
		{"4 MiB of dots", strings.Repeat(".", 4<<20), Policy{}, true},
		{"4 MiB of dots from a grant", strings.Repeat(".", 4<<20), grant, true},
		{"1 MiB token", payload(`{"x":"` + strings.Repeat("a", 768<<10) + `"}`), Policy{}, true},
		{"1 MiB token from a grant", payload(`{"x":"` + strings.Repeat("a", 768<<10) + `"}`), grant, true},
		{"16 KiB of dots", strings.Repeat(".", 16<<10), Policy{}, true},
		{"one byte over the limit", good + strings.Repeat("A", DefaultMaxSize+1-len(good)), Policy{}, true},
		{"one byte over the grant's limit", good + strings.Repeat("A", DefaultGrantMaxSize+1-len(good)), grant, true},
		{"depth 2000", payload(`{"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`), Policy{}, true},
		{"depth 2000 of objects", payload(strings.Repeat(`{"x":`, 2000) + "1" + strings.Repeat("}", 2000)), Policy{}, true},
		{"depth 65", payload(strings.Repeat(`{"x":`, 65) + "1" + strings.Repeat("}", 65)), Policy{}, true},
		{"depth 100000", payload(`{"x":` + strings.Repeat("[", 100_000)), Policy{}, true},
		{"depth 100000 without a limit of size", payload(`{"x":` + strings.Repeat("[", 100_000)), wide, false},
		{"100000 members", payload("{" + many.String() + `"x":0}`), Policy{}, true},
		{"100000 members without a limit of size", payload("{" + many.String() + `"x":0}`), wide, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			n := allocated(func() { _, err = Verify(tt.token, keys, tt.policy, time.Unix(testNow, 0)) })
			if got := reasonOf(t, nil, err); got != "malformed" {
				t.Errorf("got %s (%v)", got, err)
			}
			if tt.free && n > 64<<10 {
				t.Errorf("%d bytes allocated", n)
			}
		})
	}
}

func TestSizeOfAGrantsToken(t *testing.T) {
	v := vector{lines: []vectorLine{{"claim", `x="` + strings.Repeat("a", 40<<10) + `"`}}}
	token, set := v.mint(t, "ES256")
	p := v.policy(t)
	for fromGrant, want := range map[bool]string{false: "malformed", true: "ok"} {
		p.FromGrant = fromGrant
		tok, err := Verify(token, parsedKeys(t, set), p, v.now())
		if got := reasonOf(t, tok, err); got != want {
			t.Errorf("from a grant %v: %s (%v), want %s", fromGrant, got, err, want)
		}
	}
}

// Row 8: a kid of any length and content is a line of the log and nothing else.
func TestDetailIsSafe(t *testing.T) {
	for _, kid := range []string{strings.Repeat("k", 8<<10), "a\r\nb\x00\x1b[31m", "ключ", "\u202e", `"`, strings.Repeat("\u202e", 100)} {
		v := vector{lines: []vectorLine{{"header", "kid=" + quote(kid)}, {"policy", "grant"}}}
		token, set := v.mint(t, "EdDSA")
		_, err := Verify(token, parsedKeys(t, set), v.policy(t), v.now())
		if got := reasonOf(t, nil, err); got != "no_key" {
			t.Errorf("kid %.20q: %s (%v)", kid, got, err)
		}
		checkDetail(t, err.(*Rejection), token)
	}
}

// Row 6: nothing in a header is an address. That holds by construction, since Verify is given
// nothing that could connect; here a listener watches.
func TestNoOutboundConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			connections.Add(1)
			_ = c.Close()
		}
	}()
	url := quote("http://" + l.Addr().String() + "/keys")
	for _, kid := range []string{`kid="rsa"`, `kid="unknown"`, "-kid"} {
		for _, how := range []string{"", "short"} {
			v := vector{lines: []vectorLine{{"header", kid}, {"header", "jku=" + url}, {"header", "x5u=" + url}, {"sign", how}}}
			token, set := v.mint(t, "RS256")
			_, _ = Verify(token, parsedKeys(t, set), v.policy(t), v.now())
		}
	}
	_ = l.Close()
	<-done
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestGraphNonceIsNamed(t *testing.T) {
	v := vector{lines: []vectorLine{{"header", `+nonce="x"`}, {"sign", "short"}}}
	token, set := v.mint(t, "RS256")
	_, err := Verify(token, parsedKeys(t, set), v.policy(t), v.now())
	if reasonOf(t, nil, err) != "bad_sig" || !strings.Contains(err.Error(), "Microsoft Graph") {
		t.Errorf("got %v", err)
	}
}

// Every vector that we accept with its signature, jwx accepts too; and what jwx rejects, we reject.
// Beyond that we are stricter.
func TestNothingThatJWXRejects(t *testing.T) {
	for _, v := range loadVectors(t) {
		for _, alg := range v.algs() {
			token, set := v.mint(t, alg)
			keys, _ := ParseKeySet(set)
			p := v.policy(t)
			if _, err := Verify(token, keys, p, v.now()); err != nil || p.SkipSignature {
				continue
			}
			key := testKeys()[v.get("with", keyName(alg))]
			if signer, isSigner := key.(interface{ Public() any }); isSigner {
				key = signer.Public()
			}
			if _, err := jws.Verify([]byte(token), jws.WithKey(jwa.SignatureAlgorithm(alg), key)); err != nil {
				t.Errorf("%s/%s: accepted, but jwx says %v", v.name, alg, err)
			}
		}
	}
}

// A changed token is no token: whatever is accepted is byte for byte one that was minted. (An ECDSA
// signature has a twin, n-s in place of s, which RFC 7518 allows; chance does not find it.)
func TestMutants(t *testing.T) {
	rounds := map[string]int{"HS256": 2000, "EdDSA": 1000, "RS256": 1000, "ES256": 500} // the others cost more and differ less
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, alg := range append([]string{"HS256"}, asymmetric...) {
		token, set := vector{}.mint(t, alg)
		keys := parsedKeys(t, set)
		p := Policy{Issuers: []string{"https://idp.example"}, HMAC: Secrets{testKeys()["oct"].([]byte)}}
		if _, err := Verify(token, keys, p, time.Unix(testNow, 0)); err != nil {
			t.Fatal(err)
		}
		for range max(rounds[alg], 100) {
			mutant := mutate(rnd, token)
			if _, err := Verify(mutant, keys, p, time.Unix(testNow, 0)); err == nil && mutant != token {
				t.Errorf("%s: accepted\n%s\nminted\n%s", alg, mutant, token)
			}
		}
	}
}

func mutate(rnd *rand.Rand, token string) string {
	b := []byte(token)
	i := rnd.IntN(len(b))
	seg := strings.Split(token, ".")
	s := rnd.IntN(3)
	switch rnd.IntN(9) {
	case 0: // one bit
		b[i] ^= 1 << rnd.IntN(8)
	case 1: // another character of the alphabet
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[rnd.IntN(64)]
	case 2: // case
		b[i] ^= 0x20
	case 3: // cut
		b = append(b[:i], b[i+1:]...)
	case 4: // double
		b = append(b[:i+1], b[i:]...)
	case 5: // another spelling of the same bytes
		seg[s] += []string{"=", "==", "\n", "\r\n", " ", "\x00", "A"}[rnd.IntN(7)]
		return strings.Join(seg, ".")
	case 6: // the unused bits of the last character
		last := &b[len(b)-1]
		*last ^= byte(rnd.IntN(4))
	case 7: // swap segments
		seg[s], seg[(s+1)%3] = seg[(s+1)%3], seg[s]
		return strings.Join(seg, ".")
	case 8: // other JSON for the same header or claims
		doc, _ := decodeSegment(seg[s%2])
		var m map[string]any
		if json.Unmarshal(doc, &m) != nil {
			return token
		}
		other, _ := json.MarshalIndent(m, "", " ")
		seg[s%2] = b64(other)
		return strings.Join(seg, ".")
	}
	return string(b)
}

func TestTokenFields(t *testing.T) {
	v := vector{lines: []vectorLine{{"claim", "exp=1900000300.25"}, {"claim", "big=12345678901234567890"}, {"key", `rsa +use="sig" +x5c=["MIIB"]`}}}
	token, set := v.mint(t, "RS256")
	tok, err := Verify(token, parsedKeys(t, set), v.policy(t), v.now())
	if err != nil {
		t.Fatal(err)
	}
	if tok.Claims["big"] != json.Number("12345678901234567890") {
		t.Errorf("claims: %v", tok.Claims)
	}
	if want := time.Unix(testNow+300, 250_000_000); !tok.Expiry.Equal(want) {
		t.Errorf("expiry %v, want %v", tok.Expiry, want)
	}
	var got, want map[string]any
	if json.Unmarshal(tok.JWK, &got) != nil || json.Unmarshal([]byte(jwkOf("rsa").edit(`+use="sig"`).edit(`+x5c=["MIIB"]`).String()), &want) != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("JWK %s", tok.JWK)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", tok, *tok, tok, tok); strings.Contains(s, token[:20]) {
		t.Errorf("a token prints itself: %s", s)
	}
}

func TestExpiryWithoutClaims(t *testing.T) {
	for exp, want := range map[string]time.Time{"1900000300": time.Unix(1900000300, 0), `"x"`: {}, "1": time.Unix(1, 0)} {
		v := vector{lines: []vectorLine{{"claim", "exp=" + exp}, {"policy", "skip-claims"}}}
		token, set := v.mint(t, "EdDSA")
		tok, err := Verify(token, parsedKeys(t, set), v.policy(t), v.now())
		if err != nil || !tok.Expiry.Equal(want) {
			t.Errorf("exp %s: %v, %v", exp, tok, err)
		}
	}
}

func TestNoKeysNoPolicy(t *testing.T) {
	token, keys := mintedToken(t, "ES256")
	now := time.Unix(testNow, 0)
	_, err := Verify(token, nil, Policy{Issuers: []string{"https://idp.example"}}, now)
	if got := reasonOf(t, nil, err); got != "no_key" {
		t.Errorf("without keys: %v", err)
	}
	_, err = Verify(token, keys, Policy{}, now)
	if got := reasonOf(t, nil, err); got != "bad_iss" {
		t.Errorf("with the zero policy: %v", err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	p := Policy{HMAC: Secrets{[]byte("hunter2-hunter2")}}
	b, err := json.Marshal(p)
	out := fmt.Sprintf("%v %+v %#v %s %x %q", p, p, p.HMAC, p.HMAC, p.HMAC, p.HMAC) + string(b)
	if err != nil || strings.Contains(out, "hunter2") || strings.Contains(out, "68756e74") || strings.Contains(out, "104 117") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestRejectionText(t *testing.T) {
	if got := (&Rejection{Reason: ReasonBadSig}).Error(); got != "oidc: token rejected: bad_sig" {
		t.Error(got)
	}
	if got := reject(ReasonBadAud, "", "a", "b\n").Error(); got != `oidc: token rejected: bad_aud: "a" "b\n"` {
		t.Error(got)
	}
	if got := reject(ReasonBadAud, "x", strings.Repeat("a", 100)); len(got.Detail) != maxDetail {
		t.Error(got)
	}
}

func TestSupported(t *testing.T) {
	for alg, want := range map[string]bool{"EdDSA": true, "HS512": true, "none": false, "": false, "rs256": false} {
		if Supported(alg) != want {
			t.Errorf("Supported(%q) = %v", alg, !want)
		}
	}
}

// A key of the wrong Go type can only come from a mistake in this package; it verifies nothing.
func TestCheckOfAWrongKey(t *testing.T) {
	for name, a := range algorithms {
		if a.check("x", []byte("y"), 5) == nil {
			t.Errorf("%s verifies with a key that is none", name)
		}
	}
}
