package config

import (
	"embed"
	"reflect"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// sources are this package's own declarations; their comments are the descriptions of the fields.
//
//go:embed authorization_code.go clients.go config.go discovery.go headers.go http.go oldnames.go proof.go refusals.go session.go token.go verification.go
var sources embed.FS

// described is the record `config` with descriptions, a tree of its own.
func described() (*kongschema.Field, error) {
	f, err := declared()
	if err != nil {
		return nil, err
	}
	return f, kongschema.Describe(f, sources)
}

// declared is the record `config` as the declarations have it, without descriptions.
func declared() (*kongschema.Field, error) {
	f, err := kongschema.Of(reflect.TypeFor[Config](), enums)
	if err != nil {
		return nil, err
	}
	f.Name, f.Required = "config", true
	nameDeprecated(f, "config")
	return f, nil
}

// nameDeprecated writes what Kong logs where a deprecated field is used. It logs the message alone:
// as in the messages of its own plugins, the plugin and the whole path stand in it.
func nameDeprecated(f *kongschema.Field, path string) {
	for _, sub := range f.Fields {
		nameDeprecated(sub, kongschema.Join(path, sub.Name))
		d := sub.Deprecation
		if d == nil {
			continue
		}
		d.Message = deprecatedField(path, sub.Name)
		if len(d.ReplacedWith) == 0 {
			d.Message += "has no effect, please remove it"
			continue
		}
		successors := make([]string, len(d.ReplacedWith))
		for i, r := range d.ReplacedWith {
			successors[i] = kongschema.Join(path, strings.Join(r.Path, "."))
		}
		d.Message += "is deprecated, please use " + strings.Join(successors, " and ") + " instead"
	}
}

// deprecatedField is the beginning of the message about a deprecated field; path is that of its
// record.
func deprecatedField(path, name string) string {
	return PluginName + ": " + kongschema.Join(path, name) + " "
}
