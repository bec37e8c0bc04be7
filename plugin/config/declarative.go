package config

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// holders are the lists of entities under which plugins may stand, and the field by which a plugin
// outside names one.
var holders = []struct{ list, field string }{
	{"services", "service"}, {"routes", "route"}, {"consumers", "consumer"}, {"consumer_groups", "consumer_group"},
}

// lists are the entities of Kong 3.9 at the top level of a file: its own (kong/constants.lua), then
// those of its plugins.
var lists = []string{
	"services", "routes", "plugins", "consumers", "upstreams", "targets", "certificates", "snis", "ca_certificates", "vaults",
	"keys", "key_sets", "filter_chains", "parameters", "workspaces", "clustering_data_planes",
	"acls", "acme_storage", "basicauth_credentials", "hmacauth_credentials", "jwt_secrets", "keyauth_credentials",
	"oauth2_authorization_codes", "oauth2_credentials", "oauth2_tokens", "ratelimiting_metrics", "sessions",
}

// deckOnly are members of decK's files that Kong OSS refuses.
var deckOnly = []string{
	"_info", "_konnect", "_plugin_configs", "_workspace", "consumer_groups", "custom_entities", "custom_plugins",
	"cloned_plugins", "licenses", "partials", "rbac_roles", "service_packages",
}

func isDeclarative(root *node) bool {
	for name := range root.members {
		if name == "_format_version" || slices.Contains(lists, name) || slices.Contains(deckOnly, name) {
			return true
		}
	}
	return false
}

// top is the schema of a file's top level, as far as Kong OSS knows it.
func top() *kongschema.Field {
	f := &kongschema.Field{Type: "record", Fields: kongschema.Fields{
		{Name: "_format_version", Type: "string", Required: true, OneOf: []any{"1.1", "2.1", "3.0"}},
		{Name: "_transform", Type: "boolean"},
		{Name: "_comment", Type: "string"},
		{Name: "_ignore", Type: "array", Elements: anything("")},
	}}
	for _, name := range lists {
		f.Fields = append(f.Fields, &kongschema.Field{Name: name, Type: "array", Elements: anything("")})
	}
	return f
}

// entityName is a name that an entity of somebody's own plugin may have.
var entityName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// declarative judges a file of Kong's declarative format.
func (l *linter) declarative() {
	f, plain := top(), map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(l.root.members)) {
		n := l.root.members[name]
		near := suggestion(f, name)
		switch {
		case f.Field(name) != nil:
			plain[name] = n.plain()
		case slices.Contains(deckOnly, name):
			l.warn(n.line, name, "is decK's: Kong itself refuses it")
		case near == "" && entityName.MatchString(name):
			l.warn(n.line, name, "unknown to Kong, unless a plugin of yours has such entities")
		case near == "":
			l.refuse(n.line, name, "unknown field (what is there for its anchors only belongs into _ignore)")
		default:
			l.refuse(n.line, name, "unknown field%s", near)
		}
	}
	if n, ok := plain["_format_version"].(float64); ok {
		l.refuse(l.root.lineOf("_format_version"), "_format_version", `expected a string, put it in quotes: "%.1f"`, n)
		plain["_format_version"] = "3.0"
	}
	l.validate("", l.root, f, plain)
	l.names = map[string]string{}
	l.entity("", l.root, map[string]string{}, 0)
	l.unique()
}

// entity looks for plugins in an entity and in those below it: services have routes, and both have
// plugins. What is bound says what the plugins are bound to by where they stand.
func (l *linter) entity(path string, n *node, bound map[string]string, depth int) {
	for i, p := range n.list("plugins") {
		at := position(kongschema.Join(path, "plugins"), i)
		if p.members == nil {
			l.refuse(p.line, at, "expected a record")
			continue
		}
		l.visit(at, p, bound)
	}
	if depth == 2 {
		return
	}
	for _, h := range holders {
		for i, e := range n.list(h.list) {
			if e.members == nil {
				continue
			}
			at := position(kongschema.Join(path, h.list), i)
			if name := label(e); name != "" {
				at = fmt.Sprintf("%s[%.60q]", kongschema.Join(path, h.list), name)
				if id := e.text("id"); id != "" {
					l.names[h.field+" "+id] = name
				}
			}
			below := maps.Clone(bound)
			below[h.field] = cmp.Or(label(e), at)
			l.entity(at, e, below, depth+1)
		}
	}
}

func label(n *node) string {
	for _, key := range []string{"name", "username", "id"} {
		if s := n.text(key); s != "" {
			return s
		}
	}
	return ""
}

// position is the path of a list's entry.
func position(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i+1) }

func (l *linter) visit(path string, plugin *node, bound map[string]string) {
	plugin = l.shared(path, plugin)
	l.bound = append(l.bound, binding{path, plugin, bound})
	if name := plugin.text("name"); name != PluginName {
		f := others()
		plain, _ := plugin.plain().(map[string]any)
		l.validate(path, plugin, f, f.Complete(plain))
		if near := didYouMean(name, []string{PluginName}); near != "" {
			l.refuse(plugin.lineOf("name"), path+".name", "no plugin of that name%s", near)
		}
		return
	}
	l.ours(path, plugin)
	if strings.Contains(path, "consumers[") {
		l.refuse(plugin.line, path, "the plugin cannot be bound to a consumer")
	}
	if config := plugin.members["config"]; config != nil {
		if salt := config.members["cache_tokens_salt"]; salt == nil || salt.isNull() {
			l.warn(config.line, path+".config.cache_tokens_salt", "is not set: decK 1.59 and newer refuses the plugin without it; any random text of your own will do")
		}
	}
}

// binding is a plugin and what it is bound to by where it stands.
type binding struct {
	path   string
	plugin *node
	bound  map[string]string
}

// unique refuses what Kong takes once: a plugin's id, its instance_name, and a plugin at one place.
func (l *linter) unique() {
	first := map[string]int{}
	for _, b := range l.bound {
		for _, key := range []string{"id", "instance_name"} {
			if s := b.plugin.text(key); s != "" {
				l.once(first, key+" "+s, b.plugin.lineOf(key), b.path+"."+key, "another plugin has the same "+key)
			}
		}
		name := b.plugin.text("name")
		if name == "" {
			continue
		}
		place := ""
		for _, h := range holders {
			if to := l.target(b, h.field); to != "" {
				place += fmt.Sprintf(" on %s %.60q", h.field, to)
			}
		}
		if place == "" {
			place = " for all requests"
		}
		l.once(first, "plugin "+name+place, b.plugin.line, b.path, fmt.Sprintf("there is another plugin %.60s%s", name, place))
	}
}

func (l *linter) once(first map[string]int, key string, line int, field, message string) {
	if at, twice := first[key]; twice {
		l.refuse(line, field, "%s (line %d): Kong takes one", message, at)
		return
	}
	first[key] = line
}

// target is the name of the entity that a plugin is bound to by a field, or by where it stands; an
// id where it has no name.
func (l *linter) target(b binding, field string) string {
	to := b.plugin.text(field)
	if ref := b.plugin.members[field]; ref != nil && ref.members != nil {
		to = label(ref)
	}
	if to == "" {
		to = b.bound[field]
	}
	if name := l.names[field+" "+to]; name != "" {
		return name
	}
	return to
}
