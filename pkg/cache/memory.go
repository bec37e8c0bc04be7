// Package cache keeps what is expensive to ask for again: a bounded memory (Memory), one owner
// per question (Flight) and the keys of both (Keyer).
//
// It does not know what it keeps: when a value ends, and whether it may still be used when it is
// found, is the caller's to decide, and so is the clock. It does not share anything between
// processes and writes nothing to disk.
package cache

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	gocache "github.com/patrickmn/go-cache"
)

const (
	// maxShards is how many locks writers are spread over; a power of two that divides 256.
	maxShards = 16
	// minShard is the least number of entries for which a shard of its own is worth it: tiny
	// shards would make the bound uneven.
	minShard = 64
	// minShardBytes is the same for the bound in bytes: a value above a shard's part of the
	// bytes is not kept.
	minShardBytes = 1 << 20
	// broomSteps is how many entries each new one lets us look at for expiry. More than one, so
	// that the looking outruns the growth.
	broomSteps = 2
	// entryCost is what an entry takes beside its value: itself, its key twice, and its place in
	// go-cache's map.
	entryCost = 320
)

// Bounds are what a Memory may hold at most.
type Bounds struct {
	Entries int // at least one
	// Bytes are those of the values as the Memory's cost function counts them, and what the
	// Memory itself needs for each. 0 is no bound.
	Bytes int64
}

// Memory is a map from Key to V with bounds and an end for each value. It is safe for concurrent
// use, starts no goroutine, reads no clock and needs no Close.
//
// The values live in go-cache. go-cache has no bound, and its janitor holds the lock while it
// walks the whole map; so the janitor is off, and Memory evicts by itself with SIEVE (Zhang et
// al., NSDI 2024): entries stand in the order of their arrival, a hit only marks an entry, and a
// hand that wanders from the oldest to the newest takes the first one without a mark and removes
// the marks that it passes. An entry that is being hit survives any flood of entries that are
// not. Every operation is O(1) amortised, and a Get never waits for the hand.
//
// Values are shared between callers: do not change what Get returned or what Set was given.
type Memory[V any] struct {
	cost   func(V) int
	shards []*shard[V]
}

// Stats counts since the memory was made; Entries is as of now and counts ended values that nobody
// has come upon yet.
type Stats struct {
	Hits, Misses uint64
	Evictions    uint64 // live values that had to make room
	Entries      int    // never above the bound
	Bytes        int64  // likewise
}

// NewMemory returns a memory within these bounds. cost says how many bytes a value keeps alive;
// nil where only the entries count.
func NewMemory[V any](b Bounds, cost func(V) int) *Memory[V] {
	b.Entries = max(b.Entries, 1)
	if b.Bytes <= 0 {
		b.Bytes = math.MaxInt64
	}
	n := 1
	for n < maxShards && b.Entries >= 2*n*minShard && b.Bytes >= int64(2*n*minShardBytes) {
		n *= 2
	}
	m := &Memory[V]{cost: cost, shards: make([]*shard[V], n)}
	for i := range m.shards {
		part := Bounds{Entries: b.Entries / n, Bytes: b.Bytes / int64(n)}
		if i < b.Entries%n {
			part.Entries++
		}
		m.shards[i] = newShard[V](part)
	}
	return m
}

// Get returns the value that was Set for k, unless it has ended at now or was evicted.
func (m *Memory[V]) Get(k Key, now time.Time) (V, bool) {
	s := m.shard(k)
	// go-cache does not keep the string it looks for, so that this conversion stays on the stack.
	if x, ok := s.items.Get(string(k[:])); ok {
		if e := x.(*entry[V]); now.Before(e.ends) {
			if !e.visited.Load() { // a read that nearly always says no is cheaper than a write by every hit
				e.visited.Store(true)
			}
			s.hits.Add(1)
			return e.value, true
		}
	}
	s.misses.Add(1)
	var zero V
	return zero, false
}

// Set keeps v until ends, in place of what was kept for k. What has ended at now, and what costs
// more than the bound in bytes allows, is not kept, and what was there is forgotten.
func (m *Memory[V]) Set(k Key, v V, now, ends time.Time) {
	e := &entry[V]{value: v, key: k, ends: ends, cost: entryCost}
	if m.cost != nil {
		e.cost += int64(m.cost(v))
	}
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now.Before(ends) || e.cost > s.limit.Bytes {
		s.remove(s.find(k))
		return
	}
	s.insert(e, now)
}

// Delete forgets k.
func (m *Memory[V]) Delete(k Key) {
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.find(k))
}

// Len returns the number of entries, as in Stats.
func (m *Memory[V]) Len() int { return m.Stats().Entries }

// Stats returns the counters, summed over the shards one after the other.
func (m *Memory[V]) Stats() Stats {
	var st Stats
	for _, s := range m.shards {
		s.mu.Lock()
		st.Entries += s.count
		st.Bytes += s.bytes
		s.mu.Unlock()
		st.Hits += s.hits.Load()
		st.Misses += s.misses.Load()
		st.Evictions += s.evictions.Load()
	}
	return st
}

// shard picks by the first byte: keys are HMACs, so any byte is as good as another.
func (m *Memory[V]) shard(k Key) *shard[V] {
	return m.shards[int(k[0])&(len(m.shards)-1)]
}

// entry is what go-cache holds. Only the mark changes after it was stored, and the links, which
// belong to the shard.
type entry[V any] struct {
	value   V
	key     Key
	ends    time.Time
	cost    int64
	visited atomic.Bool

	older, newer *entry[V]
}

type shard[V any] struct {
	items *gocache.Cache // has its own lock: Get takes only that one
	limit Bounds

	hits, misses, evictions atomic.Uint64

	mu sync.Mutex // guards all that follows, and every change to items
	// count is the length of the list: each entry in items stands in it, and the reverse.
	count          int
	bytes          int64 // their cost
	oldest, newest *entry[V]
	hand           *entry[V] // next candidate for eviction; nil: begin at the oldest
	broom          *entry[V] // next one to look at for expiry; nil: begin at the oldest
}

func newShard[V any](limit Bounds) *shard[V] {
	return &shard[V]{items: gocache.New(gocache.NoExpiration, 0), limit: limit}
}

// find returns k's entry, ended or not; nil if there is none.
func (s *shard[V]) find(k Key) *entry[V] {
	x, ok := s.items.Get(string(k[:]))
	if !ok {
		return nil
	}
	return x.(*entry[V])
}

func (s *shard[V]) insert(e *entry[V], now time.Time) {
	if old := s.find(e.key); old != nil && now.Before(old.ends) {
		s.replace(old, e)
	} else {
		s.remove(old)
		s.sweep(now)
		s.push(e)
	}
	s.items.SetDefault(string(e.key[:]), e)
	for s.count > s.limit.Entries || s.bytes > s.limit.Bytes {
		s.evict(e, now)
	}
}

// evict removes one entry beside latest: the first from the hand on that has ended or was not hit
// since the hand last came by. The marks it removes were each made by a hit, and after one round
// none is left: amortised, one step.
func (s *shard[V]) evict(latest *entry[V], now time.Time) {
	e := s.from(s.hand)
	for e == latest || now.Before(e.ends) && e.visited.Load() {
		e.visited.Store(false)
		e = s.from(e.newer)
	}
	s.hand = e // remove moves it on
	if now.Before(e.ends) {
		s.evictions.Add(1)
	}
	s.remove(e)
}

// sweep looks at a few entries and drops those that have ended, so that what nobody asks for
// again goes without a walk over the map.
func (s *shard[V]) sweep(now time.Time) {
	for range min(broomSteps, s.count) {
		e := s.from(s.broom)
		s.broom = e.newer
		if !now.Before(e.ends) {
			s.remove(e)
		}
	}
}

// from returns e, or the oldest entry where a cursor has run off the newest.
func (s *shard[V]) from(e *entry[V]) *entry[V] {
	if e == nil {
		return s.oldest
	}
	return e
}

func (s *shard[V]) push(e *entry[V]) {
	e.older = s.newest
	if s.newest != nil {
		s.newest.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
	s.count++
	s.bytes += e.cost
}

// remove takes e out; nil is nothing to do.
func (s *shard[V]) remove(e *entry[V]) {
	if e == nil {
		return
	}
	if s.hand == e {
		s.hand = e.newer
	}
	if s.broom == e {
		s.broom = e.newer
	}
	s.relink(e, e.newer, e.older)
	e.older, e.newer = nil, nil
	s.items.Delete(string(e.key[:]))
	s.count--
	s.bytes -= e.cost
}

// replace puts e where old stands, with its mark: a renewed value keeps its place.
func (s *shard[V]) replace(old, e *entry[V]) {
	e.older, e.newer = old.older, old.newer
	e.visited.Store(old.visited.Load())
	if s.hand == old {
		s.hand = e
	}
	if s.broom == old {
		s.broom = e
	}
	s.relink(old, e, e)
	old.older, old.newer = nil, nil
	s.bytes += e.cost - old.cost
}

// relink makes e's neighbours, or the ends of the list, point past it: the older side to asNewer,
// the newer side to asOlder.
func (s *shard[V]) relink(e, asNewer, asOlder *entry[V]) {
	if e.older != nil {
		e.older.newer = asNewer
	} else {
		s.oldest = asNewer
	}
	if e.newer != nil {
		e.newer.older = asOlder
	} else {
		s.newest = asOlder
	}
}
