package devgateway

import (
	"fmt"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// The functions of the PDK about who the client is, and those that belong to no request.

// Where Kong keeps them in ngx.ctx: a plugin may set them there, too, and a credential that was set
// so counts without a consumer.
const (
	consumerKey   = "authenticated_consumer"
	credentialKey = "authenticated_credential"
)

// consumerID is the id of the consumer that a plugin has authenticated, or "".
func (x *exchange) consumerID() string {
	consumer, _ := x.ctx[consumerKey].(map[string]any)
	id, _ := consumer["id"].(string)
	return id
}

// fromCtx makes a getter of what Kong keeps under a key of ngx.ctx.
func fromCtx(key string, encode func(entity map[string]any) []byte) method {
	return func(p *pdk, _ []byte) ([]byte, error) {
		entity, ok := p.x.ctx[key].(map[string]any)
		if !ok && p.x.ctx[key] != nil {
			return nil, luaError(key + " is no table")
		}
		return encode(entity), nil
	}
}

var clientMethods = map[string]method{
	"kong.client.get_ip":             text(func(x *exchange) string { ip, _ := x.peer(); return ip }),
	"kong.client.get_forwarded_ip":   text(func(x *exchange) string { ip, _ := x.client(); return ip }),
	"kong.client.get_port":           number(func(x *exchange) int { _, port := x.peer(); return port }),
	"kong.client.get_forwarded_port": number(func(x *exchange) int { _, port := x.client(); return port }),
	"kong.client.get_consumer":       fromCtx(consumerKey, encodeConsumer),
	"kong.client.get_credential": fromCtx(credentialKey, func(entity map[string]any) []byte {
		e := encoder{entity: entity}
		e.str(1, "id")
		e.str(2, "consumer_id")
		return e.out
	}),
	"kong.client.get_protocol": func(p *pdk, args []byte) ([]byte, error) {
		terminated, err := decodeBool(args)
		if err != nil {
			return nil, err
		}
		// Of what a Lua function returns only the first value is sent: its error is lost.
		protocol, _ := p.x.protocol(terminated)
		return encodeString(protocol), nil
	},
	"kong.client.load_consumer": func(p *pdk, args []byte) ([]byte, error) {
		members, err := pluginserver.DecodeMembers(args)
		if err != nil {
			return nil, err
		}
		id, byName := "", false
		for _, m := range members {
			switch m.Number {
			case 1:
				id = string(m.Bytes)
			case 2:
				byName = m.Value != 0
			}
		}
		if !isUUID(id) && !byName {
			return nil, luaError("cannot load a consumer with an id that is not a uuid")
		}
		return encodeConsumer(p.gw.store.consumer(id, byName)), nil
	},
	"kong.client.authenticate": func(p *pdk, args []byte) ([]byte, error) {
		members, err := pluginserver.DecodeMembers(args)
		if err != nil {
			return nil, err
		}
		var consumer, credential any // nil, or a table
		for _, m := range members {
			switch m.Number {
			case 1:
				consumer, err = decodeNamed(m.Bytes, map[int]string{1: "id", 3: "username", 4: "custom_id"})
			case 2:
				credential, err = decodeNamed(m.Bytes, map[int]string{1: "id", 2: "consumer_id"})
			}
			if err != nil {
				return nil, err
			}
		}
		if consumer == nil && credential == nil {
			return nil, luaError("either credential or consumer must be provided")
		}
		p.x.ctx[consumerKey], p.x.ctx[credentialKey] = consumer, credential
		return nil, nil
	},
}

// decodeNamed reads the string members of a message into a table. One that is absent is "", not
// nil: so the protocol's decoder does it.
func decodeNamed(b []byte, names map[int]string) (map[string]any, error) {
	members, err := pluginserver.DecodeMembers(b)
	out := map[string]any{}
	for _, name := range names {
		out[name] = ""
	}
	for _, m := range members {
		if name, ok := names[m.Number]; ok {
			out[name] = string(m.Bytes)
		}
	}
	return out, err
}

// setter and getter make methods of a table of the request.
func setter(table func(*exchange) map[string]any) method {
	return func(p *pdk, args []byte) ([]byte, error) {
		k, v, err := decodeKV(args)
		if err == nil {
			table(p.x)[k] = v
		}
		return nil, err
	}
}

func getter(table func(*exchange) map[string]any) method {
	return func(p *pdk, args []byte) ([]byte, error) {
		k, err := pluginserver.DecodeString(args)
		return encodeValue(table(p.x)[k]), err
	}
}

func sharedTable(x *exchange) map[string]any { return x.shared }
func ctxTable(x *exchange) map[string]any    { return x.ctx }

var otherMethods = map[string]method{
	"kong.ctx.shared.set": setter(sharedTable),
	"kong.ctx.shared.get": getter(sharedTable),
	"kong.nginx.set_ctx":  setter(ctxTable),
	"kong.nginx.get_ctx":  getter(ctxTable),
	"kong.nginx.get_var": func(p *pdk, args []byte) ([]byte, error) {
		name, err := pluginserver.DecodeString(args)
		if err != nil {
			return nil, err
		}
		return encodeString(p.x.variable(name)), nil
	},
	"kong.nginx.get_subsystem": text(func(*exchange) string { return "http" }),
	"kong.nginx.get_tls1_version_str": text(func(x *exchange) string {
		if x.in.TLS == nil {
			return ""
		}
		return "TLSv1.3"
	}),
	"kong.nginx.req_start_time": func(p *pdk, _ []byte) ([]byte, error) {
		return encodeNumber(float64(p.x.started.UnixMilli()) / 1000), nil
	},
	"kong.log.set_serialize_value": func(_ *pdk, args []byte) ([]byte, error) { // nothing here logs what is serialised
		_, _, err := decodeKV(args)
		return nil, err
	},
	"kong.node.get_id":           func(p *pdk, _ []byte) ([]byte, error) { return encodeString(p.gw.nodeID), nil },
	"kong.node.get_memory_stats": func(*pdk, []byte) ([]byte, error) { return nil, nil },
	"kong.ip.is_trusted": func(p *pdk, args []byte) ([]byte, error) {
		ip, err := pluginserver.DecodeString(args)
		return encodeBool(p.gw.trusts(ip, 0)), err
	},
	"kong.router.get_route":   func(p *pdk, _ []byte) ([]byte, error) { return encodeRoute(p.x.route.entity), nil },
	"kong.router.get_service": func(p *pdk, _ []byte) ([]byte, error) { return encodeService(p.x.route.service), nil },
}

// variable is one of nginx's, of those that plugins read; unknown ones are empty.
func (x *exchange) variable(name string) string {
	switch name {
	case "remote_addr":
		ip, _ := x.client()
		return ip
	case "remote_port":
		_, port := x.client()
		return fmt.Sprint(port)
	case "realip_remote_addr":
		ip, _ := x.peer()
		return ip
	case "realip_remote_port":
		_, port := x.peer()
		return fmt.Sprint(port)
	case "scheme":
		return x.clientScheme()
	case "host":
		return x.clientHost()
	case "server_port":
		return fmt.Sprint(x.serverPort())
	case "request_method":
		return x.method
	case "request_uri":
		return x.uri
	case "uri":
		uri, _ := nginxURI(x.rawPath())
		return uri
	case "args", "query_string":
		return x.query
	case "server_protocol":
		return x.in.Proto
	case "request_id":
		return x.nginxID
	case "kong_request_id":
		return x.id
	case "ssl_client_verify": // the others of ssl_client_* are empty without a certificate
		if x.in.TLS != nil {
			return "NONE"
		}
	case "content_type", "content_length":
		v, _ := x.headerVariable(name)
		return v
	}
	if header, ok := strings.CutPrefix(name, "http_"); ok {
		v, _ := x.headerVariable(header)
		return v
	}
	if what, ok := strings.CutPrefix(name, "upstream_x_forwarded_"); ok {
		return x.forwarded[what]
	}
	return ""
}
