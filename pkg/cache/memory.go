// Package cache keeps what is expensive to ask for again: a bounded memory (Memory), one owner per question (Flight) and the keys of both
// (Keyer).
//
// It does not know what it keeps: when a value ends, and whether it may still be used when it is found, is the caller's to decide. It does
// not share anything between processes and writes nothing to disk.
package cache

import (
	"sync"
	"sync/atomic"
	"time"

	gocache "github.com/patrickmn/go-cache"
)

const (
	// maxShards is how many locks writers are spread over; a power of two that divides 256.
	maxShards = 16
	// minShard is the least number of entries for which a shard of its own is worth it: tiny shards would make the bound uneven.
	minShard = 64
	// maxTTL keeps the end of a value inside what a Unix time in nanoseconds can hold: go-cache takes one beyond it as "never ends".
	maxTTL = 100 * 365 * 24 * time.Hour
	// broomSteps is how many entries each new one lets us look at for expiry. More than one, so that the looking outruns the growth.
	broomSteps = 2
)

// Memory is a map from Key to V with a bound on its entries and an end for each of them. It is safe for concurrent use, starts no
// goroutine and needs no Close.
//
// The values live in go-cache, which decides when they have ended. go-cache has no bound, and its janitor holds the lock while it walks
// the whole map; so the janitor is off, and Memory evicts by itself with SIEVE (Zhang et al., NSDI 2024): entries stand in the order of
// their arrival, a hit only marks an entry, and a hand that wanders from the oldest to the newest takes the first one without a mark and
// removes the marks that it passes. An entry that is being hit survives any flood of entries that are not. Every operation is O(1)
// amortised, and a Get never waits for the hand.
//
// Values are shared between callers: do not change what Get returned or what Set was given.
type Memory[V any] struct {
	shards []*shard[V]
}

// Stats counts since the memory was made; Entries is as of now and counts ended values that nobody has come upon yet.
type Stats struct {
	Hits, Misses uint64
	Evictions    uint64 // live values that had to make room
	Entries      int    // never above the bound
}

// NewMemory returns a memory that holds at most maxEntries (at least one) values.
func NewMemory[V any](maxEntries int) *Memory[V] {
	maxEntries = max(maxEntries, 1)
	n := 1
	for n < maxShards && maxEntries >= 2*n*minShard {
		n *= 2
	}
	m := &Memory[V]{shards: make([]*shard[V], n)}
	for i := range m.shards {
		limit := maxEntries / n
		if i < maxEntries%n {
			limit++
		}
		m.shards[i] = newShard[V](limit)
	}
	return m
}

// Get returns the value that was Set for k, unless it has ended or was evicted.
func (m *Memory[V]) Get(k Key) (V, bool) {
	s := m.shard(k)
	// go-cache does not keep the string it looks for, so that this conversion stays on the stack.
	if x, ok := s.items.Get(string(k[:])); ok {
		e := x.(*entry[V])
		if !e.visited.Load() { // a read that nearly always says no is cheaper than a write by every hit
			e.visited.Store(true)
		}
		s.hits.Add(1)
		return e.value, true
	}
	s.misses.Add(1)
	var zero V
	return zero, false
}

// Set keeps v for ttl, in place of what was kept for k. A ttl of zero or less keeps nothing and forgets what was there; one above a
// hundred years is cut to that.
func (m *Memory[V]) Set(k Key, v V, ttl time.Duration) {
	if ttl <= 1 { // one nanosecond is nothing, see insert
		m.Delete(k)
		return
	}
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.insert(k, v, min(ttl, maxTTL))
}

// Delete forgets k.
func (m *Memory[V]) Delete(k Key) {
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items.Delete(string(k[:]))
}

// Len returns the number of entries, as in Stats.
func (m *Memory[V]) Len() int {
	n := 0
	for _, s := range m.shards {
		s.mu.Lock()
		n += s.count
		s.mu.Unlock()
	}
	return n
}

// Stats returns the counters, summed over the shards one after the other.
func (m *Memory[V]) Stats() Stats {
	st := Stats{Entries: m.Len()}
	for _, s := range m.shards {
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

// entry is what go-cache holds. Only the mark changes after it was stored, and the links, which belong to the shard.
type entry[V any] struct {
	value   V
	key     Key
	ends    int64 // Unix time in nanoseconds, for the hand and the broom; what Get obeys is go-cache's own
	visited atomic.Bool

	older, newer *entry[V]
}

type shard[V any] struct {
	items *gocache.Cache // has its own lock: Get takes only that one
	limit int

	hits, misses, evictions atomic.Uint64

	mu sync.Mutex // guards all that follows, and every change to items
	// count is the length of the list: each entry in items stands in it, and the reverse.
	count          int
	oldest, newest *entry[V]
	hand           *entry[V] // next candidate for eviction; nil: begin at the oldest
	broom          *entry[V] // next one to look at for expiry; nil: begin at the oldest
}

func newShard[V any](limit int) *shard[V] {
	s := &shard[V]{items: gocache.New(gocache.NoExpiration, 0), limit: limit}
	// The only way to learn of an ended entry that a Delete removed: go-cache's Get no longer shows it. It runs inside our own calls of
	// items.Delete, that is under mu.
	s.items.OnEvicted(func(_ string, x any) { s.unlink(x.(*entry[V])) })
	return s
}

// insert stores v. The value ends when ttl has passed, not one tick later: go-cache still serves at the very end, hence the nanosecond less.
func (s *shard[V]) insert(k Key, v V, ttl time.Duration) {
	ttl--
	now := time.Now().UnixNano()
	key := string(k[:])
	e := &entry[V]{value: v, key: k, ends: now + int64(ttl)}
	if x, ok := s.items.Get(key); ok {
		s.items.Set(key, e, ttl)
		s.replace(x.(*entry[V]), e)
		return
	}
	s.items.Delete(key) // there may be one that has ended
	s.sweep(now)
	if s.count >= s.limit {
		s.evict(now)
	}
	s.items.Set(key, e, ttl)
	s.push(e)
}

// evict removes one entry: the first from the hand on that has ended or was not hit since the hand last came by. The marks it removes
// were each made by a hit, and after one round none is left: amortised, one step.
func (s *shard[V]) evict(now int64) {
	e := s.from(s.hand)
	for now < e.ends && e.visited.Load() {
		e.visited.Store(false)
		e = s.from(e.newer)
	}
	s.hand = e // unlink moves it on
	if now < e.ends {
		s.evictions.Add(1)
	}
	s.items.Delete(string(e.key[:]))
}

// sweep looks at a few entries and drops those that have ended, so that what nobody asks for again goes without a walk over the map.
func (s *shard[V]) sweep(now int64) {
	for range min(broomSteps, s.count) {
		e := s.from(s.broom)
		s.broom = e.newer
		if now >= e.ends {
			s.items.Delete(string(e.key[:]))
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
}

func (s *shard[V]) unlink(e *entry[V]) {
	if s.hand == e {
		s.hand = e.newer
	}
	if s.broom == e {
		s.broom = e.newer
	}
	s.relink(e, e.newer, e.older)
	e.older, e.newer = nil, nil
	s.count--
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
}

// relink makes e's neighbours, or the ends of the list, point past it: the older side to asNewer, the newer side to asOlder.
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
