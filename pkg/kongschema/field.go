// Package kongschema turns a Go struct into the schema that Kong reads from a plugin server, and
// holds configurations against such a schema with Kong's own defaults, rules and messages.
//
// A struct's fields declare themselves in a tag (see Of); their comments become descriptions (see
// Describe). The result is a tree of Field that marshals to Kong's form and can be read back from
// it (see Parse), so that another program can validate with nothing but the dumped JSON.
//
// Not its job: what the fields mean, rules that JSON cannot carry, and fields that need code in
// Kong (shorthands, transformations, custom checks). The texts read: kong/db/schema/init.lua and
// metaschema.lua of Kong 3.9.
package kongschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Field is a field of a Kong schema, or a whole schema (a record with the schema's name). The zero
// value of an attribute leaves it out.
type Field struct {
	Name        string `json:"-"`
	Type        string `json:"type,omitempty"` // string, number, integer, boolean, array, set, map, record, foreign
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required,omitempty"`
	Default     any    `json:"default,omitempty"` // in the form of encoding/json: float64, []any …
	Examples    []any  `json:"examples,omitempty"`
	Reference   string `json:"reference,omitempty"` // of a foreign field: the entity
	Remark      string `json:"-"`                   // one more note for Markdown

	Eq         Literal     `json:"eq,omitzero"`
	Ne         Literal     `json:"ne,omitzero"`
	OneOf      []any       `json:"one_of,omitempty"`
	NotOneOf   []any       `json:"not_one_of,omitempty"`
	Gt         *float64    `json:"gt,omitempty"`
	Between    []float64   `json:"between,omitempty"` // two limits, both inclusive
	LenEq      *int        `json:"len_eq,omitempty"`
	LenMin     *int        `json:"len_min,omitempty"`
	LenMax     *int        `json:"len_max,omitempty"`
	StartsWith string      `json:"starts_with,omitempty"`
	Match      string      `json:"match,omitempty"` // the patterns are Lua's
	NotMatch   string      `json:"not_match,omitempty"`
	MatchAll   []Pattern   `json:"match_all,omitempty"`
	MatchNone  []Pattern   `json:"match_none,omitempty"`
	MatchAny   *PatternSet `json:"match_any,omitempty"`
	Contains   any         `json:"contains,omitempty"`
	UUID       bool        `json:"uuid,omitempty"`
	Timestamp  bool        `json:"timestamp,omitempty"`
	IsRegex    bool        `json:"is_regex,omitempty"`
	Err        string      `json:"err,omitempty"` // replaces the message of a failed rule

	Auto          bool         `json:"auto,omitempty"`
	Immutable     bool         `json:"immutable,omitempty"`
	Encrypted     bool         `json:"encrypted,omitempty"`
	Referenceable bool         `json:"referenceable,omitempty"` // the value may be a {vault://…} reference
	Deprecation   *Deprecation `json:"deprecation,omitempty"`

	Elements     *Field        `json:"elements,omitempty"` // of an array or a set
	Keys         *Field        `json:"keys,omitempty"`     // of a map
	Values       *Field        `json:"values,omitempty"`   // of a map
	Fields       Fields        `json:"fields,omitempty"`   // of a record
	EntityChecks []EntityCheck `json:"entity_checks,omitempty"`

	source // where Of found the field; empty in a schema that was read by Parse
}

// source ties a Field to its Go declaration.
type source struct {
	owner reflect.Type      // the struct that declares the field
	name  string            // the Go name of the field
	tag   reflect.StructTag // all of it
	index []int             // path to the Go field from the record's struct
	since string            // version of Kong that added the field
	none  bool              // null is a value of its own: no default replaces it

	unsaid bool // a schema that was read says nothing of required
}

// Since is the version of Kong that added the field, or "" when it was there from the start.
func (f *Field) Since() string { return f.since }

// Tag is what another tag than `kong` says of the field's Go declaration, or "".
func (f *Field) Tag(key string) string { return f.tag.Get(key) }

// KeepsNull reports whether a field left without a value on purpose stays so: lists, and texts
// marked `none`. Any other field with a default gets it back.
func (f *Field) KeepsNull() bool {
	return f.none || f.Default == nil && !(f.Type == "record" && f.Required) || f.Type == "array" || f.Type == "set"
}

// Field returns the field of that name of a record, or nil.
func (f *Field) Field(name string) *Field {
	for _, sub := range f.Fields {
		if sub.Name == name {
			return sub
		}
	}
	return nil
}

// Fields is Kong's form of a record's fields: a list of objects with one member each.
type Fields []*Field

// MarshalJSON writes the list of one-key objects.
func (fs Fields) MarshalJSON() ([]byte, error) {
	list := make([]map[string]any, len(fs))
	for i, f := range fs {
		list[i] = map[string]any{f.Name: f.explicit()}
	}
	return json.Marshal(list)
}

// explicit is the field with `required` said in full where Kong would make it up: its entities take
// every record for required that does not say otherwise (kong/db/schema/entity.lua).
func (f *Field) explicit() any {
	if f.Type != "record" || f.Required {
		return f
	}
	return struct {
		*Field
		Required bool `json:"required"`
	}{Field: f}
}

// UnmarshalJSON reads the list of one-key objects.
func (fs *Fields) UnmarshalJSON(raw []byte) error {
	var list []map[string]*parsedField
	if err := decodeStrict(raw, &list); err != nil {
		return err
	}
	*fs = make(Fields, len(list))
	for i, entry := range list {
		if len(entry) != 1 {
			return fmt.Errorf("entry %d of fields: expected one name, got %d", i+1, len(entry))
		}
		for name, p := range entry {
			if p == nil || p.Field == nil {
				return fmt.Errorf("'%s' must be a table", name)
			}
			p.Name = name
			if p.unsaid = p.Required == nil; !p.unsaid {
				p.Field.Required = *p.Required
			}
			(*fs)[i] = p.Field
		}
	}
	return nil
}

// parsedField tells a `required` that is false from one that is not there.
type parsedField struct {
	*Field
	Required *bool `json:"required"`
}

// Literal is a value of eq or ne, which may be null. The zero Literal is no rule.
type Literal struct {
	Set   bool
	Value any
}

// Is is the Literal for v; nil means null.
func Is(v any) Literal { return Literal{Set: true, Value: v} }

// MarshalJSON writes the value.
func (l Literal) MarshalJSON() ([]byte, error) { return json.Marshal(l.Value) }

// UnmarshalJSON reads the value, null included.
func (l *Literal) UnmarshalJSON(raw []byte) error {
	l.Set = true
	return json.Unmarshal(raw, &l.Value)
}

// Pattern is a Lua pattern and the message when it fails.
type Pattern struct {
	Pattern string `json:"pattern"`
	Err     string `json:"err,omitempty"`
}

// PatternSet is a list of Lua patterns of which one must match.
type PatternSet struct {
	Patterns []string `json:"patterns"`
	Err      string   `json:"err,omitempty"`
}

// Deprecation tells that a field is on its way out; Kong warns when it is used.
type Deprecation struct {
	Message          string        `json:"message"`
	RemovalInVersion string        `json:"removal_in_version"`
	OldDefault       any           `json:"old_default,omitempty"`
	ReplacedWith     []Replacement `json:"replaced_with,omitempty"`
}

// Replacement is the path of a field that takes a deprecated one's place, from the record that has
// both.
type Replacement struct {
	Path []string `json:"path"`
}

// EntityCheck is a rule across the fields of a record; one member is set.
type EntityCheck struct {
	AtLeastOneOf      []string     `json:"at_least_one_of,omitempty"`
	OnlyOneOf         []string     `json:"only_one_of,omitempty"`
	Distinct          []string     `json:"distinct,omitempty"`
	Conditional       *Conditional `json:"conditional,omitempty"`
	MutuallyRequired  []string     `json:"mutually_required,omitempty"`
	MutuallyExclusive []string     `json:"mutually_exclusive,omitempty"`
}

// Conditional holds a field to a rule when another matches one. The matches carry only the
// attributes of rules; the rest is the field's own.
type Conditional struct {
	IfField   string `json:"if_field"`
	IfMatch   *Field `json:"if_match"`
	ThenField string `json:"then_field"`
	ThenMatch *Field `json:"then_match"`
	ThenErr   string `json:"then_err,omitempty"`
}

// document is the form of a whole schema: its name instead of a type.
type document struct {
	Name         string        `json:"name"`
	Fields       Fields        `json:"fields"`
	EntityChecks []EntityCheck `json:"entity_checks,omitempty"`
}

// Document is the JSON of a whole schema as Kong reads it: {"name":…,"fields":[…]}.
func (f *Field) Document() (json.RawMessage, error) {
	raw, err := json.Marshal(document{f.Name, f.Fields, f.EntityChecks})
	if err != nil {
		return nil, fmt.Errorf("kongschema: %w", err)
	}
	return raw, nil
}

// Parse reads a whole schema from Kong's JSON. It knows the attributes of Field and refuses any
// other; CheckSchema tells whether Kong would take it.
func Parse(raw []byte) (*Field, error) {
	var doc document
	if err := decodeStrict(raw, &doc); err != nil {
		return nil, fmt.Errorf("kongschema: %w", err)
	}
	if doc.Fields == nil {
		return nil, errors.New("kongschema: error in schema definition: no 'fields' table")
	}
	f := &Field{Name: doc.Name, Type: "record", Fields: doc.Fields, EntityChecks: doc.EntityChecks}
	f.requireRecords()
	return f, nil
}

// requireRecords makes the records required that do not say whether they are, as Kong does for all
// that is reached through records (kong/db/schema/entity.lua).
func (f *Field) requireRecords() {
	for _, sub := range f.Fields {
		if sub.Type == "record" {
			sub.Required = sub.Required || sub.unsaid
			sub.requireRecords()
		}
	}
}

func decodeStrict(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}
