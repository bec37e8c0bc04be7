package kong

import (
	"fmt"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// Decision is all that one request makes Kong do. Its zero value lets nothing
// through: only Pass opens, and only when Exit is nil.
type Decision struct {
	Pass bool
	// Exit ends the request with an answer of ours.
	Exit *Exit

	// Upstream changes the headers of the request that goes on, Downstream those of
	// the response. A Header without values removes the header of exactly that name.
	Upstream   []Header
	Downstream []Header

	// RawQuery and Body replace what goes on, where not nil.
	RawQuery []byte
	Body     []byte

	// Groups are the client's, for Kong's acl plugin; nil for none.
	Groups []string

	// LogError is a line for Kong's own error log, where the operator of Kong looks
	// first; empty for none.
	LogError string
}

// Exit is an answer to the client that never reaches the upstream.
type Exit struct {
	Status  int
	Headers []Header
	Body    []byte
}

// Apply carries the decision out. Setters are queued behind one another and leave
// in one write with the end of the event. An error means that nothing was let
// through: the caller exits.
func (d *Decision) Apply(e *pluginserver.Event) error {
	if d.LogError != "" {
		// That a line is lost changes no decision.
		_ = e.Tell("kong.log.err", pluginserver.AppendList(nil, d.LogError))
	}
	switch {
	case d.Exit != nil:
		e.Exit(d.Exit.Status, d.Exit.Headers, d.Exit.Body)
		return nil
	case !d.Pass:
		return fmt.Errorf("kong: decision without a verdict")
	}
	if err := setHeaders(e, "kong.service.request.set_headers", d.Upstream); err != nil {
		return err
	}
	if err := setHeaders(e, "kong.response.set_headers", d.Downstream); err != nil {
		return err
	}
	if d.Groups != nil {
		if err := shareGroups(e, d.Groups); err != nil {
			return err
		}
	}
	if d.RawQuery != nil {
		if err := e.Tell("kong.service.request.set_raw_query", pluginserver.AppendString(nil, string(d.RawQuery))); err != nil {
			return err
		}
	}
	if d.Body != nil {
		if err := e.Tell("kong.service.request.set_raw_body", pluginserver.AppendString(nil, string(d.Body))); err != nil {
			return err
		}
	}
	e.Pass()
	return nil
}

func setHeaders(e *pluginserver.Event, method string, headers []Header) error {
	if len(headers) == 0 {
		return nil
	}
	args, err := pluginserver.AppendHeaders(nil, headers)
	if err != nil {
		return fmt.Errorf("kong: %s: %w", method, err)
	}
	return e.Tell(method, args)
}

// shareGroups puts the groups where acl looks: kong.ctx.shared.authenticated_groups,
// a list.
func shareGroups(e *pluginserver.Event, groups []string) error {
	list := make([]any, len(groups))
	for i, group := range groups {
		list[i] = group
	}
	value, err := structpb.NewValue(list)
	if err != nil {
		return fmt.Errorf("kong: groups: %w", err)
	}
	args, err := proto.Marshal(&kong_plugin_protocol.KV{K: "authenticated_groups", V: value})
	if err != nil {
		return fmt.Errorf("kong: groups: %w", err)
	}
	return e.Tell("kong.ctx.shared.set", args)
}
