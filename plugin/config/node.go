package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// node is a value of a file that Lint reads, with the line on which it begins: of a member the line
// of its name, 0 where it is not known. An object has members (perhaps none, but not nil), a list
// has items, anything else is a scalar.
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
	line := n.line
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		next := n.members[step]
		if i, err := strconv.Atoi(step); err == nil && i >= 1 && i <= len(n.items) {
			next = n.items[i-1]
		}
		if next == nil {
			break
		}
		if n = next; n.line > 0 {
			line = n.line
		}
	}
	return line
}

// jsonNode is a value that was read as JSON. Its lines are those of the same text read as YAML,
// which nearly all JSON is; at may be nil.
func jsonNode(value any, at *yaml.Node, line int) *node {
	n := &node{line: line}
	if at == nil {
		at = &yaml.Node{}
	}
	switch value := value.(type) {
	case map[string]any:
		n.members = make(map[string]*node, len(value))
		for name, v := range value {
			n.members[name] = jsonNode(v, nil, 0)
		}
		for i := 0; at.Kind == yaml.MappingNode && i+1 < len(at.Content); i += 2 {
			if name := at.Content[i]; n.members[name.Value] != nil {
				n.members[name.Value] = jsonNode(value[name.Value], at.Content[i+1], name.Line)
			}
		}
	case []any:
		n.items = make([]*node, len(value))
		for i, v := range value {
			if at.Kind == yaml.SequenceNode && i < len(at.Content) {
				n.items[i] = jsonNode(v, at.Content[i], at.Content[i].Line)
			} else {
				n.items[i] = jsonNode(v, nil, 0)
			}
		}
	default:
		n.scalar = value
	}
	return n
}
