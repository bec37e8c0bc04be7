package authn

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
)

// liveHeap is what is in use after a collection.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what a pool held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestKeeperMemory: the bounds in bytes are those of the live heap, for tokens as Keycloak makes
// them with many roles and for refusals that quote a long description.
func TestKeeperMemory(t *testing.T) {
	const bound = 16 << 20
	now := time.Now()
	life := Life{Ends: now.Add(time.Hour)}
	for _, c := range []struct {
		name string
		fill func(k *Keeper[*Result], key cache.Key, n int)
	}{
		{"tokens of 7 kB", func(k *Keeper[*Result], key cache.Key, n int) {
			roles := make([]string, 150)
			for i := range roles {
				roles[i] = fmt.Sprintf("role-%d-of-%d-with-a-name", i, n)
			}
			payload, _ := json.Marshal(map[string]any{"sub": fmt.Sprint(n), "realm_access": map[string]any{"roles": roles}})
			encode := base64.RawURLEncoding.EncodeToString
			token := encode([]byte(`{"alg":"RS256"}`)) + "." + encode(payload) + "." + strings.Repeat("A", 342)
			access, err := oidc.Verify(token, nil, oidc.Policy{SkipClaims: true, SkipSignature: true, FromGrant: true}, now)
			if err != nil {
				t.Fatal(err)
			}
			res := &Result{AccessToken: token, Access: access}
			res.Memorize(t, "Bearer "+token, len(token)+7)
			k.values.Set(key, &kept[*Result]{value: res, life: life}, now, life.Ends)
		}},
		{"opaque tokens", func(k *Keeper[*Result], key cache.Key, n int) {
			res := &Result{AccessToken: strings.Clone(fmt.Sprint("opaque-", n))}
			k.values.Set(key, &kept[*Result]{value: res, life: life}, now, life.Ends)
		}},
		{"refusals", func(k *Keeper[*Result], key cache.Key, n int) {
			long := strings.Repeat("x", 50_000) + fmt.Sprint(n)
			cause := fmt.Errorf("%s: %w", long, &oauth2.Error{Status: 400, Code: "invalid_client", Description: long[:200]})
			_ = k.refused(key, &terms{negative: time.Hour}, &Refusal{Status: Unauthorized, Cause: errors.Join(cause), keep: keepNegative})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := NewKeeper(Sizes{
				Values: cache.Bounds{Entries: 1 << 20, Bytes: bound}, Refusals: cache.Bounds{Entries: 1 << 20, Bytes: bound},
			}, (*Result).Cost, time.Now)
			defer k.Close()
			keyer := cache.NewKeyer(nil)
			before := liveHeap()
			n := 0
			full := func() bool {
				return k.values.(*cache.Memory[*kept[*Result]]).Stats().Evictions+k.refusals.(*cache.Memory[*Refusal]).Stats().Evictions > 1000
			}
			for ; !full() && n < 200_000; n++ {
				c.fill(k, keyer.Key("n", fmt.Sprint(n)), n)
			}
			grown := liveHeap() - before
			t.Logf("%d kept of %d, %.1f of %d MiB", n-1000, n, float64(grown)/(1<<20), bound>>20)
			if !full() {
				t.Error("never full")
			}
			if grown > bound*11/10 || grown < bound/3 {
				t.Errorf("%.1f MiB are in use", float64(grown)/(1<<20))
			}
			runtime.KeepAlive(k)
		})
	}
}
