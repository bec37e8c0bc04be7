package plugintest_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

const inPanic = "panic-secret-e1f2"

// bugs are panics of every kind, the last with what no log may show.
var bugs = map[string]func(){
	"nil map":        func() { var m map[string]int; m["a"] = 1 },
	"index":          func() { var s []int; _ = s[len(s)] },
	"type assertion": func() { var v any = 1; _ = v.(string) },
	"nil pointer":    func() { var p *plugintest.Gateway; _ = p.URL },
	"custom value":   func() { panic(errors.New(inPanic)) },
}

// TestRow79PanicInAccess: one 500, the stack once, and the next request is served.
func TestRow79PanicInAccess(t *testing.T) {
	idp, trap := startIDP(t, demoidp.Options{Clients: clients}), newTrap(t)
	for name, bug := range bugs {
		t.Run(name, func(t *testing.T) {
			p := newPlayer(t, idp, trap)
			var armed atomic.Bool
			p.options.Wrap = func(real pluginserver.Plugin) pluginserver.Plugin {
				return wrapper{Plugin: real, access: func(ctx context.Context, e *pluginserver.Event, next pluginserver.Instance) {
					if armed.CompareAndSwap(true, false) {
						e.Pass() // does not count
						bug()
					}
					next.Access(ctx, e)
				}}
			}
			p.ask(`Authorization: {{basic "service" secret}}`, "A")
			armed.Store(true)
			p.broken()
			p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls token=1")
			p.onceInLog("panic while handling an event")
		})
	}
}

// TestRow79PanicInNewInstance: that configuration answers 500, another one works.
func TestRow79PanicInNewInstance(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	p.options.Wrap = func(real pluginserver.Plugin) pluginserver.Plugin {
		return wrapper{Plugin: real, compile: func(config json.RawMessage) {
			if strings.Contains(string(config), "broken") {
				panic(inPanic)
			}
		}}
	}
	p.config["unauthorized_error_message"] = "broken"
	p.start()
	p.broken()
	p.broken()
	p.configure(`{"unauthorized_error_message": "Unauthorized"}`)
	p.ask(`Authorization: {{basic "service" secret}}`, "A")
	p.onceInLog("panic while compiling a configuration")
}

// TestRow79PanicInClose: the change that closes the instance goes through.
func TestRow79PanicInClose(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	p.options.Wrap = func(real pluginserver.Plugin) pluginserver.Plugin {
		var closed atomic.Bool
		return wrapper{Plugin: real, close: func() {
			if closed.CompareAndSwap(false, true) {
				panic(inPanic)
			}
		}}
	}
	p.ask(`Authorization: {{basic "service" secret}}`, "A")
	p.configure(`{"display_errors": true}`)
	p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls token=1")
	p.onceInLog("panic while closing an instance")
}

// TestRow79PanicInBackground: the plugin's clock panics in the goroutine that asks the
// provider for all who wait, and in the one that renews a token before its end.
func TestRow79PanicInBackground(t *testing.T) {
	idp, trap := startIDP(t, demoidp.Options{Clients: clients}), newTrap(t)
	start := func(t *testing.T) (*player, *atomic.Bool) {
		p, armed := newPlayer(t, idp, trap), new(atomic.Bool)
		p.options.Now = func() time.Time {
			if strings.Contains(string(debug.Stack()), "cache.(*Flight[") && armed.CompareAndSwap(true, false) {
				panic(inPanic)
			}
			return p.now()
		}
		return p, armed
	}
	t.Run("shared call", func(t *testing.T) {
		p, armed := start(t)
		armed.Store(true)
		p.ask(`Authorization: {{basic "service" secret}}`, "E internal\ncalls token=0")
		p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls token=1")
		p.onceInLog("stack=")
	})
	t.Run("renewal", func(t *testing.T) {
		p, armed := start(t)
		p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls token=1")
		p.ahead.Add(int64(270 * time.Second)) // of the 300 that the token lives
		armed.Store(true)
		p.ask(`Authorization: {{basic "service" secret}}`, "A")
		for asked := 0; armed.Load() || !strings.Contains(p.g.Log.String(), "stack="); asked++ {
			if asked == 2000 {
				t.Fatal("the renewal's panic was not logged")
			}
			p.ask(`Authorization: {{basic "service" secret}}`, "A")
		}
		p.onceInLog("stack=")
	})
}

// broken asks once and wants a bare 500.
func (p *player) broken() {
	p.Helper()
	before := len(p.g.Upstream.Seen())
	a := p.g.Get(p, "Authorization", basic(plugintest.ClientID, plugintest.ClientSecret))
	if a.Status != 500 || a.Body != `{"message":"An unexpected error occurred"}` {
		p.Errorf("%d %s", a.Status, a.Body)
	}
	if len(p.g.Upstream.Seen()) != before {
		p.Error("the request went on")
	}
	p.requests++
}

// onceInLog ends a case: the stack stands in the log once, and no secret.
func (p *player) onceInLog(what string) {
	p.Helper()
	text := p.g.Log.String()
	if strings.Count(text, what) != 1 || strings.Count(text, "stack=") != 1 {
		p.Errorf("want %q and a stack once:\n%s", what, text)
	}
	p.canaries = append(p.canaries, inPanic)
	p.end()
}

// wrapper stands between the server and the plugin.
type wrapper struct {
	pluginserver.Plugin
	compile func(json.RawMessage)
	access  func(context.Context, *pluginserver.Event, pluginserver.Instance)
	close   func()
}

func (w wrapper) NewInstance(config json.RawMessage) pluginserver.Instance {
	if w.compile != nil {
		w.compile(config)
	}
	return wrapped{w.Plugin.NewInstance(config), w}
}

type wrapped struct {
	pluginserver.Instance
	w wrapper
}

func (i wrapped) Access(ctx context.Context, e *pluginserver.Event) {
	if i.w.access == nil {
		i.Instance.Access(ctx, e)
		return
	}
	i.w.access(ctx, e, i.Instance)
}

func (i wrapped) Close() {
	i.Instance.Close()
	if i.w.close != nil {
		i.w.close()
	}
}
