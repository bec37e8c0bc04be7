package kong

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

func TestParseForm(t *testing.T) {
	for _, c := range []struct {
		raw     string
		id      []string // the values of client_id
		without string   // the rest, when client_id and client_secret go
	}{
		{raw: "", without: ""},
		{raw: "client_id=a&client_secret=b", id: []string{"a"}},
		{raw: "x=1&client_id=a%20b+c&y=%2F", id: []string{"a b c"}, without: "x=1&y=%2F"},
		{raw: "client_id=a&client_id=b", id: []string{"a", "b"}},
		{raw: "client%5Fid=a&x", id: []string{"a"}, without: "x"},
		{raw: "client_id=%zz&x=1", without: "client_id=%zz&x=1"},
		{raw: "client_id", id: []string{""}},
		{raw: "&&x=1&&", without: "x=1"},
		{raw: "x=\xff", without: "x=\xff"},
	} {
		t.Run(c.raw, func(t *testing.T) {
			p := ParseForm(c.raw)
			if diff := cmp.Diff(c.id, p.Values("client_id")); diff != "" {
				t.Error(diff)
			}
			if got := string(p.Without("client_id", "client_secret")); got != c.without {
				t.Errorf("left %q, want %q", got, c.without)
			}
		})
	}
}

func TestParseJSON(t *testing.T) {
	for _, c := range []struct {
		raw, without string
		id           []string
	}{
		{raw: `{"client_id":"a","client_secret":"b","n":12345678901234567890}`, id: []string{"a"}, without: `{"n":12345678901234567890}`},
		{raw: `{"client_id":1}`, without: `{}`},
		{
			raw: `{"z":"<&>" , "client\u005fid":"a","client_secret":1e999, "n":1e999 ,"deep":{"client_id":"c"} }`,
			id:  []string{"a"}, without: `{"z":"<&>","n":1e999,"deep":{"client_id":"c"}}`,
		},
		{raw: ` { "client_id" : "a" } `, id: []string{"a"}, without: `{}`},
		{raw: `{"client_id":"a","n":1e999}`, id: []string{"a"}, without: `{"n":1e999}`},
		{raw: `null`},
		{raw: `[]`},
		{raw: `"client_id"`},
		{raw: ``},
		{raw: `{"client_id":"a"} {"client_id":"b"}`},
		{raw: `{"client_id":"a"`},
		{raw: `{"client_id":"a"}}`},
	} {
		t.Run(c.raw, func(t *testing.T) {
			p, err := ParseJSON(c.raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.id, p.Values("client_id")); diff != "" {
				t.Error(diff)
			}
			if got := string(p.Without("client_id", "client_secret")); got != c.without {
				t.Errorf("left %q, want %q", got, c.without)
			}
		})
	}
}

// Two readers may each take another one of two members with one name.
func TestParseJSONDuplicates(t *testing.T) {
	for _, raw := range []string{
		`{"client_id":"a","client_id":"b"}`,
		`{"client_id":"a","client\u005fid":1}`,
		`{"client_id":"a","other":{"x":1,"x":2}}`,
	} {
		p, err := ParseJSON(raw)
		if !errors.Is(err, strictjson.ErrDuplicate) || len(p.Values("client_id")) > 0 {
			t.Errorf("%s: %v, %v", raw, p, err)
		}
	}
}

func TestSearchable(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []Header
		search  bool
		why     string // a part of the error
	}{
		{name: "no body"},
		{name: "form", headers: []Header{h("content-length", "10"), h("content-type", "application/x-www-form-urlencoded; charset=utf-8")}, search: true},
		{name: "JSON in capitals", headers: []Header{h("content-length", "8192"), h("content-type", "Application/JSON")}, search: true},
		{name: "empty", headers: []Header{h("content-length", "0"), h("content-type", "application/json")}},
		{name: "too long", headers: []Header{h("content-length", "8193"), h("content-type", "application/json")}, why: "8 KiB"},
		{name: "chunked", headers: []Header{h("transfer-encoding", "chunked"), h("content-type", "application/json")}, search: true},
		{name: "HTTP/2", headers: []Header{h("content-type", "application/json")}, search: true},
		{name: "a type and nothing else", headers: []Header{h("content-type", "text/plain")}},
		{name: "chunked, of another type", headers: []Header{h("transfer-encoding", "chunked")}, why: "neither"},
		{name: "negative", headers: []Header{h("content-length", "-1"), h("content-type", "application/json")}, why: "no number"},
		{name: "two lengths", headers: []Header{h("content-length", "1", "2"), h("content-type", "application/json")}, why: "no number"},
		{name: "multipart", headers: []Header{h("content-length", "10"), h("content-type", "multipart/form-data")}, why: "neither"},
		{name: "no type", headers: []Header{h("content-length", "10")}, why: "neither"},
		{name: "two types", headers: []Header{h("content-length", "10"), h("content-type", "application/json", "text/plain")}, why: "neither"},
	} {
		t.Run(c.name, func(t *testing.T) {
			search, err := (&Request{headers: c.headers}).searchable()
			if search != c.search || (err != nil) != (c.why != "") || err != nil && !strings.Contains(err.Error(), c.why) {
				t.Errorf("got %v, %v", search, err)
			}
		})
	}
}

func h(name string, values ...string) Header { return Header{Name: name, Values: values} }

// FuzzParams: what is left is never more than what came, and holds no credential.
func FuzzParams(f *testing.F) {
	for _, seed := range []string{"client_id=a&x=1", `{"client_id":"a","x":1}`, "%", "client%5fid=1", `{"client_id":null}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		form := ParseForm(raw)
		if left := ParseForm(string(form.Without("client_id"))); len(left.Values("client_id")) > 0 {
			t.Fatalf("%q keeps client_id", raw)
		}
		doc, err := ParseJSON(raw)
		if err != nil {
			return
		}
		if left, err := ParseJSON(string(doc.Without("client_id"))); err != nil || len(left.Values("client_id")) > 0 {
			t.Fatalf("%q keeps client_id: %v", raw, err)
		}
	})
}
