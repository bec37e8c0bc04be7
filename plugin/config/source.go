package config

import (
	"embed"
	"reflect"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// sources are this package's own declarations; their comments are the descriptions of the fields.
//
//go:embed authorization_code.go clients.go config.go discovery.go headers.go http.go oldnames.go proof.go refusals.go session.go token.go verification.go
var sources embed.FS

// described is schema with descriptions, a tree of its own.
func described() (*kongschema.Field, error) {
	f, err := kongschema.Of(reflect.TypeFor[Config](), enums)
	if err != nil {
		return nil, err
	}
	f.Name, f.Required = "config", true
	return f, kongschema.Describe(f, sources)
}
