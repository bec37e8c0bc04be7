package pluginserver

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Header is one header with all its values, in order. Kong reports names lower-cased, as the client
// spelled them otherwise. In a setter, no Values means: remove it.
type Header struct {
	Name   string
	Values []string
}

// Fields of google/protobuf/struct.proto.
const (
	structEntry protowire.Number = 1 // of Struct: the map's entries
	entryKey    protowire.Number = 1
	entryValue  protowire.Number = 2

	valueNull   protowire.Number = 1 // of Value's oneof
	valueNumber protowire.Number = 2
	valueString protowire.Number = 3
	valueBool   protowire.Number = 4
	valueStruct protowire.Number = 5
	valueList   protowire.Number = 6

	listValue protowire.Number = 1 // of ListValue
)

var errNested = errors.New("pluginserver: a header's value is nested too deeply")

// CountValues counts header lines: every value, and one for a header without any. Kong answers
// get_headers(max) with at most max of them and says nothing when it cuts, so a caller refuses a
// request that has as many as it asked for.
func CountValues(headers []Header) int {
	n := 0
	for _, h := range headers {
		n += max(1, len(h.Values))
	}
	return n
}

// DecodeHeaders reads the answer of kong.request.get_headers, a google.protobuf.Struct of strings
// and lists of strings. Order and bytes are kept as they came, also where they are not UTF-8 (RFC
// 9110 §5.5 lets clients send them). A value true is an empty string, a number its decimal form,
// null, false and an empty table no value at all; a list within a list is an error. The result does
// not refer to reply.
func DecodeHeaders(reply []byte) ([]Header, error) {
	entries, err := countEntries(reply)
	if err != nil || entries == 0 {
		return nil, err
	}
	d := headerDecoder{reply: reply, text: string(reply), values: make([]string, 0, entries+entries/4+1)}
	headers := make([]Header, 0, entries)
	for b := reply; len(b) > 0; {
		if name, value, rest, ok := plainEntry(b); ok {
			at := len(d.values)
			d.values = append(d.values, d.cut(value))
			headers = append(headers, Header{Name: d.cut(name), Values: d.values[at : at+1 : at+1]})
			b = rest
			continue
		}
		f, rest, err := nextField(b)
		if err != nil {
			return nil, err
		}
		b = rest
		if !f.is(structEntry, protowire.BytesType) {
			continue
		}
		h, err := d.entry(f.bytes)
		if err != nil {
			return nil, err
		}
		headers = append(headers, h)
	}
	return headers, nil
}

// plainEntry cuts an entry off b if it has the form of nearly all: a name, then one string.
func plainEntry(b []byte) (name, value, rest []byte, ok bool) {
	entry, rest, ok := cutField(b, structEntry)
	if !ok {
		return nil, nil, nil, false
	}
	if name, entry, ok = cutField(entry, entryKey); !ok {
		return nil, nil, nil, false
	}
	value, entry, ok = cutField(entry, entryValue)
	if !ok || len(entry) > 0 {
		return nil, nil, nil, false
	}
	value, entry, ok = cutField(value, valueString)
	return name, value, rest, ok && len(entry) == 0
}

// countEntries makes room for all headers in one allocation, which costs more than to count them.
func countEntries(b []byte) (n int, err error) {
	for len(b) > 0 {
		if _, rest, ok := cutField(b, structEntry); ok {
			b = rest
			n++
			continue
		}
		var f field
		if f, b, err = nextField(b); err != nil {
			return 0, err
		}
		if f.is(structEntry, protowire.BytesType) {
			n++
		}
	}
	return n, nil
}

// headerDecoder copies the reply once, as text, and cuts every name and value out of that copy.
type headerDecoder struct {
	reply  []byte
	text   string
	values []string // of all headers, one after the other
	kind   protowire.Number
}

// cut gives the text at the place of b, a part of reply. All parts end, in capacity, where reply
// does; that gives the offset.
func (d *headerDecoder) cut(b []byte) string {
	at := cap(d.reply) - cap(b)
	return d.text[at : at+len(b)]
}

func (d *headerDecoder) entry(b []byte) (Header, error) {
	var h Header
	start := len(d.values)
	d.kind = 0
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return Header{}, err
		}
		b = rest
		switch {
		case f.is(entryKey, protowire.BytesType):
			h.Name = d.cut(f.bytes)
		case f.is(entryValue, protowire.BytesType):
			if err := d.value(f.bytes, start); err != nil {
				return Header{}, err
			}
		}
	}
	if end := len(d.values); end > start {
		h.Values = d.values[start:end:end]
	}
	return h, nil
}

// value reads a Value. Of its oneof the last member counts, but a list after a list goes on with
// it: protobuf merges messages.
func (d *headerDecoder) value(b []byte, start int) error {
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		kind := valueKind(f)
		if kind == 0 {
			continue
		}
		if kind != valueList || d.kind != valueList {
			d.values = d.values[:start]
		}
		d.kind = kind
		if kind == valueList {
			err = d.list(f.bytes)
		} else if s, ok := d.scalar(kind, f); ok {
			d.values = append(d.values, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *headerDecoder) list(b []byte) error {
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		if !f.is(listValue, protowire.BytesType) {
			continue
		}
		if err := d.item(f.bytes); err != nil {
			return err
		}
	}
	return nil
}

func (d *headerDecoder) item(b []byte) error {
	var text string
	var ok bool
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		switch kind := valueKind(f); kind {
		case 0:
		case valueList, valueStruct:
			return errNested
		default:
			text, ok = d.scalar(kind, f)
		}
	}
	if ok {
		d.values = append(d.values, text)
	}
	return nil
}

func (d *headerDecoder) scalar(kind protowire.Number, f field) (string, bool) {
	switch kind {
	case valueString:
		return d.cut(f.bytes), true
	case valueNumber:
		return strconv.FormatFloat(float(f.number), 'f', -1, 64), true
	case valueBool:
		return "", f.number != 0
	}
	return "", false
}

// valueKind is the member of Value's oneof that the field sets, or 0.
func valueKind(f field) protowire.Number {
	switch {
	case f.typ == protowire.VarintType && (f.num == valueNull || f.num == valueBool),
		f.typ == protowire.Fixed64Type && f.num == valueNumber,
		f.typ == protowire.BytesType && (f.num == valueString || f.num == valueStruct || f.num == valueList):
		return f.num
	}
	return 0
}

// AppendHeaders appends the argument of a set_headers to dst: one call that sets many and, for a
// header without Values, removes. It is an error, and dst is returned as it was, if a name or a
// value is not UTF-8: Kong would take it, go-pdk and every strict protobuf reader would not.
func AppendHeaders(dst []byte, headers []Header) ([]byte, error) {
	size := 0
	for _, h := range headers {
		if !validHeader(h) {
			return dst, fmt.Errorf("pluginserver: header %.64q has a name or a value that is not UTF-8", h.Name)
		}
		size += headerSize(h)
	}
	return AppendRawHeaders(slices.Grow(dst, size), headers), nil
}

func validHeader(h Header) bool {
	for _, v := range h.Values {
		if !utf8.ValidString(v) {
			return false
		}
	}
	return utf8.ValidString(h.Name)
}

// AppendRawHeaders is AppendHeaders without the check: what Kong answers to get_headers, a string
// for one value and a list for any other number of them.
func AppendRawHeaders(dst []byte, headers []Header) []byte {
	for _, h := range headers {
		dst = appendHeader(dst, h)
	}
	return dst
}

func appendHeader(dst []byte, h Header) []byte {
	value := valueSize(h.Values)
	dst = appendLen(dst, structEntry, sizeBytes(len(h.Name))+sizeBytes(value))
	dst = appendText(dst, entryKey, h.Name)
	dst = appendLen(dst, entryValue, value)
	if len(h.Values) == 1 {
		return appendText(dst, valueString, h.Values[0])
	}
	dst = appendLen(dst, valueList, listSize(h.Values))
	for _, v := range h.Values {
		dst = appendLen(dst, listValue, sizeBytes(len(v)))
		dst = appendText(dst, valueString, v)
	}
	return dst
}

// headerSize is what appendHeader appends.
func headerSize(h Header) int {
	return sizeBytes(sizeBytes(len(h.Name)) + sizeBytes(valueSize(h.Values)))
}

func valueSize(values []string) int {
	if len(values) == 1 {
		return sizeBytes(len(values[0]))
	}
	return sizeBytes(listSize(values))
}

func listSize(values []string) (n int) {
	for _, v := range values {
		n += sizeBytes(sizeBytes(len(v)))
	}
	return n
}

// sizeBytes is the size of a length-delimited field below number 16 with a payload of n bytes.
func sizeBytes(n int) int { return 1 + protowire.SizeBytes(n) }

func appendLen(b []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(n))
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	return append(appendLen(b, num, len(s)), s...)
}
