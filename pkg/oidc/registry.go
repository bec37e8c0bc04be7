package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

// Bounds of a Registry. Settings come from operators, but a process may see a PATCH a minute for
// months, and issuers that are gone must not stay.
const (
	maxProviders = 1000
	maxIdle      = 24 * time.Hour
)

// A Registry holds the providers of a process by their settings, so that what was fetched
// outlives the configurations that asked for it. It owns all fetches.
type Registry struct {
	now   func() time.Time
	ended context.Context // done from Close on: the Registry's life, no request's context
	stop  context.CancelFunc

	fetches sync.WaitGroup

	mu        sync.Mutex // guards below
	providers map[providerKey]*Provider
	closed    bool
}

// providerKey is a ProviderConfig, comparable.
type providerKey struct {
	client *egress.Client
	digest [sha256.Size]byte
}

// RegistryOptions are the settings of a Registry.
type RegistryOptions struct {
	Now func() time.Time // the clock; nil is time.Now
}

// NewRegistry returns an empty Registry.
func NewRegistry(o RegistryOptions) *Registry {
	r := &Registry{now: o.Now, providers: map[providerKey]*Provider{}}
	if r.now == nil {
		r.now = time.Now
	}
	r.ended, r.stop = context.WithCancel(context.Background())
	return r
}

// Provider returns the provider of these settings, the same one for equal settings. It
// does no I/O and cannot fail: settings that cannot work make every use a Fault. One that was not
// used for a day is forgotten, and beyond 1000 the one not used for the longest; it goes on working
// for its holders.
func (r *Registry) Provider(cfg ProviderConfig) *Provider {
	key, now := cfg.key(), r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.providers[key]
	if p == nil {
		r.forget(now)
		p = newProvider(r, cfg)
		r.providers[key] = p
	}
	p.used.Store(now.UnixNano())
	return p
}

// forget makes room for one more.
func (r *Registry) forget(now time.Time) {
	maps.DeleteFunc(r.providers, func(_ providerKey, p *Provider) bool {
		return now.Sub(time.Unix(0, p.used.Load())) > maxIdle
	})
	if len(r.providers) < maxProviders {
		return
	}
	var oldest providerKey
	least := int64(math.MaxInt64)
	for key, p := range r.providers {
		if used := p.used.Load(); used < least {
			oldest, least = key, used
		}
	}
	delete(r.providers, oldest)
}

// Close ends all fetches and waits for them. Providers answer from what they have.
func (r *Registry) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	moment := time.AfterFunc(closeMoment, r.stop)
	r.fetches.Wait()
	moment.Stop()
	r.stop()
}

// closeMoment is what a fetch under way has left to end by itself: most need no more, and a provider
// is not left with a broken request.
const closeMoment = 100 * time.Millisecond

// spawn runs one fetch in a goroutine of the Registry; false once it is closed.
func (r *Registry) spawn(budget time.Duration, fetch func(context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.fetches.Go(func() {
		ctx, cancel := context.WithTimeout(r.ended, budget)
		defer cancel()
		fetch(ctx)
	})
	return true
}

// key tells configurations apart by a digest over length-prefixed fields.
func (c *ProviderConfig) key() providerKey {
	h := sha256.New()
	put := func(fields ...string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(fields)))
		h.Write(n[:])
		for _, f := range fields {
			binary.BigEndian.PutUint64(n[:], uint64(len(f)))
			h.Write(n[:])
			h.Write([]byte(f))
		}
	}
	put(c.Issuer, fmt.Sprint(c.Pseudo, c.AnyDocumentIssuer), c.JWKSEndpoint, c.RediscoveryLifetime.String(), c.MaxAge.String(), c.Timeout.String())
	put(slices.Sorted(slices.Values(c.ExtraJWKSURIs))...)
	names := slices.Sorted(maps.Keys(c.DiscoveryHeaders))
	put(names...)
	for _, name := range names {
		put(c.DiscoveryHeaders[name]...)
	}
	key := providerKey{client: c.Client}
	h.Sum(key.digest[:0])
	return key
}
