package devgateway

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// headerVariable is nginx's $http_name: - and _ are one in it, and lines are joined, those of
// Cookie by "; ".
func (x *exchange) headerVariable(name string) (v string, there bool) {
	folded := foldHeader(name)
	var all []string
	for _, n := range sortedKeys(x.header) {
		if foldHeader(n) == folded {
			all = append(all, x.header[n]...)
		}
	}
	if folded == "cookie" {
		return strings.Join(all, "; "), len(all) > 0
	}
	return strings.Join(all, ", "), len(all) > 0
}

func foldHeader(name string) string { return strings.ReplaceAll(strings.ToLower(name), "-", "_") }

// getHeader is kong.request.get_header: nginx's variable; but where that has a ", ", the first line
// of exactly that name.
func (x *exchange) getHeader(name string) (string, bool) {
	v, there := x.headerVariable(name)
	if !strings.Contains(v, ", ") {
		return v, there
	}
	lines := x.header[textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))]
	if len(lines) == 0 {
		return "", false
	}
	return lines[0], true
}

// getHeaders is ngx.req.get_headers(max): lower case, and silently no more than max lines.
func (x *exchange) getHeaders(limit int) []pluginserver.Header {
	var out []pluginserver.Header
	for _, name := range sortedKeys(x.header) {
		values := x.header[name]
		values = values[:min(len(values), limit)]
		if limit -= len(values); len(values) > 0 {
			out = append(out, pluginserver.Header{Name: strings.ToLower(name), Values: values})
		}
	}
	return out
}

// setHeader replaces every line of that name, in any letter case; no values remove it. Control
// characters are escaped as nginx's Lua does.
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
