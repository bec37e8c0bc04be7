package oauth2

import (
	"context"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

// Request is one authenticated POST of a form to an endpoint.
type Request struct {
	Endpoint string
	Proof    Proof
	Form     url.Values       // the parameters; the proof is added
	Header   http.Header      // further ones; Authorization and Content-Type are ours where we need them
	Now      func() time.Time // the clock, for assertions and for what an endpoint says of times
}

// Format prints nothing of the form and headers, which may hold credentials.
func (r Request) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "request of %q by %T", r.Form.Get("grant_type"), r.Proof)
}

// MarshalText gives encoders no more than that.
func (r Request) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", r), nil }

// outgoing is a Request as it goes out, once.
type outgoing struct {
	endpoint string
	header   http.Header
	form     url.Values
	now      time.Time
	once     bool // its proof is good for one use
}

// assert adds a client assertion.
func (o *outgoing) assert(jwt string) {
	o.form.Set("client_assertion_type", AssertionType)
	o.form.Set("client_assertion", jwt)
}

// post sends r. With twice, the endpoint may see the request twice, if the proof allows it
// too: it is made anew, with an assertion of its own, where a kept connection was dead. The
// outgoing is what was sent last.
func (r *Request) post(ctx context.Context, c *egress.Client, twice bool) (*egress.Response, *outgoing, error) {
	var sent *outgoing
	build := func() (egress.Request, error) {
		var err error
		if sent, err = r.build(); err != nil {
			return egress.Request{}, err
		}
		return egress.Request{Method: http.MethodPost, URL: r.Endpoint, Header: sent.header, Body: []byte(sent.form.Encode())}, nil
	}
	request, err := build()
	if err != nil {
		return nil, nil, err
	}
	if twice && !sent.once {
		request.Again = build
	}
	resp, err := c.Do(ctx, request)
	return resp, sent, err
}

func (r *Request) build() (*outgoing, error) {
	o := &outgoing{endpoint: r.Endpoint, header: r.Header.Clone(), form: maps.Clone(r.Form), now: r.Now()}
	if o.header == nil {
		o.header = http.Header{}
	}
	if o.form == nil {
		o.form = url.Values{}
	}
	if o.header.Get("Accept") == "" {
		o.header.Set("Accept", "application/json")
	}
	o.header.Set("Content-Type", "application/x-www-form-urlencoded")
	return o, r.Proof.prove(o)
}

// public are the parameters and headers that an error may repeat.
var public = []string{"grant_type", "scope", "audience", "resource", "client_id", "client_assertion_type", "Accept", "Content-Type", "User-Agent"}

// repeats reports whether text holds something that was sent and is not public, in any form in
// which an endpoint may have received it.
func (o *outgoing) repeats(text string) bool {
	var secrets []string
	for _, part := range []map[string][]string{o.form, o.header} {
		for name, values := range part {
			if !slices.Contains(public, name) {
				secrets = append(secrets, values...)
			}
		}
	}
	if authorization := o.header.Get("Authorization"); authorization != "" {
		_, credentials, _ := strings.Cut(authorization, " ")
		secret := basicSecret(authorization)
		decoded, _ := url.QueryUnescape(secret)
		secrets = append(secrets, credentials, secret, decoded)
	}
	unescaped, _ := url.QueryUnescape(text)
	for _, form := range []string{text, unescaped, html.UnescapeString(text)} {
		for _, secret := range secrets {
			// A shorter one is a part of many words: to find it there means nothing.
			if len(secret) >= 4 && strings.Contains(form, plain(secret, len(secret))) {
				return true
			}
		}
	}
	return false
}
