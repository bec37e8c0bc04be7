package pluginserver

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

func mustStruct(t testing.TB, m map[string]any) []byte {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeHeaders(t *testing.T) {
	for _, tc := range []struct {
		name  string
		reply []byte
		want  []Header
		err   error
	}{
		{"nothing", nil, nil, nil},
		{
			"string and list", mustStruct(t, map[string]any{"a": "1", "b": []any{"2", "3"}}),
			[]Header{{"a", []string{"1"}}, {"b", []string{"2", "3"}}},
			nil,
		},
		{
			"no string", mustStruct(t, map[string]any{"a": true, "b": false, "c": nil, "d": 1.5, "e": map[string]any{}, "f": []any{}}),
			[]Header{{"a", []string{""}}, {"b", nil}, {"c", nil}, {"d", []string{"1.5"}}, {"e", nil}, {"f", nil}},
			nil,
		},
		{
			"no string in a list", mustStruct(t, map[string]any{"a": []any{true, "x", nil, 2.0}}),
			[]Header{{"a", []string{"", "x", "2"}}},
			nil,
		},
		{
			"bytes as they are, order kept", AppendRawHeaders(nil, []Header{{"z", []string{"J\xf6rg"}}, {"A_b\xff", []string{"", ""}}, {"m", []string{""}}}),
			[]Header{{"z", []string{"J\xf6rg"}}, {"A_b\xff", []string{"", ""}}, {"m", []string{""}}},
			nil,
		},
		{
			"long", AppendRawHeaders(nil, []Header{{"a", []string{strings.Repeat("x", 200)}}, {"b", []string{strings.Repeat("y", 1<<15)}}}),
			[]Header{{"a", []string{strings.Repeat("x", 200)}}, {"b", []string{strings.Repeat("y", 1<<15)}}},
			nil,
		},
		{
			"an entry whose name comes again", appendBytes(nil, structEntry, "\x0a\x01a\x12\x03\x1a\x01x\x0a\x01b"),
			[]Header{{"b", []string{"x"}}},
			nil,
		},
		{
			"a value that comes again", appendBytes(nil, structEntry, "\x0a\x01a\x12\x06\x1a\x01x\x1a\x01y"),
			[]Header{{"a", []string{"y"}}},
			nil,
		},
		{
			"one name twice", AppendRawHeaders(nil, []Header{{"a", []string{"1"}}, {"a", []string{"2"}}}),
			[]Header{{"a", []string{"1"}}, {"a", []string{"2"}}},
			nil,
		},
		{"a list in a list", mustStruct(t, map[string]any{"a": []any{[]any{"x"}}}), nil, errNested},
		{"a table in a list", mustStruct(t, map[string]any{"a": []any{map[string]any{}}}), nil, errNested},
		{"cut off", AppendRawHeaders(nil, requestHeaders(true))[:100], nil, errGarbage},
		{"a length of 4 GiB", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, nil, errGarbage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := DecodeHeaders(tc.reply)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeHeadersKeepsNothingOfTheReply(t *testing.T) {
	reply := AppendRawHeaders(nil, requestHeaders(true))
	got, err := DecodeHeaders(reply)
	clear(reply)
	if diff := cmp.Diff(requestHeaders(true), got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = DecodeHeaders(reply) }); n > 3 {
		t.Errorf("%v allocations", n)
	}
}

func TestCountValues(t *testing.T) {
	if n := CountValues([]Header{{"a", []string{"1", "2"}}, {"b", nil}, {"c", []string{""}}}); n != 4 {
		t.Errorf("%d values, want 4", n)
	}
}

func TestAppendHeaders(t *testing.T) {
	headers := []Header{{"Authorization", []string{"Bearer x"}}, {"X-Two", []string{"ä", ""}}, {"X-Gone", nil}}
	b, err := AppendHeaders([]byte("kept"), headers)
	if err != nil {
		t.Fatal(err)
	}
	var s structpb.Struct
	if err := proto.Unmarshal(bytes.TrimPrefix(b, []byte("kept")), &s); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"Authorization": "Bearer x", "X-Two": []any{"ä", ""}, "X-Gone": []any{}}
	if diff := cmp.Diff(want, s.AsMap()); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []Header{{"X-\xff", []string{"1"}}, {"X-A", []string{"ok", "\xf6"}}} {
		if b, err := AppendHeaders([]byte("kept"), []Header{headers[0], bad}); err == nil || string(b) != "kept" {
			t.Errorf("%q: %q, %v", bad, b, err)
		}
	}
}

func TestArguments(t *testing.T) {
	if v, err := DecodeInt(AppendInt(nil, 1000)); v != 1000 || err != nil {
		t.Error(v, err)
	}
	if s, err := DecodeString(AppendString(nil, "a\xff")); s != "a\xff" || err != nil {
		t.Errorf("%q %v", s, err)
	}
	if h, err := DecodeKV(AppendKV(nil, "k", "v")); err != nil || h.Name != "k" || !slices.Equal(h.Values, []string{"v"}) {
		t.Error(h, err)
	}
	if l, err := DecodeList(AppendList(nil, "a", "", "c")); err != nil || !slices.Equal(l, []string{"a", "", "c"}) {
		t.Error(l, err)
	}
	want := ExitArgs{Status: 401, Headers: []Header{{"A", []string{"1"}}, {"B", []string{"2", "3"}}}, Body: []byte("{}")}
	sent := want
	sent.Headers = append([]Header{{"Bad", []string{"\xff"}}, {"None", nil}}, want.Headers...)
	if got, err := DecodeExit(appendExit(nil, sent)); err != nil || !cmp.Equal(want, got) {
		t.Error(err, cmp.Diff(want, got))
	}
}

// FuzzDecodeHeaders: where protobuf's own reader accepts a Struct of strings and lists of strings,
// ours reads the same; and what ours has read it reads again after writing it.
func FuzzDecodeHeaders(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendRawHeaders(nil, requestHeaders(false)))
	f.Add(AppendRawHeaders(nil, requestHeaders(true)))
	f.Add(mustStruct(f, map[string]any{"a": true, "b": []any{"x", 1.0, nil}, "c": map[string]any{"d": "e"}}))
	// A value of two lists, which protobuf joins, and one of a list and then a string, where the
	// string counts.
	list := appendLen(nil, valueList, 5)
	list = append(list, 0x0a, 0x03, 0x1a, 0x01, 'x')
	for _, value := range [][]byte{append(bytes.Clone(list), list...), append(bytes.Clone(list), 0x1a, 0x01, 'y')} {
		entry := appendBytes([]byte{0x0a, 0x01, 'k'}, entryValue, value)
		f.Add(appendBytes([]byte(nil), structEntry, entry))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := DecodeHeaders(b)
		if err == nil {
			again, err := DecodeHeaders(AppendRawHeaders(nil, got))
			if err != nil || !cmp.Equal(got, again) {
				t.Fatal(err, cmp.Diff(got, again))
			}
		}
		var s structpb.Struct
		if proto.Unmarshal(b, &s) != nil {
			return
		}
		want, ok := plainHeaders(&s)
		if !ok {
			return
		}
		if err != nil {
			t.Fatalf("structpb accepts it: %v", err)
		}
		byName := map[string][]string{}
		for _, h := range got {
			byName[h.Name] = h.Values
		}
		if diff := cmp.Diff(want, byName); diff != "" {
			t.Fatal(diff)
		}
	})
}

// plainHeaders reads a Struct that holds nothing but strings and lists of strings.
func plainHeaders(s *structpb.Struct) (map[string][]string, bool) {
	m := map[string][]string{}
	for name, v := range s.Fields {
		var values []string
		switch k := v.GetKind().(type) {
		case *structpb.Value_StringValue:
			values = []string{k.StringValue}
		case *structpb.Value_ListValue:
			for _, item := range k.ListValue.GetValues() {
				text, ok := item.GetKind().(*structpb.Value_StringValue)
				if !ok {
					return nil, false
				}
				values = append(values, text.StringValue)
			}
		case nil:
		default:
			return nil, false
		}
		m[name] = values
	}
	return m, true
}

// FuzzCall: a call that is accepted means the same after it is written again.
func FuzzCall(f *testing.F) {
	f.Add(call{sequence: 7, command: cmdHandleEvent, instance: 5, text: []byte("access")}.append(nil))
	f.Add(call{sequence: 1 << 40, command: cmdStartInstance, text: []byte("n"), config: []byte("{}")}.append(nil))
	f.Add(protowire.AppendTag(nil, 99, protowire.StartGroupType))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCall(b)
		if err != nil || c.command != cmdHandleEvent && c.command != cmdStartInstance && c.command != cmdCloseInstance {
			return
		}
		again, err := decodeCall(c.append(nil))
		if err != nil || again.sequence != c.sequence || again.command != c.command || again.instance != c.instance ||
			!bytes.Equal(again.text, c.text) || !bytes.Equal(again.config, c.config) {
			t.Fatalf("%+v, %v; want %+v", again, err, c)
		}
	})
}
