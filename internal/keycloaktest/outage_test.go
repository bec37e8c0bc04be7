package keycloaktest

import (
	"net/http"
	"testing"
	"time"
)

// The tests of this file stop Keycloak or change its keys: they are not parallel, so they run while
// no other test does.

// quickKeys lets an unknown kid fetch the keys again after a second; the default of 30 s would only
// make the tests longer.
var quickKeys = map[string]any{"rediscovery_lifetime": 1}

// A provider that is away and comes back as a new process with new keys: what is cached is served
// on, the rest is 503, and nobody has to do anything afterwards.
func TestProviderRestarted(t *testing.T) {
	k := theKeycloak(t)
	f := newFront(t, k)
	g := newGateway(t, config(f, quickKeys))
	before := g.get(t, "service", secret)
	before.passed(t)

	k.stop()
	cached := g.get(t, "service", secret)
	cached.passed(t)
	if cached.token != before.token {
		t.Error("another token while the provider was away")
	}
	a := g.get(t, "any-secret", secret)
	a.refused(t, http.StatusServiceUnavailable)
	if a.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	if err := k.start(); err != nil {
		t.Fatal(err)
	}
	g.recovers(t, "any-secret")
}

// The gateway may be up before its provider is.
func TestProviderStartsLater(t *testing.T) {
	f := newFront(t, theKeycloak(t))
	f.close()
	g := newGateway(t, config(f, nil))
	g.get(t, "service", secret).refused(t, http.StatusServiceUnavailable)
	f.reopen(t)
	g.recovers(t, "service")
}

// A key that is new at run time is found by the first token which it signed; nothing but 503 comes
// before.
func TestKeyRotation(t *testing.T) {
	k := theKeycloak(t)
	f := newFront(t, k)
	g := newGateway(t, config(f, quickKeys))
	before := g.get(t, "service", secret)
	before.passed(t)
	fetched := f.count(keysPath)

	k.rotate(t, int(time.Now().Unix()-1_700_000_000)) // higher than any earlier one
	after := g.recovers(t, "any-secret")
	if after.kid == before.kid {
		t.Fatal("Keycloak signs with the old key")
	}
	if n := f.count(keysPath); n == fetched {
		t.Error("the keys were not fetched again")
	}
	// The token of before is still good, and still cached.
	if a := g.get(t, "service", secret); a.token != before.token {
		t.Error("rotation has emptied the cache")
	}
}

// recovers asks until a request passes; until then each must be refused with 503.
func (g *gateway) recovers(t *testing.T, client string) *answer {
	t.Helper()
	var last *answer
	eventually(t, 15*time.Second, client+" passes again", func() bool {
		last = g.get(t, client, secret)
		if last.Status == http.StatusOK {
			last.passed(t)
			return true
		}
		last.refused(t, http.StatusServiceUnavailable)
		return false
	})
	return last
}
