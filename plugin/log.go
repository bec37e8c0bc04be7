package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/authz"
)

const (
	// maxLinesPerSecond bounds what refusals write, whoever sends them.
	maxLinesPerSecond = 100
	// maxSaid is how many things said are remembered, warnedAgain for how long.
	maxSaid     = 10_000
	warnedAgain = 24 * time.Hour
)

// refusalLog writes why requests were refused: to our own log, and the operator's
// problems (a broken configuration, a faulty provider) also to Kong's error log,
// since a server's stderr is invisible at Kong's default level.
type refusalLog struct {
	logger *slog.Logger
	now    func() time.Time
	keyer  cache.Keyer

	mu sync.Mutex // guards the fields below
	// recent holds what must not be said again before its time.
	recent  *cache.Memory[struct{}]
	second  int64
	lines   int
	dropped int
}

func newRefusalLog(logger *slog.Logger, now func() time.Time) *refusalLog {
	return &refusalLog{logger: logger, now: now, recent: cache.NewMemory[struct{}](maxSaid), keyer: cache.NewKeyer(nil)}
}

// refused logs r under id and returns the line for Kong's error log, if it is due.
func (l *refusalLog) refused(i *Instance, r *authn.Refusal, id string) (forKong string) {
	issuer := i.issuer
	level := slog.LevelInfo
	if operators(r.Outcome) && l.due(time.Second, issuer, r.Reason, brokenBy(i)) {
		level = slog.LevelError
		forKong = fmt.Sprintf("openid-connect: %v (issuer %s, error id %s)", r, issuer, id)
	}
	if r.Reason == authz.OpaqueToken && l.due(warnedAgain, issuer, r.Reason) {
		l.logger.Warn("rules on claims and an opaque access token: every request is refused", "issuer", issuer)
	}
	dropped, ok := l.take()
	if !ok {
		return forKong
	}
	attrs := []slog.Attr{
		slog.String("error_id", id), slog.Int("status", int(r.Outcome)), slog.String("reason", r.Reason), slog.String("issuer", issuer),
	}
	if r.Cause != nil {
		attrs = append(attrs, slog.Any("cause", r.Cause))
	}
	var panicked *cache.PanicError
	if errors.As(r.Cause, &panicked) && level == slog.LevelError {
		attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
	}
	if dropped > 0 {
		attrs = append(attrs, slog.Int("lines_dropped", dropped))
	}
	l.logger.LogAttrs(context.Background(), level, "request refused", attrs...)
	return forKong
}

// brokenBy tells broken configurations of one issuer apart.
func brokenBy(i *Instance) string {
	if i.broken == nil {
		return ""
	}
	return i.broken.Error()
}

// operators reports whether an outcome is the operator's to mend rather than the
// client's.
func operators(o authn.Outcome) bool {
	return o != authn.BadRequest && o != authn.Unauthorized && o != authn.Forbidden
}

// due reports whether the thing named may be said again, and if so counts it as said.
func (l *refusalLog) due(every time.Duration, name ...string) bool {
	key := l.keyer.Key("log", name...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, said := l.recent.Get(key); said {
		return false
	}
	l.recent.Set(key, struct{}{}, every)
	return true
}

// take claims one line of this second. It returns how many were dropped since the
// last line, or false when the second is full.
func (l *refusalLog) take() (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := l.now().Unix(); second != l.second {
		l.second, l.lines = second, 0
	}
	if l.lines >= maxLinesPerSecond {
		l.dropped++
		return 0, false
	}
	l.lines++
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}
