package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// node is a value of a file that Lint reads, with the line on which it begins: of a member the line
// of its name. An object has members (perhaps none, but not nil), a list has items likewise,
// anything else is a scalar.
type node struct {
	line    int
	members map[string]*node
	items   []*node
	scalar  any // in the form of encoding/json
}

// plain is the value in the form of encoding/json, a copy of its own.
func (n *node) plain() any {
	switch {
	case n.members != nil:
		object := make(map[string]any, len(n.members))
		for name, sub := range n.members {
			object[name] = sub.plain()
		}
		return object
	case n.items != nil:
		list := make([]any, len(n.items))
		for i, sub := range n.items {
			list[i] = sub.plain()
		}
		return list
	}
	return n.scalar
}

func (n *node) isNull() bool { return n.members == nil && n.items == nil && n.scalar == nil }

// text is the value of a member that is a text, or "".
func (n *node) text(member string) string {
	if sub := n.members[member]; sub != nil {
		s, _ := sub.scalar.(string)
		return s
	}
	return ""
}

// list is the value of a member that is a list, or nil.
func (n *node) list(member string) []*node {
	if sub := n.members[member]; sub != nil {
		return sub.items
	}
	return nil
}

// lineOf is the line of what stands at a path such as "redis.port" or "client_jwk[1].kty", or of
// the innermost object around it where it is missing.
func (n *node) lineOf(path string) int {
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		next := n.members[step]
		if i, err := strconv.Atoi(step); err == nil && i >= 1 && i <= len(n.items) {
			next = n.items[i-1]
		}
		if next == nil {
			break
		}
		n = next
	}
	return n.line
}

// jsonTree reads one JSON value.
func jsonTree(file []byte) (*node, error) {
	if _, err := kongschema.ReadJSON(file); err != nil {
		e := &lineError{message: err.Error()}
		var syntax *json.SyntaxError
		if errors.As(json.Unmarshal(file, new(any)), &syntax) {
			e.line = 1 + bytes.Count(file[:syntax.Offset], []byte("\n"))
		}
		return nil, e
	}
	r := jsonReader{Decoder: json.NewDecoder(bytes.NewReader(file)), file: file, line: 1}
	return r.value(), nil
}

// jsonReader reads once more what ReadJSON took, for the lines.
type jsonReader struct {
	*json.Decoder
	file    []byte
	counted int // bytes of the file whose lines are counted
	line    int // of the last token
}

func (r *jsonReader) token() json.Token {
	tok, _ := r.Token() // the JSON is good
	end := int(r.InputOffset())
	r.line += bytes.Count(r.file[r.counted:end], []byte("\n"))
	r.counted = end
	return tok
}

func (r *jsonReader) value() *node {
	tok := r.token()
	n := &node{line: r.line}
	switch tok {
	case json.Delim('{'):
		n.members = map[string]*node{}
		for r.More() {
			name, _ := r.token().(string)
			line := r.line
			n.members[name] = r.value()
			n.members[name].line = line
		}
		r.token()
	case json.Delim('['):
		n.items = []*node{}
		for r.More() {
			n.items = append(n.items, r.value())
		}
		r.token()
	default:
		n.scalar = tok
	}
	return n
}
