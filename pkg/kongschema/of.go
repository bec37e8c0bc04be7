package kongschema

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Enums are the values of constrained string types, in the order of the schema.
type Enums map[reflect.Type][]string

// EntityChecker is implemented by structs with rules across their fields.
type EntityChecker interface{ EntityChecks() []EntityCheck }

// Of derives the record that describes a struct type. Embedded structs are part of it; a field
// without the tag `kong` is not. Go's types give Kong's: a string kind, bool, integer kinds
// (integer), float kinds (number), slices (array), structs (record), maps; a pointer may be left
// without a value. The tag is `kong:"name,option,option=value"`, lists are separated by |:
//
//	required, referenceable, encrypted, uuid    as Kong's (referenceable of a list is its elements')
//	set, integer                                Kong's type, instead of array and number
//	default=V  between=A|B  len_min=N  starts_with=S  match_none=P
//	none                                        null is a value: it is not replaced by the default
//	since=3.14                                  version of Kong that added it, for the documentation
//	replaced=path|path                          deprecated; an empty list: without effect
//	refused=message                             only null is taken (eq and err)
func Of(t reflect.Type, enums Enums) (*Field, error) {
	b := builder{enums: enums}
	f := b.record(t)
	if b.err != nil {
		return nil, fmt.Errorf("kongschema: %w", b.err)
	}
	return f, nil
}

// builder keeps the first mistake in a declaration.
type builder struct {
	enums Enums
	err   error
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

func (b *builder) record(t reflect.Type) *Field {
	f := &Field{Type: "record"}
	b.collect(t, nil, &f.Fields)
	seen := map[string]bool{}
	for _, sub := range f.Fields {
		if seen[sub.Name] {
			b.fail("%s declares %q twice", t, sub.Name)
		}
		seen[sub.Name] = true
	}
	if c, ok := reflect.Zero(t).Interface().(EntityChecker); ok {
		f.EntityChecks = c.EntityChecks()
	}
	return f
}

func (b *builder) collect(t reflect.Type, index []int, into *Fields) {
	for i := range t.NumField() {
		sf := t.Field(i)
		at := append(append([]int(nil), index...), i)
		if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
			b.collect(sf.Type, at, into)
			continue
		}
		tag, ok := sf.Tag.Lookup("kong")
		if !ok {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		f := b.value(sf.Type)
		f.Name = name
		f.source = source{owner: t, name: sf.Name, tag: sf.Tag, index: at}
		for option := range strings.SplitSeq(options, ",") {
			if option != "" {
				b.option(f, option)
			}
		}
		*into = append(*into, f)
	}
}

func (b *builder) value(t reflect.Type) *Field {
	switch t.Kind() {
	case reflect.Pointer:
		return b.value(t.Elem())
	case reflect.String:
		return &Field{Type: "string", OneOf: asList(b.enums[t])}
	case reflect.Bool:
		return &Field{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &Field{Type: "integer"}
	case reflect.Float64:
		return &Field{Type: "number"}
	case reflect.Slice:
		return &Field{Type: "array", Elements: b.value(t.Elem())}
	case reflect.Map:
		return &Field{Type: "map", Keys: b.value(t.Key()), Values: b.value(t.Elem())}
	case reflect.Struct:
		return b.record(t)
	}
	b.fail("no type of Kong for %s", t)
	return &Field{}
}

func (b *builder) option(f *Field, option string) {
	key, arg, _ := strings.Cut(option, "=")
	switch key {
	case "required":
		f.Required = true
	case "encrypted":
		f.Encrypted = true
	case "referenceable":
		if f.Elements != nil {
			f = f.Elements
		}
		f.Referenceable = true
	case "uuid":
		f.UUID = true
	case "set", "integer":
		f.Type = key
	case "none":
		f.none = true
	case "since":
		f.since = arg
	case "starts_with":
		f.StartsWith = arg
	case "match_none":
		for p := range strings.SplitSeq(arg, "|") {
			f.MatchNone = append(f.MatchNone, Pattern{Pattern: p})
		}
	case "between":
		for n := range strings.SplitSeq(arg, "|") {
			f.Between = append(f.Between, b.number(f, n))
		}
	case "len_min":
		n := int(b.number(f, arg))
		f.LenMin = &n
	case "default":
		f.Default = b.defaultValue(f, arg)
	case "replaced":
		f.Deprecation = deprecation(f.Name, arg)
	case "refused":
		f.Eq, f.Err = Is(nil), arg
	default:
		b.fail("field %q: unknown option %q", f.Name, key)
	}
}

func (b *builder) number(f *Field, s string) float64 {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		b.fail("field %q: %q is no number", f.Name, s)
	}
	return n
}

func (b *builder) defaultValue(f *Field, arg string) any {
	switch f.Type {
	case "number", "integer":
		return b.number(f, arg)
	case "boolean":
		if arg != "true" && arg != "false" {
			b.fail("field %q: %q is no boolean", f.Name, arg)
		}
		return arg == "true"
	case "array", "set":
		if arg == "[]" {
			return []any{}
		}
		return asList(strings.Split(arg, "|"))
	default:
		return arg
	}
}

func deprecation(name, paths string) *Deprecation {
	d := &Deprecation{RemovalInVersion: "4.0"}
	if paths == "" {
		d.Message = fmt.Sprintf("%s has no effect, remove it", name)
		return d
	}
	for path := range strings.SplitSeq(paths, "|") {
		d.ReplacedWith = append(d.ReplacedWith, Replacement{Path: strings.Split(path, ".")})
	}
	d.Message = fmt.Sprintf("%s is deprecated, use %s", name, strings.ReplaceAll(paths, "|", ", "))
	return d
}

func asList(words []string) []any {
	if words == nil {
		return nil
	}
	list := make([]any, len(words))
	for i, w := range words {
		list[i] = w
	}
	return list
}
