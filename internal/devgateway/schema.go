package devgateway

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// parseSchema reads a list of fields in Kong's form.
func parseSchema(fields string) (*kongschema.Field, error) {
	return kongschema.Parse([]byte(`{"name":"entity","fields":` + fields + `}`))
}

// parseDump reads what a plugin prints for -dump, as strictly as Kong: only the first plugin
// counts, and the protocol must be named.
func parseDump(raw []byte) (info pluginserver.Info, socket string, err error) {
	var dump struct {
		Protocol   string
		SocketPath string
		Plugins    []pluginserver.Info
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return info, "", fmt.Errorf("devgateway: the plugin's dump is not JSON: %w", err)
	}
	if dump.Protocol != "ProtoBuf:1" {
		return info, "", fmt.Errorf("devgateway: the plugin's dump names the protocol %q: Kong would speak MessagePack", dump.Protocol)
	}
	if len(dump.Plugins) == 0 {
		return info, "", fmt.Errorf("devgateway: the plugin's dump has no plugin")
	}
	return dump.Plugins[0], dump.SocketPath, nil
}

// pluginSchema is the schema of a plugin entity: Kong's own fields, with those that the dump
// specialises in their place.
func pluginSchema(dumped json.RawMessage) (*kongschema.Field, error) {
	own, err := kongschema.Parse(dumped)
	if err != nil {
		return nil, fmt.Errorf("devgateway: the plugin's schema: %w", err)
	}
	schema, err := parseSchema(pluginFields)
	if err != nil {
		return nil, fmt.Errorf("devgateway: %w", err)
	}
	if own.Field("config") == nil {
		return nil, fmt.Errorf("devgateway: the plugin's schema has no config")
	}
	for i, f := range schema.Fields {
		if special := own.Field(f.Name); special != nil {
			schema.Fields[i] = special
		}
	}
	return schema, nil
}

// validate returns Kong's tree of errors, empty if there are none.
func validate(schema *kongschema.Field, entity map[string]any) map[string]any {
	raw, err := json.Marshal(schema.Validate(entity))
	var plain map[string]any // of plain maps and lists, whatever types the schema's package gives its errors
	if err == nil {
		err = json.Unmarshal(raw, &plain)
	}
	if err != nil {
		return map[string]any{"@entity": []any{"the errors cannot be written as JSON"}}
	}
	return plain
}

// mergeRecord lays top over bottom as Kong does for a PATCH: a record member by member, everything
// else as a whole.
func mergeRecord(schema *kongschema.Field, top, bottom map[string]any) map[string]any {
	out := maps.Clone(bottom)
	for name, v := range top {
		f := schema.Field(name)
		table, isTable := v.(map[string]any)
		old, wasTable := bottom[name].(map[string]any)
		if f != nil && f.Type == "record" && isTable && wasTable {
			out[name] = mergeRecord(f, table, old)
		} else {
			out[name] = v
		}
	}
	return out
}

// withoutNulls is what a plugin server gets: unset fields are absent, and an empty string counts as
// unset.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if e != nil && e != "" {
				out[k] = withoutNulls(e)
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			if e != nil {
				out = append(out, withoutNulls(e))
			}
		}
		return out
	}
	return v
}
