package kongschema

import (
	"fmt"
	"strings"
)

// checkEntity runs the rules across fields and adds their messages under "@entity".
func (f *Field) checkEntity(v map[string]any, errs Errors) {
	var messages []string
	for _, check := range f.EntityChecks {
		if message := f.runCheck(check, v, errs); message != "" {
			messages = append(messages, message)
		}
	}
	if messages != nil {
		errs["@entity"] = messages
	}
}

func (f *Field) runCheck(check EntityCheck, v map[string]any, errs Errors) string {
	set := func(names []string) (n int) {
		for _, name := range names {
			if nonEmpty(at(v, name)) {
				n++
			}
		}
		return n
	}
	switch {
	case f.skips(check, v, errs):
	case check.AtLeastOneOf != nil && set(check.AtLeastOneOf) == 0:
		return "at least one of these fields must be non-empty: " + quoted(check.AtLeastOneOf)
	case check.OnlyOneOf != nil && set(check.OnlyOneOf) != 1:
		return "exactly one of these fields must be non-empty: " + quoted(check.OnlyOneOf)
	case check.Distinct != nil && repeats(v, check.Distinct):
		return "values of these fields must be distinct: " + quoted(check.Distinct)
	case check.MutuallyRequired != nil:
		if n := set(check.MutuallyRequired); n != 0 && n != len(check.MutuallyRequired) {
			return "all or none of these fields must be set: " + quoted(check.MutuallyRequired)
		}
	case check.MutuallyExclusive != nil && set(check.MutuallyExclusive) > 1:
		return "only one or none of these fields must be set: " + quoted(check.MutuallyExclusive)
	case check.Conditional != nil:
		return f.runConditional(check.Conditional, v, errs)
	}
	return ""
}

// skips tells what Kong does not check: a record with a reference that is not resolved yet, and for
// the pairwise rules one whose fields are wrong already.
func (f *Field) skips(check EntityCheck, v map[string]any, errs Errors) bool {
	names := check.fields()
	tolerant := check.MutuallyRequired == nil && check.MutuallyExclusive == nil
	for _, name := range names {
		if s, ok := at(v, name).(string); ok && IsReference(s) {
			if sub := f.at(name); sub != nil && sub.Referenceable {
				return true
			}
		}
		if errs[name] != nil && !tolerant {
			return true
		}
	}
	return false
}

func (c EntityCheck) fields() []string {
	if c.Conditional != nil {
		return []string{c.Conditional.IfField, c.Conditional.ThenField}
	}
	var names []string
	for _, list := range [][]string{c.AtLeastOneOf, c.OnlyOneOf, c.Distinct, c.MutuallyRequired, c.MutuallyExclusive} {
		names = append(names, list...)
	}
	return names
}

func (f *Field) runConditional(c *Conditional, v map[string]any, errs Errors) string {
	value, then := at(v, c.IfField), at(v, c.ThenField)
	if value == nil || f.overlay(c.IfField, c.IfMatch).check(value) != nil {
		return ""
	}
	failed := fmt.Sprintf("failed conditional validation given value of field '%s'", c.IfField)
	if then == nil && c.ThenMatch.Required {
		errs[c.ThenField] = "required field missing"
		return failed
	}
	err := f.overlay(c.ThenField, c.ThenMatch).check(then)
	if err == nil {
		return ""
	}
	errs[c.ThenField] = err
	if c.ThenErr != "" {
		return strings.ReplaceAll(c.ThenErr, "%s", c.IfField)
	}
	return failed
}

// overlay is the field of that name with the rules of a match over its own.
func (f *Field) overlay(name string, match *Field) *Field {
	out := Field{}
	if sub := f.at(name); sub != nil {
		out = *sub
	}
	if match == nil {
		return &out
	}
	out.Required = out.Required || match.Required
	if match.Eq.Set {
		out.Eq = match.Eq
	}
	if match.Ne.Set {
		out.Ne = match.Ne
	}
	if match.OneOf != nil {
		out.OneOf = match.OneOf
	}
	if match.NotOneOf != nil {
		out.NotOneOf = match.NotOneOf
	}
	if match.Gt != nil {
		out.Gt = match.Gt
	}
	if match.Match != "" {
		out.Match = match.Match
	}
	return &out
}

// at is the value at a dotted path, or nil.
func at(v map[string]any, path string) any {
	head, rest, nested := strings.Cut(path, ".")
	if !nested {
		return v[head]
	}
	object, _ := v[head].(map[string]any)
	return at(object, rest)
}

func (f *Field) at(path string) *Field {
	head, rest, nested := strings.Cut(path, ".")
	sub := f.Field(head)
	if !nested || sub == nil {
		return sub
	}
	return sub.at(rest)
}

func nonEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

func repeats(v map[string]any, names []string) bool {
	var seen []any
	for _, name := range names {
		value := at(v, name)
		if !nonEmpty(value) {
			continue
		}
		for _, other := range seen {
			if same(value, other) {
				return true
			}
		}
		seen = append(seen, value)
	}
	return false
}
