package kong

import (
	"errors"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// ParseJSON reads the string members of a JSON object. Anything else (null, an array, a scalar, no
// JSON at all) holds no parameters and is no error: such a body simply carries no credentials. One
// that names a member twice means one thing to us and maybe another to the upstream: it is an error
// that wraps strictjson.ErrDuplicate.
func ParseJSON(raw string) (*Params, error) {
	p := &Params{}
	members, err := strictjson.Members(raw, strictjson.Options{Depth: 64, Members: MaxBody})
	if errors.Is(err, strictjson.ErrDuplicate) {
		return p, err
	}
	p.json = members
	for _, m := range members {
		if s, isString := m.Value.(string); isString {
			p.pairs = append(p.pairs, pair{name: m.Name, value: s})
		}
	}
	return p, nil
}

// renderJSON is the object without the members named; the others stay byte for byte.
func renderJSON(members []strictjson.Member, without []string) []byte {
	var kept []string
	for _, m := range members {
		if !slices.Contains(without, m.Name) {
			kept = append(kept, m.Text)
		}
	}
	return []byte("{" + strings.Join(kept, ",") + "}")
}
