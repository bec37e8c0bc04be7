package oidc

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A trial is one token on its way through the provider's keys: those at hand, those that come,
// newer ones. It waits for keys for maxKeyWait at most, whatever hangs, and where its kid is known
// for no source but those that have it.
type trial struct {
	*Provider
	u       *unverified
	voucher []bool // by source: whether its keys may verify tokens of this issuer
	now     time.Time
	before  []uint64 // what was at hand when the token came

	ctx    context.Context // with the deadline, once it has waited
	cancel context.CancelFunc
	tried  []uint64 // what the token was tried with last

	// What is known so far.
	token     *Token
	rejection error
	fault     error // why waiting ended
}

// verifySignature judges the signature. before is what was at hand when the token came: what is
// fetched for it is not fetched again for it.
func (p *Provider) verifySignature(ctx context.Context, u *unverified, now time.Time, before []uint64) (*Token, error) {
	if len(p.sources) == 0 {
		return nil, faultf(NoKeySource, "no jwks_endpoint and no extra_jwks_uris for the issuer")
	}
	t := &trial{Provider: p, u: u, voucher: p.vouchers(u), now: now, before: before, ctx: ctx}
	defer func() {
		if t.cancel != nil {
			t.cancel()
		}
	}()
	for i, s := range p.sources {
		if t.voucher[i] {
			s.prime(now)
		}
	}
	t.renewOld()
	if t.try() || t.awaitNew() || t.awaitMoved() {
		return t.accepted()
	}
	return nil, t.verdict()
}

// accepted is the token, unless it ended while it waited.
func (t *trial) accepted() (*Token, error) {
	if t.cancel != nil && !t.u.policy.SignatureOnly {
		if _, rej := checkClaims(t.u.claims, &t.u.policy, t.Provider.now()); rej != nil {
			return nil, rej
		}
	}
	return t.token, nil
}

func (t *trial) vouches(source int) bool { return t.voucher[source] }

// try verifies with the keys at hand, unless they were tried before.
func (t *trial) try() bool {
	keys, parts := t.keys()
	if keys == nil || slices.Equal(parts, t.tried) {
		return false
	}
	t.tried = parts
	t.token, t.rejection = t.u.verify(keys, t.vouches)
	return t.rejection == nil
}

// concerned are the sources to wait for: of those that vouch the ones that have the token's kid;
// all where none has it.
func (t *trial) concerned() (known bool, sources []int) {
	keys, _ := t.keys()
	var all []int
	for i := range t.sources {
		if !t.voucher[i] {
			continue
		}
		if all = append(all, i); keys != nil && keys.has(t.u.kid, i) {
			sources = append(sources, i)
		}
	}
	if len(sources) == 0 {
		return false, all
	}
	return true, sources
}

// await waits for the first of the fetches, none of which may be nil; false when the time is up.
func (t *trial) await(flights ...<-chan struct{}) bool {
	if t.cancel == nil {
		t.ctx, t.cancel = context.WithTimeout(t.ctx, maxKeyWait)
	}
	t.fault = waitAny(t.ctx, flights)
	return t.fault == nil
}

// renewOld waits for newer copies in place of those that are too old, and goes on with the old ones
// where none come.
func (t *trial) renewOld() {
	if t.u.policy.KeysAtHand || !slices.ContainsFunc(t.sources, func(s *source) bool { return s.overdue(t.now) != nil }) {
		return
	}
	_, sources := t.concerned()
	for _, i := range sources {
		flight := t.sources[i].overdue(t.now)
		if flight != nil && !t.await(flight) {
			t.sources[i].inVain(t.Provider.now())
			t.fault = nil
		}
	}
}

// awaitNew waits for the copies that are on their way and, of sources whose copy of before has been
// tried, for newer ones, trying what comes. The document is fetched anew beside them: jwks_uri may
// have moved.
func (t *trial) awaitNew() bool {
	_, sources := t.concerned()
	if !t.u.policy.KeysAtHand {
		for i, s := range t.sources {
			if nth := t.before[1+i]; t.voucher[i] && nth > 0 && !slices.Contains(sources, i) {
				s.demand(nth, t.now) // not waited for: it may have a new key of a name that another one has
			}
		}
		if nth := t.before[0]; nth > 0 && t.cfg.JWKSEndpoint == "" && t.metadata.olderThan(leastPace, t.now) { // else it was read for this very token
			t.metadata.demand(nth, t.now)
		}
	}
	for {
		var flights []<-chan struct{}
		for _, i := range sources {
			flight := t.sources[i].cold()
			if nth := t.before[1+i]; nth > 0 && !t.u.policy.KeysAtHand {
				if flight = t.sources[i].underWay(); t.tried != nil && t.tried[i] >= nth {
					flight = t.sources[i].demand(nth, t.now)
				}
			}
			// One that has ended is not waited for: its copy is among the keys of the next try.
			if flight != nil && !ended(flight) {
				flights = append(flights, flight)
			}
		}
		before := t.tried
		switch {
		case t.try(): // with what has landed since the last try
			return true
		case len(flights) > 0:
			if !t.await(flights...) {
				return false
			}
		case slices.Equal(before, t.tried):
			return false
		}
	}
}

// awaitMoved waits for the keys in another place, if the document has just named one.
func (t *trial) awaitMoved() bool {
	known, _ := t.concerned()
	if t.fault != nil || known || t.u.policy.KeysAtHand || t.before[0] == 0 || t.metadata.changed == nil {
		return false
	}
	for _, underWay := range []func() <-chan struct{}{t.metadata.underWay, t.sources[0].underWay} {
		if flight := underWay(); flight != nil && !t.await(flight) {
			return false
		}
	}
	return t.try()
}

// verdict is the error for a token that no key at hand verifies. The key may be in a copy that
// could not be fetched. A signature that a known key does not verify is wrong all the same.
func (t *trial) verdict() error {
	fault := t.fault
	for i, s := range t.sources {
		if t.voucher[i] && fault == nil {
			fault = s.lastFault()
		}
	}
	var r *Rejection
	switch {
	case errors.As(t.rejection, &r) && r.Reason != ReasonNoKey, fault == nil && t.rejection != nil:
		return t.rejection
	case fault != nil:
		return fault
	}
	return reject(ReasonNoKey, "no set of keys vouches for the issuer")
}

// vouchers says which sources may verify tokens of u's issuer. The provider's own set may all of
// them. Where several issuers are allowed, a set from elsewhere is good for those of them that are
// a prefix of its address; if there are none, for those on its host; if there are none either, for
// all but the discovered one.
func (p *Provider) vouchers(u *unverified) []bool {
	iss, _ := u.claims["iss"].(string)
	issuers := u.policy.Issuers
	several := slices.ContainsFunc(issuers, func(s string) bool { return s != issuers[0] })
	all := make([]bool, len(p.sources))
	for i, s := range p.sources {
		all[i] = s.uri == "" || !several || p.vouchesFor(iss, s.uri, issuers)
	}
	return all
}

func (p *Provider) vouchesFor(iss, uri string, issuers []string) bool {
	isPrefix := func(s string) bool { return strings.HasPrefix(uri, strings.TrimSuffix(s, "/")+"/") }
	onHost := func(s string) bool {
		a, errA := url.Parse(s)
		b, errB := url.Parse(uri)
		return errA == nil && errB == nil && a.Host != "" && strings.EqualFold(a.Host, b.Host)
	}
	for _, near := range []func(string) bool{isPrefix, onHost} {
		if slices.ContainsFunc(issuers, near) {
			return near(iss) && slices.Contains(issuers, iss)
		}
	}
	if m, nth := p.metadata.peek(); nth > 0 && sameIssuer(iss, m.Issuer) {
		return false
	}
	return !sameIssuer(iss, p.discovery.id) && !sameIssuer(iss, p.cfg.Issuer)
}

// sameIssuer compares issuers but for one trailing slash.
func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

func ended(flight <-chan struct{}) bool {
	select {
	case <-flight:
		return true
	default:
		return false
	}
}
