package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

func TestColdHerd(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	token := f.token("a")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := p.Verify(t.Context(), token, Policy{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want(t, "asked", f.idp.counts(), "1 documents, 1 key sets")
}

func TestLeaderLeaves(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	hang, arrived := make(chan struct{}), make(chan struct{})
	f.idp.serveDocument(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-hang
		answer(200, f.idp.metadata("/jwks"))(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := p.Metadata(ctx)
	want(t, "leader", outcome(t, err), string(egress.Canceled))
	close(hang)
	want(t, "follower", verdictOf(t, p, f.token("a")), "ok")
	want(t, "asked", f.idp.counts(), "1 documents, 1 key sets")
}

func TestFetchTimeout(t *testing.T) {
	f := newFixture(t)
	f.idp.serveDocument(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	cfg := f.config()
	cfg.Timeout = 500 * time.Millisecond
	want(t, "hanging", verdictOf(t, f.registry.Provider(cfg), f.token("a")), string(egress.Timeout))
}

// Keys that failed because the document did are asked for again when the document is, not
// that long after: recovery takes 5 s, not 10.
func TestKeysFollowTheDocumentsPace(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	f.idp.serveDocument(answer(503, ""))
	_, err := p.Metadata(t.Context())
	want(t, "document", outcome(t, err), string(BadStatus))
	f.add(4 * time.Second)
	pol := Policy{Issuers: []string{f.idp.URL}}
	_, err = p.Verify(t.Context(), f.token("a"), pol)
	var fault *Fault
	if !errors.As(err, &fault) || fault.RetryAfter != time.Second {
		t.Fatalf("%+v", err)
	}
	f.idp.serveDocument(answer(200, f.idp.metadata("/jwks")))
	f.add(time.Second)
	_, err = p.Verify(t.Context(), f.token("a"), pol)
	want(t, "back", outcome(t, err), "ok")
}

func TestPanicInAFetch(t *testing.T) {
	r := NewRegistry(RegistryOptions{})
	defer r.Close()
	k := &kept[int]{registry: r, pace: pace{budget: time.Minute}, fetch: func(context.Context) (int, error) { panic("bug") }}
	_, err := k.get(t.Context())
	want(t, "panic", outcome(t, err), string(Internal))
}

func TestRegistry(t *testing.T) {
	f := newFixture(t)
	base := ProviderConfig{Issuer: "https://idp.test", Client: f.client, DiscoveryHeaders: http.Header{"A": {"b"}}, ExtraJWKSURIs: []string{"x", "y"}}
	same := base
	same.DiscoveryHeaders, same.ExtraJWKSURIs = http.Header{"A": {"b"}}, []string{"y", "x"}
	p := f.registry.Provider(base)
	want(t, "equal settings share", f.registry.Provider(same) == p, true)
	for i, change := range []func(*ProviderConfig){
		func(c *ProviderConfig) { c.Issuer = "https://idp.test/" },
		func(c *ProviderConfig) { c.Pseudo = true },
		func(c *ProviderConfig) { c.AnyDocumentIssuer = true },
		func(c *ProviderConfig) { c.DiscoveryHeaders = http.Header{"A": {"c"}} },
		func(c *ProviderConfig) { c.DiscoveryHeaders = http.Header{"A": {"b", ""}} },
		func(c *ProviderConfig) { c.JWKSEndpoint = "x" },
		func(c *ProviderConfig) { c.ExtraJWKSURIs = []string{"xy"} },
		func(c *ProviderConfig) { c.RediscoveryLifetime = 1 },
		func(c *ProviderConfig) { c.MaxAge = 1 },
		func(c *ProviderConfig) { c.Timeout = 1 },
		func(c *ProviderConfig) { c.Client = nil },
	} {
		c := base
		change(&c)
		if f.registry.Provider(c) == p {
			t.Errorf("change %d shares", i)
		}
	}
	for i := range 2 * maxProviders {
		c := base
		c.Issuer = fmt.Sprint("https://idp.test/", i)
		f.registry.Provider(c)
		f.add(time.Second)
		if f.registry.Provider(base) != p {
			t.Fatal("the one in use was forgotten")
		}
	}
	want(t, "bounded", len(f.registry.providers), maxProviders)

	// Issuers that are gone do not stay; one that verifies tokens does.
	f.add(maxIdle)
	p.Prime()
	f.add(time.Hour)
	f.registry.Provider(ProviderConfig{Issuer: "https://new.test", Client: f.client})
	want(t, "after a day", len(f.registry.providers), 2)
	want(t, "in use", f.registry.Provider(base) == p, true)
	p.settle()
}

func TestRegistryClose(t *testing.T) {
	f := newFixture(t)
	p := f.provider()
	want(t, "good", verdictOf(t, p, f.token("a")), "ok")
	arrived := make(chan struct{})
	f.idp.serveKeys(func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	done := make(chan string, 1)
	go func() { done <- verdictOf(t, p, f.token("x")) }()
	await(t, arrived)
	f.registry.Close()
	want(t, "under way", await(t, done), string(egress.Canceled))
	want(t, "from what it has", verdictOf(t, p, f.token("a")), "ok")
	cfg := f.config()
	cfg.MaxAge = 1
	want(t, "new", verdictOf(t, f.registry.Provider(cfg), f.token("a")), string(egress.Canceled))
}

func TestConfigHidesHeaders(t *testing.T) {
	c := ProviderConfig{Issuer: "https://idp.test", DiscoveryHeaders: http.Header{"Authorization": {"canary"}}}
	r := NewRegistry(RegistryOptions{})
	defer r.Close()
	p := r.Provider(c)
	text, _ := c.MarshalText()
	if out := fmt.Sprintf("%v %+v %#v %v %+v %#v %s", c, c, &c, p, p, r, text); strings.Contains(out, "canary") {
		t.Error(out)
	}
}
