package authn

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

const (
	// badTokenTTL is how long a token that does not verify is remembered, so that one wrong
	// setting does not fetch for ever.
	badTokenTTL = 5 * time.Second
	// renewPause lets a failed renewal rest before a hit tries again.
	renewPause = 5 * time.Second
	// maxRenewalWait bounds how long a request waits for the successor of a value that still
	// lives: half of what is left, or leastRenewalWait, or three quarters of what is left where
	// even that is more, so that the old one can still be served.
	maxRenewalWait   = time.Second
	leastRenewalWait = 250 * time.Millisecond
	// maxWaiting bounds the requests that wait for one provider: where it hangs, they must not
	// take every connection from requests that need no call. It is far above the number of requests
	// that one call to a working provider makes wait.
	maxWaiting = 4096
	// maxRenewals bounds the renewals under way at one provider; a value whose renewal finds no
	// place is served on, and the next hit tries again.
	maxRenewals = 256
)

var tooManyWait = &Refusal{
	Status: Unavailable, Reason: string(egress.Busy), Cause: errors.New("too many requests wait for the identity provider"),
	Code: unavailableCode, Description: unavailableText,
}

// Life is how long a value may be used: instants, fixed when the answer came.
type Life struct {
	Ends  time.Time // from then on it is not used; zero: not to be kept at all
	Renew time.Time // from then on a hit renews it in the background; zero: never
	Wait  time.Time // from then on a hit waits for the renewal; zero: never
}

// Keeper remembers what a call to a provider brought, and its refusals. All requests with the
// same question share one call; what is near its end is renewed by the requests that use it. It
// does not know what it keeps, nor how to ask.
type Keeper[V any] struct {
	values   store[*kept[V]]
	refusals store[*Refusal]
	flight   *cache.Flight[V]
	calls    cache.Keyer
	now      func() time.Time
}

// store is where a Keeper keeps. What it is given is not changed afterwards.
type store[V any] interface {
	// Get returns what was Set for k, unless it has ended at now.
	Get(k cache.Key, now time.Time) (V, bool)
	Set(k cache.Key, v V, now, ends time.Time)
	Delete(k cache.Key)
}

// kept is a value in the store.
type kept[V any] struct {
	value V
	life  Life
	// rests is the UnixNano until which no renewal is tried: this process's own affair.
	rests atomic.Int64
}

// Sizes bound a Keeper: values and refusals apart, so that a flood of wrong secrets evicts no
// tokens.
type Sizes struct{ Values, Refusals cache.Bounds }

// NewKeeper returns an empty Keeper, which must be closed. cost is the bytes that a value keeps
// alive.
func NewKeeper[V any](s Sizes, cost func(V) int, now func() time.Time) *Keeper[V] {
	return &Keeper[V]{
		values:   cache.NewMemory(s.Values, func(e *kept[V]) int { return cost(e.value) }),
		refusals: cache.NewMemory(s.Refusals, (*Refusal).cost),
		flight:   cache.NewFlight[V](), calls: cache.NewKeyer(nil), now: now,
	}
}

// Close ends the calls under way and waits for them.
func (k *Keeper[V]) Close() { k.flight.Close() }

// terms are how one configuration uses a Keeper.
type terms struct {
	// remember: values are kept and calls shared. Refusals are remembered in any case.
	remember bool
	budget   time.Duration // of one request
	negative time.Duration // the life of a refusal that speaks of the credentials
	load     *Load
	// notRenewed tells the operator; a panic brings its stack.
	notRenewed func(r *Refusal, more ...any)
}

// question is what a Keeper asks where it knows no answer. The error is a *Refusal.
type question[V any] interface {
	obtain(ctx context.Context) (V, Life, error)
}

// get returns the answer to q, which key names with all that the answer depends on. Its error is
// a *Refusal.
func (k *Keeper[V]) get(ctx context.Context, key cache.Key, t *terms, q question[V]) (V, error) {
	now := k.now()
	if e, refusal := k.known(key, t, now); e != nil {
		if e.renewalDue(now) {
			return k.renewed(ctx, key, t, q, e)
		}
		return e.value, nil
	} else if refusal != nil {
		return *new(V), refusal
	}
	return k.ask(ctx, key, t, q)
}

// known returns what is remembered: nil and nil where nothing is.
func (k *Keeper[V]) known(key cache.Key, t *terms, now time.Time) (*kept[V], *Refusal) {
	if t.remember {
		if e, ok := k.values.Get(key, now); ok {
			return e, nil
		}
	}
	refusal, _ := k.refusals.Get(key, now)
	return nil, refusal
}

func (e *kept[V]) renewalDue(now time.Time) bool {
	return !e.life.Renew.IsZero() && !now.Before(e.life.Renew) && now.UnixNano() >= e.rests.Load()
}

// ask asks where nothing is known, together with all who ask the same.
func (k *Keeper[V]) ask(ctx context.Context, key cache.Key, t *terms, q question[V]) (V, error) {
	defer t.load.requests.Add(-1)
	if t.load.requests.Add(1) > maxWaiting {
		return *new(V), tooManyWait
	}
	ctx, cancel := context.WithTimeout(ctx, t.budget)
	defer cancel()
	if !t.remember {
		return k.learn(ctx, key, t, q)
	}
	// A little less than the request's own time, so that whoever waits learns why it failed.
	v, err := k.flight.Do(ctx, k.callKey(key, t), t.budget/20*19, func(ctx context.Context) (V, error) {
		// Whoever held the call a moment ago may have filled the cache.
		if e, refusal := k.known(key, t, k.now()); e != nil {
			return e.value, nil
		} else if refusal != nil {
			return *new(V), refusal
		}
		return k.learn(ctx, key, t, q)
	})
	if err != nil {
		return v, waitRefusal(err)
	}
	return v, nil
}

// callKey identifies the call that questions with this key share: those with the same budget,
// since a request with less time must not end the call of one with more.
func (k *Keeper[V]) callKey(key cache.Key, t *terms) cache.Key {
	return k.calls.Key("call", string(key[:]), t.budget.String())
}

// learn calls, and remembers what it brought for as long as that may stand.
func (k *Keeper[V]) learn(ctx context.Context, key cache.Key, t *terms, q question[V]) (V, error) {
	v, life, err := q.obtain(ctx)
	if err != nil {
		return v, k.refused(key, t, AsRefusal(err))
	}
	if t.remember {
		k.values.Set(key, &kept[V]{value: v, life: life}, k.now(), life.Ends)
	}
	return v, nil
}

// refused remembers a refusal for as long as it may stand in for a call.
func (k *Keeper[V]) refused(key cache.Key, t *terms, r *Refusal) error {
	now := k.now()
	var ends time.Time
	switch r.keep {
	case keepNegative:
		ends = now.Add(t.negative)
	case keepBriefly:
		ends = now.Add(badTokenTTL)
	case keepUntilRetry:
		ends = r.RetryAt
	default:
		return r
	}
	k.refusals.Set(key, r.compact(), now, ends)
	return r
}

var resting = &Refusal{
	Status: Unavailable, Reason: "idp_resting", Cause: errors.New("a renewal has just failed"),
	Code: unavailableCode, Description: unavailableText,
}

// renewed serves e while it is renewed. Where e is so near its end that it might end on its way
// to the upstream, it waits for the renewal; e serves to its end where that brings nothing.
func (k *Keeper[V]) renewed(ctx context.Context, key cache.Key, t *terms, q question[V], e *kept[V]) (V, error) {
	now := k.now()
	if e.life.Wait.IsZero() || now.Before(e.life.Wait) {
		k.renewBehind(key, t, q, e)
		return e.value, nil
	}
	defer t.load.requests.Add(-1)
	if t.load.requests.Add(1) > maxWaiting {
		return e.value, nil
	}
	left := e.life.Ends.Sub(now)
	patience := min(maxRenewalWait, max(left/2, min(leastRenewalWait, left/4*3)))
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v, err := k.flight.Do(waiting, k.callKey(key, t), t.budget, func(ctx context.Context) (V, error) {
		return k.renew(ctx, key, t, q, e)
	})
	if err == nil {
		return v, nil
	}
	if refusal := AsRefusal(err); refusal.CredentialsRefused {
		return v, refusal
	}
	now = k.now()
	e.rest(now.Add(renewPause)) // one has waited in vain, the others need not
	if now.Before(e.life.Ends) {
		return e.value, nil
	}
	return k.ask(ctx, key, t, q)
}

// rest lets no renewal be tried before until, nor before any other such time.
func (e *kept[V]) rest(until time.Time) {
	for {
		old := e.rests.Load()
		if old >= until.UnixNano() || e.rests.CompareAndSwap(old, until.UnixNano()) {
			return
		}
	}
}

// renewBehind renews in the background, with the credentials of the hit that found it due.
func (k *Keeper[V]) renewBehind(key cache.Key, t *terms, q question[V], e *kept[V]) {
	renewals := &t.load.renewals
	if renewals.Add(1) > maxRenewals || !k.flight.Go(k.callKey(key, t), t.budget, func(ctx context.Context) (V, error) {
		defer renewals.Add(-1)
		return k.renew(ctx, key, t, q, e)
	}) {
		renewals.Add(-1)
	}
}

// renew replaces old before it ends. Only a provider that no longer takes the credentials ends
// the old one.
func (k *Keeper[V]) renew(ctx context.Context, key cache.Key, t *terms, q question[V], old *kept[V]) (v V, err error) {
	defer func() {
		if p := recover(); p != nil { // log it here: perhaps nobody waits for this call
			panicked := cache.Recovered(p)
			err = k.notRenewed(key, t, &Refusal{Status: Unexpected, Reason: "panic", Cause: panicked}, "stack", string(panicked.Stack))
		}
	}()
	// A renewal may just have ended.
	now := k.now()
	switch e, refusal := k.known(key, t, now); {
	case refusal != nil:
		return v, refusal
	case e != nil && e != old:
		return e.value, nil
	case !old.renewalDue(now):
		return v, resting
	}
	v, life, err := q.obtain(ctx)
	if err != nil {
		return v, k.notRenewed(key, t, AsRefusal(err))
	}
	if now = k.now(); !now.Before(life.Ends) {
		return v, k.notRenewed(key, t, &Refusal{Status: Unavailable, Reason: "not_to_be_kept", Cause: errors.New("the new value is not to be kept")})
	}
	k.values.Set(key, &kept[V]{value: v, life: life}, now, life.Ends)
	return v, nil
}

func (k *Keeper[V]) notRenewed(key cache.Key, t *terms, r *Refusal, more ...any) error {
	now := k.now()
	if r.CredentialsRefused {
		k.values.Delete(key)
		_ = k.refused(key, t, r) // it returns r
	} else if old, ok := k.values.Get(key, now); ok {
		if r.keep == keepUntilRetry { // it may last longer than the value
			_ = k.refused(key, t, r)
		}
		old.rest(now.Add(renewPause))
		if !r.RetryAt.IsZero() {
			old.rest(r.RetryAt)
		}
	}
	t.notRenewed(r, more...)
	return r
}
