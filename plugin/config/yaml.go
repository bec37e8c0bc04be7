package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Bounds of a YAML file: aliases make a small one large.
const (
	maxYAMLNodes = 200_000
	maxYAMLDepth = 64
)

// readYAML reads one YAML document in the form of encoding/json. Words such as on and off are booleans, as they are for
// Kong (YAML 1.1). A key given twice is refused.
func readYAML(file []byte) (any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(file, &doc); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("the file is empty")
	}
	r := &yamlReader{left: maxYAMLNodes}
	return r.value(doc.Content[0], maxYAMLDepth)
}

type yamlReader struct{ left int }

func (r *yamlReader) value(n *yaml.Node, depth int) (any, error) {
	if r.left--; r.left < 0 || depth == 0 {
		return nil, errors.New("the YAML is too large or nested too deeply")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias, depth-1)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, sub := range n.Content {
			v, err := r.value(sub, depth-1)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case yaml.MappingNode:
		return r.mapping(n, depth)
	default:
		return scalar(n), nil
	}
}

func (r *yamlReader) mapping(n *yaml.Node, depth int) (any, error) {
	object, merged := map[string]any{}, map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		v, err := r.value(n.Content[i+1], depth-1)
		if err != nil {
			return nil, err
		}
		if key.Tag == "!!merge" {
			from, _ := v.(map[string]any)
			for name, value := range from {
				merged[name] = value
			}
			continue
		}
		if _, twice := object[key.Value]; twice {
			return nil, fmt.Errorf("line %d: %.60q is given twice", key.Line, key.Value)
		}
		object[key.Value] = v
	}
	for name, value := range merged {
		if _, own := object[name]; !own {
			object[name] = value
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
