package devgateway

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"time"
)

// exchange is one request on its way through the gateway: what nginx and Kong keep of it while
// plugins look at it and change it.
type exchange struct {
	in      *http.Request
	uri     string // path and query as the client wrote them
	id      string // $kong_request_id, sent as X-Kong-Request-Id …
	nginxID string // … and $request_id, which is another
	trusted bool   // the peer is among trusted_ips
	started time.Time
	sent    time.Time // to the upstream

	header http.Header // the request's headers as the upstream will get them; Host is among them, as in nginx
	method string
	query  string
	route  *compiledRoute
	scheme string
	target string // host:port of the upstream
	host   string // the upstream's Host header; "" = the target
	path   string // upstream path, escaped

	forwarded map[string]string // the upstream's X-Forwarded-*: for, proto, host, port, path, prefix

	hostBroken bool // set_headers gave Host as a list: nginx then sends what Lua prints for a table, and the upstream answers 400

	response http.Header    // kong.response.set_header, for whoever answers
	shared   map[string]any // kong.ctx.shared
	ctx      map[string]any // ngx.ctx, with the consumer and the credential that Kong keeps there

	body     io.ReadCloser
	bodyRead []byte // nil until somebody asked
	bodyFile string
	bodySize int64

	exit *exitAnswer
}

// exitAnswer is what kong.response.exit said.
type exitAnswer struct {
	status int
	header http.Header
	body   []byte
}

func newExchange(r *http.Request) *exchange {
	header := r.Header.Clone()
	if r.Host != "" {
		header["Host"] = []string{r.Host}
	}
	if len(r.TransferEncoding) > 0 {
		header["Transfer-Encoding"] = r.TransferEncoding
	}
	uri := r.RequestURI
	if r.URL.IsAbs() { // GET http://host/path: nginx keeps what follows the host
		uri = r.URL.RequestURI()
	}
	raw, query, _ := strings.Cut(uri, "?")
	return &exchange{
		in: r, uri: uri, id: newRequestID(), nginxID: newRequestID(), started: time.Now(),
		header: header, method: r.Method, query: query, path: raw, scheme: "http",
		response: http.Header{}, shared: map[string]any{}, ctx: map[string]any{},
		body: r.Body, bodySize: r.ContentLength,
	}
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// rawPath is the path as the client wrote it.
func (x *exchange) rawPath() string {
	raw, _, _ := strings.Cut(x.uri, "?")
	return raw
}
