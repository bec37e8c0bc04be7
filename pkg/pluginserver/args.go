package pluginserver

import "google.golang.org/protobuf/encoding/protowire"

// The small messages that PDK calls take and give, for both sides. None of these refers to the
// bytes it was decoded from.

// AppendInt appends an Int, for example the argument of get_headers.
func AppendInt(dst []byte, v int32) []byte { return appendVarint(dst, 1, int64(v)) }

// DecodeInt reads an Int.
func DecodeInt(b []byte) (v int32, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = nextField(b); err != nil {
			return 0, err
		}
		if f.is(1, protowire.VarintType) {
			v = int32(f.number)
		}
	}
	return v, nil
}

// AppendString appends a String, a ByteString, or a RawBodyResult with content: they look the same
// on the wire.
func AppendString(dst []byte, s string) []byte { return appendBytes(dst, 1, s) }

// DecodeString reads a String or a ByteString. Bytes are kept as they are. The error of a
// RawBodyResult, or the path of a body that nginx holds in a file, reads as "".
func DecodeString(b []byte) (s string, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = nextField(b); err != nil {
			return "", err
		}
		if f.is(1, protowire.BytesType) {
			s = string(f.bytes)
		}
	}
	return s, nil
}

// AppendKV appends a KV with a string as value, the argument of set_header.
func AppendKV(dst []byte, key, value string) []byte {
	dst = appendText(dst, 1, key)
	dst = appendLen(dst, 2, sizeBytes(len(value)))
	return appendText(dst, valueString, value)
}

// DecodeKV reads a KV as a header: of a list every value, of null none.
func DecodeKV(b []byte) (Header, error) {
	d := headerDecoder{reply: b, text: string(b)}
	return d.entry(b) // a KV has the shape of a Struct's entry
}

// AppendList appends a ListValue of strings, the argument of kong.log.*.
func AppendList(dst []byte, values ...string) []byte {
	for _, v := range values {
		dst = appendLen(dst, listValue, sizeBytes(len(v)))
		dst = appendText(dst, valueString, v)
	}
	return dst
}

// DecodeList reads a ListValue; see DecodeHeaders for values that are no strings.
func DecodeList(b []byte) ([]string, error) {
	d := headerDecoder{reply: b, text: string(b)}
	if err := d.list(b); err != nil {
		return nil, err
	}
	return d.values, nil
}

// ExitArgs is the argument of kong.response.exit.
type ExitArgs struct {
	Status  int
	Headers []Header
	Body    []byte
}

// appendExit leaves out headers that are not UTF-8 or have no value: an exit must not fail.
func appendExit(dst []byte, a ExitArgs) []byte {
	dst = appendVarint(dst, 1, int64(a.Status))
	dst = appendBytes(dst, 2, a.Body)
	size := 0
	for _, h := range a.Headers {
		if fitsExit(h) {
			size += headerSize(h)
		}
	}
	if size == 0 {
		return dst
	}
	dst = appendLen(dst, 3, size)
	for _, h := range a.Headers {
		if fitsExit(h) {
			dst = appendHeader(dst, h)
		}
	}
	return dst
}

func fitsExit(h Header) bool { return len(h.Values) > 0 && validHeader(h) }

// DecodeExit reads the argument of kong.response.exit, on Kong's side.
func DecodeExit(b []byte) (ExitArgs, error) {
	var a ExitArgs
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return ExitArgs{}, err
		}
		b = rest
		switch {
		case f.is(1, protowire.VarintType):
			a.Status = int(int32(f.number))
		case f.is(2, protowire.BytesType):
			a.Body = append([]byte(nil), f.bytes...)
		case f.is(3, protowire.BytesType):
			if a.Headers, err = DecodeHeaders(f.bytes); err != nil {
				return ExitArgs{}, err
			}
		}
	}
	return a, nil
}
