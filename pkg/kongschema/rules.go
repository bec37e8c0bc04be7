package kongschema

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// rules are Kong's validators in Kong's order; each returns its message, or "" when it holds or is
// not declared.
var rules = []func(f *Field, v any) string{
	ruleEqual, ruleOneOf, ruleNumber, ruleFormat, ruleLength, rulePattern, ruleContains,
}

func ruleEqual(f *Field, v any) string {
	if f.Eq.Set && !same(v, f.Eq.Value) {
		return "value must be " + lua(f.Eq.Value)
	}
	if f.Ne.Set && same(v, f.Ne.Value) {
		return "value must not be " + lua(v)
	}
	return ""
}

func ruleOneOf(f *Field, v any) string {
	is := func(option any) bool { return same(v, option) }
	if slices.ContainsFunc(f.NotOneOf, is) {
		return "must not be one of: " + luaList(f.NotOneOf)
	}
	if f.OneOf != nil && !slices.ContainsFunc(f.OneOf, is) {
		return "expected one of: " + luaList(f.OneOf)
	}
	return ""
}

func ruleNumber(f *Field, v any) string {
	n, ok := v.(float64)
	switch {
	case !ok:
	case f.Gt != nil && n <= *f.Gt:
		return "value must be greater than " + lua(*f.Gt)
	case f.Timestamp && n <= 0:
		return "expected a valid timestamp"
	case len(f.Between) == 2 && (n < f.Between[0] || n > f.Between[1]):
		return fmt.Sprintf("value should be between %d and %d", int64(f.Between[0]), int64(f.Between[1]))
	}
	return ""
}

var uuidPattern = regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func ruleFormat(f *Field, v any) string {
	s, ok := v.(string)
	if !ok {
		return ""
	}
	if f.UUID && !uuidPattern.MatchString(s) {
		return "expected a valid UUID"
	}
	if f.IsRegex {
		if _, err := regexp.Compile(s); err != nil {
			return "not a valid regex: " + s
		}
	}
	return ""
}

func ruleLength(f *Field, v any) string {
	length, least := 0, f.LenMin
	switch v := v.(type) {
	case string:
		length = len(v)
		if least == nil { // Kong takes no empty string unless the field says so
			one := 1
			least = &one
		}
	case []any:
		length = len(v)
	case map[string]any:
		if f.Type == "map" {
			length = len(v)
		}
	default:
		return ""
	}
	switch {
	case f.LenEq != nil && length != *f.LenEq:
		return fmt.Sprintf("length must be %d", *f.LenEq)
	case least != nil && length < *least:
		return fmt.Sprintf("length must be at least %d", *least)
	case f.LenMax != nil && length > *f.LenMax:
		return fmt.Sprintf("length must be at most %d", *f.LenMax)
	}
	return ""
}

func rulePattern(f *Field, v any) string {
	s, ok := v.(string)
	if !ok {
		return ""
	}
	invalid := "invalid value: " + s
	or := func(message string) string {
		if message != "" {
			return message
		}
		return invalid
	}
	if !strings.HasPrefix(s, f.StartsWith) {
		return "should start with: " + f.StartsWith
	}
	if f.NotMatch != "" && luaMatch(f.NotMatch, s) {
		return invalid
	}
	for _, p := range f.MatchNone {
		if luaMatch(p.Pattern, s) {
			return or(p.Err)
		}
	}
	if f.Match != "" && !luaMatch(f.Match, s) {
		return invalid
	}
	for _, p := range f.MatchAll {
		if !luaMatch(p.Pattern, s) {
			return or(p.Err)
		}
	}
	if f.MatchAny != nil && !slices.ContainsFunc(f.MatchAny.Patterns, func(p string) bool { return luaMatch(p, s) }) {
		return or(f.MatchAny.Err)
	}
	return ""
}

func ruleContains(f *Field, v any) string {
	list, ok := v.([]any)
	if f.Contains == nil || !ok || slices.ContainsFunc(list, func(e any) bool { return same(e, f.Contains) }) {
		return ""
	}
	return "expected to contain: " + lua(f.Contains)
}

// same compares as Lua's == does: scalars by value, numbers whatever their Go type.
func same(a, b any) bool {
	if n, ok := asNumber(a); ok {
		m, ok := asNumber(b)
		return ok && n == m
	}
	switch a.(type) {
	case nil, string, bool:
		return reflect.DeepEqual(a, b)
	}
	return false
}

// luaClasses are Lua's character classes, for inside of a Go class.
var luaClasses = map[byte]string{
	'a': `A-Za-z`, 'c': `\x00-\x1f\x7f`, 'd': `0-9`, 'l': `a-z`, 'p': `!-/:-@\[-` + "`" + `{-~`,
	's': ` \t\n\v\f\r`, 'u': `A-Z`, 'w': `A-Za-z0-9`, 'x': `A-Fa-f0-9`,
}

// luaMatch reports whether a Lua pattern matches somewhere in s. A pattern that Go cannot express
// (%b, %f, captures by position) matches nothing.
func luaMatch(pattern, s string) bool {
	re, err := regexp.Compile(goPattern(pattern))
	return err == nil && re.MatchString(s)
}

func goPattern(lua string) string {
	out, inClass := "(?s)", false
	for i := 0; i < len(lua); i++ {
		c := lua[i]
		switch {
		case c == '%' && i+1 < len(lua):
			i++
			out += goEscape(lua[i], inClass)
		case inClass:
			inClass = c != ']'
			if c == '[' || c == '\\' {
				out += `\`
			}
			out += string(c)
		case c == '[':
			inClass = true
			out += "["
		case c == '-':
			out += "*?"
		case c == '^' && i == 0, c == '$' && i == len(lua)-1, c == '.', c == '*', c == '+', c == '?', c == '(', c == ')':
			out += string(c)
		default:
			out += regexp.QuoteMeta(string(c))
		}
	}
	return out
}

func goEscape(c byte, inClass bool) string {
	lower := c | 0x20
	class, known := luaClasses[lower]
	switch {
	case !known:
		return regexp.QuoteMeta(string(c))
	case inClass:
		return class // an upper-case class within a class is not used by any schema
	case c != lower:
		return "[^" + class + "]"
	}
	return "[" + class + "]"
}
