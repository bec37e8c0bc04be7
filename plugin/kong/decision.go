package kong

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

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

	// Upstream changes the headers of the request that goes on, Downstream those of the
	// response. A Header without values removes the header of exactly that name.
	Upstream   []Header
	Downstream []Header
	// Prepared are further changes of the request's headers, of other names.
	Prepared *Prepared
	// Cookies are values of Set-Cookie for the client. With Exit they are added to its headers.
	Cookies []string

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
		headers := d.Exit.Headers
		if len(d.Cookies) > 0 {
			headers = append(slices.Clip(headers), Header{Name: "Set-Cookie", Values: d.Cookies})
		}
		e.Exit(d.Exit.Status, headers, d.Exit.Body)
		return nil
	case !d.Pass:
		return fmt.Errorf("kong: decision without a verdict")
	}
	if err := setHeaders(e, "kong.service.request.set_headers", d.Prepared.encoded(), d.Upstream); err != nil {
		return err
	}
	if err := setHeaders(e, "kong.response.set_headers", nil, d.Downstream); err != nil {
		return err
	}
	if len(d.Cookies) > 0 {
		// Added in one call: a set would take the cookies of other plugins away, and the
		// upstream's stay in any case.
		if err := e.Tell("kong.response.add_header", keyList("Set-Cookie", d.Cookies)); err != nil {
			return err
		}
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

// Prepared are header changes that were encoded once for many requests. A nil Prepared changes
// nothing.
type Prepared struct {
	names []string
	bytes []byte
}

// Prepare encodes header changes. It is an error if one of them cannot be sent to Kong.
func Prepare(headers []Header) (*Prepared, error) {
	encoded, err := pluginserver.AppendHeaders(nil, headers)
	if err != nil {
		return nil, fmt.Errorf("kong: headers: %w", err)
	}
	p := &Prepared{bytes: encoded}
	for _, h := range headers {
		p.names = append(p.names, h.Name)
	}
	return p, nil
}

// Names reports whether p changes the header of this name, in whatever letter case.
func (p *Prepared) Names(name string) bool {
	return p != nil && slices.ContainsFunc(p.names, func(n string) bool { return strings.EqualFold(n, name) })
}

// Len is how many bytes the changes take.
func (p *Prepared) Len() int { return len(p.encoded()) }

func (p *Prepared) encoded() []byte {
	if p == nil {
		return nil
	}
	return p.bytes
}

// RemoveHeader removes the request's header of this name, unless it is written or removed
// already.
func (d *Decision) RemoveHeader(name string) {
	if d.Prepared.Names(name) || slices.ContainsFunc(d.Upstream, func(h Header) bool { return strings.EqualFold(h.Name, name) }) {
		return
	}
	d.Upstream = append(d.Upstream, Header{Name: name})
}

// ValidValue reports whether Kong takes v as the value of a header: UTF-8 without controls.
func ValidValue(v string) bool {
	return utf8.ValidString(v) && !strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// setHeaders queues one call with the headers that are encoded already and those that are not.
func setHeaders(e *pluginserver.Event, method string, encoded []byte, headers []Header) error {
	if len(encoded)+len(headers) == 0 {
		return nil
	}
	if len(headers) > 0 {
		var err error
		if encoded, err = pluginserver.AppendHeaders(slices.Clip(encoded), headers); err != nil {
			return fmt.Errorf("kong: %s: %w", method, err)
		}
	}
	return e.Tell(method, encoded)
}

// shareGroups puts the groups where acl looks: kong.ctx.shared.authenticated_groups, a list.
func shareGroups(e *pluginserver.Event, groups []string) error {
	return e.Tell("kong.ctx.shared.set", keyList("authenticated_groups", groups))
}

// keyList encodes a KV whose value is a list of texts; what is not UTF-8 is left out, as Kong
// takes nothing else.
func keyList(key string, values []string) []byte {
	list := &structpb.ListValue{}
	for _, v := range values {
		if utf8.ValidString(v) {
			list.Values = append(list.Values, structpb.NewStringValue(v))
		}
	}
	args, err := proto.Marshal(&kong_plugin_protocol.KV{K: key, V: structpb.NewListValue(list)})
	if err != nil {
		panic(err) // UTF-8 always encodes
	}
	return args
}
