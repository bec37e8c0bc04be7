// Package kong is the edge between the plugin's decisions and Kong: it reads a
// request through as few PDK calls as it can, each at most once, and turns one
// Decision into one write. It decides nothing itself.
package kong

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// MaxHeaders is how many header values Kong's PDK hands out at most. An answer
// with that many may have been cut, and what was cut may be a spoofed identity.
const MaxHeaders = 1000

// MaxBody is the longest body that is searched for credentials, in bytes:
// nginx keeps no more in memory (client_body_buffer_size).
const MaxBody = 8 << 10

// ErrTooManyHeaders means that the header list may be incomplete.
var ErrTooManyHeaders = errors.New("kong: 1000 or more request headers")

// Header is a header as Kong reports or takes it; in a Decision a Header without
// values removes the header of exactly that name.
type Header = pluginserver.Header

// Request is one request as Kong sees it. The headers are read at once, since
// spoofed ones must be seen; everything else is read when first asked for.
// It is used by one goroutine.
type Request struct {
	event   *pluginserver.Event
	headers []Header

	query *Params
	form  *Params

	formErr error // that of Form, once form is set

	bodySkipped error

	passing Decision
}

// Passing returns a Decision that lets the request go on as it is. It lives with the request, which
// has one: a cached request makes few allocations.
func (r *Request) Passing() *Decision {
	r.passing = Decision{Pass: true}
	return &r.passing
}

// Read fetches the headers of e's request: one PDK call.
func Read(e *pluginserver.Event) (*Request, error) {
	reply, err := e.Ask("kong.request.get_headers", pluginserver.AppendInt(nil, MaxHeaders))
	if err != nil {
		return nil, fmt.Errorf("kong: get_headers: %w", err)
	}
	headers, err := pluginserver.DecodeHeaders(reply)
	if err != nil {
		return nil, fmt.Errorf("kong: get_headers: %w", err)
	}
	if pluginserver.CountValues(headers) >= MaxHeaders {
		return nil, ErrTooManyHeaders
	}
	return &Request{event: e, headers: headers}, nil
}

// Headers returns all request headers: names in lower case, in Kong's order.
func (r *Request) Headers() []Header { return r.headers }

// Header returns the values of the header with this lower-case name.
func (r *Request) Header(name string) []string {
	for _, h := range r.headers {
		if h.Name == name {
			return h.Values
		}
	}
	return nil
}

// Method asks Kong for the request method.
func (r *Request) Method() (string, error) {
	method, err := r.event.PDK().Request.GetMethod()
	if err != nil {
		return "", fmt.Errorf("kong: get_method: %w", err)
	}
	return method, nil
}

// Query returns the query parameters. The raw query is fetched with one call;
// its bytes need not be UTF-8.
func (r *Request) Query() (*Params, error) {
	if r.query == nil {
		reply, err := r.event.Ask("kong.request.get_raw_query", nil)
		if err != nil {
			return nil, fmt.Errorf("kong: get_raw_query: %w", err)
		}
		raw, err := pluginserver.DecodeString(reply)
		if err != nil {
			return nil, fmt.Errorf("kong: get_raw_query: %w", err)
		}
		r.query = ParseForm(raw)
	}
	return r.query, nil
}

// BodySkipped is why Form did not look into the body, for the log; nil when it did,
// or was not asked, or there is none.
func (r *Request) BodySkipped() error { return r.bodySkipped }

// searchable says whether Form may look into the body, by the headers alone: a form or a JSON
// document of at most MaxBody, or of a length that is not known (chunked, HTTP/2). The error says
// why not, where there is a body.
func (r *Request) searchable() (bool, error) {
	length := r.Header("content-length")
	n, err := strconv.ParseUint(strings.Join(length, ","), 10, 64)
	known := len(length) > 0
	fits := r.contentType() == formType || r.contentType() == jsonType
	switch {
	case known && err != nil:
		return false, errors.New("kong: body not searched: its length is no number")
	case known && n == 0, !known && !fits && r.Header("transfer-encoding") == nil:
		return false, nil
	case !fits:
		return false, errors.New("kong: body not searched: neither a form nor JSON")
	case known && n > MaxBody:
		return false, errTooLong
	}
	return true, nil
}

var errTooLong = errors.New("kong: body not searched: longer than 8 KiB")

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

func (r *Request) contentType() string {
	values := r.Header("content-type")
	if len(values) != 1 {
		return ""
	}
	mediaType, _, _ := strings.Cut(values[0], ";")
	return strings.ToLower(strings.TrimSpace(mediaType))
}

// Form returns the parameters in the body: form fields, or the string members of
// a JSON object. A body of another type or of more than MaxBody has none. The error
// wraps strictjson.ErrDuplicate where a JSON object names a member twice.
func (r *Request) Form() (*Params, error) {
	if r.form == nil {
		r.form = &Params{}
		var search bool
		if search, r.bodySkipped = r.searchable(); !search {
			return r.form, nil
		}
		reply, err := r.event.Ask("kong.request.get_raw_body", nil)
		if err != nil {
			return nil, fmt.Errorf("kong: get_raw_body: %w", err)
		}
		var result kong_plugin_protocol.RawBodyResult
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(reply, &result); err != nil {
			return nil, fmt.Errorf("kong: get_raw_body: %w", err)
		}
		body := string(result.GetContent())
		if len(body) > MaxBody || result.GetBodyFilepath() != "" {
			r.bodySkipped = errTooLong
			return r.form, nil
		}
		if r.contentType() == jsonType {
			r.form, r.formErr = ParseJSON(body)
		} else {
			r.form = ParseForm(body)
		}
	}
	return r.form, r.formErr
}

// Params are the parameters of a query or a body, in their order, with what is
// needed to write them back without some of them.
type Params struct {
	pairs []pair
	json  []strictjson.Member // all members when the parameters came from JSON, else nil
}

type pair struct{ name, value, raw string }

// ParseForm reads application/x-www-form-urlencoded text. A part that does not
// decode is kept for writing back but has no name: nothing finds it.
func ParseForm(raw string) *Params {
	p := &Params{}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil {
			name, value = "", ""
		}
		p.pairs = append(p.pairs, pair{name: name, value: value, raw: part})
	}
	return p
}

// Values returns all values of the parameter.
func (p *Params) Values(name string) []string {
	var values []string
	for _, q := range p.pairs {
		if q.name == name {
			values = append(values, q.value)
		}
	}
	return values
}

// Without renders the parameters without those named, in the syntax they came in.
func (p *Params) Without(names ...string) []byte {
	if p.json != nil {
		return renderJSON(p.json, names)
	}
	var kept []string
	for _, q := range p.pairs {
		if !slices.Contains(names, q.name) {
			kept = append(kept, q.raw)
		}
	}
	return []byte(strings.Join(kept, "&"))
}
