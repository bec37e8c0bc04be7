package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// Lint says what is wrong with a file, in YAML or JSON: Kong's declarative format (the plugins named openid-connect at
// its top level and under services, routes and consumers), one plugin ({"name":…,"config":{…}}), or one bare `config`.
// It gives Kong's verdict by the schema, then that of the rules across fields. Fields are named by their path in the
// file, where an entity that has a name stands under it. An error means that there is nothing to lint in the file.
//
// further are rules that others have: what they find of each configuration that the schema takes is added.
func Lint(file []byte, further ...func(*Config) []Problem) ([]Problem, error) {
	root, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	object, ok := root.(map[string]any)
	if !ok {
		return nil, errors.New("config: neither a kong.yml nor a plugin")
	}
	l := &linter{plugin: PluginSchema(), further: further}
	switch {
	case isDeclarative(object):
		l.entity("", object, 0)
	case object["config"] != nil || object["name"] != nil:
		l.visit("", object)
	default:
		l.lint("", map[string]any{"config": object})
		for i := range l.problems { // the file is the config itself
			l.problems[i].Field = strings.TrimPrefix(strings.TrimPrefix(l.problems[i].Field, "config"), ".")
		}
	}
	if l.found == 0 {
		return nil, fmt.Errorf("config: no plugin named %s in the file", PluginName)
	}
	return l.problems, nil
}

func readFile(file []byte) (any, error) {
	if trimmed := bytes.TrimSpace(file); len(trimmed) > 0 && trimmed[0] == '{' {
		return kongschema.ReadJSON(file)
	}
	return readYAML(file)
}

// holders are the lists of a kong.yml under which plugins may stand.
var holders = []string{"services", "routes", "consumers", "consumer_groups"}

func isDeclarative(object map[string]any) bool {
	for _, name := range append([]string{"_format_version", "plugins"}, holders...) {
		if _, ok := object[name]; ok {
			return true
		}
	}
	return false
}

type linter struct {
	plugin   *kongschema.Field
	further  []func(*Config) []Problem
	found    int
	problems []Problem
}

// entity looks for plugins in an entity and in those below it: services have routes, and both have plugins.
func (l *linter) entity(path string, object map[string]any, depth int) {
	plugins, _ := object["plugins"].([]any)
	for i, p := range plugins {
		if plugin, ok := p.(map[string]any); ok {
			l.visit(fmt.Sprintf("%s[%d]", kongschema.Join(path, "plugins"), i+1), plugin)
		}
	}
	if depth == 2 {
		return
	}
	for _, holder := range holders {
		list, _ := object[holder].([]any)
		for i, e := range list {
			if entity, ok := e.(map[string]any); ok {
				l.entity(kongschema.Join(path, holder)+"["+label(entity, i)+"]", entity, depth+1)
			}
		}
	}
}

func label(entity map[string]any, i int) string {
	for _, key := range []string{"name", "username"} {
		if name, ok := entity[key].(string); ok {
			return fmt.Sprintf("%.60q", name)
		}
	}
	return fmt.Sprint(i + 1)
}

// ofEveryPlugin are the members of a plugin that Kong has for all of them.
var ofEveryPlugin = []string{"id", "name", "instance_name", "created_at", "updated_at", "route", "service", "enabled", "tags"}

func (l *linter) visit(path string, plugin map[string]any) {
	if name, given := plugin["name"]; !given || name == PluginName {
		l.lint(path, plugin)
	}
	if strings.Contains(path, "consumers[") && plugin["name"] == PluginName {
		l.problems = append(l.problems, Problem{Field: path, Message: "the plugin cannot be bound to a consumer"})
	}
}

func (l *linter) lint(path string, plugin map[string]any) {
	l.found++
	known := map[string]any{}
	for _, f := range l.plugin.Fields {
		if v, ok := plugin[f.Name]; ok {
			known[f.Name] = v
		}
	}
	for _, name := range slices.Sorted(maps.Keys(plugin)) {
		if _, ours := known[name]; !ours && !slices.Contains(ofEveryPlugin, name) {
			l.problems = append(l.problems, Problem{Field: kongschema.Join(path, name), Message: "unknown field"})
		}
	}
	whole := l.plugin.Complete(known)
	if errs := l.plugin.Validate(whole); errs != nil {
		for _, e := range errs.Flatten() {
			l.problems = append(l.problems, Problem{Field: kongschema.Join(path, e.Field), Message: e.Message})
		}
		return
	}
	config, _ := whole["config"].(map[string]any)
	at := kongschema.Join(path, "config")
	c, warnings, err := decode(config)
	var refused Invalid
	switch {
	case errors.As(err, &refused):
		l.add(at, refused)
		return
	case err != nil:
		l.problems = append(l.problems, Problem{Field: at, Message: err.Error()})
		return
	}
	l.add(at, warnings)
	l.add(at, c.check(true))
	for _, rule := range l.further {
		l.add(at, rule(c))
	}
}

func (l *linter) add(at string, problems []Problem) {
	for _, p := range problems {
		p.Field = kongschema.Join(at, p.Field)
		l.problems = append(l.problems, p)
	}
}
