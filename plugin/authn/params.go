package authn

import (
	"errors"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// form refuses a body of JSON that has a member twice: the upstream may read the other one.
func form(r *kong.Request) (*kong.Params, error) {
	params, err := r.Form()
	if errors.Is(err, strictjson.ErrDuplicate) {
		return nil, ambiguous("the body names a member twice")
	}
	return params, err
}

// clientArg reads one argument from the query, the body or the headers.
func clientArg(r *kong.Request, name string) (string, bool, error) {
	for _, read := range []func(*kong.Request) (*kong.Params, error){(*kong.Request).Query, form} {
		params, err := read(r)
		if err != nil {
			return "", false, err
		}
		if values := params.Values(name); len(values) > 0 {
			return values[0], true, nil
		}
	}
	for _, header := range []string{name, strings.ReplaceAll(name, "_", "-")} {
		if values := r.Header(strings.ToLower(header)); len(values) > 0 {
			return values[0], true, nil
		}
	}
	return "", false, nil
}
