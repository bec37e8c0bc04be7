package devgateway

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// Values of the protocol as they are on Lua's side (kong/runloop/plugin_servers/rpc/pb_rpc.lua):
// nil, bool, float64, string, []any or map[string]any. Strings are bytes, since Lua does not know
// UTF-8. The messages that both sides share are pluginserver's.

// maxDepth bounds nested values; Kong's own decoder stops at Lua's C stack.
const maxDepth = 64

// decodeKV reads a key and a value.
func decodeKV(b []byte) (string, any, error) { return decodeEntry(b, 0) }

// decodeEntry reads a KV, or an entry of a Struct, which looks the same.
func decodeEntry(b []byte, depth int) (key string, v any, err error) {
	members, err := pluginserver.DecodeMembers(b)
	for _, m := range members {
		switch m.Number {
		case 1:
			key = string(m.Bytes)
		case 2:
			if v, err = decodeValue(m.Bytes, depth); err != nil {
				return "", nil, err
			}
		}
	}
	return key, v, err
}

// decodeValue reads a google.protobuf.Value with what Kong loses on the way: false arrives as nil,
// and a null as the name of its enum.
func decodeValue(b []byte, depth int) (v any, err error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("devgateway: a value is nested deeper than %d", maxDepth)
	}
	members, err := pluginserver.DecodeMembers(b)
	for _, m := range members {
		switch m.Number {
		case 1:
			v = "NULL_VALUE"
		case 2:
			v = math.Float64frombits(m.Value)
		case 3:
			v = string(m.Bytes)
		case 4:
			v = nil
			if m.Value != 0 {
				v = true
			}
		case 5:
			v, err = decodeStruct(m.Bytes, depth+1)
		case 6:
			v, err = decodeList(m.Bytes, depth+1)
		}
		if err != nil {
			return nil, err
		}
	}
	return v, err
}

// decodeList reads a ListValue. What is nil to Lua is no element.
func decodeList(b []byte, depth int) ([]any, error) {
	members, err := pluginserver.DecodeMembers(b)
	out := []any{}
	for _, m := range members {
		if m.Number != 1 {
			continue
		}
		v, err := decodeValue(m.Bytes, depth)
		if err != nil {
			return nil, err
		}
		if v != nil {
			out = append(out, v)
		}
	}
	return out, err
}

// decodeStruct reads a Struct. A member that is nil to Lua is not there.
func decodeStruct(b []byte, depth int) (map[string]any, error) {
	members, err := pluginserver.DecodeMembers(b)
	out := map[string]any{}
	for _, m := range members {
		if m.Number != 1 {
			continue
		}
		key, v, err := decodeEntry(m.Bytes, depth)
		if err != nil {
			return nil, err
		}
		if delete(out, key); v != nil {
			out[key] = v
		}
	}
	return out, err
}

// decodeBool reads the message Bool.
func decodeBool(b []byte) (v bool, err error) {
	members, err := pluginserver.DecodeMembers(b)
	for _, m := range members {
		if m.Number == 1 {
			v = m.Value != 0
		}
	}
	return v, err
}

func encodeString(s string) []byte { return pluginserver.AppendString(nil, s) }

func encodeNumber(v float64) []byte { return appendDouble(nil, 1, v) }

func encodeBool(v bool) []byte {
	if v {
		return appendInt(nil, 1, 1)
	}
	return nil
}

func appendDouble(b []byte, n protowire.Number, v float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), math.Float64bits(v))
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

// encodeValue writes a value of Lua. An empty table is a Struct, for Lua cannot tell it from a
// list.
func encodeValue(v any) []byte {
	switch v := v.(type) {
	case bool:
		var n int64
		if v {
			n = 1
		}
		return appendInt(nil, 4, n)
	case float64:
		return appendDouble(nil, 2, v)
	case string:
		return appendString(nil, 3, v)
	case []any:
		if len(v) == 0 {
			return appendMessage(nil, 5, nil)
		}
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
	var out []byte
	for _, name := range sortedKeys(m) {
		entry := appendString(nil, 1, name)
		entry = appendMessage(entry, 2, encodeValue(m[name]))
		out = appendMessage(out, 1, entry)
	}
	return out
}
