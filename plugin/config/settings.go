package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// Use is a kind of result that is remembered.
type Use string

// The uses. What a field shapes is said in its tag `oidc`.
const (
	ForToken         Use = "token"         // a grant's answer, verified
	ForBearer        Use = "bearer"        // a verified token that a client brought
	ForIntrospection Use = "introspection" // an introspection answer
	ForUserinfo      Use = "userinfo"      // a userinfo answer
	ForExchange      Use = "exchange"      // an exchanged token
	ForSession       Use = "session"       // the tokens of a session, verified
)

var uses = []Use{ForToken, ForBearer, ForIntrospection, ForUserinfo, ForExchange, ForSession}

// The values of `header` and `unbuilt`.
const (
	headerUpstream   = "upstream"
	headerDownstream = "downstream"
	headerProvider   = "provider"
	headerReplay     = "replay"
	headerRead       = "read"

	unbuiltRefuse = "refuse"
	unbuiltWarn   = "warn"
)

// setting is a field of the configuration with what its tag `oidc` says.
type setting struct {
	*kongschema.Field
	shapes  []Use    // nil: every use; empty: none
	header  string   // one of the constants, or "": it names no header
	prefix  string   // before each name that the field gives
	bearer  bool     // the name may be followed by ":bearer"
	unbuilt []string // refuse, warn, or the methods and fields that the field belongs to
	ignored bool     // the field has no effect, on purpose
}

var settings = sync.OnceValue(func() []setting {
	list, err := settingsOf(schema())
	if err != nil {
		panic(err) // a mistake in a tag; every test of this package meets it
	}
	return list
})

// settingsOf reads the tags `oidc` of a record that kongschema.Of derived.
func settingsOf(f *kongschema.Field) ([]setting, error) {
	list := make([]setting, len(f.Fields))
	for i, sub := range f.Fields {
		list[i].Field = sub
		tag := sub.Tag("oidc")
		if tag == "" {
			continue
		}
		for word := range strings.SplitSeq(tag, ",") {
			if !list[i].read(word) {
				return nil, fmt.Errorf("config: field %q: unknown word %q in the tag oidc", sub.Name, word)
			}
		}
	}
	return list, nil
}

func (s *setting) read(word string) (known bool) {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "shapes":
		s.shapes = []Use{}
		if value == "none" {
			return true
		}
		for name := range strings.SplitSeq(value, "|") {
			if !slices.Contains(uses, Use(name)) {
				return false
			}
			s.shapes = append(s.shapes, Use(name))
		}
		return true
	case "header":
		s.header = value
		return slices.Contains([]string{headerUpstream, headerDownstream, headerProvider, headerReplay, headerRead}, value)
	case "prefix":
		s.prefix = value
		return value != ""
	case "unbuilt":
		s.unbuilt = strings.Split(value, "|")
		return value != ""
	}
	s.bearer = s.bearer || word == "bearer"
	s.ignored = s.ignored || word == "ignored"
	return word == "bearer" || word == "ignored"
}

// counts says whether remembered results of that use depend on the setting.
func (s *setting) counts(use Use) bool { return s.shapes == nil || slices.Contains(s.shapes, use) }

// writes says whether the header that the setting names is one that we write, to the upstream or
// to the client.
func (s *setting) writes() bool { return s.header == headerUpstream || s.header == headerDownstream }

// Digest is the SHA-256, in hexadecimal, of the settings that remembered results of that use
// depend on, and of what the caller adds: configurations with the same digest may share their
// results. It depends on secrets, by their values, and reveals none. It is made for
// compiling a configuration, not for each request.
func Digest(c *Config, use Use, more ...string) string {
	return digest(settings(), schema().Encode(c), use, more)
}

func digest(list []setting, values map[string]any, use Use, more []string) string {
	hash := sha256.New()
	add := func(part []byte) {
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		hash.Write(part)
	}
	add([]byte(use))
	for _, s := range list {
		if !s.counts(use) {
			continue
		}
		value, err := json.Marshal(values[s.Name]) // members of records come sorted
		if err != nil {
			// Text, finite numbers and lists of them always encode.
			panic(err)
		}
		add([]byte(s.Name))
		add(value)
	}
	for _, part := range more {
		add([]byte(part))
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// Unbuilt says which settings ask for what this version does not have: it refuses those without
// which too many requests would pass, and warns of the others. Settings that belong to a method or
// to another field are silent, since that one speaks.
func (c *Config) Unbuilt() []Problem {
	r := &report{}
	values := schema().Encode(c)
	for _, s := range settings() {
		if s.unbuilt == nil || same(values[s.Name], s.Default) {
			continue
		}
		switch s.unbuilt[0] {
		case unbuiltRefuse:
			r.refuse(s.Name, "not built in this version, and requests must not pass without it")
		case unbuiltWarn:
			r.warn(s.Name, "not built in this version: it has no effect")
		}
	}
	return r.problems
}

// same compares two values; an empty list is no value.
func same(a, b any) bool {
	for _, v := range []*any{&a, &b} {
		if list, ok := (*v).([]any); ok && len(list) == 0 {
			*v = nil
		}
	}
	return reflect.DeepEqual(a, b)
}

// WrittenHeaders are the names of the headers that the configuration has us write to the upstream
// or to the client, folded. What fills them need not be built: nobody else writes them either.
func (c *Config) WrittenHeaders() []string {
	var names []string
	values := schema().Encode(c)
	for _, s := range settings() {
		if s.writes() {
			for _, h := range s.headers(values) {
				names = append(names, FoldHeader(h.name))
			}
		}
	}
	return names
}

// namedHeader is a header that a setting names, and where in the configuration.
type namedHeader struct{ path, name string }

func (s *setting) headers(values map[string]any) []namedHeader {
	if s.header == "" {
		return nil
	}
	return s.headersIn(s.Field, s.Name, values[s.Name])
}

// headersIn are the headers that a value names: a text, each entry of a list, and of a record its
// first member.
func (s *setting) headersIn(f *kongschema.Field, path string, value any) []namedHeader {
	switch v := value.(type) {
	case string:
		if s.bearer {
			v, _ = ParseTokenHeader(v)
		}
		if v == "" {
			return nil
		}
		return []namedHeader{{path, s.prefix + v}}
	case []any:
		var names []namedHeader
		for i, e := range v {
			names = append(names, s.headersIn(f.Elements, fmt.Sprintf("%s[%d]", path, i+1), e)...)
		}
		return names
	case map[string]any:
		first := f.Fields[0]
		return s.headersIn(first, kongschema.Join(path, first.Name), v[first.Name])
	}
	return nil
}
