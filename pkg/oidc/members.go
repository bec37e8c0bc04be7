package oidc

import (
	"strconv"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// Bounds of what is read. A provider's documents may begin with a byte order mark (RFC 8259 §8.1);
// a token with one is another token than the same without.
var (
	tokenJSON    = strictjson.Options{Depth: 64, Members: 2000}
	keySetJSON   = strictjson.Options{Depth: 64, Members: 100_000, SkipBOM: true}
	metadataJSON = strictjson.Options{Depth: 32, Members: 10_000, SkipBOM: true} // some list hundreds of claims
)

// optString returns a member that must be a string where it is present.
func optString(obj map[string]any, name string) (value string, present, ok bool) {
	v, present := obj[name]
	if !present {
		return "", false, true
	}
	value, ok = v.(string)
	return value, true, ok
}

// optStrings returns a member that must be a list of strings where it is present.
func optStrings(obj map[string]any, name string) (list []string, present, ok bool) {
	v, present := obj[name]
	if !present {
		return nil, false, true
	}
	elements, ok := v.([]any)
	if !ok {
		return nil, true, false
	}
	for _, e := range elements {
		s, isString := e.(string)
		if !isString {
			return nil, true, false
		}
		list = append(list, s)
	}
	return list, true, true
}

func ordinal(i int) string { return strconv.Itoa(i + 1) }
