package kongschema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// CheckSchema holds the JSON of a plugin's schema to the rules of Kong 3.9's metaschema and lists
// what would keep Kong from starting, each with its path. It is made for schemas from JSON: what
// needs a Lua function is refused.
func CheckSchema(raw []byte) []string {
	tree, err := ReadJSON(raw)
	if err != nil {
		return []string{err.Error()}
	}
	m := &metaCheck{}
	doc, _ := tree.(map[string]any)
	for name := range doc {
		if !slices.Contains([]string{"name", "fields", "entity_checks"}, name) {
			m.fail("", "unknown attribute %q of a schema", name)
		}
	}
	if s, _ := doc["name"].(string); s == "" {
		m.fail("name", "required")
	}
	m.fields("", doc["fields"])
	m.entityChecks("", doc["entity_checks"])
	if f, err := Parse(raw); m.problems == nil && err == nil { // the defaults must hold their fields' own rules
		m.defaults("", f)
	}
	slices.Sort(m.problems)
	return m.problems
}

type metaCheck struct{ problems []string }

func (m *metaCheck) fail(path, format string, args ...any) {
	m.problems = append(m.problems, path+": "+fmt.Sprintf(format, args...))
}

// anyType are the attributes that a field of any type may have, with the kind of their value.
var anyType = map[string]string{
	"type": "string", "required": "boolean", "default": "any", "description": "string", "examples": "list",
	"auto": "boolean", "encrypted": "boolean", "referenceable": "boolean", "immutable": "boolean", "err": "string",
	"eq": "any", "ne": "any", "gt": "number", "len_min": "number", "len_max": "number", "match_all": "patterns",
	"match_none": "patterns", "match_any": "object", "not_match": "string", "starts_with": "string", "not_one_of": "list",
	"deprecation": "object", "entity_checks": "list", "elements": "object", "keys": "object", "values": "object",
	"fields": "list", "reference": "string",
}

// someTypes are the attributes that only some types may have.
var someTypes = map[string]struct {
	kind  string
	types []string
}{
	"between":   {"list", []string{"number", "integer"}},
	"len_eq":    {"number", []string{"array", "set", "string", "map"}},
	"match":     {"string", []string{"string"}},
	"is_regex":  {"boolean", []string{"string"}},
	"uuid":      {"boolean", []string{"string"}},
	"one_of":    {"list", []string{"string", "number", "integer"}},
	"contains":  {"any", []string{"array", "set"}},
	"timestamp": {"boolean", []string{"number", "integer"}},
}

// mustHave are the attributes without which a type is incomplete.
var mustHave = map[string][]string{
	"array": {"elements"}, "set": {"elements"}, "map": {"keys", "values"}, "record": {"fields"},
	"string": nil, "number": nil, "integer": nil, "boolean": nil, "foreign": {"reference"},
}

func (m *metaCheck) fields(path string, v any) {
	list, ok := v.([]any)
	if !ok {
		m.fail(path, "'fields' must be a table")
		return
	}
	for i, e := range list {
		entry, _ := e.(map[string]any)
		if len(entry) != 1 {
			m.fail(path, "entry %d of fields must have one name", i+1)
			continue
		}
		for name, f := range entry {
			m.field(Join(path, name), f)
		}
	}
}

func (m *metaCheck) field(path string, v any) {
	f, ok := v.(map[string]any)
	if !ok {
		m.fail(path, "must be a table")
		return
	}
	typ, _ := f["type"].(string)
	needed, known := mustHave[typ]
	if !known {
		m.fail(path, "invalid type: %q", typ)
	}
	for _, attribute := range needed {
		if f[attribute] == nil {
			m.fail(path, "field of type '%s' must declare '%s'", typ, attribute)
		}
	}
	for attribute, value := range f {
		kind := anyType[attribute]
		if some, ok := someTypes[attribute]; ok {
			if kind = some.kind; !slices.Contains(some.types, typ) {
				m.fail(path, "field of type '%s' cannot have attribute '%s'", typ, attribute)
			}
		}
		if kind == "" {
			m.fail(path, "unknown attribute '%s'", attribute)
		} else if !isKind(kind, value) {
			m.fail(path, "'%s' must be of kind %s", attribute, kind)
		}
	}
	m.values(path, f)
	for _, attribute := range []string{"elements", "keys", "values"} {
		if f[attribute] != nil {
			m.field(path+"["+attribute+"]", f[attribute])
		}
	}
	if f["fields"] != nil {
		m.fields(path, f["fields"])
	}
	m.entityChecks(path, f["entity_checks"])
}

// values holds single attributes to their own rules.
func (m *metaCheck) values(path string, f map[string]any) {
	if d, ok := f["description"].(string); ok && (len(d) < 10 || len(d) > 500) {
		m.fail(path, "the description has %d bytes, not 10 to 500", len(d))
	}
	if between, ok := f["between"].([]any); ok && (len(between) != 2 || !isKind("number", between[0]) || !isKind("number", between[1])) {
		m.fail(path, "'between' takes two numbers")
	}
	d, ok := f["deprecation"].(map[string]any)
	if !ok {
		return
	}
	for _, name := range []string{"message", "removal_in_version"} {
		if s, _ := d[name].(string); s == "" {
			m.fail(path, "deprecation: '%s' is required", name)
		}
	}
	for name, value := range d {
		switch name {
		case "message", "removal_in_version", "old_default":
		case "replaced_with":
			for _, r := range asListOf(value) {
				replacement, _ := r.(map[string]any)
				if steps := asListOf(replacement["path"]); len(replacement) != 1 || len(steps) == 0 {
					m.fail(path, "deprecation: each of 'replaced_with' is a path")
				}
			}
		default:
			m.fail(path, "deprecation: unknown member '%s'", name)
		}
	}
}

// entityRules are the rules across fields that JSON can carry, with the members of those that are
// records.
var entityRules = map[string][]string{
	"at_least_one_of": nil, "only_one_of": nil, "distinct": nil, "mutually_required": nil, "mutually_exclusive": nil,
	"conditional":                 {"if_field", "if_match", "then_field", "then_match", "then_err"},
	"mutually_exclusive_sets":     {"set1", "set2"},
	"conditional_at_least_one_of": {"if_field", "if_match", "then_at_least_one_of", "then_err", "else_match", "else_then_at_least_one_of", "else_then_err"},
}

func (m *metaCheck) entityChecks(path string, v any) {
	for i, e := range asListOf(v) {
		check, _ := e.(map[string]any)
		if len(check) != 1 {
			m.fail(path, "entity check %d must have one rule", i+1)
			continue
		}
		for name, arg := range check {
			members, known := entityRules[name]
			object, isObject := arg.(map[string]any)
			switch {
			case !known:
				m.fail(path, "entity check '%s' is unknown or needs a function", name)
			case members == nil && !isKind("list", arg), members != nil && !isObject:
				m.fail(path, "entity check '%s' has a wrong argument", name)
			}
			for member := range object {
				if !slices.Contains(members, member) {
					m.fail(path, "entity check '%s': unknown member '%s'", name, member)
				}
			}
		}
	}
}

func (m *metaCheck) defaults(path string, f *Field) {
	at := strings.TrimPrefix(path+"."+f.Name, ".")
	if f.Default != nil {
		if err := f.check(f.Default); err != nil {
			raw, _ := json.Marshal(err)
			m.fail(at, "the default is refused: %s", raw)
		}
	}
	for _, sub := range f.Fields {
		m.defaults(at, sub)
	}
	if f.Elements != nil {
		m.defaults(at, f.Elements)
	}
}

func isKind(kind string, v any) bool {
	switch kind {
	case "any":
		return true
	case "string":
		_, ok := v.(string)
		return ok
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "number":
		_, ok := v.(float64)
		return ok
	case "object":
		_, ok := v.(map[string]any)
		return ok
	case "patterns":
		list, ok := v.([]any)
		return ok && !slices.ContainsFunc(list, func(e any) bool {
			p, _ := e.(map[string]any)
			_, ok := p["pattern"].(string)
			return !ok
		})
	}
	_, ok := v.([]any)
	return ok
}

func asListOf(v any) []any {
	list, _ := v.([]any)
	return list
}
