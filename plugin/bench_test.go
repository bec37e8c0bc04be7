package plugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

// request answers the plugin's calls as Kong would for one request.
type request struct {
	headers, query []byte
}

// newRequest has 15 headers, as a browser or a service mesh sends.
func newRequest(authorization, query string) *request {
	headers := []pluginserver.Header{{Name: "authorization", Values: []string{authorization}}}
	if authorization == "" {
		headers = nil
	}
	for i := len(headers); i < 15; i++ {
		headers = append(headers, pluginserver.Header{Name: fmt.Sprintf("x-header-%d", i), Values: []string{"some value of a usual length"}})
	}
	return &request{headers: pluginserver.AppendRawHeaders(nil, headers), query: pluginserver.AppendString(nil, query)}
}

func (r *request) Call(method string, _ []byte) ([]byte, error) {
	switch method {
	case "kong.request.get_headers":
		return r.headers, nil
	case "kong.request.get_raw_query":
		return r.query, nil
	case "kong.response.exit":
		return nil, pluginserver.ErrExited
	}
	return nil, nil
}

// bench is the real plugin's server with one instance, and Kong's side of it.
type bench struct {
	*pluginserver.Host
	instance int32
}

func startBench(b *testing.B, config map[string]any) *bench {
	b.Helper()
	p := plugin.New(plugin.Options{})
	b.Cleanup(p.Close)
	host := pluginserver.NewHost(plugintest.Serve(b, p, nil))
	b.Cleanup(host.Close)
	raw, err := json.Marshal(config)
	if err != nil {
		b.Fatal(err)
	}
	id, err := host.StartInstance(b.Context(), plugin.Name, raw)
	if err != nil {
		b.Fatal(err)
	}
	return &bench{Host: host, instance: id}
}

func (h *bench) event(r *request) error {
	return h.HandleEvent(context.Background(), h.instance, "access", r)
}

// BenchmarkCached is the second request of the story, over and over.
func BenchmarkCached(b *testing.B) {
	idp := startIDP(b, demoidp.Options{})
	h := startBench(b, map[string]any{"issuer": idp.Issuer(), "auth_methods": []string{"client_credentials"}})
	r := newRequest(basic(plugintest.ClientID, plugintest.ClientSecret), "")
	if err := h.event(r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := h.event(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefused is a request without credentials, which costs its connection.
func BenchmarkRefused(b *testing.B) {
	h := startBench(b, map[string]any{
		"issuer": "https://idp.example", "auth_methods": []string{"client_credentials"}, "client_credentials_param_type": []string{"header"},
	})
	r := newRequest("", "")
	b.ReportAllocs()
	for b.Loop() {
		if err := h.event(r); !errors.Is(err, pluginserver.ErrExited) {
			b.Fatal(err)
		}
	}
}

// BenchmarkColdFlight is 16 equal requests at once with credentials that are not
// cached: one call to the provider, one verification, 16 answers.
func BenchmarkColdFlight(b *testing.B) {
	idp := startIDP(b, demoidp.Options{})
	h := startBench(b, map[string]any{
		"issuer": idp.Issuer(), "auth_methods": []string{"client_credentials"}, "token_post_args_client": []string{"nonce"},
	})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		r := newRequest(basic(plugintest.ClientID, plugintest.ClientSecret), fmt.Sprintf("nonce=%d", n))
		var together sync.WaitGroup
		for range 16 {
			together.Go(func() {
				if err := h.event(r); err != nil {
					b.Error(err)
				}
			})
		}
		together.Wait()
	}
	b.ReportMetric(float64(idp.Calls(demoidp.TokenEndpoint))/float64(n), "calls/op")
}

// BenchmarkVerify is what a cached token saves beside the call: gate, signature and
// claims with keys that are known.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			idp := startIDP(b, demoidp.Options{})
			token, err := idp.Sign(demoidp.Token{Alg: alg, Claims: map[string]any{"iss": idp.Issuer(), "exp": time.Now().Add(time.Hour).Unix()}})
			if err != nil {
				b.Fatal(err)
			}
			pool := egress.NewPool(egress.Options{})
			registry := oidc.NewRegistry(oidc.RegistryOptions{})
			b.Cleanup(func() { registry.Close(); pool.Close() })
			provider := registry.Provider(oidc.ProviderConfig{
				Issuer: idp.Issuer(), RediscoveryLifetime: time.Minute, Client: pool.Client(egress.Settings{VerifyTLS: true}),
			})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := provider.Verify(b.Context(), token, oidc.Policy{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
