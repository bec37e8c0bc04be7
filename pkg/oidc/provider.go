package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

const (
	retryAfterFailure = 5 * time.Second
	leastPace         = time.Second // where RediscoveryLifetime is below it
	defaultTimeout    = 10 * time.Second
	maxRenewalWait    = 2 * time.Second // of a client's token for newer keys
)

// ProviderConfig says where a provider is and how often it may be asked. Equal ones share
// a Provider.
type ProviderConfig struct {
	// Issuer is an issuer's id, whose document must name it but for one trailing slash, or
	// the URL of a document in /.well-known/, whose issuer is taken as it is.
	Issuer string
	// Pseudo: there is no document. Issuer is only compared with iss; keys come from
	// JWKSEndpoint and ExtraJWKSURIs.
	Pseudo           bool
	DiscoveryHeaders http.Header // sent with the request for the document
	JWKSEndpoint     string      // in place of the document's jwks_uri; "" is that
	ExtraJWKSURIs    []string    // searched together with it; without a scheme they are https
	// RediscoveryLifetime is the least time between two fetches for tokens that no known key
	// verifies. Below a second it is one.
	RediscoveryLifetime time.Duration
	MaxAge              time.Duration // of metadata and keys, before they are renewed in the background; 0: for ever
	Timeout             time.Duration // of one fetch, which goes on when its caller leaves; 0 is 10 s
	Client              *egress.Client
}

// Format prints no header's value.
func (c ProviderConfig) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "provider "+host(c.Issuer))
}

// MarshalText prints no more than that.
func (c ProviderConfig) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", c), nil }

// A Provider knows one OpenID Connect provider: its metadata and its keys. Nothing is
// fetched before it is needed; a good copy is used until there is a better one; a failed
// fetch is repeated after 5 s at the earliest, when something asks. It is safe for
// concurrent use.
type Provider struct {
	cfg       ProviderConfig
	discovery discovery
	broken    error // why there can be no document
	now       func() time.Time

	metadata kept[*Metadata]
	sources  []*kept[*KeySet] // the provider's own first, then the extra ones

	mu     sync.Mutex // guards below
	parts  []uint64   // the numbers of the copies that merged is made of
	merged *KeySet
}

// Format prints where the provider is, and no header that goes there.
func (p *Provider) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, p.cfg) }

func newProvider(r *Registry, cfg ProviderConfig) *Provider {
	cfg.DiscoveryHeaders = cfg.DiscoveryHeaders.Clone()
	cfg.ExtraJWKSURIs = slices.Clone(cfg.ExtraJWKSURIs)
	demand := max(cfg.RediscoveryLifetime, leastPace)
	pace := pace{demand: demand, retry: min(demand, retryAfterFailure), maxAge: cfg.MaxAge, budget: cfg.Timeout}
	if pace.budget <= 0 {
		pace.budget = defaultTimeout
	}
	p := &Provider{cfg: cfg, now: r.now}
	if !cfg.Pseudo {
		p.discovery, p.broken = newDiscovery(cfg.Issuer)
	}
	p.metadata.registry, p.metadata.pace = r, pace
	p.metadata.fetch = func(ctx context.Context) (*Metadata, error) {
		return p.discovery.fetch(ctx, cfg.Client, cfg.DiscoveryHeaders)
	}
	source := func(fetch func(context.Context) (*KeySet, error)) {
		p.sources = append(p.sources, &kept[*KeySet]{registry: r, pace: pace, fetch: fetch})
	}
	if !cfg.Pseudo || cfg.JWKSEndpoint != "" {
		source(p.fetchOwnKeys)
	}
	for _, uri := range cfg.ExtraJWKSURIs {
		if !strings.Contains(uri, "://") {
			uri = "https://" + uri
		}
		source(func(ctx context.Context) (*KeySet, error) { return fetchKeys(ctx, cfg.Client, uri) })
	}
	return p
}

// fetchOwnKeys asks where the metadata says at that time: jwks_uri may move.
func (p *Provider) fetchOwnKeys(ctx context.Context) (*KeySet, error) {
	if p.cfg.JWKSEndpoint != "" {
		return fetchKeys(ctx, p.cfg.Client, p.cfg.JWKSEndpoint)
	}
	m, err := p.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if m.JWKSURI == "" {
		return nil, faultf(BadDiscovery, "metadata of %s has no jwks_uri", p.discovery.url.Host)
	}
	return fetchKeys(ctx, p.cfg.Client, m.JWKSURI)
}

// Metadata returns the provider's document. Of a pseudo issuer only Issuer is set, without
// any fetch. The error is a *Fault. The Metadata is shared: do not change it.
func (p *Provider) Metadata(ctx context.Context) (*Metadata, error) {
	if p.cfg.Pseudo {
		return &Metadata{Issuer: p.cfg.Issuer}, nil
	}
	if p.broken != nil {
		return nil, p.broken
	}
	return p.metadata.get(ctx)
}

// Verify judges a token by policy with the provider's keys, see the function Verify. Where
// Policy.Issuers is empty, iss must be the document's issuer, or the configured one of a
// pseudo issuer. Nothing is fetched for a token that no key could make good, nor any key
// for one whose signature is not to be checked. A token that the known keys do not fit
// has them fetched again, at most once in RediscoveryLifetime, which no other token waits
// for. The error is a *Rejection or, where the provider's state leaves it open, a *Fault.
func (p *Provider) Verify(ctx context.Context, raw string, pol Policy) (*Token, error) {
	pol.HMACFromKeySet = false // a published secret is none
	now, before := p.now(), p.copies()
	if len(pol.Issuers) == 0 && !pol.SkipClaims && !pol.SignatureOnly {
		if err := p.defaultIssuer(ctx, raw, &pol, now); err != nil {
			return nil, err
		}
	}
	u, err := inspect(raw, pol, now)
	if err != nil {
		return nil, err
	}
	if pol.SkipSignature || algorithms[u.alg].kty == ktyOct {
		return u.verify(nil)
	}
	return p.verifySignature(ctx, u, before)
}

// copies numbers what is at hand: the document first, then each source of keys; 0 is none.
func (p *Provider) copies() []uint64 {
	numbers := make([]uint64, 0, 1+len(p.sources))
	_, nth := p.metadata.peek()
	numbers = append(numbers, nth)
	for _, s := range p.sources {
		_, nth := s.peek()
		numbers = append(numbers, nth)
	}
	return numbers
}

// defaultIssuer sets the issuer that the provider itself has. A token that is wrong
// whoever issued it is rejected before the document is fetched for the first time.
func (p *Provider) defaultIssuer(ctx context.Context, raw string, pol *Policy, now time.Time) error {
	if _, nth := p.metadata.peek(); nth == 0 && !p.cfg.Pseudo {
		early := *pol
		early.SkipClaims = true
		if _, err := inspect(raw, early, now); err != nil {
			return err
		}
	}
	m, err := p.Metadata(ctx)
	if err != nil {
		return err
	}
	pol.Issuers = []string{m.Issuer}
	return nil
}

// verifySignature tries the keys at hand, then those of sources that have none yet, then
// newer ones. before is what was at hand when the token came: what is fetched for it is
// not fetched again for it.
func (p *Provider) verifySignature(ctx context.Context, u *unverified, before []uint64) (*Token, error) {
	if len(p.sources) == 0 {
		return nil, faultf(NoKeySource, "no jwks_endpoint and no extra_jwks_uris for the issuer")
	}
	for _, s := range p.sources {
		s.prime()
	}
	var tried []uint64
	var fault, rejection error
	try := func() (*Token, bool) {
		keys, parts := p.keys()
		if keys == nil || slices.Equal(parts, tried) {
			return nil, false
		}
		tried = parts
		t, err := u.verify(keys)
		rejection = err
		return t, err == nil
	}
	if t, ok := try(); ok {
		return t, nil
	}
	for _, s := range p.sources {
		if _, err := s.get(ctx); err != nil {
			fault = err
			continue
		}
		if t, ok := try(); ok {
			return t, nil
		}
	}
	if tried == nil {
		return nil, fault
	}
	if err := p.renew(ctx, before, u.policy.FromGrant); err != nil {
		return nil, err
	}
	if t, ok := try(); ok {
		return t, nil
	}
	for _, s := range p.sources {
		if err := s.lastFault(); err != nil {
			fault = err
		}
	}
	// The key may be in the copy that could not be fetched. A signature that a known key
	// does not verify is wrong all the same.
	var r *Rejection
	if errors.As(rejection, &r) && r.Reason == ReasonNoKey && fault != nil {
		return nil, fault
	}
	return nil, rejection
}

// renew asks the sources for newer copies than those of before, and waits for them. The
// document is fetched anew beside them, for the next time: jwks_uri may have moved.
//
// Anyone may send tokens with an unknown kid: where the provider hangs, they are let go
// long before the fetch is given up. A grant's token came from the provider itself.
func (p *Provider) renew(ctx context.Context, before []uint64, fromGrant bool) error {
	if !fromGrant {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxRenewalWait)
		defer cancel()
	}
	flights := make([]<-chan struct{}, 0, len(p.sources))
	for i, s := range p.sources {
		if nth := before[1+i]; nth > 0 {
			flights = append(flights, s.demand(nth))
		}
	}
	if before[0] > 0 && p.cfg.JWKSEndpoint == "" && p.metadata.age() > leastPace { // else it was read for this very token
		p.metadata.demand(before[0])
	}
	for _, f := range flights {
		if err := wait(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// keys is the union of the good copies, nil if there is none, and what it is made of.
func (p *Provider) keys() (*KeySet, []uint64) {
	parts := make([]uint64, len(p.sources))
	sets := make([]*KeySet, 0, len(p.sources))
	for i, s := range p.sources {
		var set *KeySet
		if set, parts[i] = s.peek(); parts[i] > 0 {
			sets = append(sets, set)
		}
	}
	switch len(sets) {
	case 0:
		return nil, parts
	case 1:
		return sets[0], parts
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.parts, parts) {
		p.parts, p.merged = parts, merge(sets)
	}
	return p.merged, parts
}

// Warnings says which of the keys at hand were refused and why, one line each, safe to
// log.
func (p *Provider) Warnings() []string {
	var warnings []string
	for _, s := range p.sources {
		if set, nth := s.peek(); nth > 0 {
			warnings = append(warnings, set.Warnings()...)
		}
	}
	return warnings
}

// merge is the union of key sets. The same key of two sources is one key.
func merge(sets []*KeySet) *KeySet {
	out := &KeySet{}
	for _, set := range sets {
		for _, k := range set.keys {
			if !slices.ContainsFunc(out.keys, k.same) {
				out.keys = append(out.keys, k)
			}
		}
	}
	return out
}
