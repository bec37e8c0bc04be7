package plugintest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// crowd is how many ask at once in row 47; atOnce is behaviour.md §4's bound of calls
// to one provider.
const (
	crowd  = 500
	atOnce = 32
)

// TestRow47StampedeOfOne: 500 equal cold requests are one call to the token endpoint.
func TestRow47StampedeOfOne(t *testing.T) {
	endpoint := newGate(t)
	p, entered := newCrowd(t, endpoint, nil)
	answers := p.storm(crowd, func(int) string { return basic("same", "same-secret-1a2b") })
	entered.await(t, crowd)
	endpoint.await(t, 1)
	endpoint.open()
	for range crowd {
		if a := <-answers; a.Status != http.StatusOK {
			t.Fatalf("%d %s\n%s", a.Status, a.Body, p.g.Log)
		}
	}
	if total, _ := endpoint.counts(); total != 1 {
		t.Errorf("%d calls to the token endpoint", total)
	}
	if n := len(p.g.Upstream.Seen()); n != crowd {
		t.Errorf("%d requests reached the upstream", n)
	}
	noSecrets(t, p.g.Log.String(), []string{"same-secret-1a2b", endpoint.token})
}

// TestRow47StampedeOfMany: 500 different cold requests are never more than 32 calls at
// once, and all are served in the end.
func TestRow47StampedeOfMany(t *testing.T) {
	endpoint := newGate(t)
	p, entered := newCrowd(t, endpoint, map[string]any{"timeout": 60000})
	answers := p.storm(crowd, func(i int) string { return basic(fmt.Sprint("client-", i), "many-secret-3c4d") })
	entered.await(t, crowd)
	endpoint.await(t, atOnce)
	endpoint.open()
	for range crowd {
		if a := <-answers; a.Status != http.StatusOK {
			t.Fatalf("%d %s\n%s", a.Status, a.Body, p.g.Log)
		}
	}
	if total, most := endpoint.counts(); total != crowd || most != atOnce {
		t.Errorf("%d calls, %d at once", total, most)
	}
	noSecrets(t, p.g.Log.String(), []string{"many-secret-3c4d", endpoint.token})
}

// TestRow47Excess: what finds no place within its time is 503; a hit needs none.
func TestRow47Excess(t *testing.T) {
	endpoint := newGate(t)
	p, _ := newCrowd(t, endpoint, map[string]any{"timeout": 60000})
	held := p.storm(atOnce, func(i int) string { return basic(fmt.Sprint("client-", i), "held-secret-5e6f") })
	endpoint.await(t, atOnce)
	p.configure(`{"timeout": 500}`)
	const excess = 8
	late := p.storm(excess, func(i int) string { return basic(fmt.Sprint("late-", i), "late-secret-7a8b") })
	for range excess {
		a := <-late
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
		}
		if line := lineOf(t, p.g.Log, a.Header.Get(errorID)); !strings.Contains(line, "reason=idp_busy") {
			t.Errorf("log line %q", line)
		}
	}
	if n := len(p.g.Upstream.Seen()); n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
	endpoint.open()
	for range atOnce {
		if a := <-held; a.Status != http.StatusOK {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	endpoint.shut()
	t.Cleanup(endpoint.open)
	if a := p.g.Get(t, "Authorization", basic("client-0", "held-secret-5e6f")); a.Status != http.StatusOK {
		t.Errorf("a hit while the provider is shut: %d", a.Status)
	}
	if total, most := endpoint.counts(); total != atOnce || most != atOnce {
		t.Errorf("%d calls, %d at once", total, most)
	}
	noSecrets(t, p.g.Log.String(), []string{"held-secret-5e6f", "late-secret-7a8b", endpoint.token})
}

// TestRow61UnknownKids: a flood of tokens with kids that nobody has is one more fetch of
// the keys, and good tokens are none the worse for it.
func TestRow61UnknownKids(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls jwks=1 discovery=1")
	const flood = 300
	var mu sync.Mutex // guards nth
	nth := 0
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		nth++
		kid := fmt.Sprint("nobody-", nth)
		mu.Unlock()
		token, err := p.idp.Sign(demoidp.Token{Alg: "ES256", Header: map[string]any{"kid": kid}, Claims: map[string]any{"client_id": nil}})
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer"}`, token)
	}))
	t.Cleanup(endpoint.Close)
	p.configure(`{"token_endpoint": "` + endpoint.URL + `"}`)
	answers := p.storm(flood, func(i int) string { return basic(fmt.Sprint("client-", i), "flood-secret-9c0d") })
	for range flood {
		if a := <-answers; a.Status != http.StatusServiceUnavailable {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	if n := p.idp.Calls(demoidp.JWKSEndpoint); n != 2 {
		t.Errorf("%d fetches of the keys, want the first and one more", n)
	}
	if n := p.idp.Calls(demoidp.DiscoveryEndpoint); n > 2 {
		t.Errorf("%d fetches of the document", n)
	}
	p.configure(`{"token_endpoint": null}`)
	p.ask(`Authorization: {{basic "other" "other-secret-5a1f"}}`, "A\ncalls jwks=2")
	p.canaries = append(p.canaries, "flood-secret-9c0d")
	p.end()
}

// newCrowd is a gateway whose token endpoint is g, and the number of requests that its
// plugin has begun.
func newCrowd(t *testing.T, g *gate, config map[string]any) (*player, *counter) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	entered := newCounter()
	p.options.Wrap = func(real pluginserver.Plugin) pluginserver.Plugin {
		return wrapper{Plugin: real, access: func(ctx context.Context, e *pluginserver.Event, next pluginserver.Instance) {
			entered.add(1)
			next.Access(ctx, e)
		}}
	}
	p.config["token_endpoint"], p.config["client_auth"] = g.url, []any{"client_secret_basic"}
	maps.Copy(p.config, config)
	p.start()
	return p, entered
}

// storm sends n requests at once.
func (p *player) storm(n int, authorization func(i int) string) <-chan plugintest.Response {
	answers := make(chan plugintest.Response, n)
	for i := range n {
		go func() {
			a, err := p.g.Send(rawRequest("Authorization: " + authorization(i)))
			if err != nil {
				a.Body = err.Error()
			}
			answers <- a
		}()
	}
	return answers
}

// counter is a number to wait for.
type counter struct {
	mu      sync.Mutex // guards what follows
	n       int
	changed chan struct{}
}

func newCounter() *counter { return &counter{changed: make(chan struct{})} }

func (c *counter) add(d int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	close(c.changed)
	c.changed = make(chan struct{})
	return c.n
}

func (c *counter) await(t testing.TB, n int) {
	t.Helper()
	for {
		c.mu.Lock()
		have, changed := c.n, c.changed
		c.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("%d of %d: %v", have, n, t.Context().Err())
		}
	}
}

// gate is a token endpoint that answers with opaque tokens, when it is open, and knows
// how many wait in front of it.
type gate struct {
	url, token string
	total      *counter

	mu        sync.Mutex // guards what follows
	now, most int
	passage   chan struct{} // closed while the gate is open
}

func newGate(t testing.TB) *gate {
	g := &gate{token: "opaque-token-of-the-gate", total: newCounter(), passage: make(chan struct{})}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.url = server.URL + "/token"
	return g
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // so that the server notices a client that leaves
	g.mu.Lock()
	g.now++
	g.most = max(g.most, g.now)
	passage := g.passage
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.now--
		g.mu.Unlock()
	}()
	g.total.add(1)
	select {
	case <-passage:
	case <-r.Context().Done():
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": g.token, "token_type": "Bearer", "expires_in": 300})
}

func (g *gate) await(t testing.TB, n int) {
	t.Helper()
	g.total.await(t, n)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.passage)
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passage = make(chan struct{})
}

func (g *gate) counts() (total, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total.mu.Lock()
	defer g.total.mu.Unlock()
	return g.total.n, g.most
}
