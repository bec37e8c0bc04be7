package devgateway

import (
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// What nginx refuses before Kong sees the request, with Kong's default settings.

const (
	headerBuffer = 1 << 10 // client_header_buffer_size
	largeBuffer  = 8 << 10 // large_client_header_buffers 4 8k
	largeBuffers = 4
)

// onlyOnce are the request headers that nginx refuses to see twice.
var onlyOnce = []string{
	"Authorization", "Content-Length", "Content-Range", "Expect", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
	"If-Unmodified-Since", "Range",
}

// nginxRefuses returns what nginx answers instead of Kong, or 0. HTTP/2 has no answer for headers
// that are too large: the stream ends.
func (x *exchange) nginxRefuses() (status int, text string) {
	if x.in.ProtoMajor >= 2 {
		if !x.fitsHTTP2() {
			panic(http.ErrAbortHandler)
		}
	} else {
		line := len(x.in.Method) + len(x.in.RequestURI) + len(x.in.Proto) + len("  \r\n")
		if line > largeBuffer {
			return http.StatusRequestURITooLong, "URI too long"
		}
		if !x.fitsHTTP1(line) {
			return http.StatusBadRequest, "Request header or cookie too large"
		}
	}
	for _, name := range onlyOnce {
		if len(x.in.Header[name]) > 1 {
			return http.StatusBadRequest, "Bad request"
		}
	}
	if _, ok := nginxURI(x.rawPath()); !ok {
		return http.StatusBadRequest, "Bad request"
	}
	return 0, ""
}

// fitsHTTP1 tells whether nginx's buffers hold the request: no line stands in two of them. The
// order of the names, which Go does not keep, is that of the alphabet.
func (x *exchange) fitsHTTP1(requestLine int) bool {
	lines := []int{requestLine}
	for _, name := range sortedKeys(x.header) {
		for _, v := range x.header[name] {
			lines = append(lines, len(name)+len(": \r\n")+len(v))
		}
	}
	free, left := headerBuffer, largeBuffers
	for _, n := range lines {
		switch {
		case n <= free:
			free -= n
		case n > largeBuffer || left == 0:
			return false
		default:
			free, left = largeBuffer-n, left-1
		}
	}
	return true
}

// fitsHTTP2: a field as it is compressed fits one buffer, all of them as they are read fit four. Go
// has joined the crumbs of Cookie.
func (x *exchange) fitsHTTP2() bool {
	total := 0
	for name, values := range x.header {
		for _, v := range values {
			total += len(name) + len(v)
			for crumb := range strings.SplitSeq(v, "; ") {
				if hpack.HuffmanEncodeLength(crumb) > largeBuffer {
					return false
				}
				if name != "Cookie" {
					break
				}
			}
		}
	}
	return total <= largeBuffers*largeBuffer
}

// nginxURI is nginx's $uri: everything decoded, slashes merged, dot segments removed. A path that
// leaves the root is not ok, nor one whose escapes cannot be read.
func nginxURI(raw string) (string, bool) {
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return "", false
	}
	depth := 0
	for s := range strings.SplitSeq(decoded, "/") {
		switch s {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return "", false
			}
		default:
			depth++
		}
	}
	return cleanPath(decoded), true
}
