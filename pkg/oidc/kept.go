package oidc

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

// kept is one thing that a provider publishes: the last good copy of it, and when it may
// be asked for again. There is at most one fetch of it at a time.
type kept[T any] struct {
	registry *Registry
	pace     pace
	fetch    func(context.Context) (T, error)
	changed  func(from, to T) // after a good copy took the place of another; may be nil

	mu       sync.Mutex // guards below
	good     T
	nth      uint64 // how many good copies there were; 0: good is no copy yet
	goodAt   time.Time
	fault    *Fault // of the last fetch; nil if it was good
	faultAt  time.Time
	demanded time.Time // when the last fetch on demand ended
	flight   chan struct{}
	again    bool      // another fetch is to follow the flight
	noWait   time.Time // until then nobody waits for a copy in place of one that is too old
}

// pace is how often one thing may be fetched.
type pace struct {
	retry  time.Duration // after a failure
	demand time.Duration // because of a token that the good copy does not fit
	maxAge time.Duration // of a good copy, before it is renewed in the background
	tooOld time.Duration // of a good copy, before a request waits for a newer one
	pause  time.Duration // between two such waits that brought nothing
	budget time.Duration // of one fetch
}

// get returns the last good copy at once if there is one, and otherwise waits for the
// fetch under way, or for a new one unless the last has just failed.
func (k *kept[T]) get(ctx context.Context) (T, error) {
	k.prime(k.registry.now())
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

// begun is the number of the newest copy whose fetch has begun, 0 if there is none.
func (k *kept[T]) begun() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		return k.nth + 1
	}
	return k.nth
}

// prime starts a fetch where there is no copy, or an old one, and waits for nothing.
func (k *kept[T]) prime(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nth == 0 || now.Sub(k.goodAt) >= k.pace.maxAge {
		k.start(now, false)
	}
}

// olderThan says whether the good copy is.
func (k *kept[T]) olderThan(age time.Duration, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return now.Sub(k.goodAt) > age
}

// overdue returns the fetch that has to be waited for since the copy is too old to be used without
// asking; nil if it is not, or if somebody waited for nothing a short time ago.
func (k *kept[T]) overdue(now time.Time) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nth == 0 || now.Sub(k.goodAt) < k.pace.tooOld || now.Before(k.noWait) {
		return nil
	}
	k.start(now, false)
	return k.flight
}

// inVain says that somebody waited for a newer copy and gave up.
func (k *kept[T]) inVain(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.noWait = now.Add(k.pace.pause)
}

// cold returns the fetch under way where there is no copy yet.
func (k *kept[T]) cold() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nth > 0 {
		return nil
	}
	return k.flight
}

// refetch starts a fetch at whatever pace: what is fetched now lies in another place.
func (k *kept[T]) refetch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		k.again = true
		return
	}
	k.launch(false)
}

// demand asks for a copy newer than the nth, as often as the pace allows. It returns the
// fetch to wait for; nil if there is none.
func (k *kept[T]) demand(nth uint64, now time.Time) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nth == nth {
		k.start(now, true)
	}
	return k.flight
}

// underWay returns the fetch under way; nil if there is none.
func (k *kept[T]) underWay() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.flight
}

// lastFault is why the last fetch failed, or why there is no copy; nil if there is nothing wrong.
func (k *kept[T]) lastFault() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fault == nil && (k.nth > 0 || k.flight != nil) {
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
	k.launch(onDemand)
}

// launch begins a fetch. k.mu is held.
func (k *kept[T]) launch(onDemand bool) {
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
	if old, changed := k.record(v, err, onDemand); changed && k.changed != nil {
		k.changed(old, v)
	}
}

func (k *kept[T]) record(v T, err error, onDemand bool) (old T, changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.registry.now()
	k.flight = nil
	if k.again {
		k.again = false
		k.launch(false)
	}
	if onDemand || k.nth > 0 {
		k.demanded = now
	}
	if err != nil {
		k.fault, k.faultAt, k.noWait = asFault(err), now, now.Add(k.pace.pause)
		if after := k.fault.RetryAfter; after > 0 {
			// What failed is another fetch that this one needs: follow its pace, do not add to it.
			k.faultAt = now.Add(after - k.pace.retry)
		}
		return old, false
	}
	old, changed = k.good, k.nth > 0
	k.good, k.goodAt, k.fault = v, now, nil
	k.nth++
	return old, changed
}

// guarded turns a panic in fetch into an error: one bad answer must not end the process.
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
		return outOfTime(ctx)
	}
}

func outOfTime(ctx context.Context) error {
	kind := egress.Canceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = egress.Timeout
	}
	return &Fault{Kind: kind, Err: fmt.Errorf("no answer within the request's time: %w", ctx.Err())}
}

// waitAny waits for the first of several fetches.
func waitAny(ctx context.Context, flights []<-chan struct{}) error {
	cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())}}
	for _, f := range flights {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(f)})
	}
	if i, _, _ := reflect.Select(cases); i > 0 {
		return nil
	}
	return outOfTime(ctx)
}
