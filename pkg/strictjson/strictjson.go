// Package strictjson reads JSON (RFC 8259) where two readers must never see two different things in
// one document. Libraries disagree on what encoding/json lets pass: a member named twice, names
// that differ in case, bytes behind the document, invalid UTF-8, half a surrogate pair. All of that
// is refused here, and so is what would cost too much.
//
// Values are nil, bool, string, json.Number (or float64, see Options), []any and map[string]any.
// Strings are parts of the document where that is possible: clone what outlives it.
//
// Not its job: to write JSON, to fill Go structs, or to find the members that a caller expects.
package strictjson

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What may be wrong with a document. Each is wrapped by an *Error.
var (
	ErrUTF8      = errors.New("not UTF-8")
	ErrSyntax    = errors.New("not JSON")
	ErrNotObject = errors.New("not a JSON object")
	ErrDuplicate = errors.New("an object names a member twice")
	ErrTooMuch   = errors.New("nested too deeply or too many members")
	ErrTrailing  = errors.New("something follows the JSON")
)

// An Error says what is wrong with a document, and where. Its text quotes nothing of the document.
type Error struct {
	Err    error    // one of the errors above
	Path   []string // the members around the place, outermost first: the document's own words
	Offset int      // in bytes, where reading stopped
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Options bound what a document may cost, and say how it is read. The caller bounds its length.
type Options struct {
	Depth   int  // of objects and arrays in each other
	Members int  // of all objects together
	Floats  bool // numbers are float64; one that is out of its range is ErrSyntax
	SkipBOM bool // a byte order mark in front is skipped (RFC 8259 §8.1) and not ErrSyntax
}

// Value reads a document that is one JSON value and nothing else. Member names are compared
// byte by byte, after escapes are resolved. Its error is an *Error.
func Value(doc string, o Options) (any, error) {
	r := reader{s: doc, o: o}
	err := r.start()
	if err != nil {
		return nil, r.fail(err)
	}
	v, err := r.value()
	if err = r.end(err); err != nil {
		return nil, err
	}
	return v, nil
}

// Object is Value for a document that must be an object.
func Object(doc string, o Options) (map[string]any, error) {
	r := reader{s: doc, o: o}
	if err := r.startObject(); err != nil {
		return nil, r.fail(err)
	}
	obj, err := r.object()
	if err = r.end(err); err != nil {
		return nil, err
	}
	return obj, nil
}

// A Member is a member of a document that is an object.
type Member struct {
	Name  string
	Value any
	Text  string // the name, the colon and the value, byte for byte
}

// Members is Object with the order and the text of the outermost members, so that a caller can
// write some of them back unchanged. Of an empty object it is empty and not nil.
func Members(doc string, o Options) ([]Member, error) {
	r := reader{s: doc, o: o}
	if err := r.startObject(); err != nil {
		return nil, r.fail(err)
	}
	list, obj := []Member{}, map[string]any{}
	done, err := r.open('}')
	for !done && err == nil {
		start := r.i
		var name string
		if name, err = r.member(obj); err == nil {
			list = append(list, Member{Name: name, Value: obj[name], Text: doc[start:r.i]})
			done, err = r.next('}')
		}
	}
	if err = r.end(err); err != nil {
		return nil, err
	}
	return list, nil
}

type reader struct {
	s    string
	i    int
	o    Options  // what is left of the bounds
	path []string // where an error was met, innermost first
}

// start stands at the first byte of the value.
func (r *reader) start() error {
	if !utf8.ValidString(r.s) {
		return ErrUTF8
	}
	if r.o.SkipBOM && strings.HasPrefix(r.s, "\ufeff") {
		r.i = len("\ufeff")
	}
	r.space()
	return nil
}

func (r *reader) startObject() error {
	if err := r.start(); err != nil {
		return err
	}
	if r.peek() != '{' {
		return ErrNotObject
	}
	return nil
}

// end takes the error of the value; without one, nothing but space may follow.
func (r *reader) end(err error) error {
	if err != nil {
		return r.fail(err)
	}
	if r.space(); r.i != len(r.s) {
		return r.fail(ErrTrailing)
	}
	return nil
}

func (r *reader) fail(err error) error {
	slices.Reverse(r.path)
	return &Error{Err: err, Path: r.path, Offset: min(r.i, len(r.s))}
}

// peek returns the next byte, and 0, which no document may contain unescaped, at the end.
func (r *reader) peek() byte {
	if r.i < len(r.s) {
		return r.s[r.i]
	}
	return 0
}

func (r *reader) space() {
	for r.i < len(r.s) {
		switch r.s[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

func (r *reader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.i++
	return true
}

func (r *reader) value() (any, error) {
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

func (r *reader) literal(word string) error {
	if !strings.HasPrefix(r.s[r.i:], word) {
		return ErrSyntax
	}
	r.i += len(word)
	return nil
}

// open enters an object or array; done says that it is empty.
func (r *reader) open(closing byte) (done bool, err error) {
	if r.o.Depth--; r.o.Depth < 0 {
		return false, ErrTooMuch
	}
	r.i++
	if r.space(); r.take(closing) {
		r.o.Depth++
		return true, nil
	}
	return false, nil
}

// next goes on behind a member or element; done says that it was the last.
func (r *reader) next(closing byte) (done bool, err error) {
	if r.space(); r.take(closing) {
		r.o.Depth++
		return true, nil
	}
	if !r.take(',') {
		return false, ErrSyntax
	}
	r.space()
	return false, nil
}

func (r *reader) object() (map[string]any, error) {
	obj := map[string]any{}
	done, err := r.open('}')
	for !done && err == nil {
		if _, err = r.member(obj); err == nil {
			done, err = r.next('}')
		}
	}
	return obj, err
}

// member reads `"name": value` into obj.
func (r *reader) member(obj map[string]any) (name string, err error) {
	if r.o.Members--; r.o.Members < 0 {
		return "", ErrTooMuch
	}
	if r.peek() != '"' {
		return "", ErrSyntax
	}
	if name, err = r.str(); err != nil {
		return "", err
	}
	if _, twice := obj[name]; twice {
		err = ErrDuplicate
	} else if r.space(); !r.take(':') {
		err = ErrSyntax
	} else {
		r.space()
		obj[name], err = r.value()
	}
	if err != nil {
		r.path = append(r.path, name)
	}
	return name, err
}

func (r *reader) array() ([]any, error) {
	list := []any{}
	done, err := r.open(']')
	for !done && err == nil {
		var v any
		if v, err = r.value(); err == nil {
			list = append(list, v)
			done, err = r.next(']')
		}
	}
	return list, err
}

// str reads a string; without an escape in it, it is a part of the document and costs nothing.
func (r *reader) str() (string, error) {
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
			return "", ErrSyntax
		}
	}
	return "", ErrSyntax
}

// escaped reads the rest of a string that began at start and stands at its first backslash.
func (r *reader) escaped(start int) (string, error) {
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
			return "", ErrSyntax
		default:
			buf = append(buf, c)
		}
	}
	return "", ErrSyntax
}

// escape reads what follows a backslash.
func (r *reader) escape() (rune, error) {
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
	return 0, ErrSyntax
}

// codePoint reads the XXXX of \uXXXX, and a second \uXXXX where the first is the high half of a
// pair. A half alone is refused: decoders replace it each in its own way.
func (r *reader) codePoint() (rune, error) {
	high, err := r.hex4()
	if err != nil {
		return 0, err
	}
	switch {
	case high < 0xD800 || high > 0xDFFF:
		return high, nil
	case high > 0xDBFF || !strings.HasPrefix(r.s[r.i:], `\u`):
		return 0, ErrSyntax
	}
	r.i += 2
	low, err := r.hex4()
	if err != nil {
		return 0, err
	}
	if low < 0xDC00 || low > 0xDFFF {
		return 0, ErrSyntax
	}
	return (high-0xD800)<<10 + (low - 0xDC00) + 0x10000, nil
}

func (r *reader) hex4() (rune, error) {
	if len(r.s)-r.i < 4 {
		return 0, ErrSyntax
	}
	var v rune
	for _, c := range []byte(r.s[r.i : r.i+4]) {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if d < 0 || c < '0' {
			return 0, ErrSyntax
		}
		v = v<<4 | rune(d)
	}
	r.i += 4
	return v, nil
}

// number keeps the digits as they stand: a user id of 20 digits must not be rounded.
func (r *reader) number() (any, error) {
	start := r.i
	r.take('-')
	if !r.take('0') && !r.digits() {
		return nil, ErrSyntax
	}
	if r.take('.') && !r.digits() {
		return nil, ErrSyntax
	}
	if r.take('e') || r.take('E') {
		_ = r.take('+') || r.take('-')
		if !r.digits() {
			return nil, ErrSyntax
		}
	}
	if !r.o.Floats {
		return json.Number(r.s[start:r.i]), nil
	}
	f, err := strconv.ParseFloat(r.s[start:r.i], 64)
	if err != nil {
		return nil, ErrSyntax
	}
	return f, nil
}

func (r *reader) digits() bool {
	start := r.i
	for c := r.peek(); '0' <= c && c <= '9'; c = r.peek() {
		r.i++
	}
	return r.i > start
}
