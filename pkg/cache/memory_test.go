package cache

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keyOf spreads numbers over the shards as HMACs would.
func keyOf(n uint64) Key {
	var k Key
	x := n * 0x9e3779b97f4a7c15
	for i := 0; i < len(k); i += 8 {
		x ^= x >> 29
		x *= 0xbf58476d1ce4e5b9
		binary.LittleEndian.PutUint64(k[i:], x^n)
	}
	return k
}

// check holds the list of every shard against its map and its bound.
func (m *Memory[V]) check(t testing.TB) {
	t.Helper()
	for i, s := range m.shards {
		s.mu.Lock()
		n, seen := 0, map[*entry[V]]bool{nil: true}
		var last *entry[V]
		for e := s.oldest; e != nil; e = e.newer {
			if e.older != last {
				t.Errorf("shard %d: entry %d has a wrong older neighbour", i, n)
			}
			last, seen[e] = e, true
			n++
		}
		if last != s.newest || !seen[s.hand] || !seen[s.broom] {
			t.Errorf("shard %d: newest, hand or broom stands outside the list", i)
		}
		if items := s.items.ItemCount(); n != s.count || n != items || n > s.limit {
			t.Errorf("shard %d: %d in the list, %d counted, %d in the map, limit %d", i, n, s.count, items, s.limit)
		}
		s.mu.Unlock()
	}
}

func TestMemorySetGetDelete(t *testing.T) {
	m := NewMemory[string](100)
	a, b := keyOf(1), keyOf(2)
	want := func(k Key, v string, ok bool) {
		t.Helper()
		if got, found := m.Get(k); got != v || found != ok {
			t.Errorf("Get = %q, %v; want %q, %v", got, found, v, ok)
		}
	}
	want(a, "", false)
	m.Set(a, "one", time.Hour)
	want(a, "one", true)
	m.Set(a, "two", time.Hour)
	want(a, "two", true)
	m.Set(b, "other", time.Hour)
	m.Delete(a)
	m.Delete(a)
	want(a, "", false)
	want(b, "other", true)
	m.check(t)
	if diff := cmp.Diff(Stats{Hits: 3, Misses: 2, Entries: 1}, m.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestMemoryTTL(t *testing.T) {
	tests := []struct {
		ttl, wait time.Duration
		kept      bool
	}{
		{time.Second, time.Second - 1, true},
		{time.Second, time.Second, false}, // now == end is ended (security.md row 19)
		{2, 1, true},
		{1, 0, false},
		{0, 0, false},
		{-1, 0, false}, // go-cache's "never ends"
		{-time.Hour, 0, false},
		{1<<63 - 1, 10 * 365 * 24 * time.Hour, true}, // go-cache overflows here
		{1<<63 - 1, maxTTL, false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.ttl, " after ", tt.wait), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory[int](10)
				m.Set(keyOf(1), 6, time.Minute) // a value that ends at once replaces one that does not
				m.Set(keyOf(1), 7, tt.ttl)
				time.Sleep(tt.wait)
				if v, ok := m.Get(keyOf(1)); ok != tt.kept || ok && v != 7 {
					t.Errorf("Get = %v, %v; want kept %v", v, ok, tt.kept)
				}
				m.check(t)
			})
		})
	}
}

// TestMemoryEndedGoFirst: what has ended makes room before what is alive, although it was hit, and does not count as evicted.
func TestMemoryEndedGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory[uint64](10)
		for i := range uint64(10) {
			ttl := time.Hour
			if i >= 5 {
				ttl = time.Second
			}
			m.Set(keyOf(i), i, ttl)
			m.Get(keyOf(i))
		}
		time.Sleep(time.Second)
		m.Set(keyOf(5), 5, time.Hour) // over its own ended self
		for i := uint64(20); i < 24; i++ {
			m.Set(keyOf(i), i, time.Hour)
		}
		for i := range uint64(6) {
			if _, ok := m.Get(keyOf(i)); !ok {
				t.Errorf("entry %d was alive and is gone", i)
			}
		}
		m.check(t)
		if st := m.Stats(); st.Evictions != 0 || st.Entries != 10 {
			t.Errorf("%+v; want no evictions and 10 entries", st)
		}
	})
}

// TestMemoryShrinksWithTraffic: ended entries go while others come, long before the bound asks for it.
func TestMemoryShrinksWithTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory[uint64](100_000)
		for i := range uint64(50_000) {
			m.Set(keyOf(i), i, time.Minute)
		}
		time.Sleep(time.Minute)
		for i := range uint64(40_000) { // the broom needs 25,000, spread unevenly over the shards
			m.Set(keyOf(1_000_000+i), i, time.Minute)
			m.Delete(keyOf(1_000_000 + i))
		}
		m.check(t)
		if n := m.Len(); n > 0 {
			t.Errorf("%d entries left of 50000 that have ended", n)
		}
	})
}

// TestMemoryHotSetSurvivesFlood is row 44 of security.md: a million random credentials, of which nothing may push out what is in use, and
// memory must stay within the bound.
func TestMemoryHotSetSurvivesFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("a million inserts")
	}
	const limit, hot, flood = 20_000, 2_000, 1_000_000
	m := NewMemory[[]byte](limit)
	before := heap()
	rnd := rand.New(rand.NewPCG(1, 2))
	var asked, missed int
	for i := range uint64(flood) {
		m.Set(keyOf(hot+i), make([]byte, 100), time.Hour)
		// One hot request for each random one; a miss is filled again, as a token cache does.
		k := keyOf(rnd.Uint64N(hot))
		_, ok := m.Get(k)
		if !ok {
			m.Set(k, make([]byte, 100), time.Hour)
		}
		if i >= limit {
			asked++
			if !ok {
				missed++
			}
		}
	}
	m.check(t)
	st := m.Stats()
	if rate := 1 - float64(missed)/float64(asked); rate < 0.99 {
		t.Errorf("hit rate of the hot set %.4f, want at least 0.99", rate)
	} else {
		t.Logf("hit rate of the hot set %.5f, %+v", rate, st)
	}
	if st.Entries > limit {
		t.Errorf("%d entries, bound %d", st.Entries, limit)
	}
	grown := heap() - before
	t.Logf("%d bytes of heap an entry", grown/limit)
	if grown > limit*1024 {
		t.Errorf("heap grew by %d bytes for %d entries of 100", grown, limit)
	}
	runtime.KeepAlive(m)
}

func heap() int64 {
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return int64(ms.HeapAlloc)
}

func TestMemoryBounds(t *testing.T) {
	for _, limit := range []int{-1, 0, 1, 2, 3, 127, 128, 129, 1000, 4097} {
		m := NewMemory[int](limit)
		sum := 0
		for _, s := range m.shards {
			sum += s.limit
		}
		if sum != max(limit, 1) {
			t.Errorf("limit %d: the shards hold %d", limit, sum)
		}
		for i := range 3 * max(limit, 1) {
			m.Set(keyOf(uint64(i)), i, time.Hour)
			if v, ok := m.Get(keyOf(uint64(i))); !ok || v != i {
				t.Fatalf("limit %d: entry %d is not there after its Set", limit, i)
			}
		}
		m.check(t)
	}
}

// TestMemoryAgainstModel plays random operations against a plain map: what Get returns is what was Set last, and nothing that was deleted
// or has ended comes back. Evictions may make it forget, no more.
func TestMemoryAgainstModel(t *testing.T) {
	type kept struct {
		v    int
		ends time.Time
	}
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(3, 4))
		m := NewMemory[int](50)
		model := map[Key]kept{}
		for i := range 100_000 {
			k := keyOf(rnd.Uint64N(120))
			switch rnd.IntN(8) {
			case 0, 1, 2:
				ttl := time.Duration(rnd.IntN(40)-2) * time.Second
				m.Set(k, i, ttl)
				model[k] = kept{i, time.Now().Add(ttl)}
			case 3:
				m.Delete(k)
				delete(model, k)
			case 4:
				time.Sleep(time.Second / 2)
			default:
				v, ok := m.Get(k)
				if w, in := model[k]; ok && (!in || v != w.v || !time.Now().Before(w.ends)) {
					t.Fatalf("step %d: Get = %d, model has %+v (%v)", i, v, w, in)
				}
			}
		}
		m.check(t)
	})
}

func TestMemoryConcurrent(t *testing.T) {
	m := NewMemory[uint64](500)
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(g, 0))
			for range 5000 {
				n := rnd.Uint64N(1000)
				switch rnd.IntN(5) {
				case 0, 1:
					m.Set(keyOf(n), n, time.Duration(rnd.IntN(1000))*time.Microsecond)
				case 2:
					m.Delete(keyOf(n))
				default:
					if v, ok := m.Get(keyOf(n)); ok && v != n {
						t.Errorf("Get(%d) = %d", n, v)
					}
				}
			}
			m.Stats()
		})
	}
	wg.Wait()
	m.check(t)
}

func TestMemoryGetAllocatesNothing(t *testing.T) {
	m := NewMemory[[]byte](1000)
	hit, miss := keyOf(1), keyOf(2)
	m.Set(hit, []byte("token"), time.Hour)
	for name, k := range map[string]Key{"hit": hit, "miss": miss} {
		if n := testing.AllocsPerRun(1000, func() { m.Get(k) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkMemoryGet(b *testing.B) {
	m := NewMemory[uint64](100_000)
	for i := range uint64(100_000) {
		m.Set(keyOf(i), i, time.Hour)
	}
	k := keyOf(99_999)
	b.ReportAllocs()
	for b.Loop() {
		m.Get(k)
	}
}

// BenchmarkMemorySetFull is the flood: each Set evicts.
func BenchmarkMemorySetFull(b *testing.B) {
	m := NewMemory[uint64](100_000)
	b.ReportAllocs()
	var longest time.Duration
	for i := uint64(0); b.Loop(); i++ {
		start := time.Now()
		m.Set(keyOf(i), i, time.Hour)
		longest = max(longest, time.Since(start))
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
}
