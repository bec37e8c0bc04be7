package plugin

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// The bound in bytes of the cache of tokens is that of the live heap (architecture.md, Caches).
func TestCostOfHeaders(t *testing.T) {
	cfg := &config.Config{}
	cfg.UpstreamAccessTokenHeader = "authorization:bearer"
	cfg.UpstreamAccessTokenJWKHeader = "X-Access-Token-JWK"
	plan := compileHeaders(cfg)
	key := &oidc.Token{JWK: json.RawMessage(`{"kty":"RSA","x5c":["` + strings.Repeat("A", 6000) + `"]}`)} // a chain of three certificates
	const n = 2000
	results := make([]*authn.Result, n)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	cost := 0
	for i := range results {
		r := &authn.Result{AccessToken: strings.Repeat("t", 700) + fmt.Sprint(i), Access: &oidc.Token{Claims: map[string]any{"sub": "x"}, JWK: key.JWK}}
		w, err := plan.write(r)
		if err != nil {
			t.Fatal(err)
		}
		r.Memorize(plan, w, w.size())
		results[i] = r
		cost += r.Cost()
	}
	live := heap() - before
	runtime.KeepAlive(results)
	if live > int64(cost)*3/2 {
		t.Errorf("counted %d bytes, alive %d: %.1f times", cost, live, float64(live)/float64(cost))
	}
}
