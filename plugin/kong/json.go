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
	dec.UseNumber() // a number beyond float64 is no reason not to look
	var doc map[string]any
	if dec.Decode(&doc) != nil || doc == nil {
		return p
	}
	if _, err := dec.Token(); err != io.EOF {
		return p
	}
	p.json = raw
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		if s, ok := doc[name].(string); ok {
			p.pairs = append(p.pairs, pair{name: name, value: s})
		}
	}
	return p
}

// renderJSON is the object without the members named; the others stay byte for byte.
func renderJSON(raw []byte, without []string) []byte {
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the brace: ParseJSON has read all of it before
	var kept [][]byte
	for dec.More() {
		start := dec.InputOffset()
		name, errName := dec.Token()
		var value json.RawMessage
		if errName != nil || dec.Decode(&value) != nil {
			return []byte("{}") // cannot be; and if it were, no credential goes on
		}
		if text, _ := name.(string); !slices.Contains(without, text) {
			kept = append(kept, bytes.TrimLeft(raw[start:dec.InputOffset()], ", \t\r\n"))
		}
	}
	return slices.Concat([]byte("{"), bytes.Join(kept, []byte(",")), []byte("}"))
}
