package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// PluginName is the name under which Kong knows the plugin.
const PluginName = "openid-connect"

// schema is the record `config`, without descriptions: what decoding needs.
var schema = sync.OnceValue(func() *kongschema.Field {
	f, err := declared()
	if err != nil {
		panic(err) // a mistake in a tag above; every test of this package meets it
	}
	return f
})

// Problem is something wrong with a configuration, or, as a warning, something that its operator
// should know.
type Problem struct {
	Field   string // path from the configuration's root, as in "redis.port" or "client_jwk[1].kty"; "" for the whole
	Message string // never has a secret in it
	Warning bool
}

// String is "field: message".
func (p Problem) String() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// Invalid is the error of Decode: all that the schema refuses.
type Invalid []Problem

func (e Invalid) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return "config: " + strings.Join(lines, "; ")
}

// Decode reads a configuration: what Kong hands to the plugin, or what an operator wrote. It
// refuses with an Invalid what the schema refuses, all of it at once, and a member given twice;
// members that begin with "__" and "$refs" are Kong's own and passed over. Warnings come back as
// Problems.
//
// An absent field has its default. Null and "" are no value: a list, or a text that may be left
// out, is then empty; what cannot be without a value has its default. Kong leaves nulls out when it
// hands over a configuration, after it has filled in every default and the required records: where
// both of those are there, an absent field is a null.
//
// Deprecated names are folded into their successors: the old value counts unless the new field
// differs from its default.
func Decode(raw []byte) (*Config, []Problem, error) {
	tree, err := kongschema.ReadJSON(raw)
	if err != nil {
		return nil, nil, Invalid{{Message: err.Error()}}
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return nil, nil, Invalid{{Message: "expected a record"}}
	}
	return decode(object)
}

func decode(object map[string]any) (*Config, []Problem, error) {
	f := schema()
	dropInternal(object)
	settle(f, object, completed(object))
	object = f.Complete(object)
	if errs := f.Validate(object); errs != nil {
		return nil, nil, invalid(errs)
	}
	warnings, err := fold(f, "", object)
	if err != nil {
		return nil, nil, err
	}
	if warnings != nil { // what was moved must hold the rules of where it went
		object = f.Complete(object)
		if errs := f.Validate(object); errs != nil {
			return nil, nil, invalid(errs)
		}
	}
	warnings = append(warnings, dropNil(object)...)
	c := new(Config)
	err = f.Assign(object, c)
	var at kongschema.FieldError
	if errors.As(err, &at) {
		return nil, nil, Invalid{{Field: at.Field, Message: at.Message}}
	} else if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	return c, warnings, nil
}

func invalid(errs kongschema.Errors) error {
	var list Invalid
	for _, e := range errs.Flatten() {
		list = append(list, Problem{Field: e.Field, Message: e.Message})
	}
	return list
}

// dropInternal removes what Kong adds to a configuration for itself, at every level.
func dropInternal(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if name == "$refs" || strings.HasPrefix(name, "__") {
				delete(v, name)
				continue
			}
			dropInternal(value)
		}
	case []any:
		for _, value := range v {
			dropInternal(value)
		}
	}
}

// completed reports whether Kong (or Field.Complete) has filled in the defaults: then the required
// records are there.
func completed(object map[string]any) bool {
	for _, name := range []string{"redis", "cluster_cache_redis"} {
		record, ok := object[name].(map[string]any)
		if !ok || record["cluster_max_redirections"] == nil {
			return false
		}
	}
	return true
}

// settle gives absence, null and "" their meaning (see Decode): afterwards a field is null where it
// is to have no value, and absent where it is to have its default.
func settle(f *kongschema.Field, object map[string]any, complete bool) {
	for _, sub := range f.Fields {
		value, given := object[sub.Name]
		if value == "" {
			value = nil
		}
		switch {
		case value != nil:
			settleNested(sub, value, complete)
		case !given && !complete:
		case sub.KeepsNull():
			object[sub.Name] = nil
		default:
			delete(object, sub.Name)
		}
	}
}

func settleNested(f *kongschema.Field, value any, complete bool) {
	switch value := value.(type) {
	case map[string]any:
		if f.Type == "record" {
			settle(f, value, complete)
		}
	case []any:
		if f.Elements != nil {
			for _, v := range value {
				settleNested(f.Elements, v, complete)
			}
		}
	}
}

// PluginSchema is the schema of the plugin entity (consumer, protocols and config) with the
// descriptions. It parses the sources that are embedded in the program: for the dump and the
// documentation, not for decoding. It panics when a declaration is wrong, which every test of this
// package meets.
func PluginSchema() *kongschema.Field {
	config, err := described()
	if err != nil {
		panic(err)
	}
	return entity(config)
}

// entity is the plugin's entity with that config.
func entity(config *kongschema.Field) *kongschema.Field {
	protocols := []any{"grpc", "grpcs", "http", "https"}
	return &kongschema.Field{
		Name: PluginName, Type: "record",
		Fields: kongschema.Fields{
			{Name: "consumer", Type: "foreign", Reference: "consumers", Eq: kongschema.Is(nil)},
			{
				Name: "protocols", Type: "set", Required: true, Default: protocols,
				Elements: &kongschema.Field{Type: "string", OneOf: protocols},
			},
			config,
		},
	}
}

// SchemaJSON is PluginSchema in the form that Kong reads: the Schema of the plugin server's dump.
func SchemaJSON() json.RawMessage {
	raw, err := PluginSchema().Document()
	if err != nil {
		panic(err)
	}
	return raw
}
