package kongschema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Markdown is the reference of a record that Of derived and Describe described: one section for
// each struct that the record's own struct embeds, one below it for each nested record, with a
// table of fields.
func Markdown(f *Field, docs Comments) string {
	var out strings.Builder
	var owner reflect.Type
	var nested []*Field
	flush := func() {
		for _, sub := range nested {
			writeNested(&out, sub.Name, sub)
		}
		nested = nil
	}
	for _, sub := range f.Fields {
		if sub.owner != owner {
			flush()
			owner = sub.owner
			title, text, _ := strings.Cut(docs.Type(owner), ": ")
			fmt.Fprintf(&out, "\n## %s\n\n%s\n\n", spaced(title), sentence(text))
			writeHead(&out)
		}
		writeRow(&out, sub)
		if sub.nested() != nil {
			nested = append(nested, sub)
		}
	}
	flush()
	return out.String()
}

// nested is the record in a field: its own, or that of its elements.
func (f *Field) nested() *Field {
	switch {
	case f.Type == "record":
		return f
	case f.Elements != nil && f.Elements.Type == "record":
		return f.Elements
	}
	return nil
}

func writeNested(out *strings.Builder, path string, f *Field) {
	record := f.nested()
	if record != f {
		path += "[]"
	}
	fmt.Fprintf(out, "\n### `%s`\n\n", path)
	writeHead(out)
	for _, sub := range record.Fields {
		writeRow(out, sub)
	}
	for _, sub := range record.Fields {
		if sub.nested() != nil {
			writeNested(out, path+"."+sub.Name, sub)
		}
	}
}

func writeHead(out *strings.Builder) {
	out.WriteString("| Field | Type | Default | Description | Notes |\n|---|---|---|---|---|\n")
}

func writeRow(out *strings.Builder, f *Field) {
	cells := []string{"`" + f.Name + "`", f.typeText(), f.defaultText(), f.Description, f.notes()}
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
}

func (f *Field) typeText() string {
	if f.Elements != nil {
		return f.Type + " of " + f.Elements.typeText()
	}
	return f.Type
}

func (f *Field) defaultText() string {
	if f.Default == nil {
		return ""
	}
	raw, err := json.Marshal(f.Default)
	if err != nil {
		return ""
	}
	return "`" + string(raw) + "`"
}

// notes are the attributes that have no column.
func (f *Field) notes() string {
	var notes []string
	add := func(when bool, note string) {
		if when {
			notes = append(notes, note)
		}
	}
	leaf := f
	for leaf.Elements != nil {
		leaf = leaf.Elements
	}
	add(f.Required && f.Type != "record", "required")
	add(leaf.OneOf != nil, "one of "+codes(leaf.OneOf))
	if f.Between != nil {
		add(true, fmt.Sprintf("%.0f to %.0f", f.Between[0], f.Between[1]))
	}
	if f.LenMin != nil {
		add(true, fmt.Sprintf("at least %d entries", *f.LenMin))
	}
	add(f.StartsWith != "", "starts with `"+f.StartsWith+"`")
	for _, p := range f.MatchNone {
		add(true, "without `"+p.Pattern+"`")
	}
	add(f.UUID, "UUID")
	add(f.none, "null is a value")
	add(leaf.Referenceable, "referenceable")
	add(f.Encrypted, "encrypted")
	add(f.since != "", "since "+f.since)
	add(f.Deprecation != nil, "deprecated")
	add(f.Eq.Set && f.Eq.Value == nil, "refused: "+f.Err)
	add(f.Remark != "", f.Remark)
	return strings.Join(notes, ", ")
}

func codes(list []any) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = "`" + lua(v) + "`"
	}
	return strings.Join(words, " ")
}

// spaced puts spaces between the words of a Go name: "TokenRequests" is "Token requests",
// "HTTPClient" "HTTP client".
func spaced(name string) string {
	upper := func(i int) bool { return i < len(name) && name[i] >= 'A' && name[i] <= 'Z' }
	var out strings.Builder
	for i := range len(name) {
		c := name[i]
		if i > 0 && upper(i) && !upper(i+1) {
			out.WriteByte(' ')
			c += 'a' - 'A'
		}
		out.WriteByte(c)
	}
	return out.String()
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
