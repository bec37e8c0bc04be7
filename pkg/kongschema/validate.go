package kongschema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Errors is Kong's tree of messages: by field name a message, the Errors of a record, or a list
// with null for the elements that are right; under "@entity" a list of the messages of rules across
// fields.
type Errors map[string]any

// Flatten lists the messages with the path of their field, sorted. Positions in lists count from 1,
// as in Kong.
func (e Errors) Flatten() []FieldError { return flatten("", e, nil) }

// FieldError is one message of a tree. Its text is "field: message".
type FieldError struct{ Field, Message string }

func (e FieldError) Error() string { return e.Field + ": " + e.Message }

func flatten(path string, node any, into []FieldError) []FieldError {
	switch node := node.(type) {
	case string:
		into = append(into, FieldError{path, node})
	case Errors:
		for _, name := range slices.Sorted(maps.Keys(node)) {
			at := Join(path, name)
			if name == "@entity" {
				at = path
			}
			into = flatten(at, node[name], into)
		}
	case []string:
		for _, message := range node {
			into = append(into, FieldError{path, message})
		}
	case []any:
		for i, sub := range node {
			into = flatten(fmt.Sprintf("%s[%d]", path, i+1), sub, into)
		}
	}
	return into
}

// Complete returns a copy of a record's value as Kong stores it: absent fields have their defaults,
// records that are required are filled in, sets have no repeated values. Explicit nulls stay,
// absent fields without a default become null.
func (f *Field) Complete(v map[string]any) map[string]any {
	out := make(map[string]any, len(f.Fields))
	for name, value := range v {
		out[name] = clone(value)
	}
	for _, sub := range f.Fields {
		value, given := out[sub.Name]
		if !given {
			if value = sub.missing(); value == nil && sub.Required {
				continue // Validate will miss it
			}
		}
		out[sub.Name] = sub.complete(value)
	}
	return out
}

func (f *Field) missing() any {
	if f.Default != nil {
		return clone(f.Default)
	}
	if f.Type == "record" && f.Required {
		return map[string]any{}
	}
	return nil
}

func (f *Field) complete(value any) any {
	switch f.Type {
	case "record":
		if object, ok := asObject(value); ok {
			return f.Complete(object)
		}
	case "array", "set":
		list, ok := asArray(value)
		if !ok {
			return value
		}
		out := make([]any, 0, len(list))
		for _, v := range list {
			v = f.Elements.complete(v)
			if f.Type == "array" || !slices.ContainsFunc(out, func(o any) bool { return reflect.DeepEqual(o, v) }) {
				out = append(out, v)
			}
		}
		return out
	case "map":
		if object, ok := asObject(value); ok {
			for name, v := range object {
				object[name] = f.Values.complete(v)
			}
			return object
		}
	}
	return value
}

// Validate holds a record's value against the schema and returns Kong's tree of messages, nil when
// there are none. Nested records are completed first, as Kong does; the value itself should come
// from Complete.
func (f *Field) Validate(v map[string]any) Errors {
	errs, known := Errors{}, 0
	for _, sub := range f.Fields {
		value, given := v[sub.Name]
		if given {
			known++
			if err := sub.check(value); err != nil {
				errs[sub.Name] = err
			}
		}
		if sub.Required && value == nil {
			errs[sub.Name] = "required field missing"
		}
	}
	if known < len(v) {
		for name := range v {
			if f.Field(name) == nil {
				errs[name] = "unknown field"
			}
		}
	}
	f.checkEntity(v, errs)
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// check returns nil, a message, Errors or a list of them.
func (f *Field) check(value any) any {
	if value == nil {
		return f.checkNull()
	}
	if f.Eq.Set && f.Eq.Value == nil {
		return f.message("value must be null")
	}
	value, err := f.checkType(value)
	if err != nil {
		return err
	}
	if s, ok := value.(string); ok && f.Referenceable && IsReference(s) {
		return nil
	}
	for _, rule := range rules {
		if message := rule(f, value); message != "" {
			return f.message(message)
		}
	}
	return nil
}

func (f *Field) message(m string) string {
	if f.Err != "" {
		return f.Err
	}
	return m
}

func (f *Field) checkNull() any {
	switch {
	case f.Ne.Set && f.Ne.Value == nil:
		return f.message("value must not be null")
	case f.Eq.Set && f.Eq.Value != nil:
		return "value must be " + lua(f.Eq.Value)
	case f.Required:
		return "required field missing"
	}
	return nil
}

// checkType returns the value in the form that the rules read: numbers as float64, an empty object
// as an empty list where a list is expected (Lua has one empty table).
func (f *Field) checkType(value any) (any, any) {
	switch f.Type {
	case "string":
		if _, ok := value.(string); !ok {
			return nil, "expected a string"
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			return nil, "expected a boolean"
		}
	case "number", "integer":
		n, ok := asNumber(value)
		if !ok {
			return nil, "expected " + map[string]string{"number": "a number", "integer": "an integer"}[f.Type]
		}
		if f.Type == "integer" && (n != math.Floor(n) || math.IsInf(n, 0)) {
			return nil, "expected an integer"
		}
		return n, nil
	case "array", "set":
		list, ok := asArray(value)
		if !ok {
			return nil, "expected " + map[string]string{"array": "an array", "set": "a set"}[f.Type]
		}
		return list, f.checkElements(list)
	case "map":
		object, ok := asObject(value)
		if !ok {
			return nil, "expected a map"
		}
		return object, f.checkMap(object)
	case "record":
		object, ok := asObject(value)
		if !ok {
			return nil, "expected a record"
		}
		if errs := f.Validate(f.Complete(object)); errs != nil {
			return nil, errs
		}
		return object, nil
	}
	return value, nil
}

func (f *Field) checkElements(list []any) any {
	element := *f.Elements
	element.Required = true
	var errs []any
	for i, v := range list {
		if err := element.check(v); err != nil {
			errs = append(errs, make([]any, i-len(errs))...)
			errs = append(errs, err)
		}
	}
	if errs == nil {
		return nil
	}
	return errs
}

func (f *Field) checkMap(object map[string]any) any {
	values := *f.Values
	values.Required = true
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if err := f.Keys.check(name); err != nil {
			return err
		}
		if err := values.check(object[name]); err != nil {
			return err
		}
	}
	return nil
}

// IsReference reports whether a text is a reference to a vault.
func IsReference(s string) bool {
	return strings.HasPrefix(s, "{vault://") && strings.HasSuffix(s, "}")
}

func asNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, !math.IsNaN(v)
	case int:
		return float64(v), true
	case json.Number:
		n, err := v.Float64()
		return n, err == nil
	}
	return 0, false
}

func asArray(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case map[string]any:
		return nil, len(v) == 0
	}
	return nil, false
}

func asObject(v any) (map[string]any, bool) {
	switch v := v.(type) {
	case map[string]any:
		return v, true
	case []any:
		return map[string]any{}, len(v) == 0
	}
	return nil, false
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[name] = clone(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = clone(value)
		}
		return out
	}
	return v
}

// lua prints a value as Lua's tostring does.
func lua(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case float64:
		return strconv.FormatFloat(v, 'g', 14, 64)
	}
	return fmt.Sprint(v)
}

func luaList(list []any) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = lua(v)
	}
	return strings.Join(words, ", ")
}

func quoted(names []string) string {
	return "'" + strings.Join(names, "', '") + "'"
}
