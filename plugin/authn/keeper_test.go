package authn

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
)

// answers is a provider: each call takes its turn.
type answers struct {
	asked atomic.Int64
	turns []turn
}

type turn struct {
	takes   time.Duration
	refusal *Refusal // nil: an answer that lives for 100 s
}

func (a *answers) obtain(ctx context.Context) (string, Life, error) {
	n := int(a.asked.Add(1))
	turn := a.turns[min(n, len(a.turns))-1]
	now := time.Now()
	select {
	case <-time.After(turn.takes):
	case <-ctx.Done():
		return "", Life{}, providerFault(ctx.Err(), time.Now())
	}
	if turn.refusal != nil {
		return "", Life{}, turn.refusal
	}
	return strings.Repeat("i", n), Life{Ends: now.Add(100 * time.Second), Renew: now.Add(80 * time.Second), Wait: now.Add(90 * time.Second)}, nil
}

// TestKeeperNearTheEnd: what a hit at a time of the life of a value gets, and how long it waits.
func TestKeeperNearTheEnd(t *testing.T) {
	away := &Refusal{Status: Unavailable, Reason: "idp_unreachable"}
	no := &Refusal{Status: Unauthorized, Reason: "invalid_client", CredentialsRefused: true, keep: keepNegative}
	for _, c := range []struct {
		name   string
		at     time.Duration
		second turn // of the provider, when it is asked again
		gets   string
		status Status
		waits  time.Duration
		asked  int64 // once everything is over
		// then is what the next request gets.
		then string
	}{
		{name: "young", at: 77 * time.Second, gets: "i", asked: 1, then: "i"},
		{name: "renewed behind", at: 80 * time.Second, second: turn{takes: time.Second}, gets: "i", asked: 2, then: "ii"},
		{name: "renewed behind, in vain", at: 80 * time.Second, second: turn{refusal: away}, gets: "i", asked: 2, then: "i"},
		{name: "waited for", at: 91 * time.Second, second: turn{takes: 700 * time.Millisecond}, gets: "ii", waits: 700 * time.Millisecond, asked: 2, then: "ii"},
		{name: "waited for, away", at: 91 * time.Second, second: turn{refusal: away}, gets: "i", asked: 2, then: "i"},
		{name: "waited for, slow", at: 91 * time.Second, second: turn{takes: 3 * time.Second}, gets: "i", waits: time.Second, asked: 2, then: "ii"},
		{name: "little is left", at: 99_900 * time.Millisecond, second: turn{takes: 60 * time.Millisecond}, gets: "ii", waits: 60 * time.Millisecond, asked: 2, then: "ii"},
		{name: "little is left, slow", at: 99_900 * time.Millisecond, second: turn{takes: 2 * time.Second}, gets: "i", waits: 75 * time.Millisecond, asked: 2, then: "ii"},
		{name: "refused", at: 91 * time.Second, second: turn{refusal: no}, status: Unauthorized, asked: 2},
		{name: "over", at: 100 * time.Second, gets: "ii", asked: 2, then: "ii"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := NewKeeper(Sizes{}, func(s string) int { return len(s) }, time.Now)
				defer k.Close()
				terms := &terms{
					remember: true, budget: 10 * time.Second, negative: 5 * time.Second, load: new(Load),
					notRenewed: func(*Refusal, ...any) {},
				}
				q := &answers{turns: []turn{{}, c.second}}
				var key cache.Key
				if _, err := k.get(t.Context(), key, terms, q); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.at)
				var together sync.WaitGroup
				for range 20 {
					together.Go(func() {
						began := time.Now()
						got, err := k.get(t.Context(), key, terms, q)
						if status := statusOf(err); got != c.gets || status != c.status {
							t.Errorf("got %q, %v", got, err)
						}
						if waited := time.Since(began); waited != c.waits {
							t.Errorf("waited %v", waited)
						}
					})
				}
				together.Wait()
				synctest.Wait()
				time.Sleep(2500 * time.Millisecond) // what goes on in the background ends
				if got, _ := k.get(t.Context(), key, terms, q); got != c.then {
					t.Errorf("then got %q", got)
				}
				if n := q.asked.Load(); n != c.asked {
					t.Errorf("asked %d times", n)
				}
				if n := terms.load.requests.Load() + terms.load.renewals.Load(); n != 0 {
					t.Errorf("%d still wait", n)
				}
			})
		})
	}
}

func statusOf(err error) Status {
	if err == nil {
		return 0
	}
	return AsRefusal(err).Status
}

// TestKeeperWaitsInVainOnce: while a provider hangs, one request in five seconds waits for the
// successor of a value that lives, not each.
func TestKeeperWaitsInVainOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(Sizes{}, func(s string) int { return len(s) }, time.Now)
		defer k.Close()
		terms := &terms{remember: true, budget: 3 * time.Second, load: new(Load), notRenewed: func(*Refusal, ...any) {}}
		q := &answers{turns: []turn{{}, {takes: time.Hour}}}
		var key cache.Key
		_, _ = k.get(t.Context(), key, terms, q)
		time.Sleep(90 * time.Second)
		began, waits := time.Now(), 0
		for time.Since(began) < 9*time.Second {
			before := time.Now()
			if got, err := k.get(t.Context(), key, terms, q); got != "i" {
				t.Fatalf("got %q, %v", got, err)
			}
			if time.Since(before) > 0 {
				waits++
			}
			time.Sleep(10 * time.Millisecond)
		}
		if waits != 2 {
			t.Errorf("%d requests waited", waits)
		}
	})
}

// TestKeeperHeedsThePause: a provider that asks for a minute is not asked again before, whoever
// waited in vain.
func TestKeeperHeedsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(Sizes{}, func(s string) int { return len(s) }, time.Now)
		defer k.Close()
		terms := &terms{remember: true, budget: time.Second, load: new(Load), notRenewed: func(*Refusal, ...any) {}}
		q := &answers{turns: []turn{{}, {refusal: &Refusal{Status: Unavailable, RetryAt: time.Now().Add(98 * time.Second)}}}}
		var key cache.Key
		for range 100 {
			if got, err := k.get(t.Context(), key, terms, q); got != "i" {
				t.Fatalf("got %q, %v", got, err)
			}
			synctest.Wait()
			time.Sleep(990 * time.Millisecond)
		}
		if n := q.asked.Load(); n != 2 && n != 3 { // at 98 s once more
			t.Errorf("asked %d times", n)
		}
	})
}

// TestPause: a 429 speaks of one credential until a second one meets it; a 503 of everybody.
func TestPause(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	after := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name  string
		asks  func(l *Load)
		until time.Time // of the endpoint; zero: not paused
	}{
		{name: "one credential", asks: func(l *Load) { l.pause(now, "a", 429, time.Minute); l.pause(now, "a", 429, time.Minute) }},
		{name: "two credentials", asks: func(l *Load) { l.pause(now, "a", 429, time.Minute); l.pause(after(59), "b", 429, time.Minute) }, until: after(119)},
		{name: "two, one after the other", asks: func(l *Load) { l.pause(now, "a", 429, time.Minute); l.pause(after(60), "b", 429, time.Minute) }},
		{name: "503", asks: func(l *Load) { l.pause(now, "a", 503, time.Minute) }, until: after(60)},
		{name: "too long", asks: func(l *Load) { l.pause(now, "a", 503, time.Hour) }, until: after(300)},
		{name: "a shorter one later", asks: func(l *Load) { l.pause(now, "a", 503, time.Minute); l.pause(now, "a", 503, time.Second) }, until: after(60)},
		{name: "no time", asks: func(l *Load) { l.pause(now, "a", 503, 0) }, until: after(5)},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := new(Load)
			c.asks(l)
			until, paused := l.paused(now, "c")
			if paused == c.until.IsZero() || paused && !until.Equal(c.until) {
				t.Errorf("paused %v until %v, want until %v", paused, until, c.until)
			}
			if _, paused := l.paused(c.until, "c"); paused {
				t.Error("the pause does not end")
			}
		})
	}
}

// TestPauseOfOne: the credential that was asked to wait waits, others do not.
func TestPauseOfOne(t *testing.T) {
	now, l := time.Unix(1_800_000_000, 0), new(Load)
	l.pause(now, "a", 429, time.Minute)
	l.pause(now, "a", 429, time.Second) // does not shorten it
	for credential, want := range map[string]bool{"a": true, "b": false} {
		if _, paused := l.paused(now.Add(59*time.Second), credential); paused != want {
			t.Errorf("%s paused: %v", credential, paused)
		}
	}
	if _, paused := l.paused(now.Add(time.Minute), "a"); paused {
		t.Error("the pause does not end")
	}
}
