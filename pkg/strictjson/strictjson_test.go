package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var testOptions = Options{Depth: 64, Members: 2000}

// theirs is what encoding/json reads.
func theirs(doc string, floats bool) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(doc))
	if !floats {
		d.UseNumber()
	}
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("trailing")
	}
	return v, nil
}

func TestValues(t *testing.T) {
	for _, doc := range []string{
		`{"a":true,"b":false,"c":null,"d":[],"e":{},"f":"","g":[[{"h":[false]}]]}`,
		`{"a":0,"b":-0,"c":-1.50,"d":1E2,"e":1e+2,"f":1e-2,"g":10,"h":123456789012345678901234567890}`,
		`{"a":"\ud83d\ude00","b":"\ud800\udc00","c":"\udbff\udfff","d":"\ud7ff\ue000","e":"\uABCD\uabcd\u0000","f":"\u20ac"}`,
		`{"a":"\"\\\/\b\f\n\r\t","\u0062":"é\né","":1,"A":2}`,
		" \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { \"c\" : 1 } } ",
		`null`, ` true `, `"x"`, `-1.5e3`, `[{"a":1},{"a":1}]`,
	} {
		for _, floats := range []bool{false, true} {
			o := testOptions
			o.Floats = floats
			got, err := Value(doc, o)
			want, wantErr := theirs(doc, floats)
			if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %v, %v\n ours %#v\ntheirs %#v", doc, err, wantErr, got, want)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	members := func(n int) string {
		var b strings.Builder
		for i := range n - 1 {
			fmt.Fprintf(&b, `"%d":0,`, i)
		}
		return "{" + b.String() + `"x":0}`
	}
	tests := []struct {
		doc  string
		want error
		at   string // path and offset
	}{
		{`{"a":1,"\u0061":2}`, ErrDuplicate, "[a] 15"},
		{`{"a":[{"b":{"c":1,"c":1}}]}`, ErrDuplicate, "[a b c] 21"},
		{`{"a":{"b":x}}`, ErrSyntax, "[a b] 10"},
		{`[]`, ErrNotObject, "[] 0"},
		{``, ErrNotObject, "[] 0"},
		{`{`, ErrSyntax, "[] 1"},
		{`{"a"`, ErrSyntax, "[a] 4"},
		{`{"a":1`, ErrSyntax, "[] 6"},
		{`{"a":"s3cret`, ErrSyntax, "[a] 12"},
		{`{"a":"\`, ErrSyntax, "[a] 7"},
		{`{"a":1,}`, ErrSyntax, "[] 7"},
		{`{"a":[1,]}`, ErrSyntax, "[a] 8"},
		{`{a:1}`, ErrSyntax, "[] 1"},
		{`{"a":01}`, ErrSyntax, "[] 6"},
		{`{"a":+1}`, ErrSyntax, "[a] 5"},
		{`{"a":1.}`, ErrSyntax, "[a] 7"},
		{`{"a":1e}`, ErrSyntax, "[a] 7"},
		{`{"a":tru}`, ErrSyntax, "[a] 5"},
		{"{\"a\":\"\n\"}", ErrSyntax, "[a] 6"},
		{"{\"a\":\"\\n\n\"}", ErrSyntax, "[a] 9"},
		{`{"a":"\x"}`, ErrSyntax, "[a] 8"},
		{`{"a":"\u12g4"}`, ErrSyntax, "[a] 8"},
		{`{"a":"\u00`, ErrSyntax, "[a] 8"},
		{`{"a":"\ud800"}`, ErrSyntax, "[a] 12"},
		{`{"a":"\ud800\u0041"}`, ErrSyntax, "[a] 18"},
		{`{"a":"\udc00\ud800"}`, ErrSyntax, "[a] 12"},
		{"{\"a\":\"\xff\"}", ErrUTF8, "[] 0"},
		{"{\"a\":\"\xed\xa0\x80\"}", ErrUTF8, "[] 0"},
		{"\ufeff{}", ErrNotObject, "[] 0"},
		{`{} {}`, ErrTrailing, "[] 3"},
		{"{}\x00", ErrTrailing, "[] 2"},
		{strings.Repeat(`{"x":`, 64) + "1" + strings.Repeat("}", 64), nil, ""},
		{strings.Repeat(`{"x":`, 65) + "1" + strings.Repeat("}", 65), ErrTooMuch, fmt.Sprintf("[%s] 320", strings.TrimSuffix(strings.Repeat("x ", 64), " "))},
		{`{"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + "}", nil, ""},
		{`{"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + "}", ErrTooMuch, "[x] 68"},
		{`{"x":[` + strings.Repeat("{},[],", 100) + "0]}", nil, ""},
		{members(2000), nil, ""},
		{members(2001), ErrTooMuch, "[] 16891"},
	}
	for _, tt := range tests {
		obj, err := Object(tt.doc, testOptions)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%.40q: got %v, want %v", tt.doc, err, tt.want)
			continue
		}
		list, membersErr := Members(tt.doc, testOptions)
		if !reflect.DeepEqual(err, membersErr) || len(list) != len(obj) || (list == nil) != (err != nil) {
			t.Errorf("%.40q: Members says %v", tt.doc, membersErr)
		}
		var e *Error
		if errors.As(err, &e) && fmt.Sprint(e.Path, e.Offset) != tt.at {
			t.Errorf("%.40q: at %v %d, want %s", tt.doc, e.Path, e.Offset, tt.at)
		}
	}
}

func TestOptions(t *testing.T) {
	if _, err := Value("\ufeff[1]", Options{Depth: 1, SkipBOM: true}); err != nil {
		t.Errorf("a byte order mark: %v", err)
	}
	if _, err := Value("\ufeff\ufeff[1]", Options{Depth: 1, SkipBOM: true}); !errors.Is(err, ErrSyntax) {
		t.Errorf("two byte order marks: %v", err)
	}
	if v, err := Value("1e999", Options{}); v != json.Number("1e999") || err != nil {
		t.Errorf("a number beyond float64: %v, %v", v, err)
	}
	if _, err := Value("1e999", Options{Floats: true}); !errors.Is(err, ErrSyntax) {
		t.Errorf("a number beyond float64: %v", err)
	}
	if _, err := Value(`{}`, Options{}); !errors.Is(err, ErrTooMuch) {
		t.Errorf("the zero Options allow no object: %v", err)
	}
}

func TestMembers(t *testing.T) {
	got, err := Members("{ \"b\" : \"x\" ,\n\"\\u0061\":[1 , 2]\t}", testOptions)
	want := []Member{
		{Name: "b", Value: "x", Text: `"b" : "x"`},
		{Name: "a", Value: []any{json.Number("1"), json.Number("2")}, Text: `"\u0061":[1 , 2]`},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%#v, %v", got, err)
	}
	if got, err := Members(" {} ", testOptions); err != nil || got == nil || len(got) != 0 {
		t.Errorf("an empty object: %#v, %v", got, err)
	}
}

var surrogate = regexp.MustCompile(`(?i)\\ud[89a-f]`)

// What is accepted, encoding/json reads as the same value, and a second look at it agrees. What is
// refused, encoding/json refuses too, or it is one of the things that this package is for.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : [ ] , "\u0061b" : "\ud83d\ude00\/" } `, `{"a":{"b":[1,-0.5e+3,true,false,null]}}`, `{"a":1,"\u0061":2}`,
		"{\"\xff\":1}", `-0`, `1e400`, `"\ud800"`, "\ufeff[]", `[1] 2`, `{"iss":"https://idp.example","exp":1900000300}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		got, err := Value(doc, testOptions)
		want, wantErr := theirs(doc, false)
		switch {
		case err == nil && (wantErr != nil || !reflect.DeepEqual(got, want)):
			t.Fatalf("%q: %v\n ours %#v\ntheirs %#v", doc, wantErr, got, want)
		case err != nil && got != nil:
			t.Fatalf("%q: a value beside an error", doc)
		case err != nil && wantErr == nil && errors.Is(err, ErrSyntax) && !surrogate.MatchString(doc),
			err != nil && wantErr == nil && errors.Is(err, ErrTrailing):
			t.Fatalf("%q: %v, but encoding/json reads it", doc, err)
		case err != nil:
			return
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Value(string(text), testOptions); err != nil || !reflect.DeepEqual(got, again) {
			t.Fatalf("%q: %v\n first %#v\nsecond %#v", doc, err, got, again)
		}
	})
}

// Members is Object, and its texts make the same object again.
func FuzzMembers(f *testing.F) {
	f.Add(`{ "a" : 1 , "\u0062":[ {} ],"c":{"d":"\/"} }`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, doc string) {
		list, err := Members(doc, testOptions)
		want, wantErr := Object(doc, testOptions)
		if !reflect.DeepEqual(err, wantErr) {
			t.Fatalf("%q: %v, %v", doc, err, wantErr)
		}
		if err != nil {
			return
		}
		texts := make([]string, len(list))
		for i, m := range list {
			if texts[i] = m.Text; !reflect.DeepEqual(m.Value, want[m.Name]) {
				t.Fatalf("%q: %q is %#v", doc, m.Name, m.Value)
			}
		}
		if again, err := Object("{"+strings.Join(texts, ",")+"}", testOptions); err != nil || !reflect.DeepEqual(again, want) {
			t.Fatalf("%q: %#v, %v", doc, again, err)
		}
	})
}
