package kongschema

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

type color string

type inner struct {
	// Host of the thing.
	Host string `kong:"host,required,default=localhost"`
	// Port of the thing.
	Port *int `kong:"port,between=0|65535"`
}

func (inner) EntityChecks() []EntityCheck {
	return []EntityCheck{{MutuallyRequired: []string{"host", "port"}}}
}

type base struct {
	// Name of the thing.
	Name string `kong:"name,required,referenceable,starts_with=/,match_none=//"`
}

type thing struct {
	base
	// Colors of the thing.
	Colors []color `kong:"colors,set,default=red|blue"`
	// Speed of the thing.
	Speed float64 `kong:"speed,default=1.5"`
	// Count of the thing.
	Count int `kong:"count,default=3,since=9.9"`
	// Whether it is on.
	On bool `kong:"on,default=false"`
	// Where it is.
	Where inner `kong:"where,required"`
	// Where it was.
	Were []inner `kong:"were,len_min=1"`
	// Labels of it.
	Labels map[string]string `kong:"labels"`
	// Old name.
	Old *string `kong:"old,replaced=where.host"`
	// Not for here.
	Never *inner `kong:"never,refused=not here"`
	// Id of it.
	ID string `kong:"id,uuid"`
	// Ignored has no tag.
	Ignored chan int
}

func schemaOf(t *testing.T) *Field {
	t.Helper()
	f, err := Of(reflect.TypeFor[thing](), Enums{reflect.TypeFor[color](): {"red", "blue"}})
	if err != nil {
		t.Fatal(err)
	}
	f.Name = "thing"
	return f
}

func TestDocumentRoundTrip(t *testing.T) {
	raw, err := schemaOf(t).Document()
	if err != nil {
		t.Fatal(err)
	}
	if problems := CheckSchema(raw); problems != nil {
		t.Errorf("CheckSchema: %q", problems)
	}
	parsed, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parsed.Document()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(raw), string(again)); diff != "" {
		t.Error(diff)
	}
	if never := parsed.Field("never"); !never.Eq.Set || never.Eq.Value != nil || never.Err != "not here" {
		t.Errorf("eq null was lost: %+v", never)
	}
	for _, want := range []string{
		`{"name":{"type":"string","required":true,"starts_with":"/","match_none":[{"pattern":"//"}],"referenceable":true}}`,
		`{"colors":{"type":"set","default":["red","blue"],"elements":{"type":"string","one_of":["red","blue"]}}}`,
		`"entity_checks":[{"mutually_required":["host","port"]}]`,
		`{"old":{"type":"string","deprecation":{"message":"old is deprecated, use where.host","removal_in_version":"4.0","replaced_with":[{"path":["where","host"]}]}}}`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the document lacks %s\n%s", want, raw)
		}
	}
}

func TestOfRefusesMistakes(t *testing.T) {
	for name, typ := range map[string]reflect.Type{
		"unknown option": reflect.TypeFor[struct {
			A string `kong:"a,wat"`
		}](),
		"bad number": reflect.TypeFor[struct {
			A int `kong:"a,default=x"`
		}](),
		"bad boolean": reflect.TypeFor[struct {
			A bool `kong:"a,default=on"`
		}](),
		"twice": reflect.TypeFor[struct {
			A string `kong:"a"`
			B string `kong:"a"`
		}](),
		"no type": reflect.TypeFor[struct {
			A chan int `kong:"a"`
		}](),
	} {
		if _, err := Of(typ, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCompleteAndValidate(t *testing.T) {
	const complete = `"colors":["red","blue"],"speed":1.5,"count":3,"on":false,"where":{"host":"localhost","port":1},
		"were":null,"labels":null,"old":null,"never":null,"id":null`
	for _, tt := range []struct{ name, in, completed, errors string }{
		{"defaults", `{"name":"/a","where":{"port":1}}`, `{"name":"/a",` + complete + `}`, `null`},
		{"required, nested record filled", `{}`, "", `{"name":"required field missing","where":{"@entity":["all or none of these fields must be set: 'host', 'port'"]}}`},
		{"set loses repeats", `{"name":"/a","where":{"port":1},"colors":["red","red"]}`, "", `null`},
		{
			"types", `{"name":1,"colors":"red","speed":"1","count":1.5,"on":"no","where":3,"labels":[1],"were":{"a":1}}`, "",
			`{"name":"expected a string","colors":"expected a set","speed":"expected a number","count":"expected an integer",
			"on":"expected a boolean","where":"expected a record","labels":"expected a map","were":"expected an array"}`,
		},
		{
			"rules", `{"name":"a","id":"x","colors":["green"],"were":[],"where":{"port":65536},"never":{}}`, "",
			`{"name":"should start with: /","id":"expected a valid UUID","colors":["expected one of: red, blue"],
			"were":"length must be at least 1","where":{"port":"value should be between 0 and 65535"},"never":"not here"}`,
		},
		{"pattern", `{"name":"/a//b","where":{"port":1}}`, "", `{"name":"invalid value: /a//b"}`},
		{"reference", `{"name":"{vault://env/x}","where":{"port":1}}`, "", `null`},
		{"map", `{"name":"/a","where":{"port":1},"labels":{"a":1}}`, "", `{"labels":"expected a string"}`},
		{"null element", `{"name":"/a","where":{"port":1},"were":[null,{"port":1}]}`, "", `{"were":["required field missing"]}`},
		{"unknown", `{"name":"/a","where":{"port":1,"x":1},"y":null}`, "", `{"where":{"x":"unknown field"},"y":"unknown field"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := schemaOf(t)
			v := f.Complete(object(t, tt.in))
			if tt.completed != "" {
				if diff := cmp.Diff(object(t, tt.completed), v); diff != "" {
					t.Errorf("completed (-want +got):\n%s", diff)
				}
			}
			if diff := cmp.Diff(decoded(t, tt.errors), decoded(t, encoded(t, f.Validate(v)))); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRules covers the attributes that no tag makes: they arrive by JSON.
func TestRules(t *testing.T) {
	for _, tt := range []struct{ field, value, want string }{
		{`{"type":"string","eq":"a"}`, `"b"`, `"value must be a"`},
		{`{"type":"string","eq":"a"}`, `null`, `"value must be a"`},
		{`{"type":"string","ne":null}`, `null`, `"value must not be null"`},
		{`{"type":"number","ne":1}`, `1`, `"value must not be 1"`},
		{`{"type":"number","gt":1}`, `1`, `"value must be greater than 1"`},
		{`{"type":"number","one_of":[1.0,1.1]}`, `1.2`, `"expected one of: 1, 1.1"`},
		{`{"type":"string","not_one_of":["a","b"]}`, `"a"`, `"must not be one of: a, b"`},
		{`{"type":"string","len_eq":2}`, `"a"`, `"length must be 2"`},
		{`{"type":"string","len_max":2}`, `"abc"`, `"length must be at most 2"`},
		{`{"type":"string","len_min":0}`, `""`, `null`},
		{`{"type":"string"}`, `""`, `"length must be at least 1"`},
		{`{"type":"map","keys":{"type":"string"},"values":{"type":"string"},"len_min":1}`, `{}`, `"length must be at least 1"`},
		{`{"type":"string","match":"^%d+$"}`, `"12"`, `null`},
		{`{"type":"string","match":"^%d+$","err":"digits"}`, `"1a"`, `"digits"`},
		{`{"type":"string","not_match":"%s"}`, `"a b"`, `"invalid value: a b"`},
		{`{"type":"string","match_all":[{"pattern":"^[%w_-]*$","err":"bad"}]}`, `"a.b"`, `"bad"`},
		{`{"type":"string","match_any":{"patterns":["^a","^b"],"err":"a or b"}}`, `"c"`, `"a or b"`},
		{`{"type":"string","match_none":[{"pattern":"^/-x"}]}`, `"x"`, `"invalid value: x"`},
		{`{"type":"array","elements":{"type":"string"},"contains":"a"}`, `["b"]`, `"expected to contain: a"`},
		{`{"type":"number","timestamp":true}`, `0`, `"expected a valid timestamp"`},
		{`{"type":"string","is_regex":true}`, `"("`, `"not a valid regex: ("`},
		{
			`{"type":"record","fields":[{"a":{"type":"string"}},{"b":{"type":"string"}}],"entity_checks":[{"only_one_of":["a","b"]}]}`,
			`{"a":"x","b":"x"}`, `{"@entity":["exactly one of these fields must be non-empty: 'a', 'b'"]}`,
		},
		{
			`{"type":"record","fields":[{"a":{"type":"string"}},{"b":{"type":"string"}}],"entity_checks":[{"at_least_one_of":["a","b"]},{"distinct":["a","b"]}]}`,
			`{}`, `{"@entity":["at least one of these fields must be non-empty: 'a', 'b'"]}`,
		},
		{
			`{"type":"record","fields":[{"a":{"type":"string"}},{"b":{"type":"string"}}],"entity_checks":[{"mutually_exclusive":["a","b"]},{"distinct":["a","b"]}]}`,
			`{"a":"x","b":"x"}`, `{"@entity":["only one or none of these fields must be set: 'a', 'b'","values of these fields must be distinct: 'a', 'b'"]}`,
		},
		{
			`{"type":"record","fields":[{"a":{"type":"string"}},{"b":{"type":"string"}}],"entity_checks":[{"conditional":{"if_field":"a","if_match":{"eq":"x"},"then_field":"b","then_match":{"one_of":["y"]},"then_err":"b follows a"}}]}`,
			`{"a":"x","b":"z"}`, `{"b":"expected one of: y","@entity":["b follows a"]}`,
		},
	} {
		var f Field
		if err := json.Unmarshal([]byte(tt.field), &f); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(decoded(t, tt.want), decoded(t, encoded(t, f.check(decoded(t, tt.value))))); diff != "" {
			t.Errorf("%s on %s (-want +got):\n%s", tt.field, tt.value, diff)
		}
	}
}

func TestAssignAndEncode(t *testing.T) {
	f := schemaOf(t)
	in := object(t, `{"name":"/a","where":{"port":1},"were":[{"host":"h","port":2}],"labels":{"a":"b"},"count":1e3}`)
	v := f.Complete(in)
	var got thing
	if err := f.Assign(v, &got); err != nil {
		t.Fatal(err)
	}
	one, two := 1, 2
	want := thing{
		base: base{Name: "/a"}, Colors: []color{"red", "blue"}, Speed: 1.5, Count: 1000, Where: inner{"localhost", &one},
		Were: []inner{{"h", &two}}, Labels: map[string]string{"a": "b"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if diff := cmp.Diff(v, f.Encode(got)); diff != "" {
		t.Errorf("Encode (-want +got):\n%s", diff)
	}
	if err := f.Assign(map[string]any{"count": 1e300}, &got); err == nil {
		t.Error("an integer beyond int64 was taken")
	}
	if err := f.Assign(v, got); err == nil {
		t.Error("a struct by value was taken")
	}
}

// TestRecordsWithoutRequired: what kong/db/schema/entity.lua does, and what a dump must therefore
// say.
func TestRecordsWithoutRequired(t *testing.T) {
	const inner = `"type":"record","fields":[{"a":{"type":"string","required":true}}]`
	f, err := Parse([]byte(`{"name":"x","fields":[
		{"unsaid":{` + inner + `}},
		{"optional":{"required":false,` + inner + `}},
		{"list":{"type":"array","elements":{` + inner + `}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Errors{"unsaid": Errors{"a": "required field missing"}}
	if diff := cmp.Diff(want, f.Validate(f.Complete(map[string]any{}))); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	raw, err := f.Document()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(raw); err != nil || again.Field("optional").Required || !again.Field("unsaid").Required {
		t.Errorf("written: %s, %v", raw, err)
	}
}

func TestReadJSON(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"a":[1,null,true,"x",{}]}`, ""},
		{`{"a":{"b":1,"b":2}}`, "a.b: given twice"},
		{`{} {}`, "something follows the JSON"},
		{`{"a":"s3cret`, "not JSON"},
		{`{"a":s3cret}`, "not JSON"},
		{`[1e999]`, "not JSON"},
		{"\"\xff\"", "not UTF-8"},
		{``, "not JSON: it ends too early"},
		{strings.Repeat("[", 33) + strings.Repeat("]", 33), "nested deeper than 32 levels"},
		{`"` + strings.Repeat("x", 4<<20) + `"`, "longer than"},
	} {
		_, err := ReadJSON([]byte(tt.in))
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
			t.Errorf("%.40q: got %v, want %q", tt.in, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("the error quotes the input: %v", err)
		}
	}
}

func FuzzReadJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":null}]}`, `[]`, `"\ud800"`, `-0`, `1e400`, `{"a":1,"a":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := ReadJSON(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		w, err := ReadJSON(again)
		if err != nil || !reflect.DeepEqual(v, w) {
			t.Errorf("%q became %q: %v", raw, again, err)
		}
	})
}

// TestCheckSchema holds CheckSchema against the verdicts of Kong 3.9.1's own metaschema
// (kong/db/schema/metaschema.lua, run under LuaJIT).
func TestCheckSchema(t *testing.T) {
	raw, err := os.ReadFile("testdata/metaschema-verdicts.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name     string
		Schema   json.RawMessage
		Accepted bool
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, tt := range cases {
		if problems := CheckSchema(tt.Schema); (problems == nil) != tt.Accepted {
			t.Errorf("%s: Kong accepts: %t; got %q", tt.Name, tt.Accepted, problems)
		}
	}
	// Kong takes this one and fails later, when it calls the function that JSON cannot carry.
	custom := `{"name":"x","fields":[],"entity_checks":[{"custom_entity_check":{"field_sources":["a"]}}]}`
	if CheckSchema([]byte(custom)) == nil {
		t.Error("a custom_entity_check without its function was taken")
	}
}

func TestDescribe(t *testing.T) {
	src := fstest.MapFS{"a.go": {Data: []byte("package a\n// thing: a thing.\ntype thing struct {\n// What it\n// is.\nA string\n}")}}
	docs, err := ReadComments(src)
	if err != nil {
		t.Fatal(err)
	}
	if got := docs["thing.A"]; got != "What it is." {
		t.Errorf("got %q", got)
	}
	if err := Describe(schemaOf(t), src); err == nil {
		t.Error("a field without a comment was taken")
	}
}

func TestMarkdown(t *testing.T) {
	docs := Comments{"base": "base: what all have.", "thing": "thing: the rest.", "inner": "inner is inside."}
	got := Markdown(schemaOf(t), docs)
	for _, want := range []string{
		"\n## base\n\nWhat all have.\n\n| Field | Type | Default | Description | Notes |\n",
		"| `name` | string |  |  | required, starts with `/`, without `//`, referenceable |\n",
		"\n## thing\n\nThe rest.\n",
		"| `colors` | set of string | `[\"red\",\"blue\"]` |  | one of `red` `blue` |\n",
		"| `count` | integer | `3` |  | since 9.9 |\n",
		"| `old` | string |  |  | deprecated |\n",
		"| `never` | record |  |  | refused: not here |\n",
		"\n### `were[]`\n",
		"| `port` | integer |  |  | 0 to 65535 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q in\n%s", want, got)
		}
	}
	for name, want := range map[string]string{"HTTPClient": "HTTP client", "TokenRequests": "Token requests", "Login": "Login"} {
		if got := spaced(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestFlatten(t *testing.T) {
	got := Errors{"b": Errors{"@entity": []string{"m"}, "c": []any{nil, "n"}}, "a": "x"}.Flatten()
	want := []FieldError{{"a", "x"}, {"b", "m"}, {"b.c[2]", "n"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func decoded(t *testing.T, raw string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return v
}

func object(t *testing.T, raw string) map[string]any {
	t.Helper()
	v, _ := decoded(t, raw).(map[string]any)
	return v
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
