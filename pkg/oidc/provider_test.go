package oidc

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }

func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

// idp is a provider whose answers a test changes as it goes.
type idp struct {
	*httptest.Server
	discoveries, fetches atomic.Int32 // of the document and of keys

	mu       sync.Mutex // guards below
	document http.HandlerFunc
	keys     http.HandlerFunc
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	i := &idp{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		document, keys := i.document, i.keys
		i.mu.Unlock()
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			i.discoveries.Add(1)
			document(w, r)
		case "/jwks":
			i.fetches.Add(1)
			keys(w, r)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(i.Close)
	i.serveDocument(answer(200, i.metadata("/jwks")))
	i.serveKeys(answer(200, keySetOf("a")))
	return i
}

func (i *idp) metadata(jwks string) string {
	return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"token_endpoint":%q}`, i.URL, i.URL+jwks, i.URL+"/token")
}

func (i *idp) serveDocument(h http.HandlerFunc) { i.mu.Lock(); defer i.mu.Unlock(); i.document = h }
func (i *idp) serveKeys(h http.HandlerFunc)     { i.mu.Lock(); defer i.mu.Unlock(); i.keys = h }

func (i *idp) counts() string {
	return fmt.Sprintf("%d documents, %d key sets", i.discoveries.Load(), i.fetches.Load())
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// edKeyNamed is the same key for the same name, so that tests can say which is meant.
func edKeyNamed(name string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	return ed25519.NewKeyFromSeed(seed)
}

// keySetOf is a key set with a key for each "kid" or "kid=key".
func keySetOf(names ...string) string {
	keys := []string{}
	for _, n := range names {
		kid, key, other := strings.Cut(n, "=")
		if !other {
			key = kid
		}
		pub := edKeyNamed(key).Public().(ed25519.PublicKey)
		keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, kid, b64(pub)))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

// tokenBy is a token of an issuer, valid for an hour, with a kid and the key of that name.
func (c *clock) tokenBy(issuer, kid, key string) string {
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, kid)
	claims := fmt.Sprintf(`{"iss":%q,"exp":%d}`, issuer, c.now().Add(time.Hour).Unix())
	signed := b64([]byte(header)) + "." + b64([]byte(claims))
	return signed + "." + b64(ed25519.Sign(edKeyNamed(key), []byte(signed)))
}

type fixture struct {
	*clock
	idp      *idp
	registry *Registry
	client   *egress.Client
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{clock: &clock{t: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, idp: newIDP(t)}
	f.registry = NewRegistry(RegistryOptions{Now: f.now})
	pool := egress.NewPool(egress.Options{})
	t.Cleanup(pool.Close)
	t.Cleanup(f.registry.Close)
	f.client = pool.Client(egress.Settings{VerifyTLS: true, Keepalive: true})
	return f
}

func (f *fixture) config() ProviderConfig {
	return ProviderConfig{Issuer: f.idp.URL, RediscoveryLifetime: 30 * time.Second, MaxAge: 1000 * time.Hour, Client: f.client}
}

func (f *fixture) provider() *Provider { return f.registry.Provider(f.config()) }

func (f *fixture) token(kid string) string { return f.tokenBy(f.idp.URL, kid, kid) }

// outcome is "ok", a Reason or a Fault's Kind.
func outcome(t testing.TB, err error) string {
	t.Helper()
	var r *Rejection
	var fault *Fault
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &r):
		return string(r.Reason)
	case errors.As(err, &fault):
		return string(fault.Kind)
	}
	t.Fatalf("untyped error %v", err)
	return ""
}

func verdictOf(t testing.TB, p *Provider, token string) string {
	t.Helper()
	_, err := p.Verify(t.Context(), token, Policy{})
	return outcome(t, err)
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// await receives from c, in a time that only a hanging test needs.
func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing comes")
		return *new(T)
	}
}

// settled waits until no fetch is under way, each of which has a budget.
func settled[T any](k *kept[T]) {
	k.mu.Lock()
	flight := k.flight
	k.mu.Unlock()
	if flight != nil {
		<-flight
	}
}

func (p *Provider) settle() {
	settled(&p.metadata)
	for _, s := range p.sources {
		settled(&s.kept)
	}
}

func TestNothingIsFetchedBeforeItIsNeeded(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	// Row 12: what no key could make good does not reach the provider.
	for token, reason := range map[string]string{
		"": "malformed", "a.b": "malformed", "a.b.c": "malformed",
		b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{}`)) + ".":    "bad_alg",
		b64([]byte(`{"alg":"HS256"}`)) + "." + b64([]byte(`{}`)) + ".AA": "bad_alg",
	} {
		want(t, token, verdictOf(t, p, token), reason)
	}
	want(t, "asked", f.idp.counts(), "0 documents, 0 key sets")

	// Without a signature to check no key is needed, without claims no issuer.
	tok := f.tokenBy(f.idp.URL, "unknown", "unknown")
	_, err := p.Verify(t.Context(), tok, Policy{SkipSignature: true, SkipClaims: true})
	want(t, "nothing to check", outcome(t, err), "ok")
	want(t, "asked", f.idp.counts(), "0 documents, 0 key sets")
	_, err = p.Verify(t.Context(), tok, Policy{SkipSignature: true})
	want(t, "no signature to check", outcome(t, err), "ok")
	want(t, "asked", f.idp.counts(), "1 documents, 0 key sets")

	// HMAC needs the secret, not the keys.
	header, claims := b64([]byte(`{"alg":"HS256"}`)), b64(fmt.Appendf(nil, `{"iss":%q,"exp":%d}`, f.idp.URL, f.now().Unix()+60))
	_, err = p.Verify(t.Context(), header+"."+claims+".AAAA", Policy{HMAC: Secrets{[]byte("secret")}})
	want(t, "HMAC", outcome(t, err), "bad_sig")
	want(t, "asked", f.idp.counts(), "1 documents, 0 key sets")

	want(t, "good", verdictOf(t, p, f.token("a")), "ok")
	want(t, "wrong issuer", verdictOf(t, p, f.tokenBy("https://idp.evil", "a", "a")), "bad_iss")
	want(t, "asked", f.idp.counts(), "1 documents, 1 key sets")
}

// Row 60.
func TestRotation(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	want(t, "first", verdictOf(t, p, f.token("a")), "ok")

	// Right after the first fetch, and found by one more.
	f.idp.serveKeys(answer(200, keySetOf("a", "b")))
	want(t, "new kid", verdictOf(t, p, f.token("b")), "ok")
	want(t, "key sets", f.idp.fetches.Load(), 2)

	f.idp.serveKeys(answer(200, keySetOf("c")))
	want(t, "another, within the period", verdictOf(t, p, f.token("c")), "no_key")
	want(t, "removed, not known yet", verdictOf(t, p, f.token("a")), "ok")
	f.add(30 * time.Second)
	want(t, "another, after it", verdictOf(t, p, f.token("c")), "ok")
	want(t, "removed", verdictOf(t, p, f.token("a")), "no_key")
	want(t, "key sets", f.idp.fetches.Load(), 3)

	// The same kid, another key.
	f.add(30 * time.Second)
	f.idp.serveKeys(answer(200, keySetOf("c=d")))
	want(t, "same kid", verdictOf(t, p, f.tokenBy(f.idp.URL, "c", "d")), "ok")
	want(t, "old key", verdictOf(t, p, f.token("c")), "bad_sig")
	want(t, "key sets", f.idp.fetches.Load(), 4)

	// The keys move to another place, which the document told in the meantime.
	p.settle()
	f.add(30 * time.Second)
	f.idp.serveDocument(answer(200, f.idp.metadata("/moved")))
	want(t, "not there yet", verdictOf(t, p, f.token("e")), string(BadStatus))
	p.settle()
	m, err := p.Metadata(t.Context())
	if err != nil || m.endpoints["jwks_uri"] != f.idp.URL+"/moved" {
		t.Errorf("%v %+v", err, m)
	}
	want(t, "last good keys serve on", verdictOf(t, p, f.tokenBy(f.idp.URL, "c", "d")), "ok")
}

// Row 61.
func TestUnknownKidFlood(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	good := f.token("a")
	want(t, "good", verdictOf(t, p, good), "ok")
	claims, signature := strings.Split(good, ".")[1], strings.Split(good, ".")[2]
	for period, tokens := range []int{10_000, 1000, 1000} {
		var wg sync.WaitGroup
		for w := range 10 {
			wg.Go(func() {
				for i := range tokens / 10 {
					header := b64(fmt.Appendf(nil, `{"alg":"EdDSA","kid":"x%d-%d"}`, w, i))
					if _, err := p.Verify(t.Context(), header+"."+claims+"."+signature, Policy{}); err == nil {
						t.Error("accepted")
					}
				}
			})
		}
		wg.Wait()
		p.settle()
		want(t, "key sets", f.idp.fetches.Load(), int32(2+period))
		f.add(30 * time.Second)
	}
	want(t, "documents at most once a period too", f.idp.discoveries.Load() <= 4, true)
}

func TestKnownKidsDoNotWait(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	want(t, "good", verdictOf(t, p, f.token("a")), "ok")
	hang, arrived := make(chan struct{}), make(chan struct{})
	f.idp.serveKeys(func(http.ResponseWriter, *http.Request) { close(arrived); <-hang })
	done := make(chan string, 1)
	go func() { done <- verdictOf(t, p, f.token("b")) }()
	await(t, arrived)
	want(t, "known kid", verdictOf(t, p, f.token("a")), "ok")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Verify(ctx, f.token("b"), Policy{})
	want(t, "unknown kid whose caller leaves", outcome(t, err), string(egress.Canceled))
	ctx, cancel = context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, err = p.Verify(ctx, f.token("b"), Policy{})
	want(t, "unknown kid whose time is up", outcome(t, err), string(egress.Timeout))
	close(hang)
	// The answer was empty: whether b is a key is not known.
	want(t, "unknown kid", await(t, done), string(BadKeys))
}

func TestRediscoveryLifetimeZero(t *testing.T) {
	f := newFixture(t)
	cfg := f.config()
	cfg.RediscoveryLifetime = 0
	p := f.registry.Provider(cfg)
	for range 5 {
		want(t, "unknown", verdictOf(t, p, f.token("x")), "no_key")
	}
	want(t, "key sets", f.idp.fetches.Load(), 2)
	f.add(time.Second)
	want(t, "unknown", verdictOf(t, p, f.token("x")), "no_key")
	want(t, "key sets", f.idp.fetches.Load(), 3)
	f.add(time.Second)
	f.idp.serveKeys(answer(500, ""))
	want(t, "failure", verdictOf(t, p, f.token("x")), string(BadStatus))
	f.add(time.Second)
	f.idp.serveKeys(answer(200, keySetOf("x")))
	want(t, "recovered after a second", verdictOf(t, p, f.token("x")), "ok")
}

// Rows 58, 59: a bad answer does not take the place of a good one.
func TestLastGoodKeysServeOn(t *testing.T) {
	one := strings.TrimSuffix(strings.TrimPrefix(keySetOf("b"), `{"keys":[`), "]}")
	tooMany := `{"keys":[` + strings.Repeat(one+",", 9_999) + one + "]}"
	for name, bad := range map[string]http.HandlerFunc{
		"HTML": answer(200, "<html>"), "empty": answer(200, ""), "{}": answer(200, "{}"), "keys null": answer(200, `{"keys":null}`),
		"no keys": answer(200, `{"keys":[]}`), "only unknown ones": answer(200, `{"keys":[{"kty":"new"}]}`), "only for encryption": answer(200, strings.Replace(keySetOf("b"), `"kid"`, `"use":"enc","kid"`, 1)),
		"10000 keys": answer(200, tooMany), "5 MiB": answer(200, strings.Repeat(" ", 5<<20)), "500": answer(500, ""), "404": answer(404, ""),
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"n=0":      answer(200, `{"keys":[{"kty":"RSA","kid":"b","n":"","e":"AQAB"}]}`),
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			p := f.provider()
			// Cold: a fault, and no request more before 5 s are over.
			f.idp.serveKeys(bad)
			_, err := p.Verify(t.Context(), f.token("a"), Policy{})
			var fault *Fault
			if !errors.As(err, &fault) || fault.RetryAfter != 5*time.Second {
				t.Fatalf("%v", err)
			}
			for range 10 {
				_ = verdictOf(t, p, f.token("a"))
			}
			want(t, "key sets", f.idp.fetches.Load(), 1)
			f.add(5 * time.Second)
			f.idp.serveKeys(answer(200, keySetOf("a")))
			want(t, "recovered by itself", verdictOf(t, p, f.token("a")), "ok")
			// Warm: the last good copy.
			f.idp.serveKeys(bad)
			_, err = p.Verify(t.Context(), f.token("b"), Policy{})
			if !errors.As(err, &fault) {
				t.Errorf("unknown kid while keys cannot be had: %v", err)
			}
			want(t, "wrong signature", verdictOf(t, p, f.tokenBy(f.idp.URL, "a", "x")), "bad_sig")
			want(t, "known kid", verdictOf(t, p, f.token("a")), "ok")
			want(t, "key sets", f.idp.fetches.Load(), 3)
			f.add(5 * time.Second)
			f.idp.serveKeys(answer(200, keySetOf("a", "b")))
			want(t, "recovered within 5 s", verdictOf(t, p, f.token("b")), "ok")
		})
	}
}

// Row 64: started before the provider, through an outage, and back.
func TestOutage(t *testing.T) {
	f := newFixture(t)
	cfg := f.config()
	cfg.MaxAge = time.Hour
	p := f.registry.Provider(cfg)
	down := answer(503, "")
	f.idp.serveDocument(down)
	for range 20 {
		want(t, "down at start", verdictOf(t, p, f.token("a")), string(BadStatus))
	}
	want(t, "documents", f.idp.discoveries.Load(), 1)
	f.idp.serveDocument(answer(200, f.idp.metadata("/jwks")))
	f.add(5 * time.Second)
	want(t, "back", verdictOf(t, p, f.token("a")), "ok")

	f.idp.serveDocument(down)
	f.idp.serveKeys(down)
	before := f.idp.discoveries.Load() + f.idp.fetches.Load()
	for range 24 {
		f.add(time.Hour)
		want(t, "a day without it", verdictOf(t, p, f.token("a")), "ok")
		p.settle()
	}
	if n := f.idp.discoveries.Load() + f.idp.fetches.Load() - before; n == 0 || n > 48 {
		t.Errorf("%d tries", n)
	}
	f.idp.serveDocument(answer(200, f.idp.metadata("/jwks")))
	f.idp.serveKeys(answer(200, keySetOf("b")))
	f.add(5 * time.Second)
	want(t, "last good once more, while it is renewed", verdictOf(t, p, f.token("a")), "ok")
	p.settle()
	want(t, "renewed", verdictOf(t, p, f.token("b")), "ok")
	want(t, "the removed key is gone", verdictOf(t, p, f.token("a")), "no_key")
}

func TestExtraSources(t *testing.T) {
	f := newFixture(t)
	second, broken := newIDP(t), newIDP(t)
	second.serveKeys(answer(200, keySetOf("s", "a")))
	broken.serveKeys(answer(500, ""))
	cfg := f.config()
	cfg.ExtraJWKSURIs = []string{second.URL + "/jwks", broken.URL + "/jwks", "127.0.0.1:1/scheme-less"}
	p := f.registry.Provider(cfg)
	pol := Policy{Issuers: []string{f.idp.URL, second.URL}}
	verify := func(token string) string {
		_, err := p.Verify(t.Context(), token, pol)
		return outcome(t, err)
	}
	want(t, "own key", verify(f.token("a")), "ok")
	want(t, "key of the second", verify(f.tokenBy(second.URL, "s", "s")), "ok")
	want(t, "unknown key of the discovered issuer, for which no other source vouches", verify(f.token("x")), "no_key")
	want(t, "key that may be in the one that is down", verify(f.tokenBy(second.URL, "x", "x")), string(BadStatus))
	want(t, "wrong signature", verify(f.tokenBy(second.URL, "s", "x")), "bad_sig")

	// The own keys down and cold: the second's serve.
	cfg.JWKSEndpoint = broken.URL + "/jwks"
	p = f.registry.Provider(cfg)
	want(t, "key of the second", verify(f.tokenBy(second.URL, "s", "s")), "ok")
	want(t, "own key, which is overridden", verify(f.tokenBy(f.idp.URL, "b", "b")) == "ok", false)
}

func TestPseudoIssuer(t *testing.T) {
	f := newFixture(t)
	const issuer = "urn:any name"
	cfg := ProviderConfig{Issuer: issuer, Pseudo: true, JWKSEndpoint: f.idp.URL + "/jwks", Client: f.client}
	p := f.registry.Provider(cfg)
	want(t, "good", verdictOf(t, p, f.tokenBy(issuer, "a", "a")), "ok")
	want(t, "other issuer", verdictOf(t, p, f.tokenBy(f.idp.URL, "a", "a")), "bad_iss")
	want(t, "unknown kid", verdictOf(t, p, f.tokenBy(issuer, "x", "x")), "no_key")
	m, err := p.Metadata(t.Context())
	if err != nil || m.Issuer != issuer || len(m.endpoints) > 0 {
		t.Errorf("%v %+v", err, m)
	}
	want(t, "documents", f.idp.discoveries.Load(), 0)

	cfg.JWKSEndpoint, cfg.ExtraJWKSURIs = "", []string{f.idp.URL + "/jwks"}
	want(t, "extra keys only", verdictOf(t, f.registry.Provider(cfg), f.tokenBy(issuer, "a", "a")), "ok")
	cfg.ExtraJWKSURIs = nil
	want(t, "no keys at all", verdictOf(t, f.registry.Provider(cfg), f.tokenBy(issuer, "a", "a")), string(NoKeySource))
}

func TestKeysEndpointOverrides(t *testing.T) {
	f := newFixture(t)
	other := newIDP(t)
	other.serveKeys(answer(200, keySetOf("o")))
	cfg := f.config()
	cfg.JWKSEndpoint = other.URL + "/jwks"
	p := f.registry.Provider(cfg)
	want(t, "its key", verdictOf(t, p, f.token("o")), "ok")
	want(t, "the document's key", verdictOf(t, p, f.token("a")), "no_key")
	want(t, "key sets of the document", f.idp.fetches.Load(), 0)
}
