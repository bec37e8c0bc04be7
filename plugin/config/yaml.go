package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a YAML file: aliases make a small one large.
const (
	maxYAMLNodes = 200_000
	maxYAMLDepth = 64
)

// lineError is why a file cannot be read, and where.
type lineError struct {
	line    int // 0: not known
	message string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.message) }

// readFile reads YAML or JSON.
func readFile(file []byte) (*node, error) {
	if bytes.HasPrefix(bytes.TrimSpace(file), []byte("{")) {
		return jsonTree(file)
	}
	return yamlTree(file)
}

// yamlLine is the form in which the YAML library says where a mistake is.
var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// yamlTree reads one YAML document. Words such as on and off are booleans, as they are for Kong
// (YAML 1.1). A key given twice is refused, and so is a second document: Kong reads the first and
// passes over the rest without a word.
func yamlTree(file []byte) (*node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(file))
	var doc, next yaml.Node
	if err := decoder.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, notYAML(err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, errors.New("the file is empty")
	}
	r := &yamlReader{left: maxYAMLNodes}
	root, err := r.value(doc.Content[0], maxYAMLDepth)
	if err != nil {
		return nil, err
	}
	for {
		switch err := decoder.Decode(&next); {
		case errors.Is(err, io.EOF):
			return root, nil
		case err != nil:
			return nil, notYAML(err)
		case len(next.Content) > 0 && next.Content[0].Tag != "!!null":
			return nil, &lineError{next.Content[0].Line, "another YAML document begins here: Kong reads the first one only"}
		}
	}
}

func notYAML(err error) error {
	e := &lineError{message: "not YAML: " + err.Error()}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		e.line, _ = strconv.Atoi(m[1])
		e.message = "not YAML: " + err.Error()[len(m[0]):]
	}
	if strings.Contains(e.message, "unknown anchor") {
		// The library quotes the value, which may be a secret.
		e.message = "not YAML: an alias of nothing; a value that begins with * must stand in quotes"
	}
	return e
}

type yamlReader struct{ left int }

func (r *yamlReader) value(n *yaml.Node, depth int) (*node, error) {
	if r.left--; r.left < 0 || depth == 0 {
		return nil, &lineError{n.Line, "the YAML is too large or nested too deeply"}
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias, depth-1)
	case yaml.SequenceNode:
		list := &node{line: n.Line, items: make([]*node, len(n.Content))}
		for i, sub := range n.Content {
			v, err := r.value(sub, depth-1)
			if err != nil {
				return nil, err
			}
			list.items[i] = v
		}
		return list, nil
	case yaml.MappingNode:
		return r.mapping(n, depth)
	default:
		return &node{line: n.Line, scalar: scalar(n)}, nil
	}
}

// mapping reads an object. What it merges (<<) stands behind its own members; of several merged
// objects the first counts.
func (r *yamlReader) mapping(n *yaml.Node, depth int) (*node, error) {
	object := &node{line: n.Line, members: map[string]*node{}}
	var merged []*node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		v, err := r.value(n.Content[i+1], depth-1)
		if err != nil {
			return nil, err
		}
		if key.Tag == "!!merge" {
			if v.items != nil {
				merged = append(merged, v.items...)
			} else {
				merged = append(merged, v)
			}
			continue
		}
		if object.members[key.Value] != nil {
			return nil, &lineError{key.Line, fmt.Sprintf("%.60q is given twice", key.Value)}
		}
		v.line = key.Line
		object.members[key.Value] = v
	}
	for _, from := range merged {
		if from.members == nil {
			return nil, &lineError{from.line, "<< takes an object or a list of objects"}
		}
		for name, v := range from.members {
			if object.members[name] == nil {
				object.members[name] = v
			}
		}
	}
	return object, nil
}

// yaml11 are the booleans of YAML 1.1 that YAML 1.2 reads as words.
var yaml11 = map[string]bool{
	"yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

func scalar(n *yaml.Node) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int", "!!float":
		var f float64
		if n.Decode(&f) == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
		if i, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return float64(i)
		}
	case "!!str":
		if b, ok := yaml11[n.Value]; ok && n.Style == 0 {
			return b
		}
	}
	return n.Value
}
