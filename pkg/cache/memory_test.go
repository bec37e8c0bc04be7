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

// set keeps v for ttl from now on.
func set[V any](m *Memory[V], k Key, v V, ttl time.Duration) {
	m.Set(k, v, time.Now(), time.Now().Add(ttl))
}

// check holds the list of every shard against its map and its bound.
func (m *Memory[V]) check(t testing.TB) {
	t.Helper()
	for i, s := range m.shards {
		s.mu.Lock()
		n, bytes, seen := 0, int64(0), map[*entry[V]]bool{nil: true}
		var last *entry[V]
		for e := s.oldest; e != nil; e = e.newer {
			if e.older != last {
				t.Errorf("shard %d: entry %d has a wrong older neighbour", i, n)
			}
			last, seen[e] = e, true
			n++
			bytes += e.cost
		}
		if last != s.newest || !seen[s.hand] || !seen[s.broom] {
			t.Errorf("shard %d: newest, hand or broom stands outside the list", i)
		}
		if items := s.items.ItemCount(); n != s.count || n != items || n > s.limit.Entries || bytes != s.bytes || bytes > s.limit.Bytes {
			t.Errorf("shard %d: %d in the list, %d counted, %d in the map, limit %d; %d bytes, %d counted, limit %d",
				i, n, s.count, items, s.limit.Entries, bytes, s.bytes, s.limit.Bytes)
		}
		s.mu.Unlock()
	}
}

func TestMemorySetGetDelete(t *testing.T) {
	m := NewMemory[string](Bounds{Entries: 100}, nil)
	a, b := keyOf(1), keyOf(2)
	want := func(k Key, v string, ok bool) {
		t.Helper()
		if got, found := m.Get(k, time.Now()); got != v || found != ok {
			t.Errorf("Get = %q, %v; want %q, %v", got, found, v, ok)
		}
	}
	want(a, "", false)
	set(m, a, "one", time.Hour)
	want(a, "one", true)
	set(m, a, "two", time.Hour)
	want(a, "two", true)
	set(m, b, "other", time.Hour)
	m.Delete(a)
	m.Delete(a)
	want(a, "", false)
	want(b, "other", true)
	m.check(t)
	if diff := cmp.Diff(Stats{Hits: 3, Misses: 2, Entries: 1, Bytes: entryCost}, m.Stats()); diff != "" {
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
		{1, 0, true},
		{0, 0, false},
		{-1, 0, false},
		{-time.Hour, 0, false},
		{1<<63 - 1, 10 * 365 * 24 * time.Hour, true}, // an end that no Unix time in nanoseconds holds
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.ttl, " after ", tt.wait), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory[int](Bounds{Entries: 10}, nil)
				set(m, keyOf(1), 6, time.Minute) // a value that ends at once replaces one that does not
				set(m, keyOf(1), 7, tt.ttl)
				time.Sleep(tt.wait)
				if v, ok := m.Get(keyOf(1), time.Now()); ok != tt.kept || ok && v != 7 {
					t.Errorf("Get = %v, %v; want kept %v", v, ok, tt.kept)
				}
				m.check(t)
			})
		})
	}
}

// TestMemoryEndedGoFirst: what has ended makes room before what is alive, although it was hit, and
// does not count as evicted.
func TestMemoryEndedGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory[uint64](Bounds{Entries: 10}, nil)
		for i := range uint64(10) {
			ttl := time.Hour
			if i >= 5 {
				ttl = time.Second
			}
			set(m, keyOf(i), i, ttl)
			m.Get(keyOf(i), time.Now())
		}
		time.Sleep(time.Second)
		set(m, keyOf(5), 5, time.Hour) // over its own ended self
		for i := uint64(20); i < 24; i++ {
			set(m, keyOf(i), i, time.Hour)
		}
		for i := range uint64(6) {
			if _, ok := m.Get(keyOf(i), time.Now()); !ok {
				t.Errorf("entry %d was alive and is gone", i)
			}
		}
		m.check(t)
		if st := m.Stats(); st.Evictions != 0 || st.Entries != 10 {
			t.Errorf("%+v; want no evictions and 10 entries", st)
		}
	})
}

// TestMemoryShrinksWithTraffic: ended entries go while others come, long before the bound asks for
// it.
func TestMemoryShrinksWithTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory[uint64](Bounds{Entries: 100_000}, nil)
		for i := range uint64(50_000) {
			set(m, keyOf(i), i, time.Minute)
		}
		time.Sleep(time.Minute)
		for i := range uint64(40_000) { // the broom needs 25,000, spread unevenly over the shards
			set(m, keyOf(1_000_000+i), i, time.Minute)
			m.Delete(keyOf(1_000_000 + i))
		}
		m.check(t)
		if n := m.Len(); n > 0 {
			t.Errorf("%d entries left of 50000 that have ended", n)
		}
	})
}

// TestMemoryHotSetSurvivesFlood is row 44 of security.md: a million random credentials, of which
// nothing may push out what is in use, and memory must stay within the bound.
func TestMemoryHotSetSurvivesFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("a million inserts")
	}
	const limit, hot, flood = 20_000, 2_000, 1_000_000
	m := NewMemory[[]byte](Bounds{Entries: limit}, nil)
	before := heap()
	rnd := rand.New(rand.NewPCG(1, 2))
	var asked, missed int
	for i := range uint64(flood) {
		set(m, keyOf(hot+i), make([]byte, 100), time.Hour)
		// One hot request for each random one; a miss is filled again, as a token cache does.
		k := keyOf(rnd.Uint64N(hot))
		_, ok := m.Get(k, time.Now())
		if !ok {
			set(m, k, make([]byte, 100), time.Hour)
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
		m := NewMemory[int](Bounds{Entries: limit}, nil)
		sum := 0
		for _, s := range m.shards {
			sum += s.limit.Entries
		}
		if sum != max(limit, 1) {
			t.Errorf("limit %d: the shards hold %d", limit, sum)
		}
		for i := range 3 * max(limit, 1) {
			set(m, keyOf(uint64(i)), i, time.Hour)
			if v, ok := m.Get(keyOf(uint64(i)), time.Now()); !ok || v != i {
				t.Fatalf("limit %d: entry %d is not there after its Set", limit, i)
			}
		}
		m.check(t)
	}
}

// TestMemoryBytes: the bound in bytes holds whatever the values' sizes, what is in use survives,
// and a value above a shard's part is not kept.
func TestMemoryBytes(t *testing.T) {
	const bound = 4 << 20
	m := NewMemory[[]byte](Bounds{Entries: 100_000, Bytes: bound}, func(b []byte) int { return len(b) })
	set(m, keyOf(0), make([]byte, 1000), time.Hour)
	for i := range uint64(5_000) {
		set(m, keyOf(1+i), make([]byte, 10+i*7%9000), time.Hour)
		if _, ok := m.Get(keyOf(0), time.Now()); !ok {
			t.Fatalf("the entry in use was evicted after %d others", i)
		}
	}
	set(m, keyOf(0), make([]byte, 300_000), time.Hour) // grows where it stands
	if _, ok := m.Get(keyOf(0), time.Now()); !ok {
		t.Error("the entry that grew is gone")
	}
	m.check(t)
	if st := m.Stats(); st.Bytes > bound || st.Bytes < bound/2 || st.Evictions == 0 {
		t.Errorf("%+v of %d bytes", st, bound)
	}
	set(m, keyOf(0), make([]byte, bound), time.Hour)
	if _, ok := m.Get(keyOf(0), time.Now()); ok {
		t.Error("kept a value as large as the whole bound")
	}
	m.check(t)
}

// TestMemoryAgainstModel plays random operations against a plain map: what Get returns is what was
// Set last, and nothing that was deleted or has ended comes back. Evictions may make it forget, no
// more.
func TestMemoryAgainstModel(t *testing.T) {
	type kept struct {
		v    int
		ends time.Time
	}
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(3, 4))
		m := NewMemory[int](Bounds{Entries: 50}, nil)
		model := map[Key]kept{}
		for i := range 100_000 {
			k := keyOf(rnd.Uint64N(120))
			switch rnd.IntN(8) {
			case 0, 1, 2:
				ttl := time.Duration(rnd.IntN(40)-2) * time.Second
				set(m, k, i, ttl)
				model[k] = kept{i, time.Now().Add(ttl)}
			case 3:
				m.Delete(k)
				delete(model, k)
			case 4:
				time.Sleep(time.Second / 2)
			default:
				v, ok := m.Get(k, time.Now())
				if w, in := model[k]; ok && (!in || v != w.v || !time.Now().Before(w.ends)) {
					t.Fatalf("step %d: Get = %d, model has %+v (%v)", i, v, w, in)
				}
			}
		}
		m.check(t)
	})
}

func TestMemoryConcurrent(t *testing.T) {
	m := NewMemory[uint64](Bounds{Entries: 500}, nil)
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(g, 0))
			for range 5000 {
				n := rnd.Uint64N(1000)
				switch rnd.IntN(5) {
				case 0, 1:
					set(m, keyOf(n), n, time.Duration(rnd.IntN(1000))*time.Microsecond)
				case 2:
					m.Delete(keyOf(n))
				default:
					if v, ok := m.Get(keyOf(n), time.Now()); ok && v != n {
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
	m := NewMemory[[]byte](Bounds{Entries: 1000}, nil)
	hit, miss := keyOf(1), keyOf(2)
	set(m, hit, []byte("token"), time.Hour)
	for name, k := range map[string]Key{"hit": hit, "miss": miss} {
		if n := testing.AllocsPerRun(1000, func() { m.Get(k, time.Now()) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkMemoryGet(b *testing.B) {
	m := NewMemory[uint64](Bounds{Entries: 100_000}, nil)
	for i := range uint64(100_000) {
		set(m, keyOf(i), i, time.Hour)
	}
	k := keyOf(99_999)
	b.ReportAllocs()
	for b.Loop() {
		m.Get(k, time.Now())
	}
}

// BenchmarkMemorySetFull is the flood: each Set evicts.
func BenchmarkMemorySetFull(b *testing.B) {
	m := NewMemory[uint64](Bounds{Entries: 100_000}, nil)
	b.ReportAllocs()
	var longest time.Duration
	for i := uint64(0); b.Loop(); i++ {
		start := time.Now()
		set(m, keyOf(i), i, time.Hour)
		longest = max(longest, time.Since(start))
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
}
