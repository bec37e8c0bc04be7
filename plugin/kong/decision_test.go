package kong_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// decider is a plugin that does what one Decision says.
type decider struct{ d *kong.Decision }

func (p decider) NewInstance(json.RawMessage) pluginserver.Instance { return p }
func (p decider) Close()                                            {}

func (p decider) Access(_ context.Context, e *pluginserver.Event) {
	if err := p.d.Apply(e); err != nil {
		e.Exit(599, nil, []byte(err.Error()))
	}
}

// calls are those that Kong got, with their arguments.
type calls struct {
	mu   sync.Mutex // guards made
	made []pluginserver.Call
}

func (c *calls) Call(method string, args []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, pluginserver.Call{Method: method, Args: slices.Clone(args)})
	if method == "kong.response.exit" {
		return nil, pluginserver.ErrExited
	}
	return nil, nil
}

// apply carries d out and returns what Kong was asked; passed tells that the request went on.
func apply(t *testing.T, d *kong.Decision) (made []pluginserver.Call, passed bool) {
	t.Helper()
	host := pluginserver.NewHost(plugintest.Serve(t, decider{d}, nil))
	defer host.Close()
	id, err := host.StartInstance(t.Context(), "openid-connect", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	var c calls
	err = host.HandleEvent(t.Context(), id, "access", &c)
	if err != nil && !errors.Is(err, pluginserver.ErrExited) {
		t.Fatal(err)
	}
	return c.made, err == nil
}

// TestZeroDecision: a Decision without a verdict lets nothing through, whatever else it says.
func TestZeroDecision(t *testing.T) {
	for name, d := range map[string]*kong.Decision{
		"zero":    {},
		"headers": {Upstream: []kong.Header{{Name: "x", Values: []string{"y"}}}, Cookies: []string{"a=b"}},
	} {
		made, passed := apply(t, d)
		if passed || len(made) != 1 || made[0].Method != "kong.response.exit" {
			t.Errorf("%s: passed %v, calls %v", name, passed, made)
		}
	}
}

// TestCookies: they are added in one call, so that those of others stay, and go out with an
// answer of ours as well.
func TestCookies(t *testing.T) {
	cookies := []string{"a=1; HttpOnly", "b=2"}
	made, passed := apply(t, &kong.Decision{Pass: true, Cookies: cookies})
	if !passed || len(made) != 1 || made[0].Method != "kong.response.add_header" {
		t.Fatalf("passed %v, calls %v", passed, made)
	}
	if h, err := pluginserver.DecodeKV(made[0].Args); err != nil || h.Name != "Set-Cookie" || !slices.Equal(h.Values, cookies) {
		t.Errorf("added %v, %v", h, err)
	}
	made, passed = apply(t, &kong.Decision{Pass: true, Cookies: cookies, Exit: &kong.Exit{Status: 200}})
	if passed || len(made) != 1 {
		t.Fatalf("passed %v, calls %v", passed, made)
	}
	exit, err := pluginserver.DecodeExit(made[0].Args)
	if err != nil || len(exit.Headers) != 1 || !slices.Equal(exit.Headers[0].Values, cookies) {
		t.Errorf("exit %+v, %v", exit, err)
	}
}

// TestPrepared: what was encoded before and what is new leave in one call, and a removal gives
// way to a value of the same name.
func TestPrepared(t *testing.T) {
	prepared, err := kong.Prepare([]kong.Header{{Name: "Authorization", Values: []string{"Bearer x"}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second use must not see the first one's headers
		d := &kong.Decision{Pass: true, Prepared: prepared}
		d.RemoveHeader("authorization")
		d.RemoveHeader("x-consumer-id")
		d.RemoveHeader("X-Consumer-ID")
		made, passed := apply(t, d)
		if !passed || len(made) != 1 {
			t.Fatalf("passed %v, calls %v", passed, made)
		}
		got, err := pluginserver.DecodeHeaders(made[0].Args)
		if err != nil || len(got) != 2 || got[0].Name != "Authorization" || got[1].Name != "x-consumer-id" || len(got[1].Values) > 0 {
			t.Errorf("%v, %v", got, err)
		}
	}
}
