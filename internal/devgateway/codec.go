package devgateway

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"
)

// The messages of the plugin protocol, read and written as Kong does it: strings are bytes (Lua does not know UTF-8), members that the
// message does not have are skipped, and a value is what is left of it on Lua's side: nil, bool, float64, string, []any or map[string]any.

var errTruncated = errors.New("devgateway: a message of the plugin ends early")

// maxDepth bounds nested values; Kong's own decoder stops at Lua's C stack.
const maxDepth = 64

// field is one member of a message on the wire: num for varints, raw for bytes and for the eight bytes of a double.
type field struct {
	number protowire.Number
	num    uint64
	raw    []byte
}

func decodeFields(b []byte) ([]field, error) {
	var out []field
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, errTruncated
		}
		b = b[n:]
		f := field{number: number}
		switch typ {
		case protowire.VarintType:
			f.num, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			f.num, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.raw, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, typ, b)
		}
		if n < 0 {
			return nil, errTruncated
		}
		b = b[n:]
		out = append(out, f)
	}
	return out, nil
}

// decodeString reads the messages String and ByteString.
func decodeString(b []byte) (string, error) {
	fields, err := decodeFields(b)
	s := ""
	for _, f := range fields {
		if f.number == 1 {
			s = string(f.raw)
		}
	}
	return s, err
}

// decodeInt reads the message Int.
func decodeInt(b []byte) (int, error) {
	fields, err := decodeFields(b)
	v := 0
	for _, f := range fields {
		if f.number == 1 {
			v = int(int32(uint32(f.num)))
		}
	}
	return v, err
}

// decodeKV reads a key and a value.
func decodeKV(b []byte) (string, any, error) {
	fields, err := decodeFields(b)
	if err != nil {
		return "", nil, err
	}
	key, val := "", any(nil)
	for _, f := range fields {
		switch f.number {
		case 1:
			key = string(f.raw)
		case 2:
			if val, err = decodeValue(f.raw, 0); err != nil {
				return "", nil, err
			}
		}
	}
	return key, val, nil
}

// decodeValue reads a google.protobuf.Value with what Kong loses on the way: false arrives as nil, and a null as the name of its enum.
func decodeValue(b []byte, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("devgateway: a value is nested deeper than %d", maxDepth)
	}
	fields, err := decodeFields(b)
	if err != nil {
		return nil, err
	}
	var v any
	for _, f := range fields {
		switch f.number {
		case 1:
			v = "NULL_VALUE"
		case 2:
			v = math.Float64frombits(f.num)
		case 3:
			v = string(f.raw)
		case 4:
			v = nil
			if f.num != 0 {
				v = true
			}
		case 5:
			v, err = decodeStruct(f.raw, depth+1)
		case 6:
			v, err = decodeList(f.raw, depth+1)
		}
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

func decodeList(b []byte, depth int) ([]any, error) {
	fields, err := decodeFields(b)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, f := range fields {
		if f.number != 1 {
			continue
		}
		v, err := decodeValue(f.raw, depth)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func decodeStruct(b []byte, depth int) (map[string]any, error) {
	fields, err := decodeFields(b)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, f := range fields {
		if f.number != 1 {
			continue
		}
		// A map entry has the key as 1 and the value as 2, as KV has.
		fieldsOfEntry, err := decodeFields(f.raw)
		if err != nil {
			return nil, err
		}
		key, val := "", any(nil)
		for _, e := range fieldsOfEntry {
			switch e.number {
			case 1:
				key = string(e.raw)
			case 2:
				if val, err = decodeValue(e.raw, depth); err != nil {
					return nil, err
				}
			}
		}
		out[key] = val
	}
	return out, nil
}

func encodeString(s string) []byte {
	if s == "" {
		return nil
	}
	return appendString(nil, 1, s)
}

func encodeInt(v int) []byte {
	if v == 0 {
		return nil
	}
	return appendInt(nil, 1, int64(v))
}

func encodeNumber(v float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(v))
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendInt(b []byte, n protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}

func appendMessage(b []byte, n protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), m)
}

func encodeValue(v any) []byte {
	switch v := v.(type) {
	case bool:
		var n uint64
		if v {
			n = 1
		}
		return protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), n)
	case float64:
		return protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), math.Float64bits(v))
	case string:
		return appendString(nil, 3, v)
	case []any:
		var list []byte
		for _, e := range v {
			list = appendMessage(list, 1, encodeValue(e))
		}
		return appendMessage(nil, 6, list)
	case map[string]any:
		return appendMessage(nil, 5, encodeStruct(v))
	default:
		return appendInt(nil, 1, 0)
	}
}

// encodeStruct writes the members in the order of their names, so that two runs look alike.
func encodeStruct(m map[string]any) []byte {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	var out []byte
	for _, name := range names {
		entry := appendString(nil, 1, name)
		entry = appendMessage(entry, 2, encodeValue(m[name]))
		out = appendMessage(out, 1, entry)
	}
	return out
}
