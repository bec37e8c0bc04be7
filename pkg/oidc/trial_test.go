package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

// place is a source of keys inside of a synctest bubble, where no socket can be.
type place struct {
	mu      sync.Mutex // guards below
	answer  func(context.Context) (*KeySet, error)
	fetches int
}

func (p *place) fetch(ctx context.Context) (*KeySet, error) {
	p.mu.Lock()
	p.fetches++
	answer := p.answer
	p.mu.Unlock()
	return answer(ctx)
}

func (p *place) serve(answer func(context.Context) (*KeySet, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *place) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

func published(names ...string) func(context.Context) (*KeySet, error) {
	return func(context.Context) (*KeySet, error) { return ParseKeySet([]byte(keySetOf(names...))) }
}

func down(context.Context) (*KeySet, error) { return nil, faultf(BadStatus, "down") }

func hanging(ctx context.Context) (*KeySet, error) {
	<-ctx.Done()
	return nil, &Fault{Kind: egress.Timeout, Err: ctx.Err()}
}

const bubbleIssuer = "https://idp.test"

// inBubble runs a test with fake time against a provider with keys in the places given.
func inBubble(t *testing.T, change func(*ProviderConfig), places []*place, test func(t *testing.T, p *Provider)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(RegistryOptions{})
		defer r.Close()
		cfg := ProviderConfig{Issuer: bubbleIssuer, Pseudo: true, JWKSEndpoint: "-", RediscoveryLifetime: 30 * time.Second, MaxAge: time.Hour}
		for range places[1:] {
			cfg.ExtraJWKSURIs = append(cfg.ExtraJWKSURIs, "https://extra.test/keys")
		}
		if change != nil {
			change(&cfg)
		}
		p := r.Provider(cfg)
		for i, place := range places {
			p.sources[i].fetch = place.fetch
		}
		test(t, p)
	})
}

// judged is the outcome for a token of the kid, signed by that key, and how long it took.
func judged(t *testing.T, p *Provider, kid, key string) string {
	t.Helper()
	began := time.Now()
	token := (&clock{t: began}).tokenBy(bubbleIssuer, kid, key)
	verdict := verdictOf(t, p, token)
	return fmt.Sprint(verdict, " ", time.Since(began))
}

// 3.3: keys do not serve for ever.
func TestKeysGetOld(t *testing.T) {
	week := 7 * 24 * time.Hour
	t.Run("withdrawn in an idle week", func(t *testing.T) {
		own := &place{answer: published("a")}
		inBubble(t, nil, []*place{own}, func(t *testing.T, p *Provider) {
			want(t, "first", judged(t, p, "a", "a"), "ok 0s")
			own.serve(published("b"))
			time.Sleep(week)
			want(t, "a week later", judged(t, p, "a", "a"), "no_key 0s")
			want(t, "fetches", own.count(), 2)
		})
	})
	t.Run("renewed in the background", func(t *testing.T) {
		own := &place{answer: published("a")}
		inBubble(t, nil, []*place{own}, func(t *testing.T, p *Provider) {
			want(t, "first", judged(t, p, "a", "a"), "ok 0s")
			own.serve(published("b"))
			time.Sleep(time.Hour - time.Second)
			want(t, "young", judged(t, p, "a", "a"), "ok 0s")
			synctest.Wait()
			want(t, "fetches", own.count(), 1)
			time.Sleep(time.Second)
			want(t, "while it is renewed", judged(t, p, "a", "a"), "ok 0s")
			synctest.Wait()
			want(t, "after it", judged(t, p, "a", "a"), "no_key 0s")
			want(t, "fetches", own.count(), 2)
		})
	})
	t.Run("cache_ttl 0 is rediscovery_lifetime", func(t *testing.T) {
		own := &place{answer: published("a")}
		inBubble(t, func(c *ProviderConfig) { c.MaxAge = 0 }, []*place{own}, func(t *testing.T, p *Provider) {
			want(t, "first", judged(t, p, "a", "a"), "ok 0s")
			own.serve(published("b"))
			time.Sleep(30 * time.Second)
			want(t, "while it is renewed", judged(t, p, "a", "a"), "ok 0s")
			synctest.Wait()
			want(t, "after it", judged(t, p, "a", "a"), "no_key 0s")
		})
	})
	for name, broken := range map[string]func(context.Context) (*KeySet, error){
		"down": down, "hanging": hanging, "down and slow": func(ctx context.Context) (*KeySet, error) { time.Sleep(time.Second); return down(ctx) },
		"empty": func(ctx context.Context) (*KeySet, error) { return nil, faultf(BadKeys, "empty") },
	} {
		t.Run("the provider is "+name, func(t *testing.T) {
			waits := map[string]string{"down": "ok 0s", "empty": "ok 0s", "down and slow": "ok 1s", "hanging": "ok 2s"}[name]
			own := &place{answer: published("a")}
			inBubble(t, nil, []*place{own}, func(t *testing.T, p *Provider) {
				want(t, "first", judged(t, p, "a", "a"), "ok 0s")
				own.serve(broken)
				time.Sleep(week)
				want(t, "the old set serves", judged(t, p, "a", "a"), waits)
				for range 20 {
					time.Sleep(time.Second)
					want(t, "nobody waits again", judged(t, p, "a", "a"), "ok 0s")
				}
				time.Sleep(40 * time.Second)
				want(t, "somebody waits again", judged(t, p, "a", "a"), waits)
				own.serve(published("b"))
				time.Sleep(time.Minute)
				want(t, "back", judged(t, p, "a", "a"), "no_key 0s")
			})
		})
	}
}

// 3.5: a source that hangs holds no token of a known kid, and no other for more than 2 s.
func TestHangingSource(t *testing.T) {
	own, extra := &place{answer: published("a")}, &place{answer: hanging}
	inBubble(t, nil, []*place{own, extra}, func(t *testing.T, p *Provider) {
		want(t, "good", judged(t, p, "a", "a"), "ok 0s")
		want(t, "forged", judged(t, p, "a", "x"), "bad_sig 0s")
		want(t, "unknown", judged(t, p, "x", "x"), "idp_timeout 2s")
		own.serve(published("a", "b"))
		time.Sleep(time.Minute)
		want(t, "rotated meanwhile", judged(t, p, "b", "b"), "ok 0s")
		own.serve(hanging)
		time.Sleep(time.Minute)
		want(t, "good, while all hangs", judged(t, p, "b", "b"), "ok 0s")
		want(t, "forged, while its own source hangs", judged(t, p, "b", "x"), "bad_sig 2s")
	})
	own = &place{answer: hanging}
	inBubble(t, nil, []*place{own}, func(t *testing.T, p *Provider) {
		want(t, "nothing at hand", judged(t, p, "a", "a"), "idp_timeout 2s")
		_, err := p.Verify(t.Context(), (&clock{t: time.Now()}).tokenBy(bubbleIssuer, "a", "a"), Policy{FromGrant: true})
		want(t, "of a grant", outcome(t, err), "idp_timeout")
	})
	own, extra = &place{answer: hanging}, &place{answer: published("e")}
	inBubble(t, nil, []*place{own, extra}, func(t *testing.T, p *Provider) {
		want(t, "the other one has it", judged(t, p, "e", "e"), "ok 0s")
	})
}

// 3.6: the time that counts is that after the keys came.
func TestTimeIsReadAfterFetching(t *testing.T) {
	own := &place{answer: func(ctx context.Context) (*KeySet, error) {
		time.Sleep(1500 * time.Millisecond)
		return published("a")(ctx)
	}}
	inBubble(t, nil, []*place{own}, func(t *testing.T, p *Provider) {
		token := (&clock{t: time.Now().Add(time.Second - time.Hour)}).tokenBy(bubbleIssuer, "a", "a") // ends in a second
		want(t, "ended while it waited", verdictOf(t, p, token), "expired")
	})
}

// 3.7: the keys move, and the old address goes on answering.
func TestKeysMove(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	want(t, "first", verdictOf(t, p, f.token("a")), "ok")
	moved := newIDP(t)
	moved.serveKeys(answer(200, keySetOf("m")))
	f.idp.serveDocument(answer(200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, f.idp.URL, moved.URL+"/jwks")))
	f.add(30 * time.Second)
	want(t, "key of the new address", verdictOf(t, p, f.token("m")), "ok")
	want(t, "key of the old address", verdictOf(t, p, f.token("a")), "no_key")
}

func TestPrime(t *testing.T) {
	f := newFixture(t)
	release, arrived := make(chan struct{}), make(chan struct{})
	f.idp.serveDocument(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		answer(200, f.idp.metadata("/jwks"))(w, r)
	})
	p := f.provider()
	p.Prime()
	await(t, arrived)
	close(release)
	p.settle()
	want(t, "fetched beside", f.idp.counts(), "1 documents, 1 key sets")
	want(t, "verdict", verdictOf(t, p, f.token("a")), "ok")
	want(t, "fetched for the token", f.idp.counts(), "1 documents, 1 key sets")
	pseudo := f.registry.Provider(ProviderConfig{Issuer: "urn:x", Pseudo: true, Client: f.client})
	pseudo.Prime()
	want(t, "a pseudo issuer has nothing to fetch", f.idp.counts(), "1 documents, 1 key sets")
}

// G08: with issuers_allowed, the document may be of another issuer.
func TestDocumentOfAnotherIssuer(t *testing.T) {
	const tenant = "https://login.test/tenant/v2.0"
	f := newFixture(t)
	f.idp.serveDocument(answer(200, fmt.Sprintf(`{"issuer":"https://u:canary@login.test/{tenantid}/v2.0","jwks_uri":%q}`, f.idp.URL+"/jwks")))
	cfg := f.config()
	want(t, "without", verdictOf(t, f.registry.Provider(cfg), f.token("a")), string(DiscoveryMismatch))
	_, err := f.registry.Provider(cfg).Verify(t.Context(), f.tokenBy(tenant, "a", "a"), Policy{Issuers: []string{tenant}})
	want(t, "only the policy names issuers", outcome(t, err), string(DiscoveryMismatch))
	cfg.AnyDocumentIssuer = true
	p := f.registry.Provider(cfg)
	verify := func(iss string, issuers ...string) string {
		_, err := p.Verify(t.Context(), f.tokenBy(iss, "a", "a"), Policy{Issuers: issuers})
		return outcome(t, err)
	}
	want(t, "allowed", verify(tenant, tenant), "ok")
	want(t, "other tenant", verify(tenant+"x", tenant), "bad_iss")
	want(t, "no issuer named", verify(f.idp.URL), string(DiscoveryMismatch))
	if w := p.Warnings(); len(w) != 1 || !strings.Contains(w[0], "another issuer") || strings.Contains(w[0], "canary") {
		t.Errorf("warnings %q", w)
	}
}

// G09: where keys have configured addresses, nobody waits for the document.
func TestDiscoveryIsNotWaitedFor(t *testing.T) {
	for name, configure := range map[string]func(*ProviderConfig, string){
		"jwks_endpoint":   func(c *ProviderConfig, uri string) { c.JWKSEndpoint = uri },
		"extra_jwks_uris": func(c *ProviderConfig, uri string) { c.ExtraJWKSURIs = []string{uri} },
		"well-known": func(c *ProviderConfig, uri string) {
			c.JWKSEndpoint = uri
			c.Issuer += "/.well-known/openid-configuration"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.idp.serveDocument(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			cfg := f.config()
			configure(&cfg, f.idp.URL+"/jwks")
			p := f.registry.Provider(cfg)
			want(t, "verdict", verdictOf(t, p, f.token("a")), "ok")
			want(t, "with a slash", verdictOf(t, p, f.tokenBy(f.idp.URL+"/", "a", "a")), "ok")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := p.Verify(ctx, f.tokenBy("https://evil.test", "a", "a"), Policy{})
			want(t, "only the document could allow it", outcome(t, err), string(egress.Canceled))
			f.registry.Close()
		})
	}
}

func TestDiscoveryLearnedLater(t *testing.T) {
	f := newFixture(t)
	cfg := f.config()
	cfg.JWKSEndpoint = f.idp.URL + "/jwks"
	p := f.registry.Provider(cfg)
	want(t, "either", verdictOf(t, p, f.tokenBy(f.idp.URL+"/", "a", "a")), "ok")
	p.settle()
	want(t, "the document's", verdictOf(t, p, f.token("a")), "ok")
	want(t, "not the document's", verdictOf(t, p, f.tokenBy(f.idp.URL+"/", "a", "a")), "bad_iss")
}

func TestVouchers(t *testing.T) {
	const own, a, b, c = "https://own.test", "https://a.test/realm", "https://b.test/x", "https://c.test"
	sources := []string{"https://a.test/realm/certs", "https://b.test/keys", "https://keys.test/c", "a.test/realm2/certs"}
	tests := []struct {
		issuers []string
		iss     string
		want    string // by source, the own one first
	}{
		{nil, own, "11111"},
		{[]string{a}, a, "11111"},
		{[]string{a, a}, a, "11111"},
		{[]string{own, a, b, c}, own, "10000"},
		{[]string{own, a, b, c}, a, "11011"}, // the third names nobody, the fourth is on a's host
		{[]string{own, a, b, c}, b, "10110"},
		{[]string{own, a, b, c}, c, "10010"},
		{[]string{own, a + "/", b, c}, a + "/", "11011"},
		{[]string{own, c}, c, "11111"},
		{[]string{own, c}, own, "10000"},
		{[]string{own, c}, own + "/", "10000"},
		{[]string{own, c}, "https://none.test", "11111"}, // verify_claims false
		{[]string{own, a}, "https://none.test", "10110"},
		{[]string{own, "https://a.test/rea", "https://a.test/x"}, "https://a.test/x", "11111"}, // a prefix ends where a segment does
	}
	for _, tt := range tests {
		r := NewRegistry(RegistryOptions{})
		p := r.Provider(ProviderConfig{Issuer: own, ExtraJWKSURIs: sources})
		u := &unverified{message: message{claims: map[string]any{"iss": tt.iss}}, policy: Policy{Issuers: tt.issuers, SkipClaims: true}}
		got := ""
		for _, vouches := range p.vouchers(u) {
			got += map[bool]string{true: "1", false: "0"}[vouches]
		}
		want(t, fmt.Sprint(tt.issuers, " ", tt.iss), got, tt.want)
		r.Close()
	}
}

// A set from elsewhere must not be good for the tokens of the provider itself.
func TestForeignKeysDoNotVouch(t *testing.T) {
	for _, skipClaims := range []bool{false, true} {
		f := newFixture(t)
		other := newIDP(t)
		other.serveKeys(answer(200, keySetOf("o")))
		cfg := f.config()
		cfg.ExtraJWKSURIs = []string{other.URL + "/jwks"}
		p := f.registry.Provider(cfg)
		pol := Policy{Issuers: []string{f.idp.URL, other.URL}, SkipClaims: skipClaims}
		for token, verdict := range map[string]string{
			f.tokenBy(other.URL, "o", "o"): "ok", f.tokenBy(f.idp.URL, "a", "a"): "ok",
			f.tokenBy(f.idp.URL, "o", "o"): "no_key", f.tokenBy(other.URL, "a", "a"): "ok",
		} {
			_, err := p.Verify(t.Context(), token, pol)
			want(t, token, outcome(t, err), verdict)
		}
	}
}

// 3.1: wherever in the merged set the private half stands.
func TestPrivateHalfInAnotherSource(t *testing.T) {
	f := newFixture(t)
	other := newIDP(t)
	private := strings.Replace(keySetOf("p=a"), `"kty"`, `"d":"AQ","use":"enc","kty"`, 1)
	other.serveKeys(answer(200, private[:len(private)-2]+","+strings.TrimPrefix(keySetOf("o"), `{"keys":[`)))
	cfg := f.config()
	cfg.ExtraJWKSURIs = []string{other.URL + "/jwks"}
	p := f.registry.Provider(cfg)
	p.Prime()
	p.settle()
	want(t, "its public half", verdictOf(t, p, f.token("a")), "bad_key")
	want(t, "another key", verdictOf(t, p, f.token("o")), "ok")
	if w := strings.Join(p.Warnings(), "\n"); strings.Count(w, "private part is published") != 2 {
		t.Error(w)
	}
}

// A set that has nothing but private keys is none to verify with, and ends the use of their public
// halves.
func TestPrivateHalvesEndTheGoodSet(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	want(t, "good", verdictOf(t, p, f.token("a")), "ok")
	f.idp.serveKeys(answer(200, strings.Replace(keySetOf("a"), `"kty"`, `"d":"AQ","kty"`, 1)))
	f.add(30 * time.Second)
	want(t, "unknown", verdictOf(t, p, f.token("x")), "no_key")
	want(t, "exposed", verdictOf(t, p, f.token("a")), "bad_key")
}

// G03, this side of it: an ID token that we cannot read is no fault of the provider's and fetches
// nothing.
func TestUnreadableIDTokens(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	jwe := b64([]byte(`{"alg":"RSA-OAEP","enc":"A256GCM"}`)) + ".AA.AA.AA.AA"
	hs := b64([]byte(`{"alg":"HS256"}`)) + "." + b64([]byte(`{}`)) + ".AA"
	for token, reason := range map[string]string{jwe: "malformed", hs: "bad_alg"} {
		_, err := p.Verify(t.Context(), token, Policy{Kind: IDToken, FromGrant: true})
		want(t, token, outcome(t, err), reason)
	}
	want(t, "asked", f.idp.counts(), "0 documents, 0 key sets")
}

func TestIssuersAreNamedWithoutTheirUser(t *testing.T) {
	for in, out := range map[string]string{
		"https://u:p@idp.test/a@b": "https://idp.test/a@b", "https://idp.test?x@y": "https://idp.test?x@y", "urn:a@b": "urn:a@b",
		"https://u:p@x@idp.test": "https://idp.test", "": "",
	} {
		want(t, in, withoutUser(in), out)
	}
	f := newFixture(t)
	cfg := ProviderConfig{Issuer: "https://u:canary@idp.test", Pseudo: true, JWKSEndpoint: "https://u:canary@127.0.0.1:1/", Client: f.client}
	p := f.registry.Provider(cfg)
	_, keysErr := p.Verify(t.Context(), f.tokenBy(cfg.Issuer, "a", "a"), Policy{})
	_, issErr := p.Verify(t.Context(), f.tokenBy(cfg.Issuer+"x", "a", "a"), Policy{})
	m, _ := p.Metadata(t.Context())
	_, endpointErr := m.Endpoint("token_endpoint")
	if out := fmt.Sprint(keysErr, issErr, endpointErr, cfg, p, p.Warnings()); strings.Contains(out, "canary") {
		t.Error(out)
	}
}

// Fetches that follow each other through a moved address and a hang are still one at a time.
func TestRefetchWaitsItsTurn(t *testing.T) {
	r := NewRegistry(RegistryOptions{})
	defer r.Close()
	var running, most, calls atomic.Int32
	release := make(chan struct{})
	k := &kept[int]{registry: r, pace: pace{budget: time.Minute}}
	k.fetch = func(context.Context) (int, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		<-release
		return int(calls.Add(1)), nil
	}
	k.prime(time.Now())
	k.refetch()
	k.refetch()
	close(release)
	for range 3 {
		settled(k)
	}
	v, nth := k.peek()
	want(t, "copies", fmt.Sprint(v, nth, calls.Load(), most.Load()), "2 2 2 1")
}

func TestWaitAny(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	open, closed := make(chan struct{}), make(chan struct{})
	close(closed)
	if err := waitAny(ctx, []<-chan struct{}{open, closed}); err != nil || !ended(closed) || ended(open) {
		t.Error(err)
	}
	cancel()
	if err := waitAny(ctx, []<-chan struct{}{open}); !errors.Is(err, egress.Canceled) {
		t.Error(err)
	}
	if slices.ContainsFunc([]<-chan struct{}{open}, ended) {
		t.Error("ended")
	}
}

// Keys that land just after the token was tried, so that there is no fetch to wait for, are tried
// too: a good token at a cold start is not refused because they came in that moment.
func TestKeysThatLandInBetween(t *testing.T) {
	own := &place{}
	inBubble(t, nil, []*place{own}, func(t *testing.T, p *Provider) {
		release := make(chan struct{})
		own.serve(func(ctx context.Context) (*KeySet, error) { <-release; return published("a")(ctx) })
		before := p.copies()
		u, err := inspect((&clock{t: time.Now()}).tokenBy(bubbleIssuer, "a", "a"), Policy{Issuers: []string{bubbleIssuer}}, p.now())
		if err != nil {
			t.Fatal(err)
		}
		tr := &trial{Provider: p, u: &u, voucher: p.vouchers(&u), now: p.now(), before: before, ctx: t.Context()}
		p.sources[0].prime(tr.now)
		want(t, "with nothing at hand", tr.try(), false)
		close(release)
		synctest.Wait() // the keys are at hand now
		want(t, "then", tr.awaitNew(), true)
	})
}
