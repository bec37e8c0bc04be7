package devgateway

import "google.golang.org/protobuf/encoding/protowire"

// Entities as the PDK's messages.

// encoder writes an entity member by member; null and absent members are left out.
type encoder struct {
	entity map[string]any
	out    []byte
}

func (e *encoder) str(n protowire.Number, name string) {
	if s, ok := e.entity[name].(string); ok && s != "" {
		e.out = appendString(e.out, n, s)
	}
}

func (e *encoder) integer(n protowire.Number, name string) {
	switch v := e.entity[name].(type) {
	case float64:
		e.out = appendInt(e.out, n, int64(v))
	case bool:
		if v {
			e.out = appendInt(e.out, n, 1)
		}
	}
}

func (e *encoder) list(n protowire.Number, name string) {
	values, _ := e.entity[name].([]any)
	for _, v := range values {
		if s, ok := v.(string); ok {
			e.out = appendString(e.out, n, s)
		}
	}
}

func encodeConsumer(entity map[string]any) []byte {
	e := encoder{entity: entity}
	e.str(1, "id")
	e.integer(2, "created_at")
	e.str(3, "username")
	e.str(4, "custom_id")
	e.list(5, "tags")
	return e.out
}

func encodeRoute(entity map[string]any) []byte {
	e := encoder{entity: entity}
	e.str(1, "id")
	e.integer(2, "created_at")
	e.integer(3, "updated_at")
	e.str(4, "name")
	e.list(5, "protocols")
	e.list(6, "methods")
	e.list(7, "hosts")
	e.list(8, "paths")
	e.integer(10, "https_redirect_status_code")
	e.integer(11, "regex_priority")
	e.integer(12, "strip_path")
	e.integer(13, "preserve_host")
	e.list(17, "tags")
	if id := foreignID(entity, "service"); id != "" {
		e.out = appendMessage(e.out, 18, appendString(nil, 1, id))
	}
	return e.out
}

func encodeService(entity map[string]any) []byte {
	e := encoder{entity: entity}
	e.str(1, "id")
	e.integer(2, "created_at")
	e.integer(3, "updated_at")
	e.str(4, "name")
	e.integer(5, "retries")
	e.str(6, "protocol")
	e.str(7, "host")
	e.integer(8, "port")
	e.str(9, "path")
	e.integer(10, "connect_timeout")
	e.integer(11, "write_timeout")
	e.integer(12, "read_timeout")
	e.list(13, "tags")
	return e.out
}
