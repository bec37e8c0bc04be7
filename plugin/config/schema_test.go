package config

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// TestMetaschema holds the dump against Kong's rules for schemas: what they refuse keeps Kong from
// starting.
func TestMetaschema(t *testing.T) {
	raw := SchemaJSON()
	for _, problem := range kongschema.CheckSchema(raw) {
		t.Error(problem)
	}
	if _, err := kongschema.Parse(raw); err != nil {
		t.Error(err)
	}
}

// TestEveryFieldIsDescribed also keeps the descriptions from promising a field that is not there.
func TestEveryFieldIsDescribed(t *testing.T) {
	walk("", PluginSchema().Field("config"), func(at string, f *kongschema.Field) {
		if at != "" && !strings.HasSuffix(at, "[]") && f.Description == "" {
			t.Errorf("%s has no description", at)
		}
		if d := f.Deprecation; d != nil {
			for _, r := range d.ReplacedWith {
				parent, _, _ := strings.Cut(at, f.Name)
				if find(PluginSchema().Field("config"), parent+strings.Join(r.Path, ".")) == nil {
					t.Errorf("%s: no field %v", at, r.Path)
				}
			}
		}
	})
}

// TestKongVerdicts compares with what Kong's own code says of entities: kong/db/schema/init.lua of
// 3.9.1, run under LuaJIT with the dump of this package (process_auto_fields, then validate).
func TestKongVerdicts(t *testing.T) {
	raw, err := os.ReadFile("testdata/kong-verdicts.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Entity map[string]any
		Errors any
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	f, err := kongschema.Parse(SchemaJSON()) // as the development gateway does: from the dump alone
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range cases {
		var got any
		encoded, err := json.Marshal(f.Validate(f.Complete(tt.Entity)))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.Errors, got); diff != "" {
			t.Errorf("%v (-Kong +here):\n%s", tt.Entity, diff)
		}
	}
}

// difference is one attribute in which our schema is not Kong 3.9's.
type difference struct{ field, attribute, kong, here string }

func (d difference) String() string {
	return fmt.Sprintf("| `%s` | %s | %s | %s |", d.field, d.attribute, d.kong, d.here)
}

// TestCompatibility compares the schema with Kong 3.9's attribute by attribute.
// docs/compatibility.md must list every difference, and nothing that is none. TestOptionalRecords:
// Kong's entities take a record for required that does not say otherwise, fill it in and refuse
// what it lacks. The dump must leave nothing to that.
func TestOptionalRecords(t *testing.T) {
	f, err := kongschema.Parse(SchemaJSON())
	if err != nil {
		t.Fatal(err)
	}
	whole := f.Complete(map[string]any{"config": map[string]any{"issuer": "https://idp.example"}})
	if errs := f.Validate(whole); errs != nil {
		t.Errorf("the smallest configuration: %v", errs)
	}
	for _, name := range []string{"principals", "token_exchange", "proof_of_possession_mtls_from_header"} {
		if v := whole["config"].(map[string]any)[name]; v != nil {
			t.Errorf("%s is filled in: %v", name, v)
		}
	}
}

func TestCompatibility(t *testing.T) {
	added := addedFields(t)
	here, kong := attributes(ourDump(t)), attributes(kongSchema(t))
	var found []difference
	for _, field := range sortedUnion(here, kong) {
		if _, later := added[strings.TrimRight(field, "[]")]; later {
			continue // TestAddedFields
		}
		for _, attribute := range sortedUnion(here[field], kong[field]) {
			k, h := kong[field][attribute], here[field][attribute]
			if k != h {
				found = append(found, difference{field, attribute, code(k), code(h)})
			}
		}
	}
	rows := deviations(t)
	used := make([]bool, len(rows))
	for _, d := range found {
		i := slices.IndexFunc(rows, func(row difference) bool {
			return matches(row.field, d.field) && row.attribute == d.attribute &&
				(row.kong == d.kong || row.kong == "any") && (row.here == d.here || row.here == "any")
		})
		if i < 0 {
			t.Errorf("docs/compatibility.md does not list %s", d)
			continue
		}
		used[i] = true
	}
	for i, row := range rows {
		if !used[i] {
			t.Errorf("docs/compatibility.md lists what is no deviation: %s", row)
		}
	}
}

// TestAddedFields holds the fields that Kong 3.10 to 3.15 added against their published types,
// defaults and values.
func TestAddedFields(t *testing.T) {
	config := PluginSchema().Field("config")
	later := map[string]any{"session_memcached_ssl_verify": true} // since 3.14
	for at, want := range addedFields(t) {
		if v, changed := later[at]; changed {
			want.Default = v
		}
		f := find(config, strings.ReplaceAll(at, "[]", ""))
		if f == nil {
			t.Errorf("%s is missing", at)
			continue
		}
		typ := map[string]string{"array": "array", "object": "record"}[want.Type]
		if typ == "" {
			typ = want.Type
		}
		if f.Type != typ {
			t.Errorf("%s: type %s, want %s", at, f.Type, typ)
		}
		if diff := cmp.Diff(want.Default, f.Default); diff != "" {
			t.Errorf("%s: default (-want +got):\n%s", at, diff)
		}
		leaf := f
		if f.Elements != nil {
			leaf = f.Elements
		}
		if diff := cmp.Diff(want.Enum, leaf.OneOf); diff != "" {
			t.Errorf("%s: one_of (-want +got):\n%s", at, diff)
		}
		if !strings.Contains(at, ".") && f.Since() != want.since {
			t.Errorf("%s: since %q, want %q", at, f.Since(), want.since)
		}
	}
}

type addedField struct {
	Type    string
	Default any
	Enum    []any
	since   string
}

func addedFields(t *testing.T) map[string]addedField {
	t.Helper()
	var versions map[string]struct{ Added map[string]addedField }
	readJSON(t, "testdata/fields-added-since-3.9.json", &versions)
	all := map[string]addedField{}
	for version, v := range versions {
		for at, f := range v.Added {
			f.since = version
			all[at] = f
		}
	}
	return all
}

func find(f *kongschema.Field, at string) *kongschema.Field {
	for step := range strings.SplitSeq(at, ".") {
		if f == nil {
			return nil
		}
		if f.Elements != nil {
			f = f.Elements
		}
		f = f.Field(step)
	}
	return f
}

func walk(at string, f *kongschema.Field, visit func(string, *kongschema.Field)) {
	visit(at, f)
	for _, sub := range f.Fields {
		walk(kongschema.Join(at, sub.Name), sub, visit)
	}
	if f.Elements != nil {
		walk(at+"[]", f.Elements, visit)
	}
}

func ourDump(t *testing.T) map[string]any {
	t.Helper()
	var dump map[string]any
	if err := json.Unmarshal(SchemaJSON(), &dump); err != nil {
		t.Fatal(err)
	}
	return dump
}

func kongSchema(t *testing.T) map[string]any {
	t.Helper()
	var dump map[string]any
	readJSON(t, "testdata/schema-3.9.json", &dump)
	return dump
}

// attributes flattens a schema: path of a field ("plugin" for the whole, no "config." before the
// rest) to its attributes as JSON. Descriptions are ours alone; `required: false` says nothing.
func attributes(f map[string]any) map[string]map[string]string {
	out := map[string]map[string]string{}
	flattenField("", f, out)
	return out
}

func flattenField(at string, f map[string]any, out map[string]map[string]string) {
	if at = strings.TrimPrefix(at, "config."); at == "config" {
		at = ""
	}
	key := at
	if key == "" {
		key = "plugin" // the entity and its config
	}
	if out[key] == nil {
		out[key] = map[string]string{}
	}
	attrs := out[key]
	for name, v := range f {
		switch name {
		case "description", "name":
		case "elements":
			element, _ := v.(map[string]any)
			flattenField(at+"[]", element, out)
		case "fields", "shorthand_fields":
			list, _ := v.([]any)
			for _, e := range list {
				for sub, attributes := range e.(map[string]any) {
					under := kongschema.Join(at, sub)
					flattenField(under, attributes.(map[string]any), out)
					if name == "shorthand_fields" {
						out[under]["shorthand"] = "true"
					}
				}
			}
		default:
			if v == false && name != "default" {
				continue
			}
			raw, _ := json.Marshal(v)
			attrs[name] = string(raw)
		}
	}
}

// deviations reads the table under "## Schema" in docs/compatibility.md. A * in a field stands for
// anything.
func deviations(t *testing.T) []difference {
	t.Helper()
	raw, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(raw), "\n## Schema\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []difference
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 5 || !strings.Contains(cells[0], "`") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, difference{strings.Trim(cells[0], "`"), cells[1], cells[2], cells[3]})
	}
	if len(rows) == 0 {
		t.Fatal("docs/compatibility.md has no table of deviations")
	}
	return rows
}

// matches compares a field with a row's, in which one * stands for anything.
func matches(pattern, field string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == field
	}
	return len(field) >= len(head)+len(tail) && strings.HasPrefix(field, head) && strings.HasSuffix(field, tail)
}

func code(s string) string {
	if s == "" {
		return "none"
	}
	return "`" + s + "`"
}

func sortedUnion[V any](a, b map[string]V) []string {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}
