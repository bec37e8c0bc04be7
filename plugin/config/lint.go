package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// Finding is a Problem of a file. Its Field is the path from the root of the file; a list's first
// entry is 1, as in Kong's own messages, and an entity that has a name stands under it:
// services["orders"].plugins[1].config.issuer.
type Finding struct {
	Problem
	Line int // of the file, from 1; 0 where it is not known, as for an empty file
}

// ErrNoPlugin is the error of Lint for a file without an openid-connect plugin.
var ErrNoPlugin = errors.New("config: no plugin named " + PluginName + " in the file")

// Lint says what is wrong with a file, in YAML or JSON: Kong's declarative format, one plugin
// ({"name":…,"config":{…}}), or one bare `config`. It gives the verdict of Kong 3.9: on the form of
// the file, on what every plugin has, and by the schema on each plugin named openid-connect (at the
// top level and under services, routes and consumers); then that of the rules across fields. Other
// entities, and the configuration of other plugins, are not judged. The findings are sorted by
// line.
//
// What only decK reads is understood as decK does and warned of: _plugin_configs with _config, and
// ${{ … }}, whose value is not judged.
//
// The functions in further add rules of other packages: each is called with every configuration
// that the schema takes. The error is ErrNoPlugin, beside the findings of the rest of the file.
func Lint(file []byte, further ...func(*Config) []Problem) ([]Finding, error) {
	l := &linter{plugin: lintSchema(), further: further}
	root, err := readFile(hideTemplates(file))
	var at *lineError
	switch {
	case errors.As(err, &at):
		return []Finding{{Problem{Message: at.message}, at.line}}, nil
	case err != nil:
		return []Finding{{Problem: Problem{Message: err.Error()}}}, nil
	case root.members == nil:
		return []Finding{{Problem{Message: "neither a kong.yml nor a plugin"}, root.line}}, nil
	}
	l.root = root
	switch {
	case isDeclarative(root):
		l.declarative()
	case root.members["config"] != nil || root.members["name"] != nil:
		if _, named := root.members["name"]; !named || root.text("name") == PluginName {
			l.ours("", root)
		}
	default:
		l.ours("", &node{line: root.line, members: map[string]*node{"config": root}})
		for i := range l.findings { // the file is the config itself
			l.findings[i].Field = strings.TrimPrefix(strings.TrimPrefix(l.findings[i].Field, "config"), ".")
		}
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int { return a.Line - b.Line })
	if l.judged == 0 {
		return l.findings, ErrNoPlugin
	}
	return l.findings, nil
}

type linter struct {
	root     *node
	plugin   *kongschema.Field
	further  []func(*Config) []Problem
	judged   int // plugins of ours
	bound    []binding
	names    map[string]string // of entities, by kind and id
	findings []Finding
}

func (l *linter) refuse(line int, field, format string, args ...any) {
	l.findings = append(l.findings, Finding{Problem{Field: field, Message: fmt.Sprintf(format, args...)}, line})
}

func (l *linter) warn(line int, field, message string) {
	l.findings = append(l.findings, Finding{Problem{Field: field, Message: message, Warning: true}, line})
}

// anything is a field on which the schema of a plugin says nothing.
func anything(name string) *kongschema.Field { return &kongschema.Field{Name: name, Type: "any"} }

// ofEveryPlugin are the members that Kong has for all plugins beside protocols, consumer and config
// (kong/db/schema/entities/plugins.lua and what the declarative format adds).
func ofEveryPlugin() kongschema.Fields {
	text := func(forbidden, err string) kongschema.Field {
		return kongschema.Field{Type: "string", MatchNone: []kongschema.Pattern{{Pattern: forbidden, Err: err}}}
	}
	tag := text("[%c,/]", "a tag has no comma, no slash and no control character")
	instance := text("[%c !\"#$%%&'()*+,/:;<=>?@%[\\%]^`{|}]", "only letters, digits and . - _ ~ are accepted")
	instance.Name = "instance_name"
	return kongschema.Fields{
		{Name: "id", Type: "string", UUID: true},
		{Name: "name", Type: "string", Required: true},
		&instance,
		{Name: "created_at", Type: "integer", Timestamp: true},
		{Name: "updated_at", Type: "integer", Timestamp: true},
		anything("route"), anything("service"),
		{Name: "enabled", Type: "boolean", Required: true, Default: true},
		{Name: "tags", Type: "set", Elements: &tag},
		{Name: "_comment", Type: "string"},
		{Name: "_ignore", Type: "array", Elements: anything("")},
	}
}

// lintSchema is the schema of our plugin with what every plugin has.
func lintSchema() *kongschema.Field {
	f := entity(schema())
	f.Fields = append(ofEveryPlugin(), f.Fields...)
	return f
}

// others is the schema of another plugin, as far as all are alike.
func others() *kongschema.Field {
	protocols := &kongschema.Field{Name: "protocols", Type: "set", Elements: &kongschema.Field{Type: "string"}}
	return &kongschema.Field{Type: "record", Fields: append(ofEveryPlugin(), anything("consumer"), protocols, anything("config"))}
}

// validate holds what stands at path against the schema, and returns what is refused.
func (l *linter) validate(path string, n *node, f *kongschema.Field, value map[string]any) kongschema.Errors {
	errs := f.Validate(value)
	for _, e := range errs.Flatten() {
		message := e.Message
		if message == "unknown field" {
			message += suggestion(f, e.Field)
		}
		l.refuse(n.lineOf(e.Field), kongschema.Join(path, e.Field), "%s", message)
	}
	return errs
}

// suggestion says what an unknown field most likely means: one of its record, or one of `config`
// that was not indented.
func suggestion(f *kongschema.Field, path string) string {
	holder, last := f, path
	for {
		step, rest, below := strings.Cut(last, ".")
		if !below {
			break
		}
		name, _, indexed := strings.Cut(step, "[")
		holder, last = holder.Field(name), rest
		if holder != nil && indexed {
			holder = holder.Elements
		}
		if holder == nil {
			return ""
		}
	}
	if config := f.Field("config"); holder == f && config != nil && config.Field(path) != nil {
		return ", did you mean config." + path + "?"
	}
	names := make([]string, len(holder.Fields))
	for i, sub := range holder.Fields {
		names[i] = sub.Name
	}
	return didYouMean(last, names)
}

// ours judges a plugin of ours.
func (l *linter) ours(path string, n *node) {
	l.judged++
	plain, _ := n.plain().(map[string]any)
	if plain["name"] == nil { // of one plugin in a file of its own
		plain["name"] = PluginName
	}
	templates := fillTemplates(l.plugin, "", plain)
	whole := l.plugin.Complete(plain)
	if errs := l.validate(path, n, l.plugin, whole); errs["config"] == nil {
		config, _ := whole["config"].(map[string]any)
		for _, p := range l.rules(config) {
			p.Field = kongschema.Join("config", p.Field)
			l.findings = append(l.findings, Finding{Problem{kongschema.Join(path, p.Field), p.Message, p.Warning}, n.lineOf(p.Field)})
		}
	}
	for _, field := range templates {
		at := kongschema.Join(path, field)
		l.findings = slices.DeleteFunc(l.findings, func(f Finding) bool { return f.Field == at })
		l.warn(n.lineOf(field), at, "is decK's ${{ … }}: not judged, and Kong itself does not read it (deck file render writes the value)")
	}
}

// rules judges a complete configuration that the schema takes.
func (l *linter) rules(config map[string]any) []Problem {
	c, problems, err := decode(config)
	var refused Invalid
	switch {
	case errors.As(err, &refused):
		return refused
	case err != nil:
		return []Problem{{Message: err.Error()}}
	}
	problems = append(problems, c.check(true)...)
	for _, rule := range l.further {
		problems = append(problems, rule(c)...)
	}
	return problems
}
