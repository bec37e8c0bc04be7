package oidc

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The gate's own JSON reader. It exists because libraries disagree on what encoding/json lets pass: a member named twice, names that
// differ in case, bytes behind the document, invalid UTF-8, half a surrogate pair. Where two readers may see two different things
// in one token, the token is refused here, before any of them.

// jsonLimits bound what a document may cost.
type jsonLimits struct {
	depth   int // of objects and arrays
	members int // of all objects of the document together
}

var (
	tokenLimits  = jsonLimits{depth: 64, members: 2000}
	keySetLimits = jsonLimits{depth: 64, members: 100_000}
)

var (
	errJSON      = errors.New("not a JSON object")
	errDupMember = errors.New("a member is named twice")
	errTooMuch   = errors.New("nested too deeply or too many members")
)

// parseObject reads a document that is one JSON object (RFC 8259) in UTF-8 and nothing else. Names are told apart byte for byte after
// unescaping. Values are nil, bool, string, json.Number, []any and map[string]any.
func parseObject(doc string, limits jsonLimits) (map[string]any, error) {
	if !utf8.ValidString(doc) {
		return nil, errJSON
	}
	r := jsonReader{s: doc, limits: limits}
	if r.space(); r.peek() != '{' {
		return nil, errJSON
	}
	obj, err := r.object()
	if err != nil {
		return nil, err
	}
	if r.space(); r.i != len(r.s) {
		return nil, errJSON
	}
	return obj, nil
}

type jsonReader struct {
	s      string
	i      int
	limits jsonLimits // what is left
}

// peek returns the next byte, and 0, which no document may contain outside of an escape, at the end.
func (r *jsonReader) peek() byte {
	if r.i < len(r.s) {
		return r.s[r.i]
	}
	return 0
}

func (r *jsonReader) space() {
	for r.i < len(r.s) {
		switch r.s[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

func (r *jsonReader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.i++
	return true
}

func (r *jsonReader) value() (any, error) {
	switch c := r.peek(); c {
	case '{':
		return r.object()
	case '[':
		return r.array()
	case '"':
		return r.str()
	case 't':
		return true, r.literal("true")
	case 'f':
		return false, r.literal("false")
	case 'n':
		return nil, r.literal("null")
	default:
		return r.number()
	}
}

func (r *jsonReader) literal(word string) error {
	if !strings.HasPrefix(r.s[r.i:], word) {
		return errJSON
	}
	r.i += len(word)
	return nil
}

func (r *jsonReader) object() (map[string]any, error) {
	if r.limits.depth--; r.limits.depth < 0 {
		return nil, errTooMuch
	}
	defer func() { r.limits.depth++ }()
	r.i++
	obj := map[string]any{}
	if r.space(); r.take('}') {
		return obj, nil
	}
	for {
		if err := r.member(obj); err != nil {
			return nil, err
		}
		if r.take('}') {
			return obj, nil
		}
		if !r.take(',') {
			return nil, errJSON
		}
		r.space()
	}
}

// member reads `"name": value` and the space behind it.
func (r *jsonReader) member(obj map[string]any) error {
	if r.limits.members--; r.limits.members < 0 {
		return errTooMuch
	}
	if r.peek() != '"' {
		return errJSON
	}
	name, err := r.str()
	if err != nil {
		return err
	}
	if _, taken := obj[name]; taken {
		return errDupMember
	}
	if r.space(); !r.take(':') {
		return errJSON
	}
	r.space()
	v, err := r.value()
	if err != nil {
		return err
	}
	obj[name] = v
	r.space()
	return nil
}

func (r *jsonReader) array() ([]any, error) {
	if r.limits.depth--; r.limits.depth < 0 {
		return nil, errTooMuch
	}
	defer func() { r.limits.depth++ }()
	r.i++
	list := []any{}
	if r.space(); r.take(']') {
		return list, nil
	}
	for {
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if r.space(); r.take(']') {
			return list, nil
		}
		if !r.take(',') {
			return nil, errJSON
		}
		r.space()
	}
}

// str reads a string; without an escape in it, it is a part of the document and costs nothing.
func (r *jsonReader) str() (string, error) {
	r.i++
	start := r.i
	for ; r.i < len(r.s); r.i++ {
		switch c := r.s[r.i]; {
		case c == '"':
			r.i++
			return r.s[start : r.i-1], nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return "", errJSON
		}
	}
	return "", errJSON
}

// escaped reads the rest of a string that began at start and stands at its first backslash.
func (r *jsonReader) escaped(start int) (string, error) {
	buf := append(make([]byte, 0, 2*(r.i-start)+16), r.s[start:r.i]...)
	for r.i < len(r.s) {
		c := r.s[r.i]
		r.i++
		switch {
		case c == '"':
			return string(buf), nil
		case c == '\\':
			char, err := r.escape()
			if err != nil {
				return "", err
			}
			buf = utf8.AppendRune(buf, char)
		case c < ' ':
			return "", errJSON
		default:
			buf = append(buf, c)
		}
	}
	return "", errJSON
}

// escape reads what follows a backslash.
func (r *jsonReader) escape() (rune, error) {
	c := r.peek()
	r.i++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return r.codePoint()
	}
	return 0, errJSON
}

// codePoint reads the XXXX of \uXXXX, and a second \uXXXX where the first is the high half of a pair. A half alone is refused:
// decoders replace it each in its own way.
func (r *jsonReader) codePoint() (rune, error) {
	high, err := r.hex4()
	if err != nil {
		return 0, err
	}
	switch {
	case high < 0xD800 || high > 0xDFFF:
		return high, nil
	case high > 0xDBFF || !strings.HasPrefix(r.s[r.i:], `\u`):
		return 0, errJSON
	}
	r.i += 2
	low, err := r.hex4()
	if err != nil {
		return 0, err
	}
	if low < 0xDC00 || low > 0xDFFF {
		return 0, errJSON
	}
	return (high-0xD800)<<10 + (low - 0xDC00) + 0x10000, nil
}

func (r *jsonReader) hex4() (rune, error) {
	if len(r.s)-r.i < 4 {
		return 0, errJSON
	}
	var v rune
	for _, c := range []byte(r.s[r.i : r.i+4]) {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if d < 0 || c < '0' {
			return 0, errJSON
		}
		v = v<<4 | rune(d)
	}
	r.i += 4
	return v, nil
}

// number keeps the digits as they stand: a user id of 20 digits must not be rounded.
func (r *jsonReader) number() (any, error) {
	start := r.i
	r.take('-')
	if !r.take('0') && !r.digits() {
		return nil, errJSON
	}
	if r.take('.') && !r.digits() {
		return nil, errJSON
	}
	if r.take('e') || r.take('E') {
		_ = r.take('+') || r.take('-')
		if !r.digits() {
			return nil, errJSON
		}
	}
	return json.Number(r.s[start:r.i]), nil
}

func (r *jsonReader) digits() bool {
	start := r.i
	for c := r.peek(); '0' <= c && c <= '9'; c = r.peek() {
		r.i++
	}
	return r.i > start
}

// optString returns a member that must be a string where it is present.
func optString(obj map[string]any, name string) (value string, present, ok bool) {
	v, present := obj[name]
	if !present {
		return "", false, true
	}
	value, ok = v.(string)
	return value, true, ok
}

// optStrings returns a member that must be a list of strings where it is present.
func optStrings(obj map[string]any, name string) (list []string, present, ok bool) {
	v, present := obj[name]
	if !present {
		return nil, false, true
	}
	elements, ok := v.([]any)
	if !ok {
		return nil, true, false
	}
	for _, e := range elements {
		s, isString := e.(string)
		if !isString {
			return nil, true, false
		}
		list = append(list, s)
	}
	return list, true, true
}

func ordinal(i int) string { return strconv.Itoa(i + 1) }
