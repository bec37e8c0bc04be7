package devgateway

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// store holds the entities. One that was put in is never changed, only replaced, so that a reader
// needs no copy. Unset fields are nil, as the Admin API shows them.
type store struct {
	schemas map[string]*kongschema.Field // by kind
	plugins map[string]*kongschema.Field // by plugin: the whole entity with that plugin's config
	changed func(kind string)            // called with the lock held

	mu       sync.RWMutex // guards entities
	entities map[string]map[string]map[string]any
}

func newStore(plugins map[string]*kongschema.Field, changed func(kind string)) (*store, error) {
	s := &store{schemas: map[string]*kongschema.Field{}, plugins: plugins, changed: changed, entities: map[string]map[string]map[string]any{}}
	for _, k := range kinds {
		schema, err := parseSchema(k.fields)
		if err != nil {
			return nil, fmt.Errorf("devgateway: schema of %s: %w", k.name, err)
		}
		s.schemas[k.name] = schema
		s.entities[k.name] = map[string]map[string]any{}
	}
	return s, nil
}

// schema is the one by which a body of that kind is checked; for a plugin it depends on the name in
// the body.
func (s *store) schema(k *kind, args map[string]any) *kongschema.Field {
	if k.name == "plugins" {
		name, _ := args["name"].(string)
		if schema := s.plugins[name]; schema != nil {
			return schema
		}
	}
	return s.schemas[k.name]
}

// find returns the entity with that id or endpoint key, or nil.
func (s *store) find(kindName, key string) map[string]any {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lookup(kindOf(kindName), key)
}

// lookup is find for those who hold the lock.
func (s *store) lookup(k *kind, key string) map[string]any {
	if e := s.entities[k.name][key]; e != nil {
		return e
	}
	if isUUID(key) {
		return nil
	}
	for _, e := range s.entities[k.name] {
		if e[k.endpointKey] == key {
			return e
		}
	}
	return nil
}

// consumer finds one by its id; byName by its username, too, which may look like an id. Nothing
// finds one by its custom_id.
func (s *store) consumer(key string, byName bool) map[string]any {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.entities["consumers"][key]; c != nil || !byName {
		return c
	}
	for _, c := range s.entities["consumers"] {
		if key != "" && c["username"] == key {
			return c
		}
	}
	return nil
}

// list returns the entities of a kind in the order of their ids; with a field, those that refer to
// id with it.
func (s *store) list(k *kind, field, id string) []map[string]any {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := []map[string]any{}
	for _, key := range sortedKeys(s.entities[k.name]) {
		if e := s.entities[k.name][key]; field == "" || foreignID(e, field) == id {
			out = append(out, e)
		}
	}
	return out
}

// insert adds a new entity (POST).
func (s *store) insert(k *kind, args map[string]any) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := args["id"].(string); ok && s.entities[k.name][id] != nil {
		return nil, primaryKeyViolation(id)
	}
	return s.put(k, args, nil)
}

// upsert replaces the entity with that key, or adds it (PUT).
func (s *store) upsert(k *kind, key string, args map[string]any) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.lookup(k, key)
	args = maps.Clone(args)
	switch {
	case old != nil:
		args["id"] = old["id"]
	case isUUID(key):
		args["id"] = key
	}
	if !isUUID(key) {
		args[k.endpointKey] = key
	}
	return s.put(k, args, old)
}

// update changes what args name and leaves the rest (PATCH): records member by member, everything
// else as a whole.
func (s *store) update(k *kind, key string, args map[string]any) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.lookup(k, key)
	if old == nil {
		return nil, notFound()
	}
	args = maps.Clone(args)
	if _, given := args["name"]; !given && k.name == "plugins" {
		args["name"] = old["name"]
	}
	if aerr := expandURL(k, args); aerr != nil {
		return nil, aerr
	}
	args["id"] = old["id"]
	return s.put(k, mergeRecord(s.schema(k, args), args, old), old)
}

// remove deletes an entity (DELETE). If it does not exist, that is no error, as in Kong.
func (s *store) remove(k *kind, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.lookup(k, key)
	if e == nil {
		return nil
	}
	id := e["id"].(string)
	var gone []func()
	for i := range kinds {
		child := &kinds[i]
		for field, parent := range child.foreign {
			if parent != k.name {
				continue
			}
			for cid, c := range s.entities[child.name] {
				if foreignID(c, field) != id {
					continue
				}
				if !child.cascade {
					return stillReferenced(k.name, child.name)
				}
				gone = append(gone, func() { delete(s.entities[child.name], cid); s.changed(child.name) })
			}
		}
	}
	for _, f := range gone {
		f()
	}
	delete(s.entities[k.name], id)
	s.changed(k.name)
	return nil
}

// put completes, checks and stores an entity; the lock is held.
func (s *store) put(k *kind, args map[string]any, old map[string]any) (map[string]any, error) {
	args = maps.Clone(args)
	if aerr := expandURL(k, args); aerr != nil {
		return nil, aerr
	}
	if k.name == "plugins" {
		if name, ok := args["name"].(string); ok && s.plugins[name] == nil {
			return nil, schemaViolation(map[string]any{
				"name": fmt.Sprintf("plugin '%s' not enabled; add it to the 'plugins' configuration property", name),
			})
		}
	}
	if err := s.resolve(k, args); err != nil {
		return nil, err
	}
	now := float64(time.Now().Unix())
	if id, _ := args["id"].(string); id == "" {
		args["id"] = newUUID()
	}
	if args["created_at"] == nil {
		args["created_at"] = now
		if old != nil {
			args["created_at"] = old["created_at"]
		}
	}
	args["updated_at"] = now
	schema := s.schema(k, args)
	entity := schema.Complete(args)
	if errs := validate(schema, entity); len(errs) > 0 {
		return nil, schemaViolation(errs)
	}
	if errs := checkEntity(k, entity); len(errs) > 0 {
		return nil, schemaViolation(errs)
	}
	if err := s.checkReferences(k, entity); err != nil {
		return nil, err
	}
	if err := s.checkUnique(k, entity); err != nil {
		return nil, err
	}
	s.entities[k.name][entity["id"].(string)] = entity
	s.changed(k.name)
	return entity, nil
}

// resolve turns a foreign key given by name ({"name": "x"}) into one by id.
func (s *store) resolve(k *kind, args map[string]any) error {
	for _, field := range sortedKeys(k.foreign) {
		parent := kindOf(k.foreign[field])
		ref, ok := args[field].(map[string]any)
		if !ok || ref["id"] != nil {
			continue
		}
		name, ok := ref[parent.endpointKey].(string)
		if !ok {
			continue
		}
		e := s.lookup(parent, name)
		if e == nil || e[parent.endpointKey] != name {
			return unresolved(field, parent.endpointKey, name, parent.name)
		}
		args[field] = map[string]any{"id": e["id"]}
	}
	return nil
}

func (s *store) checkReferences(k *kind, entity map[string]any) error {
	for _, field := range sortedKeys(k.foreign) {
		ref, ok := entity[field].(map[string]any)
		if !ok {
			continue
		}
		id, _ := ref["id"].(string)
		if s.entities[k.foreign[field]][id] == nil {
			return invalidReference(field, ref, k.foreign[field])
		}
	}
	return nil
}

func (s *store) checkUnique(k *kind, entity map[string]any) error {
	for id, other := range s.entities[k.name] {
		if id == entity["id"] {
			continue
		}
		for _, field := range []string{k.endpointKey, "custom_id"} {
			if v := entity[field]; v != nil && other[field] == v {
				return uniqueViolation(map[string]any{field: v})
			}
		}
		if k.name == "plugins" && reflect.DeepEqual(pluginKey(entity), pluginKey(other)) {
			return uniqueViolation(pluginKey(entity))
		}
	}
	return nil
}

// pluginKey is what only one plugin may have: Kong's cache key.
func pluginKey(e map[string]any) map[string]any {
	return map[string]any{"name": e["name"], "route": e["route"], "service": e["service"], "consumer": e["consumer"]}
}

// foreignID is the id that a foreign field holds, or "".
func foreignID(entity map[string]any, field string) string {
	ref, _ := entity[field].(map[string]any)
	id, _ := ref["id"].(string)
	return id
}

// expandURL replaces a service's url by the fields that it stands for.
func expandURL(k *kind, args map[string]any) error {
	raw, given := args["url"]
	if k.name != "services" || !given {
		return nil
	}
	delete(args, "url")
	text, ok := raw.(string)
	if !ok {
		return schemaViolation(map[string]any{"url": "expected a string"})
	}
	u, err := url.Parse(text)
	if err != nil {
		return schemaViolation(map[string]any{"url": "cannot be parsed"})
	}
	protocol := u.Scheme
	if protocol == "" {
		protocol = "http"
	}
	port := map[string]float64{"https": 443}[protocol]
	if port == 0 {
		port = 80
	}
	if n, err := strconv.Atoi(u.Port()); err == nil {
		port = float64(n)
	}
	args["protocol"], args["port"] = protocol, port
	args["host"], args["path"] = nil, nil
	if h := u.Hostname(); h != "" {
		args["host"] = h
	}
	if p := u.EscapedPath(); p != "" {
		args["path"] = p
	}
	return nil
}

// checkEntity are the rules of Kong's own entities that a field alone cannot tell.
func checkEntity(k *kind, e map[string]any) map[string]any {
	switch k.name {
	case "routes":
		for _, field := range []string{"methods", "hosts", "headers", "paths"} {
			switch v := e[field].(type) {
			case []any:
				if len(v) > 0 {
					return checkRoute(e)
				}
			case map[string]any:
				if len(v) > 0 {
					return checkRoute(e)
				}
			}
		}
		protocol, fields := "http", "'methods', 'hosts', 'headers', 'paths'"
		if list, _ := e["protocols"].([]any); slices.Contains(list, any("https")) {
			protocol, fields = "https", fields+", 'snis'"
		}
		return map[string]any{"@entity": []any{fmt.Sprintf("must set one of %s when 'protocols' is '%s'", fields, protocol)}}
	case "consumers":
		if e["username"] == nil && e["custom_id"] == nil {
			return map[string]any{"@entity": []any{"at least one of these fields must be non-empty: 'custom_id', 'username'"}}
		}
	}
	return nil
}

var upperCase = regexp.MustCompile(`^[A-Z]+$`)

func checkRoute(e map[string]any) map[string]any {
	paths, _ := e["paths"].([]any)
	for i, p := range paths {
		text, _ := p.(string)
		expr, regex := strings.CutPrefix(text, "~")
		if !strings.HasPrefix(expr, "/") {
			return map[string]any{"paths": elementError(i, "should start with: / (fixed path) or ~/ (regex path)")}
		}
		if _, err := regexp.Compile(expr); regex && err != nil {
			return map[string]any{"paths": elementError(i, "invalid regex: "+strconv.Quote(expr))}
		}
	}
	methods, _ := e["methods"].([]any)
	for i, m := range methods {
		if text, _ := m.(string); !upperCase.MatchString(text) {
			return map[string]any{"methods": elementError(i, "invalid value: "+text)}
		}
	}
	return nil
}

// elementError places a message at an element of a list, as Kong does.
func elementError(i int, message string) []any {
	list := make([]any, i+1)
	list[i] = message
	return list
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

func isUUID(s string) bool { return uuidForm.MatchString(s) }

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
