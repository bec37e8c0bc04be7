package pluginserver

import (
	"bytes"
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
)

// instances holds one compiled Instance per configuration, whatever number of workers and plugins
// Kong starts it for. Identity is the configuration itself; __seq__ is none, since it begins anew
// at every reload.
type instances struct {
	plugin  Plugin
	limit   int
	onPanic func(what string, value any)

	mu     sync.Mutex // guards what follows and the fields of instance that say so
	byID   map[int32]*instance
	byHash map[[sha256.Size]byte]*instance
	used   list.List // of *instance, the most recently used first
}

type instance struct {
	id      int32
	hash    [sha256.Size]byte
	config  json.RawMessage
	compile sync.Once
	impl    Instance // set by compile

	refs  int           // starts less closes; guarded by instances.mu
	users int           // running events and compilations; guarded by instances.mu
	gone  bool          // no longer in the maps; guarded by instances.mu
	place *list.Element // guarded by instances.mu
}

// start gives the id of the configuration's instance, compiling it if it is new.
func (s *instances) start(raw []byte) int32 {
	config := canonical(raw)
	hash := sha256.Sum256(config)

	s.mu.Lock()
	in := s.byHash[hash]
	if in == nil {
		in = &instance{id: s.freeID(), hash: hash, config: config}
		s.byHash[hash], s.byID[in.id] = in, in
		in.place = s.used.PushFront(in)
	}
	in.refs++
	in.users++
	s.used.MoveToFront(in.place)
	var victim *instance
	if len(s.byID) > s.limit {
		victim = s.used.Back().Value.(*instance)
		if s.forget(victim); victim.users > 0 {
			victim = nil // its last event closes it
		}
	}
	s.mu.Unlock()

	s.close(victim)
	s.compiled(in)
	s.release(in)
	return in.id
}

// acquire finds an instance for one event; release ends the event.
func (s *instances) acquire(id int32) *instance {
	s.mu.Lock()
	in := s.byID[id]
	if in != nil {
		in.users++
		s.used.MoveToFront(in.place)
	}
	s.mu.Unlock()
	if in != nil {
		s.compiled(in)
	}
	return in
}

func (s *instances) release(in *instance) {
	s.mu.Lock()
	in.users--
	last := in.gone && in.users == 0
	s.mu.Unlock()
	if last {
		s.close(in)
	}
}

// stop takes back one start. An id that is not known is fine: it may be of a process before this
// one.
func (s *instances) stop(id int32) {
	s.mu.Lock()
	in := s.byID[id]
	last := false
	if in != nil {
		if in.refs--; in.refs <= 0 {
			s.forget(in)
			last = in.users == 0
		}
	}
	s.mu.Unlock()
	if last {
		s.close(in)
	}
}

// stopAll closes every instance that no event uses any more.
func (s *instances) stopAll() {
	s.mu.Lock()
	var idle []*instance
	for _, in := range s.byID {
		if s.forget(in); in.users == 0 {
			idle = append(idle, in)
		}
	}
	s.mu.Unlock()
	for _, in := range idle {
		s.close(in)
	}
}

// forget needs s.mu.
func (s *instances) forget(in *instance) {
	in.gone = true
	delete(s.byID, in.id)
	delete(s.byHash, in.hash)
	s.used.Remove(in.place)
}

// freeID needs s.mu. Ids are random so that none of a process before this one means another
// configuration here.
func (s *instances) freeID() int32 {
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails, says crypto/rand
		id := int32(binary.LittleEndian.Uint32(b[:]) & math.MaxInt32)
		if _, taken := s.byID[id]; id != 0 && !taken {
			return id
		}
	}
}

func (s *instances) compiled(in *instance) {
	in.compile.Do(func() {
		config := in.config
		in.impl, in.config = refusing{}, nil
		defer func() {
			if v := recover(); v != nil {
				s.onPanic("compiling a configuration", v)
			}
		}()
		if impl := s.plugin.NewInstance(config); impl != nil {
			in.impl = impl
		}
	})
}

func (s *instances) close(in *instance) {
	if in == nil || in.impl == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			s.onPanic("closing an instance", v)
		}
	}()
	in.impl.Close()
}

// bindings are the members by which Kong tells a configuration what it is bound to
// (kong/runloop/plugins_iterator.lua). They look like fields and are none: the same configuration
// on 200 routes is one.
var bindings = []string{"route_id", "service_id", "consumer_id", "plugin_instance_name"}

// canonical brings a configuration into the form that is hashed and compiled: without the members
// that Kong adds ("__seq__" and its like, and the "$refs" of every record), keys sorted. What is no
// JSON object stays as it is.
func canonical(raw []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // a number's text is part of the configuration
	var v any
	if err := dec.Decode(&v); err != nil {
		return bytes.Clone(raw)
	}
	if _, err := dec.Token(); err != io.EOF {
		return bytes.Clone(raw)
	}
	config, ok := v.(map[string]any)
	if !ok {
		return bytes.Clone(raw)
	}
	for name := range config {
		if strings.HasPrefix(name, "__") || slices.Contains(bindings, name) {
			delete(config, name)
		}
	}
	dropRefs(config)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(config); err != nil {
		return bytes.Clone(raw)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

func dropRefs(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "$refs")
		for _, member := range v {
			dropRefs(member)
		}
	case []any:
		for _, item := range v {
			dropRefs(item)
		}
	}
}
