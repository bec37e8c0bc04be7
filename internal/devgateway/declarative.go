package devgateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"
)

// load reads a declarative file (_format_version 3.0, JSON or YAML), entities flat or nested in
// each other.
func (s *store) load(file []byte) error {
	var raw map[string]any
	if err := yaml.Unmarshal(file, &raw); err != nil {
		return fmt.Errorf("devgateway: declarative configuration: %w", err)
	}
	// Through JSON, so that numbers and tables have the types that the Admin API gives them.
	text, err := json.Marshal(raw)
	if err != nil {
		return fmt.Errorf("devgateway: declarative configuration: %w", err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("devgateway: declarative configuration: %w", err)
	}
	if v, _ := doc["_format_version"].(string); v != "3.0" {
		return fmt.Errorf("devgateway: declarative configuration: _format_version is %v, want \"3.0\"", doc["_format_version"])
	}
	for name := range doc {
		if !strings.HasPrefix(name, "_") && kindOf(name) == nil {
			return fmt.Errorf("devgateway: declarative configuration: %s: unknown field", name)
		}
	}
	flat := map[string][]map[string]any{}
	for _, k := range kinds {
		if err := flatten(&k, doc, "", "", flat); err != nil {
			return err
		}
	}
	for i := range kinds {
		for _, args := range flat[kinds[i].name] {
			if _, err := s.insert(&kinds[i], args); err != nil {
				return fmt.Errorf("devgateway: declarative configuration: %s %v: %w", kinds[i].name, args["name"], err)
			}
		}
	}
	return nil
}

// flatten collects the entities of one kind that stand in a table, and those nested in them, which
// refer to their owner.
func flatten(k *kind, in map[string]any, field, owner string, out map[string][]map[string]any) error {
	list, given := in[k.name]
	if !given || list == nil {
		return nil
	}
	entries, ok := list.([]any)
	if !ok {
		return fmt.Errorf("devgateway: declarative configuration: %s: expected an array", k.name)
	}
	for _, entry := range entries {
		table, ok := entry.(map[string]any)
		if !ok {
			return fmt.Errorf("devgateway: declarative configuration: %s: expected a record", k.name)
		}
		args := maps.Clone(table)
		if owner != "" {
			args[field] = owner
		}
		id, _ := args["id"].(string)
		if id == "" {
			id = newUUID()
			args["id"] = id
		}
		own := strings.TrimSuffix(k.name, "s")
		for i := range kinds {
			if child := &kinds[i]; child.foreign[own] == k.name {
				if err := flatten(child, table, own, id, out); err != nil {
					return err
				}
				delete(args, child.name)
			}
		}
		// A foreign key is written as the id or the name of what it refers to.
		for f, parent := range k.foreign {
			if key, ok := args[f].(string); ok {
				name := kindOf(parent).endpointKey
				if isUUID(key) {
					name = "id"
				}
				args[f] = map[string]any{name: key}
			}
		}
		out[k.name] = append(out[k.name], args)
	}
	return nil
}
