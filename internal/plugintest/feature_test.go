package plugintest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// TestTwoPlugins: two plugins of one process share tokens where their salts are equal.
func TestTwoPlugins(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second any // cache_tokens_salt
		calls         int
	}{
		{"the same salt", "salt-one-secret-0123", "salt-one-secret-0123", 1},
		{"different salts", "salt-one-secret-0123", "salt-two-secret-0123", 2},
		{"one without a salt", "salt-one-secret-0123", nil, 2},
		{"no salt", nil, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
			p.canaries = append(p.canaries, "salt-one-secret-0123", "salt-two-secret-0123")
			p.config["cache_tokens_salt"] = c.first
			p.start()
			p.g.Admin(t, http.MethodPut, "/services/second", map[string]any{"url": p.g.Upstream.URL + "/second"})
			p.g.Admin(t, http.MethodPut, "/services/second/routes/second", map[string]any{"paths": []string{"/second"}})
			p.g.Admin(t, http.MethodPut, "/plugins/0cbbcd53-2d47-4c55-a14d-6a5ee0a7d9a4", map[string]any{
				"name": "openid-connect", "service": map[string]any{"name": "second"},
				"config": map[string]any{
					"issuer": p.config["issuer"], "auth_methods": p.config["auth_methods"],
					"cache_tokens_salt": c.second, "upstream_headers_claims": []string{"sub"}, "upstream_headers_names": []string{"X-Subject"},
				},
			})
			credentials := "\nAuthorization: {{basic \"service\" secret}}"
			p.ask("GET /first HTTP/1.1"+credentials, "A\nabsent X-Subject\ncalls token=1")
			p.ask("GET /second HTTP/1.1"+credentials, "A\nuri /second\nupstream X-Subject: service\ncalls token="+itoa(c.calls))
			p.ask("GET /first HTTP/1.1"+credentials, "A\nuri /anything/first\nabsent X-Subject\ncalls token="+itoa(c.calls))
			p.end()
		})
	}
}

// TestReplayIsShared: requests that use one cached result at once leave its replayed
// headers alone, whether a header of the answer replaces one of them or is added.
func TestReplayIsShared(t *testing.T) {
	for _, downstream := range []string{"x-node", "x-fourth"} {
		t.Run(downstream, func(t *testing.T) {
			p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
			p.configure(p.expand(`{"token_endpoint": "{{headers}}", "client_auth": ["client_secret_basic"],
				"token_headers_replay": ["X-Quota", "X-Node", "X-Zone"], "downstream_access_token_header": "` + downstream + `"}`))
			p.start()
			const n = 50
			answers := p.storm(n, func(int) string { return basic(plugintest.ClientID, plugintest.ClientSecret) })
			for range n {
				a := <-answers
				if a.Status != http.StatusOK || a.Header.Get(downstream) != "opaque-token-with-headers" || a.Header.Get("X-Zone") != "z1" {
					t.Errorf("%d %v", a.Status, a.Header)
				}
			}
			p.configure(`{"downstream_access_token_header": null}`)
			p.ask(`Authorization: {{basic "service" secret}}`, "A\nheader X-Node: n1\nheader X-Quota: 7\nno-header X-Fourth")
			p.end()
		})
	}
}

// TestDiscoveryHeaders: the document is asked for with the headers of the configuration,
// and nobody else gets them.
func TestDiscoveryHeaders(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	target, err := url.Parse(p.idp.URL())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards got
	got := map[string][]string{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got[r.URL.Path] = append(got[r.URL.Path], strings.Join(r.Header.Values("X-Pass"), ","))
		mu.Unlock()
		httputil.NewSingleHostReverseProxy(target).ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	p.config["issuer"] = front.URL + "/.well-known/openid-configuration"
	p.config["discovery_headers_names"] = []string{"x-pass", "X-Pass"}
	p.config["discovery_headers_values"] = []string{"discovery-secret-1", "discovery-secret-2"}
	p.config["token_endpoint"] = front.URL + "/oauth/token"
	p.config["jwks_endpoint"] = front.URL + "/keys"
	p.canaries = append(p.canaries, "discovery-secret-1", "discovery-secret-2")
	p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls discovery=1 jwks=1 token=1")
	mu.Lock()
	defer mu.Unlock()
	want := map[string][]string{
		"/.well-known/openid-configuration": {"discovery-secret-1,discovery-secret-2"}, "/keys": {""}, "/oauth/token": {""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	p.end()
}

// TestSharedGroups: Kong's acl plugin finds the groups in the shared context, as a list.
func TestSharedGroups(t *testing.T) {
	field := func(number byte, content string) string { // protobuf: a text or a message of less than 128 bytes
		return string([]byte{number<<3 | 2, byte(len(content))}) + content
	}
	list := func(groups ...string) string { // a pair of name and google.protobuf.Value
		var values string
		for _, group := range groups {
			values += field(1, field(3, group))
		}
		return field(1, "authenticated_groups") + field(2, field(6, values))
	}
	for _, c := range []struct {
		name   string
		groups any
		want   string
	}{
		{"list", []any{"reader", "writer"}, list("reader", "writer")},
		{"text", "reader writer", list("reader", "writer")},
		{"number", 7, list("7")},
		{"none", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
			p.minted = p.mint(tokenSpec{Claims: map[string]any{"realm_access": map[string]any{"roles": c.groups}}})
			p.fault(demoidp.TokenEndpoint, faultSpec{})
			p.start()
			host := pluginserver.NewHost(p.g.Socket)
			t.Cleanup(host.Close)
			id, err := host.StartInstance(t.Context(), "openid-connect",
				[]byte(`{"issuer":"`+p.idp.Issuer()+`","authenticated_groups_claim":["realm_access","roles"]}`))
			if err != nil {
				t.Fatal(err)
			}
			api := &shared{}
			if err := host.HandleEvent(t.Context(), id, "access", api); err != nil {
				t.Fatal(err)
			}
			if api.args != c.want {
				t.Errorf("shared %q, want %q", api.args, c.want)
			}
		})
	}
}

// shared is Kong as a request with good credentials sees it, and what was shared.
type shared struct{ args string }

func (s *shared) Call(method string, args []byte) ([]byte, error) {
	switch method {
	case "kong.request.get_headers":
		return pluginserver.AppendRawHeaders(nil, []pluginserver.Header{
			{Name: "authorization", Values: []string{basic(plugintest.ClientID, plugintest.ClientSecret)}},
		}), nil
	case "kong.service.request.set_headers":
		return nil, nil
	case "kong.ctx.shared.set":
		s.args = string(args)
		return nil, nil
	}
	return nil, errors.New("no such call here: " + method)
}
