package devgateway

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// The half of the PDK that changes things: the request to the service and the response to the
// client.

// withString makes a method of a setter that takes one string.
func withString(f func(p *pdk, s string) error) method {
	return func(p *pdk, args []byte) ([]byte, error) {
		s, err := pluginserver.DecodeString(args)
		if err != nil {
			return nil, err
		}
		return nil, f(p, s)
	}
}

// withHeader makes a method of a setter that takes a name and a value; list tells a list from a
// single value.
func withHeader(f func(p *pdk, name string, values []string, list bool)) method {
	return func(p *pdk, args []byte) ([]byte, error) {
		name, v, err := decodeKV(args)
		if err != nil {
			return nil, err
		}
		values, err := headerValues(name, v)
		if err != nil {
			return nil, err
		}
		_, list := v.([]any)
		f(p, name, values, list)
		return nil, nil
	}
}

// settableMethods are those that nginx lets Lua set.
var settableMethods = []string{
	"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "MKCOL", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH", "TRACE",
}

var serviceMethods = map[string]method{
	"kong.service.request.set_scheme": withString(func(p *pdk, s string) error {
		if s != "http" && s != "https" {
			return luaError("invalid scheme: " + s)
		}
		p.x.scheme = s
		return nil
	}),
	"kong.service.request.set_path": withString(func(p *pdk, s string) error {
		if !strings.HasPrefix(s, "/") {
			return luaError("path must start with /")
		}
		p.x.path = escapePath(s)
		return nil
	}),
	"kong.service.request.set_raw_query": withString(func(p *pdk, s string) error {
		p.x.query = strings.NewReplacer(" ", "%20", "\r", "%0D", "\n", "%0A").Replace(s) // and nothing else
		return nil
	}),
	"kong.service.request.set_method": withString(func(p *pdk, s string) error {
		if !slices.Contains(settableMethods, s) {
			return luaError("invalid method: " + s)
		}
		p.x.method = s
		return nil
	}),
	"kong.service.request.set_query": func(p *pdk, args []byte) ([]byte, error) {
		m, err := decodeStruct(args, 0)
		if err != nil {
			return nil, err
		}
		p.x.query, err = encodeQuery(m)
		return nil, err
	},
	"kong.service.request.set_header": withHeader(func(p *pdk, name string, values []string, _ bool) {
		p.x.setRequestHeader(name, values, len(values) != 1)
	}),
	"kong.service.request.add_header": withHeader(func(p *pdk, name string, values []string, list bool) {
		if list || len(values) == 0 {
			values = []string{"table: 0x7f0000000000"} // what Lua prints for a list, which this function does not take
		}
		p.x.setRequestHeader(name, append(slices.Clone(p.x.header.Values(name)), values...), true)
	}),
	"kong.service.request.clear_header": withString(func(p *pdk, name string) error {
		setHeader(p.x.header, name, nil)
		return nil
	}),
	"kong.service.request.set_headers": func(p *pdk, args []byte) ([]byte, error) {
		return nil, eachHeader(args, func(name string, values []string, list bool) { p.x.setRequestHeader(name, values, list) })
	},
	"kong.service.request.set_raw_body": withString(func(p *pdk, s string) error {
		if err := p.x.loadBody(); err != nil { // nginx reads the client's body to its end first
			return luaError(err.Error())
		}
		p.x.setBody([]byte(s))
		setHeader(p.x.header, "Transfer-Encoding", nil)
		setHeader(p.x.header, "Content-Length", []string{fmt.Sprint(len(s))})
		return nil
	}),
	"kong.service.set_target": func(p *pdk, args []byte) ([]byte, error) {
		members, err := pluginserver.DecodeMembers(args)
		if err != nil {
			return nil, err
		}
		host, port := "", 0
		for _, m := range members {
			switch m.Number {
			case 1:
				host = string(m.Bytes)
			case 2:
				port = int(int32(uint32(m.Value)))
			}
		}
		if port < 1 || port > 65535 {
			return nil, luaError("port must be an integer between 1 and 65535")
		}
		p.x.target = net.JoinHostPort(host, fmt.Sprint(port))
		return nil, nil
	},
	"kong.service.set_upstream": func(*pdk, []byte) ([]byte, error) { return nil, nil }, // there are no upstream entities here: nil, "not found"
}

// setRequestHeader is ngx.req.set_header with Kong's special case for Host, which only a single
// string survives.
func (x *exchange) setRequestHeader(name string, values []string, list bool) {
	if strings.EqualFold(name, "host") {
		x.hostBroken = list
		if !list {
			x.host = escapeControls(values[0])
		}
	}
	setHeader(x.header, name, values)
}

func encodeQuery(m map[string]any) (string, error) {
	var parts []string
	for name, v := range m {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		var same []string
		for _, e := range list {
			switch e := e.(type) {
			case string:
				same = append(same, escapeArg(name)+"="+escapeArg(e))
			case float64:
				same = append(same, escapeArg(name)+"="+escapeArg(fmt.Sprint(e)))
			case bool:
				same = append(same, escapeArg(name))
			default:
				return "", luaError("attempt to use a table as query arg value")
			}
		}
		if len(same) > 0 {
			parts = append(parts, strings.Join(same, "&"))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "&"), nil
}

var responseMethods = map[string]method{
	"kong.response.set_status": func(_ *pdk, args []byte) ([]byte, error) { // the upstream's status replaces it
		status, err := pluginserver.DecodeInt(args)
		if err == nil && (status < 100 || status > 599) {
			err = luaError("code must be a number between 100 and 599")
		}
		return nil, err
	},
	"kong.response.set_header": withHeader(func(p *pdk, name string, values []string, _ bool) {
		setResponseHeader(p.x.response, name, values)
	}),
	"kong.response.add_header": withHeader(func(p *pdk, name string, values []string, _ bool) {
		old := p.x.response.Values(responseName(name))
		setResponseHeader(p.x.response, name, append(slices.Clone(old), values...))
	}),
	"kong.response.clear_header": withString(func(p *pdk, name string) error {
		setResponseHeader(p.x.response, name, nil)
		return nil
	}),
	"kong.response.set_headers": func(p *pdk, args []byte) ([]byte, error) {
		return nil, eachHeader(args, func(name string, values []string, _ bool) { setResponseHeader(p.x.response, name, values) })
	},
	"kong.response.exit": func(p *pdk, args []byte) ([]byte, error) {
		members, err := pluginserver.DecodeMembers(args)
		if err != nil {
			return nil, err
		}
		exit := &exitAnswer{header: http.Header{}}
		for _, m := range members {
			switch m.Number {
			case 1:
				exit.status = int(int32(uint32(m.Value)))
			case 2:
				exit.body = slices.Clone(m.Bytes)
			case 3:
				set := func(name string, values []string, _ bool) { setResponseHeader(exit.header, name, values) }
				if err := eachHeader(m.Bytes, set); err != nil {
					return nil, err
				}
			}
		}
		if exit.status < 100 || exit.status > 599 {
			return nil, luaError("code must be a number between 100 and 599")
		}
		p.x.exit = exit
		return nil, nil
	},
}

// responseName is the name as nginx's Lua writes it in answers: - for _.
func responseName(name string) string { return strings.ReplaceAll(name, "_", "-") }

func setResponseHeader(h http.Header, name string, values []string) {
	if strings.EqualFold(responseName(name), "transfer-encoding") {
		return // Kong ignores it, too
	}
	if len(values) > 1 && slices.Contains(single, http.CanonicalHeaderKey(responseName(name))) {
		values = values[len(values)-1:]
	}
	setHeader(h, responseName(name), values)
}

// single are the response headers that nginx's Lua holds one value of: of several, the last one
// stays (ngx_http_lua_headers_out.c).
var single = []string{
	"Server", "Date", "Content-Encoding", "Location", "Refresh", "Last-Modified", "Content-Range", "Accept-Ranges", "Www-Authenticate",
	"Expires", "Etag", "Content-Length", "Content-Type",
}
