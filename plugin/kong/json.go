package kong

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
)

// ParseJSON reads the string members of a JSON object. Anything else (null, an
// array, a scalar, no JSON at all) holds no parameters and is no error: such a
// body simply carries no credentials.
func ParseJSON(raw []byte) *Params {
	p := &Params{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // written back as it came
	var doc map[string]any
	if dec.Decode(&doc) != nil || doc == nil {
		return p
	}
	if _, err := dec.Token(); err != io.EOF {
		return p
	}
	p.json = doc
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		if s, ok := doc[name].(string); ok {
			p.pairs = append(p.pairs, pair{name: name, value: s})
		}
	}
	return p
}

func renderJSON(doc map[string]any, without []string) []byte {
	kept := maps.Clone(doc)
	for _, name := range without {
		delete(kept, name)
	}
	// A map decoded from JSON always encodes.
	out, _ := json.Marshal(kept)
	return out
}
