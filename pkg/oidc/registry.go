package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

// maxProviders bounds a Registry. Settings come from operators, but a process may see a
// PATCH a minute for months.
const maxProviders = 1000

// A Registry holds the providers of a process by their settings, so that what was fetched
// outlives the configurations that asked for it. It owns all fetches.
type Registry struct {
	now   func() time.Time
	ended context.Context // done from Close on: the Registry's life, no request's context
	stop  context.CancelFunc

	fetches sync.WaitGroup

	mu        sync.Mutex // guards below
	providers map[providerKey]*entry
	uses      uint64
	closed    bool
}

type entry struct {
	provider *Provider
	lastUse  uint64
}

// providerKey is a ProviderConfig, comparable.
type providerKey struct {
	client *egress.Client
	digest [sha256.Size]byte
}

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry {
	r := &Registry{now: time.Now, providers: map[providerKey]*entry{}}
	r.ended, r.stop = context.WithCancel(context.Background())
	return r
}

// Provider returns the provider of these settings, the same one for equal settings. It
// does no I/O and cannot fail: settings that cannot work make every use a Fault. Beyond
// 1000 the one not asked for the longest is forgotten; it goes on working for its holders.
func (r *Registry) Provider(cfg ProviderConfig) *Provider {
	key := cfg.key()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses++
	if e := r.providers[key]; e != nil {
		e.lastUse = r.uses
		return e.provider
	}
	if len(r.providers) >= maxProviders {
		r.forgetOldest()
	}
	p := newProvider(r, cfg)
	r.providers[key] = &entry{provider: p, lastUse: r.uses}
	return p
}

func (r *Registry) forgetOldest() {
	var oldest providerKey
	least := uint64(1<<64 - 1)
	for key, e := range r.providers {
		if e.lastUse < least {
			oldest, least = key, e.lastUse
		}
	}
	delete(r.providers, oldest)
}

// Close ends all fetches and waits for them. Providers answer from what they have.
func (r *Registry) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.fetches.Wait()
}

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
	put(c.Issuer, fmt.Sprint(c.Pseudo), c.JWKSEndpoint, c.RediscoveryLifetime.String(), c.MaxAge.String(), c.Timeout.String())
	put(slices.Sorted(slices.Values(c.ExtraJWKSURIs))...)
	names := make([]string, 0, len(c.DiscoveryHeaders))
	for name := range c.DiscoveryHeaders {
		names = append(names, name)
	}
	slices.Sort(names)
	put(names...)
	for _, name := range names {
		put(c.DiscoveryHeaders[name]...)
	}
	key := providerKey{client: c.Client}
	h.Sum(key.digest[:0])
	return key
}

// kept is one thing that a provider publishes: the last good copy of it, and when it may
// be asked for again. There is at most one fetch of it at a time.
type kept[T any] struct {
	registry *Registry
	pace     pace
	fetch    func(context.Context) (T, error)

	mu       sync.Mutex // guards below
	good     T
	nth      uint64 // how many good copies there were; 0: good is no copy yet
	goodAt   time.Time
	fault    *Fault // of the last fetch; nil if it was good
	faultAt  time.Time
	demanded time.Time // when the last fetch on demand ended
	flight   chan struct{}
}

// pace is how often one thing may be fetched.
type pace struct {
	retry  time.Duration // after a failure
	demand time.Duration // because of a token that the good copy does not fit
	maxAge time.Duration // of a good copy, before it is renewed in the background; 0: for ever
	budget time.Duration // of one fetch
}

// get returns the last good copy at once if there is one, and otherwise waits for the
// fetch under way, or for a new one unless the last has just failed.
func (k *kept[T]) get(ctx context.Context) (T, error) {
	k.prime()
	k.mu.Lock()
	if k.nth > 0 {
		defer k.mu.Unlock()
		return k.good, nil
	}
	flight := k.flight
	k.mu.Unlock()
	if err := wait(ctx, flight); err != nil {
		var none T
		return none, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nth == 0 {
		return k.good, k.remembered()
	}
	return k.good, nil
}

// peek returns the last good copy and its number, 0 if there is none.
func (k *kept[T]) peek() (T, uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.good, k.nth
}

// age is how old the good copy is.
func (k *kept[T]) age() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.registry.now().Sub(k.goodAt)
}

// prime starts a fetch where there is no copy, or an old one, and waits for nothing.
func (k *kept[T]) prime() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.registry.now()
	if k.nth == 0 || k.pace.maxAge > 0 && now.Sub(k.goodAt) >= k.pace.maxAge {
		k.start(now, false)
	}
}

// demand asks for a copy newer than the nth, as often as the pace allows. It returns the
// fetch to wait for; nil if there is none.
func (k *kept[T]) demand(nth uint64) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nth == nth {
		k.start(k.registry.now(), true)
	}
	return k.flight
}

// lastFault is why the last fetch failed; nil if it did not.
func (k *kept[T]) lastFault() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fault == nil {
		return nil
	}
	return k.remembered()
}

// remembered is the last failure, with the time until the next try. k.mu is held.
func (k *kept[T]) remembered() error {
	if k.fault == nil {
		return faultf(egress.Canceled, "no fetch: the process is ending")
	}
	f := *k.fault
	f.RetryAfter = max(0, k.pace.retry-k.registry.now().Sub(k.faultAt))
	return &f
}

// start begins a fetch unless one is under way or the pace forbids it. k.mu is held.
func (k *kept[T]) start(now time.Time, onDemand bool) {
	switch {
	case k.flight != nil:
		return
	case k.fault != nil && now.Sub(k.faultAt) < k.pace.retry:
		return
	case k.fault == nil && onDemand && !k.demanded.IsZero() && now.Sub(k.demanded) < k.pace.demand:
		return
	}
	flight := make(chan struct{})
	if k.registry.spawn(k.pace.budget, func(ctx context.Context) {
		v, err := guarded(ctx, k.fetch)
		k.end(v, err, onDemand)
		close(flight)
	}) {
		k.flight = flight
	}
}

// end records what a fetch brought. A failure leaves the last good copy alone.
func (k *kept[T]) end(v T, err error, onDemand bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.registry.now()
	k.flight = nil
	if onDemand {
		k.demanded = now
	}
	if err != nil {
		k.fault, k.faultAt = asFault(err), now
		if after := k.fault.RetryAfter; after > 0 {
			// What failed is another fetch that this one needs: follow its pace, do not add to it.
			k.faultAt = now.Add(after - k.pace.retry)
		}
		return
	}
	k.good, k.goodAt, k.fault = v, now, nil
	k.nth++
}

// guarded makes an error of a panic in fetch: one bad answer must not end the process.
func guarded[T any](ctx context.Context, fetch func(context.Context) (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &Fault{Kind: Internal, Err: cache.Recovered(r)}
		}
	}()
	return fetch(ctx)
}

// wait waits for a fetch, which goes on when its caller leaves. nil is no fetch.
func wait(ctx context.Context, flight <-chan struct{}) error {
	if flight == nil {
		return nil
	}
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		kind := egress.Canceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			kind = egress.Timeout
		}
		return &Fault{Kind: kind, Err: fmt.Errorf("no answer within the request's time: %w", ctx.Err())}
	}
}
