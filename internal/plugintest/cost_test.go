package plugintest_test

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// TestCost counts what a request asks of Kong: reading the headers and one write.
func TestCost(t *testing.T) {
	idp := startIDP(t, demoidp.Options{Clients: clients})
	g := plugintest.Start(t, plugintest.Options{})
	host := pluginserver.NewHost(g.Socket)
	t.Cleanup(host.Close)
	// Kong's defaults are in the configuration as it reaches the plugin; only the issuer is not
	// one.
	config, err := json.Marshal(map[string]any{"issuer": idp.Issuer()})
	if err != nil {
		t.Fatal(err)
	}
	id, err := host.StartInstance(t.Context(), "openid-connect", config)
	if err != nil {
		t.Fatal(err)
	}
	authorization := pluginserver.Header{Name: "authorization", Values: []string{basic(plugintest.ClientID, plugintest.ClientSecret)}}
	spoofed := pluginserver.Header{Name: "x-consumer-id", Values: []string{"spoof"}}
	read, write, exit := "kong.request.get_headers", "kong.service.request.set_headers", "kong.response.exit"
	// A refusal whose line is written into the log asks where the request comes from.
	requestID, address, route := "kong.nginx.get_var", "kong.client.get_forwarded_ip", "kong.router.get_route"
	for _, c := range []struct {
		name    string
		headers []pluginserver.Header
		calls   []string
		err     error
	}{
		{"cold", []pluginserver.Header{authorization}, []string{read, write}, nil},
		{"cached", []pluginserver.Header{authorization}, []string{read, write}, nil},
		{"cached, with headers to remove", []pluginserver.Header{authorization, spoofed}, []string{read, write}, nil},
		{"malformed credentials", []pluginserver.Header{{Name: "authorization", Values: []string{"Basic !"}}}, []string{read, requestID, address, route, exit}, pluginserver.ErrExited},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := &recorder{t: t, headers: c.headers}
			if err := host.HandleEvent(t.Context(), id, "access", api); !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if got := api.made(); !slices.Equal(got, c.calls) {
				t.Errorf("calls %q, want %q", got, c.calls)
			}
		})
	}
	if n := idp.Calls(demoidp.TokenEndpoint); n != 1 {
		t.Errorf("%d calls to the token endpoint", n)
	}

	// Without credentials: the query and the body are looked into only where the configuration says
	// so.
	config, err = json.Marshal(map[string]any{"issuer": idp.Issuer(), "client_credentials_param_type": []string{"header"}})
	if err != nil {
		t.Fatal(err)
	}
	if id, err = host.StartInstance(t.Context(), "openid-connect", config); err != nil {
		t.Fatal(err)
	}
	api := &recorder{t: t}
	if err := host.HandleEvent(t.Context(), id, "access", api); !errors.Is(err, pluginserver.ErrExited) {
		t.Fatal(err)
	}
	if got, want := api.made(), []string{read, requestID, address, route, exit}; !slices.Equal(got, want) {
		t.Errorf("without credentials: calls %q, want %q", got, want)
	}
}

// recorder is Kong as a request without query and body sees it.
type recorder struct {
	t       *testing.T
	headers []pluginserver.Header

	mu    sync.Mutex // guards calls
	calls []string
}

func (r *recorder) Call(method string, _ []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, method)
	switch method {
	case "kong.request.get_headers":
		return pluginserver.AppendRawHeaders(nil, r.headers), nil
	case "kong.service.request.set_headers", "kong.nginx.get_var", "kong.client.get_forwarded_ip", "kong.router.get_route":
		return nil, nil
	case "kong.response.exit":
		return nil, pluginserver.ErrExited
	}
	return nil, errors.New("a call that costs: " + method)
}

func (r *recorder) made() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}
