package kong

import (
	"cmp"
	"fmt"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// Origin is what tells one request from others, for the log.
type Origin struct {
	RequestID string // Kong's, as in its access log and in X-Kong-Request-Id
	ClientIP  string // the client's address, behind proxies that Kong trusts
	Route     string // the route's name, or its id where it has none
}

// ReadOrigin asks Kong where e's request comes from: three calls in one write.
func ReadOrigin(e *pluginserver.Event) (Origin, error) {
	replies, err := e.AskAll(
		pluginserver.Call{Method: "kong.nginx.get_var", Args: pluginserver.AppendString(nil, "kong_request_id")},
		pluginserver.Call{Method: "kong.client.get_forwarded_ip"},
		pluginserver.Call{Method: "kong.router.get_route"},
	)
	if err != nil {
		return Origin{}, fmt.Errorf("kong: origin: %w", err)
	}
	var o Origin
	if o.RequestID, err = pluginserver.DecodeString(replies[0]); err != nil {
		return o, fmt.Errorf("kong: kong_request_id: %w", err)
	}
	if o.ClientIP, err = pluginserver.DecodeString(replies[1]); err != nil {
		return o, fmt.Errorf("kong: get_forwarded_ip: %w", err)
	}
	var route kong_plugin_protocol.Route
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(replies[2], &route); err != nil {
		return o, fmt.Errorf("kong: get_route: %w", err)
	}
	o.Route = cmp.Or(route.GetName(), route.GetId())
	return o, nil
}
