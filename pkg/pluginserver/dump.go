package pluginserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
)

// Info describes the plugin to Kong.
type Info struct {
	Name     string
	Version  string // x.y.z
	Priority int
	Phases   []string        // only "access" is served
	Schema   json.RawMessage // {"name":…,"fields":[…]}, written as Kong's metaschema has it
}

var versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)

// Dump is what Kong reads from the output of `-dump`: one line of JSON. It is an error if Kong
// could not start with it for want of a name, a version, phases or a schema; the schema's fields
// are not looked at.
func (i Info) Dump(socketPath string) ([]byte, error) {
	var head struct{ Name string }
	switch err := json.Unmarshal(i.Schema, &head); {
	case err != nil:
		return nil, fmt.Errorf("pluginserver: schema: %w", err)
	case i.Name == "" || head.Name != i.Name:
		return nil, fmt.Errorf("pluginserver: the plugin is named %q, its schema %q", i.Name, head.Name)
	case !versionForm.MatchString(i.Version):
		return nil, fmt.Errorf("pluginserver: version %q is not of the form x.y.z", i.Version)
	case len(i.Phases) == 0:
		return nil, fmt.Errorf("pluginserver: %s has no phase", i.Name)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Protocol   string
		SocketPath string
		Plugins    []Info
	}{"ProtoBuf:1", socketPath, []Info{i}})
	if err != nil {
		return nil, fmt.Errorf("pluginserver: schema: %w", err)
	}
	return out.Bytes(), nil
}
