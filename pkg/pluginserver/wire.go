package pluginserver

import (
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of pluginsocket.proto, which Kong and go-pdk share.
const (
	fieldSequence protowire.Number = 1 // of RpcCall and RpcReturn

	cmdGetPluginNames    protowire.Number = 31 // of RpcCall's oneof
	cmdGetPluginInfo     protowire.Number = 32
	cmdStartInstance     protowire.Number = 33
	cmdGetInstanceStatus protowire.Number = 34
	cmdCloseInstance     protowire.Number = 35
	cmdHandleEvent       protowire.Number = 36

	returnInstanceStatus protowire.Number = 33 // of RpcReturn's oneof
)

// eventAccess is the only phase that an Instance handles.
const eventAccess = "access"

const methodExit = "kong.response.exit"

// silent are the methods whose answer carries nothing: those that pluginsocket.proto declares with
// `returns (google.protobuf.Empty)`. Kong answers each with an empty frame that nobody need wait
// for. kong.service.set_upstream (Bool) and kong.nginx.set_ctx (String) declare an answer and are
// asked like any getter. kong.response.exit is not here: it is declared Empty too, but never
// answered.
var silent = map[string]bool{
	"kong.client.authenticate": true,

	"kong.ctx.shared.set": true,

	"kong.log.alert":               true,
	"kong.log.crit":                true,
	"kong.log.err":                 true,
	"kong.log.warn":                true,
	"kong.log.notice":              true,
	"kong.log.info":                true,
	"kong.log.debug":               true,
	"kong.log.set_serialize_value": true,

	"kong.response.set_status":   true,
	"kong.response.set_header":   true,
	"kong.response.add_header":   true,
	"kong.response.clear_header": true,
	"kong.response.set_headers":  true,

	"kong.service.set_target": true,

	"kong.service.request.set_scheme":    true,
	"kong.service.request.set_path":      true,
	"kong.service.request.set_raw_query": true,
	"kong.service.request.set_method":    true,
	"kong.service.request.set_query":     true,
	"kong.service.request.set_header":    true,
	"kong.service.request.add_header":    true,
	"kong.service.request.clear_header":  true,
	"kong.service.request.set_headers":   true,
	"kong.service.request.set_raw_body":  true,
}

var errGarbage = errors.New("not a valid protocol message")

// field is one field of a message: number holds a varint or a fixed value, bytes a length-delimited
// one.
type field struct {
	num    protowire.Number
	typ    protowire.Type
	number uint64
	bytes  []byte
}

// is tells whether the field is the wanted one in the wire type its declaration asks for. Any other
// is unknown, hence ignored.
func (f field) is(num protowire.Number, typ protowire.Type) bool { return f.num == num && f.typ == typ }

// nextField cuts the first field off a message. f.bytes keeps the capacity of b: DecodeHeaders
// counts on it.
func nextField(b []byte) (f field, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return field{}, nil, errGarbage
	}
	b = b[n:]
	f = field{num: num, typ: typ}
	switch typ {
	case protowire.VarintType:
		f.number, n = protowire.ConsumeVarint(b)
	case protowire.Fixed64Type:
		f.number, n = protowire.ConsumeFixed64(b)
	case protowire.BytesType:
		var size uint64
		size, n = protowire.ConsumeVarint(b)
		if n < 0 || size > uint64(len(b)-n) {
			return field{}, nil, errGarbage
		}
		f.bytes = b[n : n+int(size)]
		n += int(size)
	default:
		n = protowire.ConsumeFieldValue(num, typ, b)
	}
	if n < 0 {
		return field{}, nil, errGarbage
	}
	return f, b[n:], nil
}

// cutField cuts the length-delimited field num off b if it comes next, and if its number is below
// 16 and its length below 16 KiB, as in nearly every message. ok is false for all else, also for
// what nextField can read. Capacities are kept as there.
func cutField(b []byte, num protowire.Number) (payload, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != byte(num)<<3|byte(protowire.BytesType) {
		return nil, nil, false
	}
	n, at := int(b[1]), 2
	if n >= 0x80 {
		if len(b) < 3 || b[2] >= 0x80 {
			return nil, nil, false
		}
		n, at = n&0x7f|int(b[2])<<7, 3
	}
	if n > len(b)-at {
		return nil, nil, false
	}
	return b[at : at+n], b[at+n:], true
}

// call is an RpcCall. Its slices point into the frame it came from.
type call struct {
	sequence int64
	command  protowire.Number
	instance int32
	text     []byte // the plugin's name or the event's
	config   []byte
}

func decodeCall(b []byte) (call, error) {
	var c call
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return call{}, err
		}
		b = rest
		switch {
		case f.is(fieldSequence, protowire.VarintType):
			c.sequence = int64(f.number)
		case f.typ == protowire.BytesType && f.num >= cmdGetPluginNames && f.num <= cmdHandleEvent:
			if c, err = decodeCommand(c.sequence, f); err != nil {
				return call{}, err
			}
		}
	}
	return c, nil
}

func decodeCommand(sequence int64, command field) (call, error) {
	c := call{sequence: sequence, command: command.num}
	for b := command.bytes; len(b) > 0; {
		f, rest, err := nextField(b)
		if err != nil {
			return call{}, err
		}
		b = rest
		switch {
		case c.command == cmdStartInstance && f.is(1, protowire.BytesType),
			c.command == cmdHandleEvent && f.is(2, protowire.BytesType):
			c.text = f.bytes
		case c.command == cmdStartInstance && f.is(2, protowire.BytesType):
			c.config = f.bytes
		case c.command != cmdStartInstance && f.is(1, protowire.VarintType):
			c.instance = int32(f.number)
		}
	}
	return c, nil
}

// append encodes the call as Kong does.
func (c call) append(b []byte) []byte {
	var body []byte
	if c.command == cmdStartInstance {
		body = appendBytes(body, 1, c.text)
		body = appendBytes(body, 2, c.config)
	} else {
		body = appendVarint(body, 1, int64(c.instance))
		body = appendBytes(body, 2, c.text)
	}
	b = appendVarint(b, fieldSequence, c.sequence)
	b = protowire.AppendTag(b, c.command, protowire.BytesType)
	return protowire.AppendBytes(b, body)
}

// appendReturn encodes an RpcReturn, with an instance_status if id is not zero.
func appendReturn(b []byte, sequence int64, id int32) []byte {
	b = appendVarint(b, fieldSequence, sequence)
	if id != 0 {
		var status [16]byte
		b = appendBytes(b, returnInstanceStatus, appendVarint(status[:0], 2, int64(id)))
	}
	return b
}

func decodeReturn(b []byte) (sequence int64, id int32, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = nextField(b); err != nil {
			return 0, 0, err
		}
		switch {
		case f.is(fieldSequence, protowire.VarintType):
			sequence = int64(f.number)
		case f.is(returnInstanceStatus, protowire.BytesType):
			for status := f.bytes; len(status) > 0; {
				if f, status, err = nextField(status); err != nil {
					return 0, 0, err
				}
				if f.is(2, protowire.VarintType) {
					id = int32(f.number)
				}
			}
		}
	}
	return sequence, id, nil
}

// appendVarint and appendBytes leave a zero value out, as proto3 does.
func appendVarint(b []byte, num protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
}

func appendBytes[T []byte | string](b []byte, num protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

func float(bits uint64) float64 { return math.Float64frombits(bits) }
