package config

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// template is an expression that decK replaces before it reads a file: ${{ env "DECK_ISSUER" }}.
var template = regexp.MustCompile(`\$\{\{[^}\n]*\}\}`)

// hidden stands in place of "${{": a character for private use, which is in no real file, and as
// long.
const hidden = "\ue0de"

// hideTemplates makes decK's expressions words without quotes and braces: they may stand in a
// quoted text, where YAML would take theirs for its end. Lines and columns stay.
func hideTemplates(file []byte) []byte {
	return template.ReplaceAllFunc(file, func(expression []byte) []byte {
		return append([]byte(hidden), bytes.Repeat([]byte("_"), len(expression)-len(hidden))...)
	})
}

// fillTemplates puts a value that the schema takes in place of each text with one of decK's
// expressions, so that the rest can be judged, and returns the paths of these.
func fillTemplates(f *kongschema.Field, path string, value any) []string {
	var paths []string
	// sub looks at one value; put replaces it.
	sub := func(f *kongschema.Field, at string, value any, put func(any)) {
		s, _ := value.(string)
		switch {
		case f == nil:
		case strings.Contains(s, hidden):
			paths = append(paths, at)
			put(fitting(f, s))
		default:
			paths = append(paths, fillTemplates(f, at, value)...)
		}
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			field := f.Field(name)
			if f.Type == "map" {
				field = f.Values
			}
			sub(field, kongschema.Join(path, name), value[name], func(v any) { value[name] = v })
		}
	case []any:
		for i, v := range value {
			sub(f.Elements, position(path, i), v, func(v any) { value[i] = v })
		}
	}
	return paths
}

// fitting is a value of the field's type; of a text the text itself, unless only some are taken.
func fitting(f *kongschema.Field, s string) any {
	switch {
	case f.Default != nil:
		return f.Default
	case len(f.OneOf) > 0:
		return f.OneOf[0]
	case len(f.Between) > 0:
		return f.Between[0]
	case f.Type == "number", f.Type == "integer":
		return 1.0
	case f.Type == "boolean":
		return false
	}
	return s
}

// shared gives a plugin the configuration that its _config names in _plugin_configs, as decK does:
// what the plugin says itself counts, in records as well.
func (l *linter) shared(path string, plugin *node) *node {
	source := plugin.members["_config"]
	if source == nil {
		return plugin
	}
	whole := maps.Clone(plugin.members)
	delete(whole, "_config")
	if all := l.root.members["_plugin_configs"]; all != nil && all.members[plugin.text("_config")] != nil {
		whole["config"] = beneath(plugin.members["config"], all.members[plugin.text("_config")])
	} else {
		l.refuse(source.line, path+"._config", "no such entry in _plugin_configs")
	}
	return &node{line: plugin.line, members: whole}
}

// beneath is own with the members of base that it does not have itself.
func beneath(own, base *node) *node {
	if own == nil {
		return base
	}
	if own.members == nil || base.members == nil {
		return own
	}
	both := maps.Clone(base.members)
	for name, v := range own.members {
		if b := base.members[name]; b != nil {
			v = beneath(v, b)
		}
		both[name] = v
	}
	return &node{line: own.line, members: both}
}
