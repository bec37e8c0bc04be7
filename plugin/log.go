package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/authz"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

const (
	// maxLinesPerSecond bounds what refusals write, whoever sends them.
	maxLinesPerSecond = 100
	// maxLogged is how many logged things are remembered, warnedAgain for how long.
	maxLogged   = 10_000
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
	// recent holds what must not be logged again before its time.
	recent  *cache.Memory[struct{}]
	second  int64
	lines   int
	dropped drops
}

func newRefusalLog(logger *slog.Logger, now func() time.Time) *refusalLog {
	return &refusalLog{logger: logger, now: now, recent: cache.NewMemory[struct{}](cache.Bounds{Entries: maxLogged}, nil), keyer: cache.NewKeyer(nil)}
}

// refusedRequest is one request that does not go on.
type refusedRequest struct {
	*authn.Refusal
	instance *Instance
	event    *pluginserver.Event
	id       string // of the error
}

// refused logs r and returns the line for Kong's error log, if it is due. Lines about the
// operator's own problems come at most once a second each, and are never dropped for those about
// clients.
func (l *refusalLog) refused(r refusedRequest) (forKong string) {
	issuer := r.instance.issuer
	level := slog.LevelInfo
	if operators(r.Status) && l.due(time.Second, issuer, r.Reason, brokenBy(r.instance)) {
		level = slog.LevelError
		forKong = printable(fmt.Sprintf("openid-connect: %v (issuer %s, error id %s)", r.Refusal, issuer, r.id))
	}
	if r.Reason == authz.OpaqueToken && l.due(warnedAgain, issuer, r.Reason) {
		l.logger.Warn("rules on claims and an opaque access token: every request is refused", "issuer", issuer)
	}
	ctx := context.Background()
	if !l.logger.Enabled(ctx, level) {
		return forKong
	}
	var dropped drops
	if level != slog.LevelError {
		var ok bool
		if dropped, ok = l.take(); !ok {
			return forKong
		}
	}
	attrs := []slog.Attr{
		slog.String("error_id", r.id), slog.Int("status", int(r.Status)), slog.String("reason", r.Reason), slog.String("issuer", issuer),
	}
	if r.Cause != nil {
		attrs = append(attrs, slog.Any("cause", r.Cause))
	}
	// Asked only where the line is written: a flood of refusals costs Kong nothing more.
	if origin, err := kong.ReadOrigin(r.event); err == nil {
		attrs = append(attrs, slog.String("request_id", origin.RequestID), slog.String("client", origin.ClientIP), slog.String("route", origin.Route))
	}
	var panicked *cache.PanicError
	if errors.As(r.Cause, &panicked) && level == slog.LevelError {
		attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
	}
	if dropped.lines > 0 {
		attrs = append(attrs, slog.Int("lines_dropped", dropped.lines), slog.Time("dropped_since", dropped.since))
	}
	l.logger.LogAttrs(ctx, level, "request refused", attrs...)
	return forKong
}

// printable is s with what is not printable escaped: Kong writes a line into its log as it comes.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
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
func operators(o authn.Status) bool {
	return o != authn.BadRequest && o != authn.Unauthorized && o != authn.Forbidden
}

// due reports whether the thing named may be logged now, and records that it was.
func (l *refusalLog) due(every time.Duration, name ...string) bool {
	key := l.keyer.Key("log", name...)
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, logged := l.recent.Get(key, now); logged {
		return false
	}
	l.recent.Set(key, struct{}{}, now, now.Add(every))
	return true
}

// drops are the lines that were not written since the last one that was.
type drops struct {
	lines int
	since time.Time
}

// take claims one line of this second. It returns what was dropped since the last line, or false
// when the second is full.
func (l *refusalLog) take() (drops, bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now.Unix(); second != l.second {
		l.second, l.lines = second, 0
	}
	if l.lines >= maxLinesPerSecond {
		if l.dropped.lines == 0 {
			l.dropped.since = now
		}
		l.dropped.lines++
		return drops{}, false
	}
	l.lines++
	dropped := l.dropped
	l.dropped = drops{}
	return dropped, true
}
