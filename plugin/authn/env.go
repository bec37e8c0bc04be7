package authn

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
)

// Env is what methods share and what outlives them: a PATCH replaces the compiled configuration,
// not the caches.
type Env struct {
	Results *Keeper[*Result]
	// ProcessKey keys the caches where cache_tokens_salt is not set.
	ProcessKey cache.Keyer
	Registry   *oidc.Registry
	Egress     *egress.Pool
	Logger     *slog.Logger
	// Due reports whether the thing named may be logged now, and records that it was: it may not be
	// logged again until every has passed.
	Due func(every time.Duration, name ...string) bool
	Now func() time.Time

	Loads Loads
}

// Provider is the identity provider of one configuration.
type Provider struct {
	*oidc.Provider
	Client *egress.Client
	Load   *Load
}

// Loads has the Load of each endpoint that some configuration still names. The zero Loads is
// ready.
type Loads struct {
	mu     sync.Mutex // guards byName
	byName map[string]weak.Pointer[Load]
}

// Of returns the Load of this name, the same one for all who hold it.
func (l *Loads) Of(name string) *Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	if load := l.byName[name].Value(); load != nil {
		return load
	}
	for name, load := range l.byName {
		if load.Value() == nil { // of a configuration that is gone
			delete(l.byName, name)
		}
	}
	if l.byName == nil {
		l.byName = map[string]weak.Pointer[Load]{}
	}
	load := new(Load)
	l.byName[name] = weak.Make(load)
	return load
}

// Load is what all configurations together ask of one provider.
type Load struct {
	requests atomic.Int64 // that wait for it
	renewals atomic.Int64 // under way

	mu         sync.Mutex // guards below
	credential string     // the last one that the provider asked to wait
	until      time.Time  // until when
	endpoint   time.Time  // until when nobody is to ask
}

// The bounds of a pause that a provider asks for.
const (
	defaultPause = 5 * time.Second // where it names no time
	maxPause     = 5 * time.Minute
)

// paused returns until when the endpoint is left alone with this credential; false where it may be
// asked. Of several credentials that are asked to wait all wait: see pause.
func (l *Load) paused(now time.Time, credential string) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := l.endpoint
	if credential == l.credential && l.until.After(until) {
		until = l.until
	}
	return until, now.Before(until)
}

// pause records that the provider answered status, 429 or 503, to a credential, and asked to be
// left alone for this long. It returns until when that credential must not be used: a 429 may
// speak of one client, but where a second one meets it, it speaks of everybody.
func (l *Load) pause(now time.Time, credential string, status int, announced time.Duration) time.Time {
	if announced <= 0 {
		announced = defaultPause
	}
	until := now.Add(min(announced, maxPause))
	l.mu.Lock()
	defer l.mu.Unlock()
	if status != tooManyRequests || now.Before(l.until) && l.credential != credential {
		l.endpoint = later(l.endpoint, until)
	}
	if status == tooManyRequests {
		if credential == l.credential {
			until = later(l.until, until)
		}
		l.credential, l.until = credential, until
	}
	return until
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
