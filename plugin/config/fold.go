package config

import (
	"fmt"
	"net"
	"reflect"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// fold moves the values of deprecated names to the fields that replaced them, in a record and the
// records below it, and returns one warning for each name that was used. Kong fills in the new
// field's default before we see it: an old value therefore counts unless the new field differs from
// its default.
func fold(f *kongschema.Field, path string, object map[string]any) ([]Problem, error) {
	var warnings []Problem
	var refused Invalid
	for _, sub := range f.Fields {
		value := object[sub.Name]
		at := kongschema.Join(path, sub.Name)
		if record, ok := value.(map[string]any); ok && sub.Type == "record" {
			below, err := fold(sub, at, record)
			if err != nil {
				return nil, err
			}
			warnings = append(warnings, below...)
		}
		if sub.Deprecation == nil || value == nil {
			continue
		}
		object[sub.Name] = nil
		moved, err := translate(sub.Name, value)
		if err != nil {
			refused = append(refused, Problem{Field: at, Message: err.Error()})
			continue
		}
		warnings = append(warnings, replace(f, path, sub, object, moved))
	}
	if refused != nil {
		return nil, refused
	}
	return warnings, nil
}

// replace puts the value of a deprecated field where it belongs and says so.
func replace(f *kongschema.Field, path string, old *kongschema.Field, object map[string]any, value any) Problem {
	warning := Problem{Field: kongschema.Join(path, old.Name), Warning: true}
	// Kong's log needs the plugin and the path in the message, a Problem has its field.
	warning.Message = strings.TrimPrefix(old.Deprecation.Message, deprecatedField(kongschema.Join("config", path), old.Name))
	for _, r := range old.Deprecation.ReplacedWith {
		holder, field, parent := object, f, f
		for _, step := range r.Path {
			parent, field = field, field.Field(step)
			if field == nil {
				return warning // a test holds every path against the schema
			}
			if parent != f {
				holder, _ = holder[parent.Name].(map[string]any)
			}
		}
		now := holder[field.Name]
		if now == nil || reflect.DeepEqual(now, field.Default) {
			holder[field.Name] = value
		} else if !reflect.DeepEqual(now, value) {
			warning.Message += fmt.Sprintf("; ignored, since %s has another value", strings.Join(r.Path, "."))
		}
	}
	return warning
}

// translate turns the value of a deprecated name into the form of its successor.
func translate(name string, value any) (any, error) {
	switch name {
	case "authorization_cookie_samesite", "session_cookie_samesite":
		if value == "off" {
			return string(SameSiteLax), nil
		}
	case "sentinel_addresses":
		return nodes("host", value)
	case "cluster_addresses":
		return nodes("ip", value)
	}
	return value, nil
}

// nodes turns a list of host:port into a list of records.
func nodes(host string, value any) (any, error) {
	list, _ := value.([]any)
	out := make([]any, len(list))
	for i, v := range list {
		address, _ := v.(string)
		name, port, err := net.SplitHostPort(address)
		if err != nil || name == "" {
			return nil, fmt.Errorf("entry %d: expected host:port", i+1)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("entry %d: no valid port", i+1)
		}
		out[i] = map[string]any{host: name, "port": float64(n)}
	}
	return out, nil
}
