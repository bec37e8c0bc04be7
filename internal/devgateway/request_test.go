package devgateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// ask has the probe make calls, each "method argument", and returns their answers by call. Answers
// are strings; numbers and true in decimal.
func (w *world) ask(send func() (*http.Response, string), calls ...string) map[string]string {
	w.t.Helper()
	got := map[string]string{}
	w.handle(func(e *pluginserver.Event) error {
		for _, c := range calls {
			method, argument, _ := strings.Cut(c, " ")
			args := str(argument)
			if argument == "true" {
				args = encodeBool(true)
			}
			reply, err := e.Ask("kong."+method, args)
			if err != nil {
				return err
			}
			members, err := pluginserver.DecodeMembers(reply)
			if err != nil {
				return err
			}
			got[c] = ""
			for _, m := range members {
				if got[c] = string(m.Bytes); m.Value != 0 {
					got[c] = fmt.Sprint(m.Value)
				}
			}
		}
		return nil
	})
	if res, body := send(); res.StatusCode != http.StatusOK {
		w.t.Errorf("%d %s after %q", res.StatusCode, body, got)
	}
	return got
}

func (w *world) expect(name, request string, want map[string]string) {
	w.t.Helper()
	calls := sortedKeys(want)
	got := w.ask(func() (*http.Response, string) { return w.raw(request) }, calls...)
	for _, c := range calls {
		if got[c] != want[c] {
			w.t.Errorf("%s: %s = %q, want %q", name, c, got[c], want[c])
		}
	}
}

func TestRequestAsItCame(t *testing.T) {
	w := newWorld(t)
	w.expect("paths", "GET /a%20b/../c%2Fd//e?x=%00&y=1 HTTP/1.1\nHost: GW.Example.:81\n\n", map[string]string{
		"request.get_path_with_query": "/a%20b/../c%2Fd//e?x=%00&y=1", "nginx.get_var request_uri": "/a%20b/../c%2Fd//e?x=%00&y=1",
		"request.get_path": "/c%2Fd/e", "nginx.get_var uri": "/c/d/e", "request.get_raw_query": "x=%00&y=1",
		"nginx.get_var upstream_x_forwarded_path": "/a%20b/../c%2Fd//e", "nginx.get_var upstream_x_forwarded_prefix": "",
		"request.get_host": "gw.example", "request.get_header host": "GW.Example.:81",
		"nginx.get_var ssl_client_verify": "", "nginx.get_var ssl_client_raw_cert": "",
	})
	w.expect("no Host", "GET / HTTP/1.0\n\n", map[string]string{"request.get_host": "kong"})
	w.expect("absolute form", "GET http://Abs.example/p HTTP/1.1\nHost: gw\n\n", map[string]string{
		"request.get_host": "abs.example", "nginx.get_var request_uri": "/p",
	})
	w.expect("two slashes", "GET //x HTTP/1.1\nHost: gw\n\n", map[string]string{"request.get_path_with_query": "//x"})
	ids := w.ask(func() (*http.Response, string) { return w.get("/", nil) }, "nginx.get_var request_id", "nginx.get_var kong_request_id")
	if up, _ := w.upstream(); ids["nginx.get_var request_id"] == up.Header.Get("X-Kong-Request-Id") || len(ids["nginx.get_var request_id"]) != 32 ||
		ids["nginx.get_var kong_request_id"] != up.Header.Get("X-Kong-Request-Id") {
		t.Errorf("%q, the upstream saw %q", ids, up.Header.Get("X-Kong-Request-Id"))
	}
}

func TestCookies(t *testing.T) {
	for name, c := range map[string]struct{ lines, header, variable, all string }{
		"one":          {"Cookie: a=1\n", "a=1", "a=1", "[a=1]"},
		"two":          {"Cookie: a=1\nCookie: b=2\n", "a=1; b=2", "a=1; b=2", "[a=1 b=2]"},
		"with a comma": {"Cookie: a=1, 2\nCookie: b=2\n", "a=1, 2", "a=1, 2; b=2", "[a=1, 2 b=2]"},
	} {
		w := newWorld(t)
		request := "GET / HTTP/1.1\nHost: gw\n" + c.lines + "\n"
		w.expect(name, request, map[string]string{"request.get_header cookie": c.header, "nginx.get_var http_cookie": c.variable})
		var got []pluginserver.Header
		w.handle(func(e *pluginserver.Event) error {
			reply, err := e.Ask("kong.request.get_headers", pluginserver.AppendInt(nil, 1000))
			if err == nil {
				got, err = pluginserver.DecodeHeaders(reply)
			}
			return err
		})
		w.raw(request)
		for _, h := range got {
			if h.Name == "cookie" && fmt.Sprint(h.Values) != c.all {
				t.Errorf("%s: get_headers %v, want %s", name, h.Values, c.all)
			}
		}
	}
}

func TestForwarded(t *testing.T) {
	const headers = "X-Forwarded-Proto: HTTPS\nX-Forwarded-Host: Pub.Example:8443\nX-Forwarded-Path: /pub\nX-Forwarded-Prefix: /pre\n" +
		"X-Forwarded-For: 192.0.2.9\nX-Real-IP: 192.0.2.9\n"
	for _, trusted := range []bool{false, true} {
		o := Options{}
		if trusted {
			o.TrustedIPs = []string{"10.0.0.0/8", "127.0.0.1"}
		}
		w := newWorldWith(t, o)
		port := w.proxy.Listener.Addr().String()[len("127.0.0.1:"):]
		want := map[string]string{
			"request.get_forwarded_scheme": "http", "request.get_forwarded_host": "gw", "request.get_forwarded_port": port,
			"client.get_forwarded_ip": "127.0.0.1", "nginx.get_var remote_addr": "127.0.0.1", "client.get_protocol true": "http", "ip.is_trusted 10.1.2.3": "",
			"nginx.get_var upstream_x_forwarded_path": "/p", "nginx.get_var upstream_x_forwarded_prefix": "", "nginx.get_var upstream_x_forwarded_proto": "http",
		}
		if trusted {
			want = map[string]string{
				"request.get_forwarded_scheme": "https", "request.get_forwarded_host": "pub.example", "request.get_forwarded_port": "8443",
				"client.get_forwarded_ip": "192.0.2.9", "client.get_forwarded_port": "", "nginx.get_var remote_addr": "192.0.2.9",
				"client.get_protocol true": "https", "ip.is_trusted 10.1.2.3": "1", "ip.is_trusted 11.1.2.3": "",
				"nginx.get_var upstream_x_forwarded_path": "/pub", "nginx.get_var upstream_x_forwarded_prefix": "/pre", "nginx.get_var upstream_x_forwarded_proto": "HTTPS",
			}
		}
		for c, v := range map[string]string{ // the connection's, whoever is trusted
			"request.get_scheme": "http", "request.get_host": "gw", "request.get_port": port, "client.get_ip": "127.0.0.1", "client.get_protocol": "http",
			"nginx.get_var upstream_x_forwarded_for": "192.0.2.9, 127.0.0.1", "request.get_header x-forwarded-proto": "HTTPS",
		} {
			want[c] = v
		}
		w.expect(fmt.Sprint("trusted ", trusted), "GET /p HTTP/1.1\nHost: gw\n"+headers+"\n", want)
		if up, _ := w.upstream(); up.Header.Get("X-Real-Ip") != want["nginx.get_var remote_addr"] || up.Header.Get("X-Forwarded-Path") != want["nginx.get_var upstream_x_forwarded_path"] {
			t.Errorf("trusted %v: the upstream saw %v", trusted, up.Header)
		}
		if trusted { // nothing that is said is checked, and what is not said is the listener's
			w.expect("odd", "GET / HTTP/1.1\nHost: gw\nX-Forwarded-Proto: https, http\nX-Forwarded-Host:\n\n", map[string]string{
				"request.get_forwarded_scheme": "https, http", "request.get_forwarded_host": "", "request.get_forwarded_port": port, "client.get_protocol true": "http",
			})
		}
	}
	// Only whom we trust may say that the client came by TLS.
	for status, list := range map[int][]string{426: nil, 200: {"127.0.0.1/32"}} {
		w := newWorldWith(t, Options{TrustedIPs: list})
		if code, got := w.call(http.MethodPatch, "/routes/all", "application/json", `{"protocols":["https"]}`); code != 200 {
			t.Fatal(got)
		}
		if res, body := w.get("/", http.Header{"X-Forwarded-Proto": {"https"}}); res.StatusCode != status {
			t.Errorf("an https route, trusted %v: %d %s", list, res.StatusCode, body)
		}
	}
	if _, err := parseTrusted([]string{"nowhere"}); err == nil {
		t.Error("an address that is none was taken")
	}
}

func TestChangingTheRequest(t *testing.T) {
	w := newWorld(t)
	post := "POST /x?a=1 HTTP/1.1\nHost: gw\nContent-Type: text/plain\nX-T: 1\nX_T: 2\nx-t: 3\nCookie: a=1\nCookie: b=2\nContent-Length: 4\n\nbody"
	type call struct {
		method string
		args   []byte
	}
	for _, c := range []struct {
		name  string
		calls []call
		want  string // method, URI, body
		no    string // headers that must be gone
		has   map[string]string
	}{
		{"to GET", []call{
			{"set_method", str("GET")},
			{"set_raw_body", nil},
			{"set_headers", encodeStruct(map[string]any{"Content-Type": []any{}, "Content-Length": []any{}})},
		}, "GET /anything/x?a=1 ", "Content-Type Content-Length Transfer-Encoding", nil},
		{"the method alone", []call{{"set_method", str("GET")}}, "GET /anything/x?a=1 body", "", map[string]string{"Content-Length": "4"}},
		{"no query", []call{{"set_raw_query", nil}}, "POST /anything/x body", "", nil},
		{"a query", []call{{"set_raw_query", str("a b=\r\n%zz\xe9")}}, "POST /anything/x?a%20b=%0D%0A%zz\xe9 body", "", nil},
		{"two question marks", []call{{"set_path", str("/p?q")}}, "POST /p?q?a=1 body", "", nil},
		{"- is not _", []call{{"clear_header", str("x-T")}}, "POST /anything/x?a=1 body", "X-T", map[string]string{"X_t": "2"}},
		{"cookies", []call{{"set_headers", encodeStruct(map[string]any{"Cookie": "c=3"})}}, "POST /anything/x?a=1 body", "", map[string]string{"Cookie": "c=3"}},
		{"a list is added", []call{{"add_header", kv("X-L", []any{"1"})}}, "POST /anything/x?a=1 body", "", map[string]string{"X-L": "table: 0x7f0000000000"}},
		{"false, and null", []call{{"set_headers", encodeStruct(map[string]any{"X-T": false, "X-Null": nil})}}, "POST /anything/x?a=1 body", "", map[string]string{"X-T": "1|3", "X-Null": "NULL_VALUE"}},
	} {
		w.handle(func(e *pluginserver.Event) error {
			for _, call := range c.calls {
				if err := e.Tell("kong.service.request."+call.method, call.args); err != nil {
					return err
				}
			}
			return nil
		})
		if res, body := w.raw(post); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", c.name, res.StatusCode, body)
			continue
		}
		up, _ := w.upstream()
		if got := up.Method + " " + up.RequestURI + " " + w.body; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		for _, name := range strings.Fields(c.no) {
			if v, there := up.Header[name]; there {
				t.Errorf("%s: %s %q", c.name, name, v)
			}
		}
		for name, v := range c.has {
			if got := strings.Join(up.Header[name], "|"); got != v {
				t.Errorf("%s: %s %q, want %q", c.name, name, got, v)
			}
		}
	}
}

// nginx sends a body on only when it has all of it, and then with its length; unless the route says
// otherwise.
func TestRequestBuffering(t *testing.T) {
	w := newWorld(t)
	for _, buffered := range []bool{true, false} {
		if status, got := w.call(http.MethodPatch, "/routes/all", "application/json", fmt.Sprintf(`{"request_buffering":%v}`, buffered)); status != 200 {
			t.Fatal(got)
		}
		if res, body := w.raw("POST / HTTP/1.1\nHost: gw\nTransfer-Encoding: chunked\n\n4\nbody\n0\n\n"); res.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		if up, _ := w.upstream(); (up.ContentLength == 4) != buffered || w.body != "body" {
			t.Errorf("buffered %v: length %d, body %q", buffered, up.ContentLength, w.body)
		}
	}
}
