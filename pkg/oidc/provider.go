package oidc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

const (
	retryAfterFailure = 5 * time.Second
	leastPace         = time.Second // where RediscoveryLifetime is below it
	leastTooOld       = time.Hour
	defaultTimeout    = 10 * time.Second
	maxKeyWait        = 2 * time.Second // of one token for keys
)

// ProviderConfig says where a provider is and how often it may be asked. Equal ones share
// a Provider.
type ProviderConfig struct {
	// Issuer is an issuer's id, whose document must name it but for one trailing slash, or
	// the URL of a document in /.well-known/, whose issuer is taken as it is.
	Issuer string
	// Pseudo: there is no document. Issuer is only compared with iss; keys come from
	// JWKSEndpoint and ExtraJWKSURIs.
	Pseudo bool
	// AnyDocumentIssuer: the document may be of another issuer than Issuer, with a warning. Only
	// for policies that name their Issuers.
	AnyDocumentIssuer bool
	DiscoveryHeaders  http.Header // sent with the request for the document
	JWKSEndpoint      string      // in place of the document's jwks_uri; "" is that
	ExtraJWKSURIs     []string    // searched together with it; without a scheme they are https
	// RediscoveryLifetime is the least time between two fetches for tokens that no known key
	// verifies. Below a second it is one.
	RediscoveryLifetime time.Duration
	// MaxAge is that of metadata and keys, before they are renewed in the background; 0 is
	// RediscoveryLifetime. Keys older than twice that and an hour make a token wait for newer ones.
	MaxAge  time.Duration
	Timeout time.Duration // of one fetch, which goes on when its caller leaves; 0 is 10 s
	Client  *egress.Client
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
	used      atomic.Int64 // when, in nanoseconds of Unix time

	metadata kept[*Metadata]
	sources  []*source // the provider's own first, then the extra ones

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
	pace := pace{
		demand: demand, retry: min(demand, retryAfterFailure), pause: max(demand, retryAfterFailure),
		maxAge: cfg.MaxAge, budget: cfg.Timeout,
	}
	if pace.maxAge <= 0 {
		pace.maxAge = demand
	}
	pace.tooOld = max(leastTooOld, 2*pace.maxAge)
	if pace.budget <= 0 {
		pace.budget = defaultTimeout
	}
	p := &Provider{cfg: cfg, now: r.now}
	if !cfg.Pseudo {
		p.discovery, p.broken = newDiscovery(cfg.Issuer)
	}
	p.metadata.registry, p.metadata.pace = r, pace
	p.metadata.fetch = func(ctx context.Context) (*Metadata, error) {
		m, err := p.discovery.fetch(ctx, cfg.Client, cfg.DiscoveryHeaders)
		if err == nil && !cfg.AnyDocumentIssuer {
			err = m.mismatch()
		}
		return m, err
	}
	add := func(uri string, fetch func(context.Context) (*KeySet, error)) {
		p.sources = append(p.sources, &source{kept: kept[*KeySet]{registry: r, pace: pace, fetch: fetch}, uri: uri})
	}
	if !cfg.Pseudo || cfg.JWKSEndpoint != "" {
		add("", p.fetchOwnKeys)
	}
	if !cfg.Pseudo && cfg.JWKSEndpoint == "" {
		p.metadata.changed = func(from, to *Metadata) {
			if from.endpoints["jwks_uri"] != to.endpoints["jwks_uri"] {
				p.sources[0].refetch()
			}
		}
	}
	for _, uri := range cfg.ExtraJWKSURIs {
		if !strings.Contains(uri, "://") {
			uri = "https://" + uri
		}
		add(uri, func(ctx context.Context) (*KeySet, error) { return fetchKeys(ctx, cfg.Client, uri) })
	}
	return p
}

// A source is one of the places that a provider's keys are in.
type source struct {
	kept[*KeySet]
	uri string // of an extra one; "" of the provider's own
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
	uri, err := m.Endpoint("jwks_uri")
	if err != nil {
		return nil, err
	}
	return fetchKeys(ctx, p.cfg.Client, uri)
}

// Metadata returns the provider's document. Of a pseudo issuer only Issuer is set, without
// any fetch. The error is a *Fault. The Metadata is shared: do not change it.
func (p *Provider) Metadata(ctx context.Context) (*Metadata, error) {
	if p.cfg.Pseudo {
		return &Metadata{Issuer: p.cfg.Issuer, host: host(p.cfg.Issuer)}, nil
	}
	if p.broken != nil {
		return nil, p.broken
	}
	return p.metadata.get(ctx)
}

// Prime starts to fetch the document and the keys, where they are not at hand or old, and waits for
// nothing: call it before something else that takes its time, such as asking for the token.
func (p *Provider) Prime() {
	now := p.now()
	p.used.Store(now.UnixNano())
	p.primeDocument(now)
	for _, s := range p.sources {
		s.prime(now)
	}
}

func (p *Provider) primeDocument(now time.Time) {
	if !p.cfg.Pseudo && p.broken == nil {
		p.metadata.prime(now)
	}
}

// Verify judges a token by policy with the provider's keys, see the function Verify. Where
// Policy.Issuers is empty, iss must be the document's issuer, or the configured one of a
// pseudo issuer. Nothing is fetched for a token that no key could make good, nor any key
// for one whose signature is not to be checked. Where keys have a configured address, the
// document is not waited for to know the issuer. Keys that are at hand and fit are used at once;
// a token that they do not fit has them fetched again, at most once in RediscoveryLifetime, and
// waits 2 s for it at most. The error is a *Rejection or, where the provider's state leaves it
// open, a *Fault.
func (p *Provider) Verify(ctx context.Context, raw string, pol Policy) (*Token, error) {
	pol.HMACFromKeySet = false // a published secret is none
	now, before := p.now(), p.copies()
	p.used.Store(now.UnixNano())
	if len(pol.Issuers) == 0 && !pol.SkipClaims && !pol.SignatureOnly {
		var err error
		if now, err = p.defaultIssuer(ctx, raw, &pol, now); err != nil {
			return nil, err
		}
	}
	u, err := inspect(raw, pol, now)
	if err != nil {
		return nil, err
	}
	if pol.SkipSignature || algorithms[u.alg].kty == ktyOct {
		return u.verify(nil, nil)
	}
	return p.verifySignature(ctx, &u, now, before)
}

// copies numbers what is at hand, or already on its way and so no newer: the document first, then
// each source of keys; 0 is none. A key may have been made while a set that lacks it was on its
// way.
func (p *Provider) copies() []uint64 {
	numbers := make([]uint64, 0, 1+len(p.sources))
	numbers = append(numbers, p.metadata.begun())
	for _, s := range p.sources {
		numbers = append(numbers, s.begun())
	}
	return numbers
}

// defaultIssuer sets the issuer that the provider itself has, and returns the time, which is
// another after waiting. A token that is wrong whoever issued it is rejected before the document is
// fetched for the first time.
func (p *Provider) defaultIssuer(ctx context.Context, raw string, pol *Policy, now time.Time) (time.Time, error) {
	m, nth := p.metadata.peek()
	switch {
	case p.cfg.Pseudo:
		pol.Issuers = []string{p.cfg.Issuer}
		return now, nil
	case nth > 0:
		p.primeDocument(now)
	default:
		early := *pol
		early.SkipClaims = true
		u, err := inspect(raw, early, now)
		if err != nil {
			return now, err
		}
		iss, _ := u.claims["iss"].(string)
		if p.broken == nil && p.keysConfigured() && sameIssuer(iss, p.discovery.id) {
			p.primeDocument(now)
			pol.Issuers = []string{iss}
			return now, nil
		}
		if m, err = p.Metadata(ctx); err != nil {
			return now, err
		}
		now = p.now()
	}
	// Even with AnyDocumentIssuer: nobody has named another one.
	if err := m.mismatch(); err != nil {
		return now, err
	}
	pol.Issuers = []string{m.Issuer}
	return now, nil
}

// keysConfigured says that keys may be had without the document.
func (p *Provider) keysConfigured() bool {
	return p.cfg.JWKSEndpoint != "" || len(p.cfg.ExtraJWKSURIs) > 0
}

// keys is the union of the good copies, nil if there is none, and what it is made of.
func (p *Provider) keys() (*KeySet, []uint64) {
	parts := make([]uint64, len(p.sources))
	sets := make([]*KeySet, len(p.sources))
	some := false
	for i, s := range p.sources {
		sets[i], parts[i] = s.peek()
		some = some || parts[i] > 0
	}
	switch {
	case !some:
		return nil, parts
	case len(sets) == 1:
		return sets[0], parts
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.parts, parts) {
		p.parts, p.merged = parts, merge(sets)
	}
	return p.merged, parts
}

// Warnings says what of the document and the keys at hand is not used and why, one line each, safe
// to log.
func (p *Provider) Warnings() []string {
	var warnings []string
	if m, nth := p.metadata.peek(); nth > 0 {
		warnings = m.Warnings()
		if err := m.mismatch(); err != nil {
			warnings = append(warnings, err.Error())
		}
	}
	if keys, _ := p.keys(); keys != nil {
		warnings = append(warnings, keys.Warnings()...)
	}
	return warnings
}
