package devgateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// pdk answers the calls of one event as Kong's plugin development kit does in the access phase:
// with effect on the request, and with a Lua error (500 for the client, a closed connection for the
// plugin) for what Kong would not take.
type pdk struct {
	x      *exchange
	gw     *Gateway
	plugin string // whose calls these are, for the log
}

// method is one function of the PDK: its reply, or the error that Lua would throw.
type method func(p *pdk, args []byte) ([]byte, error)

// methods are those of Kong's pluginsocket.proto. What is not here Kong does not know either.
var methods = func() map[string]method {
	all := map[string]method{}
	for _, group := range []map[string]method{requestMethods, serviceMethods, responseMethods, clientMethods, otherMethods} {
		for name, m := range group {
			all[name] = m
		}
	}
	for _, level := range []string{"alert", "crit", "err", "warn", "notice", "info", "debug"} {
		all["kong.log."+level] = logAt(level)
	}
	for _, name := range laterOnly {
		all[name] = wrongPhase
	}
	return all
}()

// laterOnly are the functions that Kong refuses in the access phase.
var laterOnly = []string{
	"kong.response.get_status", "kong.response.get_header", "kong.response.get_headers", "kong.response.get_source",
	"kong.service.response.get_status", "kong.service.response.get_header", "kong.service.response.get_headers",
	"kong.service.response.get_raw_body", "kong.log.serialize",
}

var errWrongPhase = luaError("function cannot be called in access phase")

func wrongPhase(*pdk, []byte) ([]byte, error) { return nil, errWrongPhase }

// luaError is an error thrown inside of Kong by what the plugin asked for.
type luaError string

func (e luaError) Error() string { return "devgateway: pdk: " + string(e) }

// Call implements pluginserver.API.
func (p *pdk) Call(name string, args []byte) ([]byte, error) {
	m, ok := methods[name]
	if !ok {
		return nil, luaError(fmt.Sprintf("method %q not found", name))
	}
	reply, err := m(p, args)
	if err == nil && p.x.exit != nil {
		return nil, pluginserver.ErrExited
	}
	return reply, err
}

// text makes a method of a function that takes nothing and returns a string.
func text(f func(*exchange) string) method {
	return func(p *pdk, _ []byte) ([]byte, error) { return encodeString(f(p.x)), nil }
}

func number(f func(*exchange) int) method {
	return func(p *pdk, _ []byte) ([]byte, error) { return pluginserver.AppendInt(nil, int32(f(p.x))), nil }
}

var requestMethods = map[string]method{
	"kong.request.get_scheme":           text((*exchange).clientScheme),
	"kong.request.get_host":             text((*exchange).clientHost),
	"kong.request.get_port":             number((*exchange).serverPort),
	"kong.request.get_forwarded_scheme": text((*exchange).forwardedScheme),
	"kong.request.get_forwarded_host":   text((*exchange).forwardedHost),
	"kong.request.get_forwarded_port":   number((*exchange).forwardedPort),
	"kong.request.get_method":           text(func(x *exchange) string { return x.method }),
	"kong.request.get_path":             text(func(x *exchange) string { return normalizePath(x.rawPath()) }),
	"kong.request.get_path_with_query":  text(func(x *exchange) string { return x.uri }),
	"kong.request.get_raw_query":        text(func(x *exchange) string { return x.query }),
	"kong.request.get_http_version": func(p *pdk, _ []byte) ([]byte, error) {
		return encodeNumber(float64(p.x.in.ProtoMajor) + float64(p.x.in.ProtoMinor)/10), nil
	},
	"kong.request.get_query_arg": func(p *pdk, args []byte) ([]byte, error) {
		name, err := pluginserver.DecodeString(args)
		if err != nil {
			return nil, err
		}
		list, _ := parseArgs(p.x.query, 100)
		v := queryValues(list)[name]
		if values, ok := v.([]any); ok {
			v = values[0]
		}
		if v == true {
			return nil, luaError("bad argument: a boolean where the protocol has a string")
		}
		s, _ := v.(string)
		return encodeString(s), nil
	},
	"kong.request.get_query": func(p *pdk, args []byte) ([]byte, error) {
		limit, err := decodeLimit("max_args", args)
		if err != nil {
			return nil, err
		}
		list, _ := parseArgs(p.x.query, limit)
		return encodeStruct(queryValues(list)), nil
	},
	"kong.request.get_header": func(p *pdk, args []byte) ([]byte, error) {
		name, err := pluginserver.DecodeString(args)
		if err != nil {
			return nil, err
		}
		v, _ := p.x.getHeader(name)
		return encodeString(v), nil
	},
	"kong.request.get_headers": func(p *pdk, args []byte) ([]byte, error) {
		limit, err := decodeLimit("max_headers", args)
		if err != nil {
			return nil, err
		}
		return pluginserver.AppendRawHeaders(nil, p.x.getHeaders(limit)), nil
	},
	"kong.request.get_raw_body": func(p *pdk, _ []byte) ([]byte, error) {
		if err := p.x.loadBody(); err != nil {
			return nil, luaError(err.Error())
		}
		if p.x.bodyRead == nil {
			return appendString(nil, 2, p.x.bodyFile), nil
		}
		return appendString(nil, 1, string(p.x.bodyRead)), nil
	},
	"kong.request.get_uri_captures": func(*pdk, []byte) ([]byte, error) { return nil, nil },
}

// decodeLimit reads the number that get_headers and get_query take: 1 to 1000.
func decodeLimit(name string, args []byte) (int, error) {
	n, err := pluginserver.DecodeInt(args)
	switch {
	case err != nil:
		return 0, err
	case n < 1:
		return 0, luaError(name + " must be >= 1")
	case n > 1000:
		return 0, luaError(name + " must be <= 1000")
	}
	return int(n), nil
}

// logAt writes what a plugin says in Kong's log, that is in ours.
func logAt(level string) method {
	at := map[string]slog.Level{
		"alert": slog.LevelError, "crit": slog.LevelError, "err": slog.LevelError, "warn": slog.LevelWarn,
		"notice": slog.LevelInfo, "info": slog.LevelInfo, "debug": slog.LevelDebug,
	}[level]
	return func(p *pdk, args []byte) ([]byte, error) {
		list, err := decodeList(args, 0)
		if err == nil && len(list) == 0 {
			err = luaError("nothing to log")
		}
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		for _, v := range list {
			fmt.Fprint(&b, v)
		}
		p.gw.log.Log(context.Background(), at, b.String(), "plugin", p.plugin, "level", level, "request_id", p.x.id)
		return nil, nil
	}
}

// header values as Kong's checks take them: strings, lists of strings, numbers and true.
func headerValues(name string, v any) ([]string, error) {
	switch v := v.(type) {
	case string:
		return []string{v}, nil
	case float64, bool:
		return []string{fmt.Sprint(v)}, nil
	case []any:
		out := []string{}
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, luaError(fmt.Sprintf("invalid header value in array %q: expected string", name))
			}
			out = append(out, s)
		}
		return out, nil
	case map[string]any: // an empty table is a list to Lua
		if len(v) == 0 {
			return nil, nil
		}
	}
	return nil, luaError(fmt.Sprintf("invalid header value for %q: expected array of string, string, number or boolean", name))
}

// eachHeader hands the headers of a Struct to set, once all of them are known to be headers; list
// tells a list from a single string.
func eachHeader(args []byte, set func(name string, values []string, list bool)) error {
	m, err := decodeStruct(args, 0)
	if err != nil {
		return err
	}
	headers := http.Header{}
	for name, v := range m {
		if headers[name], err = headerValues(name, v); err != nil {
			return err
		}
	}
	for name, values := range headers {
		_, single := m[name].(string)
		set(name, values, !single)
	}
	return nil
}
