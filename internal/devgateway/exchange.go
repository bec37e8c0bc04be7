package devgateway

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	bodyBuffer = 8 << 10  // nginx's client_body_buffer_size as Kong sets it: what is larger goes to disk
	maxBody    = 64 << 20 // ours: a development gateway does not fill the disk
)

// exchange is one request on its way through the gateway: what nginx and Kong keep of it while plugins look at it and change it.
type exchange struct {
	in      *http.Request
	uri     string // path and query as the client wrote them
	id      string // request_id
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
	prefix string // X-Forwarded-Prefix

	hostBroken bool // set_headers gave Host as a list: nginx then sends what Lua prints for a table, and the upstream answers 400

	response   http.Header // kong.response.set_header, for whoever answers
	status     int         // kong.response.set_status
	shared     map[string]any
	nginxCtx   map[string]any
	consumer   map[string]any
	credential map[string]any

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
		in: r, uri: uri, id: newRequestID(), started: time.Now(),
		header: header, method: r.Method, query: query, path: raw, scheme: "http",
		response: http.Header{}, shared: map[string]any{}, nginxCtx: map[string]any{},
		body: r.Body, bodySize: r.ContentLength,
	}
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// clientScheme is the scheme of the client's own connection.
func (x *exchange) clientScheme() string {
	if x.in.TLS != nil {
		return "https"
	}
	return "http"
}

// clientHost is nginx's $host: lower case, no port.
func (x *exchange) clientHost() string {
	host := x.in.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(host)
}

// serverPort is the port on which the request came in.
func (x *exchange) serverPort() int {
	if addr, ok := x.in.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(addr.String()); err == nil {
			n, _ := strconv.Atoi(port)
			return n
		}
	}
	return 0
}

func (x *exchange) remote() (ip string, port int) {
	host, p, err := net.SplitHostPort(x.in.RemoteAddr)
	if err != nil {
		return x.in.RemoteAddr, 0
	}
	port, _ = strconv.Atoi(p)
	return host, port
}

// rawPath is the path as the client wrote it.
func (x *exchange) rawPath() string {
	raw, _, _ := strings.Cut(x.uri, "?")
	return raw
}

// getHeader is kong.request.get_header: nginx's variable, in which - and _ are one, and the first value where there are several.
func (x *exchange) getHeader(name string) (string, bool) {
	folded := foldHeader(name)
	var all []string
	for _, n := range sortedKeys(x.header) {
		if foldHeader(n) == folded {
			all = append(all, x.header[n]...)
		}
	}
	if len(all) == 0 {
		return "", false
	}
	if joined := strings.Join(all, ", "); !strings.Contains(joined, ", ") {
		return joined, true
	}
	values := x.header[textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))]
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

func foldHeader(name string) string { return strings.ReplaceAll(strings.ToLower(name), "-", "_") }

// getHeaders is ngx.req.get_headers(max): lower case, a repeated one as a list, and silently no more than max lines.
func (x *exchange) getHeaders(limit int) map[string]any {
	out := map[string]any{}
	lines := 0
	for _, name := range sortedKeys(x.header) {
		for _, v := range x.header[name] {
			if lines == limit {
				return out
			}
			lines++
			lower := strings.ToLower(name)
			switch old := out[lower].(type) {
			case nil:
				out[lower] = v
			case string:
				out[lower] = []any{old, v}
			case []any:
				out[lower] = append(old, v)
			}
		}
	}
	return out
}

// setHeader replaces every line of that name, in any letter case; no values remove it. Control characters are escaped as nginx's Lua does.
func setHeader(h http.Header, name string, values []string) {
	key := textproto.CanonicalMIMEHeaderKey(escapeControls(name))
	delete(h, key)
	for _, v := range values {
		if v == "" {
			v = " " // Kong sends an empty value as one blank
		}
		h[key] = append(h[key], escapeControls(v))
	}
}

func escapeControls(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
			clean = false
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

var errBodyTooLarge = errors.New("devgateway: the request's body is too large")

// loadBody reads the client's body once: into memory up to nginx's buffer, else into a temporary file.
func (x *exchange) loadBody() error {
	if x.bodyRead != nil || x.bodyFile != "" {
		return nil
	}
	head, err := io.ReadAll(io.LimitReader(x.body, bodyBuffer+1))
	if err != nil {
		return fmt.Errorf("devgateway: read the request's body: %w", err)
	}
	if len(head) <= bodyBuffer {
		x.setBody(head)
		return nil
	}
	f, err := os.CreateTemp("", "devgateway-body-*")
	if err != nil {
		return fmt.Errorf("devgateway: %w", err)
	}
	x.bodyFile = f.Name()
	n, err := io.Copy(f, io.LimitReader(io.MultiReader(bytes.NewReader(head), x.body), maxBody+1))
	if err == nil && n > maxBody {
		err = errBodyTooLarge
	}
	if _, serr := f.Seek(0, io.SeekStart); err == nil {
		err = serr
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("devgateway: keep the request's body: %w", err)
	}
	_ = x.body.Close()
	x.body, x.bodySize = f, n
	return nil
}

// setBody replaces the body (kong.service.request.set_raw_body).
func (x *exchange) setBody(b []byte) {
	if b == nil {
		b = []byte{}
	}
	x.bodyRead = b
	x.body = io.NopCloser(bytes.NewReader(b))
	x.bodySize = int64(len(b))
}

// close removes what the request left on disk.
func (x *exchange) close() {
	_ = x.body.Close()
	if x.bodyFile != "" {
		_ = os.Remove(x.bodyFile)
	}
}
