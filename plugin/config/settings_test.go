package config

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
)

// other is a value of a field that its schema takes and that is not the one given.
func other(f *kongschema.Field, now any) any {
	switch f.Type {
	case "string":
		for _, v := range f.OneOf {
			if v != now {
				return v
			}
		}
		if f.UUID {
			digit := "1"
			if s, _ := now.(string); strings.HasPrefix(s, "1") {
				digit = "2"
			}
			return digit + "0000000-0000-0000-0000-000000000000"
		}
		s, _ := now.(string)
		return f.StartsWith + strings.TrimPrefix(s, f.StartsWith) + "x"
	case "boolean":
		b, _ := now.(bool)
		return !b
	case "number", "integer":
		n, _ := now.(float64)
		return n + 1
	case "array", "set":
		list, _ := now.([]any)
		if len(list) == 0 {
			return []any{other(f.Elements, nil)}
		}
		return []any{other(f.Elements, list[0])}
	case "record":
		record := map[string]any{}
		given, _ := now.(map[string]any)
		for name, v := range given {
			record[name] = v
		}
		for i, sub := range f.Fields {
			if i == 0 || sub.Required {
				record[sub.Name] = other(sub, record[sub.Name])
			}
		}
		return record
	}
	panic("no value of type " + f.Type)
}

// with decodes the smallest configuration with one more member.
func with(t *testing.T, name string, value any) (*Config, []Problem) {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"issuer": "https://idp.example", name: value})
	if err != nil {
		t.Fatal(err)
	}
	c, warnings, err := Decode(raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return c, warnings
}

// settable calls a test for each setting that can be set under its own name, with two values that
// differ from the default and from each other.
func settable(t *testing.T, test func(t *testing.T, s setting, values [2]any)) {
	plain, _ := decoded(t, "")
	now := schema().Encode(plain)
	for _, s := range settings() {
		if s.Deprecation != nil || s.Eq.Set {
			continue
		}
		first := other(s.Field, now[s.Name])
		t.Run(s.Name, func(t *testing.T) { test(t, s, [2]any{first, other(s.Field, first)}) })
	}
}

// TestDigest holds every field to its word: a change of it changes the digests that it counts for,
// and no other.
func TestDigest(t *testing.T) {
	plain, _ := decoded(t, "")
	for _, use := range uses {
		if Digest(plain, use) != Digest(plain, use) || Digest(plain, use) == Digest(&Config{}, use) {
			t.Errorf("%s: not a digest of the configuration", use)
		}
		if Digest(plain, use) == Digest(plain, use, "") || Digest(plain, use, "a", "b") == Digest(plain, use, "ab") {
			t.Errorf("%s: what is added does not count", use)
		}
	}
	if digest(nil, nil, ForToken, nil) == digest(nil, nil, ForBearer, nil) {
		t.Error("two uses share what is remembered")
	}
	settable(t, func(t *testing.T, s setting, values [2]any) {
		said, _, _ := strings.Cut(s.Tag("oidc"), ",")
		words, says := strings.CutPrefix(said, "shapes=")
		first, _ := with(t, s.Name, values[0])
		second, _ := with(t, s.Name, values[1])
		for _, use := range uses {
			different := map[string]bool{}
			seen := map[string]bool{}
			for _, c := range []*Config{plain, first, second} {
				raw, _ := json.Marshal(schema().Encode(c)[s.Name])
				different[string(raw)] = true
				seen[Digest(c, use)] = true
			}
			switch counts := !says || slices.Contains(strings.Split(words, "|"), string(use)); {
			case len(different) < 2:
				t.Fatal("no other value")
			case counts && len(seen) != len(different):
				t.Errorf("%s: two of %v, %v and the default share what is remembered", use, values[0], values[1])
			case !counts && len(seen) != 1:
				t.Errorf("%s: %v empties the cache", use, values[0])
			}
		}
	})
}

// TestDigestWithoutAWord: a field that says nothing counts everywhere, wherever it stands.
func TestDigestWithoutAWord(t *testing.T) {
	type untagged struct {
		Forgotten oauth2.Secret `kong:"forgotten"`
		Half      *Seconds      `kong:"half" oidc:"unbuilt=warn"`
		Named     string        `kong:"named" oidc:"shapes=token|session"`
		Nothing   bool          `kong:"nothing" oidc:"shapes=none"`
	}
	f, err := kongschema.Of(reflect.TypeFor[untagged](), nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := settingsOf(f)
	if err != nil {
		t.Fatal(err)
	}
	half := Seconds(0)
	for _, use := range uses {
		of := func(u untagged) string { return digest(list, f.Encode(u), use, nil) }
		plain := of(untagged{})
		if of(untagged{Forgotten: "a"}) == plain || of(untagged{Forgotten: "a"}) == of(untagged{Forgotten: "b"}) || of(untagged{Half: &half}) == plain {
			t.Errorf("%s: a field without a word does not count", use)
		}
		if (of(untagged{Named: "a"}) == plain) == (use == ForToken || use == ForSession) {
			t.Errorf("%s: a field with a word does not follow it", use)
		}
		if of(untagged{Nothing: true}) != plain {
			t.Errorf("%s: a field that shapes nothing counts", use)
		}
	}
}

func TestUnknownWord(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[struct {
			A string `kong:"a" oidc:"shape=none"`
		}](),
		reflect.TypeFor[struct {
			A string `kong:"a" oidc:"shapes=tokens"`
		}](),
		reflect.TypeFor[struct {
			A string `kong:"a" oidc:"shapes="`
		}](),
		reflect.TypeFor[struct {
			A string `kong:"a" oidc:"header=client"`
		}](),
		reflect.TypeFor[struct {
			A string `kong:"a" oidc:"unbuilt="`
		}](),
		reflect.TypeFor[struct {
			A string `kong:"a" oidc:"shapes=none,"`
		}](),
	} {
		f, err := kongschema.Of(typ, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := settingsOf(f); err == nil {
			t.Errorf("%q is taken", f.Fields[0].Tag("oidc"))
		}
	}
}

// TestUnbuilt: a setting is refused or warned of with any value but the default, and a plain
// configuration is neither.
func TestUnbuilt(t *testing.T) {
	plain, _ := decoded(t, "")
	if problems := plain.Unbuilt(); problems != nil {
		t.Errorf("a plain configuration: %v", problems)
	}
	settable(t, func(t *testing.T, s setting, values [2]any) {
		c, _ := with(t, s.Name, values[0])
		var want []Problem
		switch said := s.Tag("oidc"); {
		case strings.HasSuffix(said, "unbuilt=refuse"):
			want = []Problem{{Field: s.Name, Message: "not built in this version, and requests must not pass without it"}}
		case strings.HasSuffix(said, "unbuilt=warn"):
			want = []Problem{{Field: s.Name, Message: "not built in this version: it has no effect", Warning: true}}
		}
		if got := c.Unbuilt(); !slices.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", values[0], got, want)
		}
	})
	// No value is not the default where that is one; an empty list is no value.
	for members, want := range map[string]int{`"credential_claim":[]`: 1, `"credential_claim":null`: 1, `"consumer_claim":[]`: 0} {
		if c, _ := decoded(t, members); len(c.Unbuilt()) != want {
			t.Errorf("%s: %v", members, c.Unbuilt())
		}
	}
}

// TestUnbuiltIsDocumented: docs/compatibility.md names what is refused and warned of; headers stand
// there together.
func TestUnbuiltIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, notYet, _ := strings.Cut(string(raw), "\n## Not built yet\n")
	for _, s := range settings() {
		speaks := len(s.unbuilt) > 0 && (s.unbuilt[0] == unbuiltRefuse || s.unbuilt[0] == unbuiltWarn && s.header == "")
		if named := strings.Contains(notYet, "`"+s.Name+"`") || strings.Contains(notYet, "`"+s.Name+":"); speaks && !named {
			t.Errorf("%s is not built, and docs/compatibility.md does not say so", s.Name)
		}
		if s.ignored && !strings.Contains(string(raw), "`"+s.Name+"`") {
			t.Errorf("%s is ignored, and docs/compatibility.md does not say why", s.Name)
		}
	}
}

// TestHeaderWords: whatever has the name of a header or a cookie says so, and its value is held to
// that.
func TestHeaderWords(t *testing.T) {
	about := []string{"_values", "_claims", "_grants", "_prefix"} // what stands beside a name
	settable(t, func(t *testing.T, s setting, values [2]any) {
		beside := slices.ContainsFunc(about, func(end string) bool { return strings.HasSuffix(s.Name, end) })
		if s.Type != "boolean" && !beside && (strings.Contains(s.Name, "header") || strings.HasSuffix(s.Name, "cookie_name")) && s.header == "" {
			t.Errorf("%s has no word `header`", s.Name)
		}
		for direction, word := range map[string]string{"upstream_": headerUpstream, "downstream_": headerDownstream} {
			if strings.HasPrefix(s.Name, direction) && !beside && s.header != word {
				t.Errorf("%s does not say header=%s", s.Name, word)
			}
		}
		if s.header == "" || s.prefix != "" {
			return
		}
		c, _ := with(t, s.Name, values[0])
		found := s.headers(schema().Encode(c))
		if len(found) != 1 || !strings.HasPrefix(found[0].path, s.Name) || found[0].name == "" {
			t.Fatalf("%v names %v", values[0], found)
		}
		raw, _ := json.Marshal(values[0])
		bad, _ := with(t, s.Name, json.RawMessage(strings.Replace(string(raw), found[0].name, "a b", 1)))
		if problems := bad.Check(); !slices.ContainsFunc(problems, func(p Problem) bool { return p.Field == found[0].path }) {
			t.Errorf("a header named \"a b\" is taken: %v", problems)
		}
	})
}

// TestWrittenHeaders: every name that we may write, in its one spelling.
func TestWrittenHeaders(t *testing.T) {
	settable(t, func(t *testing.T, s setting, values [2]any) {
		c, _ := with(t, s.Name, values[0])
		got := c.WrittenHeaders()
		said := s.Tag("oidc")
		if strings.Contains(said, "header=upstream") || strings.Contains(said, "header=downstream") {
			for _, h := range s.headers(schema().Encode(c)) {
				if !slices.Contains(got, FoldHeader(h.name)) {
					t.Errorf("%q is not among %q", h.name, got)
				}
			}
		} else if !slices.Equal(got, []string{"authorization"}) {
			t.Errorf("%v makes us write %q", values[0], got)
		}
	})
	c, _ := decoded(t, `"upstream_access_token_header":"X_Token:Bearer","upstream_user_info_header":"X-User",
		"downstream_introspection_header":"x-seen","upstream_headers_names":["X-Name"],"upstream_headers_claims":["name"],
		"downstream_headers":[{"header":"X-Mail","path":["email"]}],"session_request_headers":["id"],"downstream_access_token_header":":bearer"`)
	want := []string{"x-name", "x-token", "x-user", "x-mail", "x-seen", "session-id"}
	if got := c.WrittenHeaders(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTagsStandOnSettings: a word in a nested record would be passed over.
func TestTagsStandOnSettings(t *testing.T) {
	walk("", schema(), func(at string, f *kongschema.Field) {
		if strings.ContainsAny(at, ".[") && f.Tag("oidc") != "" {
			t.Errorf("%s: the words of a record stand on the field of config", at)
		}
	})
}
