package devgateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// What a plugin sets in access comes before what the upstream sends, and replaces nothing of it.
func TestResponseHeaders(t *testing.T) {
	w := newWorld(t)
	w.sends = http.Header{
		"Set-Cookie": {"up=1", "up=2"}, "Cache-Control": {"public"}, "Content-Type": {"text/csv"}, "Www-Authenticate": {"Negotiate"}, "X-Own": {"up"},
	}
	w.handle(func(e *pluginserver.Event) error {
		for _, c := range []struct {
			method string
			args   []byte
		}{
			{"kong.response.set_header", kv("Set-Cookie", "lost=1")},
			{"kong.response.set_headers", encodeStruct(map[string]any{"set-cookie": []any{"a=1"}, "Cache-Control": "no-store"})},
			{"kong.response.add_header", kv("Set-Cookie", []any{"b=2", "c=3"})},
			{"kong.response.set_header", kv("Content-Type", "application/json")},
			{"kong.response.set_header", kv("WWW-Authenticate", []any{"Bearer", "Basic"})},
			{"kong.response.clear_header", str("X-Own")},
			{"kong.response.set_header", kv("X-Inject", "a\r\nb: c")},
			{"kong.response.set_status", pluginserver.AppendInt(nil, 418)},
		} {
			if err := e.Tell(c.method, c.args); err != nil {
				return err
			}
		}
		return nil
	})
	res, body := w.get("/", nil)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	for name, want := range map[string][]string{
		"Set-Cookie": {"a=1", "b=2", "c=3", "up=1", "up=2"}, "Cache-Control": {"no-store", "public"}, "Content-Type": {"text/csv"},
		"Www-Authenticate": {"Basic", "Negotiate"}, "X-Own": {"up"}, "X-Inject": {"a%0D%0Ab: c"},
	} {
		if got := res.Header[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// They are in the gateway's own errors, too.
	if status, got := w.call(http.MethodPatch, "/services/up", "application/json", `{"host":"127.0.0.1","port":1}`); status != 200 {
		t.Fatal(got)
	}
	res, _ = w.get("/", nil)
	if got := res.Header["Set-Cookie"]; res.StatusCode != http.StatusBadGateway || !slices.Equal(got, []string{"a=1", "b=2", "c=3"}) {
		t.Errorf("%d with %q", res.StatusCode, got)
	}
}

func TestExitHeaders(t *testing.T) {
	w := newWorld(t)
	list := func(name string) pluginserver.Header {
		return pluginserver.Header{Name: name, Values: []string{"1", "2"}}
	}
	w.probe.do(func(_ context.Context, _ string, e *pluginserver.Event) {
		_ = e.Tell("kong.response.add_header", kv("Set-Cookie", "before=1"))
		_ = e.Tell("kong.response.add_header", kv("X-Other", "stays"))
		e.Exit(302, []pluginserver.Header{
			list("Set-Cookie"), list("Link"), list("Vary"), list("Cache-Control"), list("Proxy-Authenticate"), list("WWW-Authenticate"), list("ETag"),
			list("Expires"), list("Last-Modified"),
			{Name: "Location", Values: []string{"/first", "//second/%0d?a"}},
		}, nil)
	})
	res, err := w.proxy.Client().Transport.RoundTrip(mustRequest(t, w.proxy.URL))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	both, last := []string{"1", "2"}, []string{"2"}
	for name, want := range map[string][]string{
		"Set-Cookie": both, "Link": both, "Vary": both, "Cache-Control": both, "Proxy-Authenticate": both, "Www-Authenticate": last, "Etag": last,
		"Expires": last, "Last-Modified": last, "Location": {"//second/%0d?a"}, "X-Other": {"stays"}, "Content-Type": nil, "Server": {serverName},
	} {
		if got := res.Header[name]; res.StatusCode != 302 || !slices.Equal(got, want) {
			t.Errorf("%d, %s: %q, want %q", res.StatusCode, name, got, want)
		}
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestExitContentType(t *testing.T) {
	w := newWorld(t)
	for given, want := range map[string]string{
		"text/html": "text/html; charset=UTF-8", "Text/Plain": "Text/Plain; charset=UTF-8", "text/html; charset=latin1": "text/html; charset=latin1",
		"application/json": "application/json", "": "",
	} {
		w.probe.do(func(_ context.Context, _ string, e *pluginserver.Event) {
			var headers []pluginserver.Header
			if given != "" {
				headers = []pluginserver.Header{{Name: "content-type", Values: []string{given}}}
			}
			e.Exit(403, headers, []byte("<p>no"))
		})
		if res, body := w.get("/", nil); res.Header.Get("Content-Type") != want || body != "<p>no" {
			t.Errorf("%q became %q: %s", given, res.Header.Get("Content-Type"), body)
		}
	}
}

func TestExitStatus(t *testing.T) {
	w := newWorld(t)
	for status, want := range map[int]int{ // 0: no answer
		0: 500, 99: 500, 600: 500, 1000: 500, 200: 200, 204: 204, 418: 418, 599: 599, 444: 0, 499: 0, 100: 0, 101: 0, 103: 0,
	} {
		w.probe.do(func(_ context.Context, _ string, e *pluginserver.Event) { e.Exit(status, nil, []byte("body")) })
		conn, err := net.DialTimeout("tcp", w.proxy.Listener.Addr().String(), patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		_ = conn.Close()
		switch {
		case want == 0:
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d: %v %v, want no answer", status, res, err)
			}
		case err != nil:
			t.Errorf("%d: %v", status, err)
		case res.StatusCode != want || want == 204 && res.Body != http.NoBody:
			t.Errorf("%d became %d", status, res.StatusCode)
		}
	}
}

// What nginx answers itself: no plugin runs.
func TestNginxLimits(t *testing.T) {
	w := newWorld(t)
	lines := func(n, size int) string {
		return strings.Repeat("X-Line: "+strings.Repeat("v", size-len("X-Line: \r\n"))+"\n", n)
	}
	for name, c := range map[string]struct {
		request string
		status  int
		text    string
	}{
		"a cookie that fits":       {"GET / HTTP/1.1\nHost: gw\nCookie: " + strings.Repeat("c", 8182) + "\n\n", 200, ""},
		"a cookie that does not":   {"GET / HTTP/1.1\nHost: gw\nCookie: " + strings.Repeat("c", 8183) + "\n\n", 400, "Request header or cookie too large"},
		"eight lines":              {"GET / HTTP/1.1\nHost: gw\n" + lines(8, 4000) + "\n", 200, ""},
		"nine lines":               {"GET / HTTP/1.1\nHost: gw\n" + lines(9, 4000) + "\n", 400, "Request header or cookie too large"},
		"a request line that fits": {"GET /" + strings.Repeat("p", 8192-len("GET / HTTP/1.1\r\n")) + " HTTP/1.1\nHost: gw\n\n", 200, ""},
		"one that does not":        {"GET /" + strings.Repeat("p", 8193-len("GET / HTTP/1.1\r\n")) + " HTTP/1.1\nHost: gw\n\n", 414, "URI too long"},
		"two Authorization":        {"GET / HTTP/1.1\nHost: gw\nAuthorization: Basic a\nAuthorization: Bearer b\n\n", 400, "Bad request"},
		"above the root":           {"GET /..%2f..%2fetc HTTP/1.1\nHost: gw\n\n", 400, "Bad request"},
		"a bad escape":             {"GET /%zz HTTP/1.1\nHost: gw\n\n", 400, ""},
		"a path that is not UTF-8": {"GET /caf%e9 HTTP/1.1\nHost: gw\n\n", 404, "no Route matched"},
	} {
		_, before := w.upstream()
		res, body := w.raw(c.request)
		if res.StatusCode != c.status || !strings.Contains(body, c.text) {
			t.Errorf("%s: %d %s, want %d", name, res.StatusCode, body, c.status)
		}
		if _, after := w.upstream(); (after > before) != (c.status == 200) {
			t.Errorf("%s: the upstream was asked %d times", name, after-before)
		}
	}
	for size, fits := range map[int]bool{10_000: true, 11_000: false} { // compressed, 10,922 characters of six bits are 8 KiB
		r := mustRequest(t, w.proxy.URL)
		r.Header.Set("X-Long", strings.Repeat("a0-Z", size/4))
		if res, _, err := w.askHTTP2(r); (err == nil) != fits {
			t.Errorf("HTTP/2, %d characters: %v %v", size, res, err)
		}
	}
}
