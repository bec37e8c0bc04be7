package devgateway

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// event lets f handle the events of the probe, and tells the answer of one GET.
func (w *world) event(f func(e *pluginserver.Event) error) (*http.Response, string) {
	w.t.Helper()
	w.handle(f)
	return w.get("/x/y?a=1&b&a=2", http.Header{"X-One": {"1"}, "X-Two": {"a", "b"}, "X_Under": {"u"}, "X-Latin": {"caf\xe9"}})
}

func (w *world) handle(f func(e *pluginserver.Event) error) {
	w.probe.do(func(_ context.Context, _ string, e *pluginserver.Event) {
		if err := f(e); err != nil {
			return // neither pass nor exit: denied
		}
		e.Pass()
	})
}

func str(s string) []byte { return encodeString(s) }

func kv(name string, v any) []byte {
	return appendMessage(appendString(nil, 1, name), 2, encodeValue(v))
}

func TestGetters(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		method string
		args   []byte
		want   string
	}{
		{"kong.request.get_method", nil, "GET"},
		{"kong.request.get_path", nil, "/x/y"},
		{"kong.request.get_path_with_query", nil, "/x/y?a=1&b&a=2"},
		{"kong.request.get_raw_query", nil, "a=1&b&a=2"},
		{"kong.request.get_query_arg", str("a"), "1"},
		{"kong.request.get_query_arg", str("none"), ""},
		{"kong.request.get_scheme", nil, "http"},
		{"kong.request.get_forwarded_scheme", nil, "http"},
		{"kong.request.get_host", nil, "127.0.0.1"},
		{"kong.request.get_header", str("x-one"), "1"},
		{"kong.request.get_header", str("X-Two"), "a"},
		{"kong.request.get_header", str("x-under"), "u"}, // nginx's variable does not tell - from _
		{"kong.request.get_header", str("x-latin"), "caf\xe9"},
		{"kong.request.get_header", str("none"), ""},
		{"kong.client.get_ip", nil, "127.0.0.1"},
		{"kong.client.get_forwarded_ip", nil, "127.0.0.1"},
		{"kong.client.get_protocol", nil, "http"},
		{"kong.nginx.get_var", str("request_method"), "GET"},
		{"kong.nginx.get_var", str("http_x_one"), "1"},
		{"kong.nginx.get_var", str("no_such"), ""},
		{"kong.nginx.get_subsystem", nil, "http"},
		{"kong.node.get_id", nil, w.gw.nodeID},
		{"kong.router.get_route", nil, "ac1e86bd-4bce-4544-9b30-746667aaa74a"},
		{"kong.router.get_service", nil, "5fa9e468-0007-4d7e-9aeb-49ca9edd6ccd"},
	}
	got := make([]string, len(cases))
	res, body := w.event(func(e *pluginserver.Event) error {
		for i, c := range cases {
			reply, err := e.Ask(c.method, c.args)
			if err != nil {
				got[i] = err.Error()
				return err
			}
			got[i], err = pluginserver.DecodeString(reply)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s\n%q", res.StatusCode, body, got)
	}
	for i, c := range cases {
		if got[i] != c.want {
			t.Errorf("%s(%q) = %q, want %q", c.method, c.args, got[i], c.want)
		}
	}
}

func TestGetHeaders(t *testing.T) {
	w := newWorld(t)
	for _, limit := range []int{1000, 3} {
		var got []pluginserver.Header
		w.event(func(e *pluginserver.Event) error {
			reply, err := e.Ask("kong.request.get_headers", pluginserver.AppendInt(nil, int32(limit)))
			if err == nil {
				got, err = pluginserver.DecodeHeaders(reply)
			}
			return err
		})
		if limit == 3 {
			if n := pluginserver.CountValues(got); n != 3 {
				t.Errorf("limit 3: %d values: %v", n, got)
			}
			continue
		}
		for name, want := range map[string][]string{
			"x-one": {"1"}, "x-two": {"a", "b"}, "x_under": {"u"}, "x-latin": {"caf\xe9"}, "host": {strings.TrimPrefix(w.proxy.URL, "http://")},
		} {
			i := slices.IndexFunc(got, func(h pluginserver.Header) bool { return h.Name == name })
			if i < 0 || !slices.Equal(got[i].Values, want) {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}

func TestSettersReachTheUpstream(t *testing.T) {
	w := newWorld(t)
	headers := encodeStruct(map[string]any{
		"X-One": []any{}, "x_under": []any{}, "authorization": []any{"Bearer t"}, "X-List": []any{"1", "2"}, "X-Inject": []any{"a\r\nb: c"}, "X-True": true,
	})
	res, body := w.event(func(e *pluginserver.Event) error {
		for _, c := range []struct {
			method string
			args   []byte
		}{
			{"kong.service.request.set_headers", headers},
			{"kong.service.request.set_header", kv("x-two", "c")},
			{"kong.service.request.add_header", kv("X-Two", "d")},
			{"kong.service.request.clear_header", str("x-latin")},
			{"kong.service.request.set_method", str("PUT")},
			{"kong.service.request.set_path", str("/anything/ä")},
			{"kong.service.request.set_query", encodeStruct(map[string]any{"q": []any{"1", "x y"}, "f": true})},
			{"kong.service.request.set_raw_body", str("new body")},
			{"kong.response.set_header", kv("x_down", "1")},
			{"kong.response.add_header", kv("X-Down", "2")},
			{"kong.log.err", encodeList("a message")},
		} {
			if err := e.Tell(c.method, c.args); err != nil {
				return err
			}
		}
		return nil
	})
	if res.StatusCode != http.StatusOK || body != "upstream" {
		t.Fatalf("status %d: %s", res.StatusCode, body)
	}
	if got := res.Header["X-Down"]; !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("X-Down %q", got)
	}
	for _, name := range []string{"X-Kong-Proxy-Latency", "X-Kong-Upstream-Latency", "Via", "X-Kong-Request-Id"} {
		if res.Header.Get(name) == "" {
			t.Errorf("%s is missing", name)
		}
	}
	up, _ := w.upstream()
	if up.Method != http.MethodPut || up.RequestURI != "/anything/%C3%A4?f&q=1&q=x%20y" || w.body != "new body" {
		t.Errorf("%s %s %q", up.Method, up.RequestURI, w.body)
	}
	for name, want := range map[string]string{
		"X-One": "", "X_under": "", "X-Latin": "", "Authorization": "Bearer t", "X-List": "1|2", "X-Two": "c|d",
		"X-Inject": "a%0D%0Ab: c", "X-True": "true", "B": "", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Path": "/x/y",
	} {
		if got := strings.Join(up.Header[name], "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if up.Host != "httpbin.org" {
		t.Errorf("host %q", up.Host)
	}
}

func encodeList(values ...string) []byte { return pluginserver.AppendList(nil, values...) }

// What Kong's Lua throws is a 500, and the upstream is not asked.
func TestStrictness(t *testing.T) {
	cases := []struct {
		name, method string
		args         []byte
	}{
		{"unknown method", "kong.request.no_such", nil},
		{"wrong phase: status", "kong.response.get_status", nil},
		{"wrong phase: header", "kong.response.get_header", str("x")},
		{"wrong phase: serialize", "kong.log.serialize", nil},
		{"wrong phase: service response", "kong.service.response.get_status", nil},
		{"no limit", "kong.request.get_headers", nil},
		{"limit too large", "kong.request.get_headers", pluginserver.AppendInt(nil, 1001)},
		{"query limit", "kong.request.get_query", pluginserver.AppendInt(nil, 0)},
		{"null as header", "kong.service.request.set_headers", encodeStruct(map[string]any{"x": []any{true}})},
		{"table as header", "kong.service.request.set_header", kv("x", map[string]any{"a": "b"})},
		{"false as header", "kong.service.request.set_header", kv("x", false)},
		{"method", "kong.service.request.set_method", str("get")},
		{"path", "kong.service.request.set_path", str("x")},
		{"scheme", "kong.service.request.set_scheme", str("ftp")},
		{"consumer that is no id", "kong.client.load_consumer", appendString(nil, 1, "bob")},
		{"nobody authenticated", "kong.client.authenticate", nil},
		{"status of an exit", "kong.response.exit", appendInt(nil, 1, 99)},
		{"query argument without a value", "kong.request.get_query_arg", str("b")},
		{"nothing to log", "kong.log.err", nil},
		{"number in a response header", "kong.response.set_header", kv("x", []any{1.0})},
		{"not in Kong", "kong.request.get_raw_path", nil},
		{"garbage", "kong.request.get_header", []byte{0xff, 0xff}},
	}
	w := newWorld(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, before := w.upstream()
			res, body := w.event(func(e *pluginserver.Event) error {
				_, err := e.Ask(c.method, c.args)
				return err
			})
			if res.StatusCode != http.StatusInternalServerError || !strings.Contains(body, "An unexpected error occurred") {
				t.Errorf("status %d: %s", res.StatusCode, body)
			}
			if _, after := w.upstream(); after != before {
				t.Error("the upstream was asked")
			}
		})
	}
}

func TestExit(t *testing.T) {
	w := newWorld(t)
	w.probe.do(func(_ context.Context, _ string, e *pluginserver.Event) {
		_ = e.Tell("kong.response.set_header", kv("X-Before", "1"))
		e.Exit(401, []pluginserver.Header{{Name: "WWW-Authenticate", Values: []string{"Bearer", "Basic"}}, {Name: "Content-Type", Values: []string{"application/json"}}}, []byte(`{"message":"no"}`))
	})
	res, body := w.get("/", nil)
	if res.StatusCode != 401 || body != `{"message":"no"}` {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if got := res.Header["Www-Authenticate"]; !slices.Equal(got, []string{"Basic"}) {
		t.Errorf("WWW-Authenticate %q: nginx keeps the last", got)
	}
	if res.Header.Get("X-Before") != "1" || res.Header.Get("X-Kong-Response-Latency") == "" {
		t.Errorf("headers %v", res.Header)
	}
	if _, n := w.upstream(); n != 0 {
		t.Error("the upstream was asked")
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t)
	const known, chunked = 10_239, 8_192 // what nginx keeps in memory
	for _, c := range []struct {
		name         string
		size         int
		chunk, http2 bool
		onDisk       bool
	}{
		{"none", 0, false, false, false},
		{"small", 100, false, false, false},
		{"most with a length", known, false, false, false},
		{"more with a length", known + 1, false, false, true},
		{"most in chunks", chunked, true, false, false},
		{"more in chunks", chunked + 1, true, false, true},
		{"most by HTTP/2", chunked, true, true, false},
		{"more by HTTP/2", chunked + 1, true, true, true},
		{"more by HTTP/2 with a length", chunked + 1, false, true, true},
	} {
		size := c.size
		t.Run(c.name, func(t *testing.T) {
			var inMemory, path, onDisk string
			w.handle(func(e *pluginserver.Event) error {
				reply, err := e.Ask("kong.request.get_raw_body", nil)
				if err != nil {
					return err
				}
				fields, err := pluginserver.DecodeMembers(reply)
				inMemory, path, onDisk = "", "", ""
				for _, f := range fields {
					switch f.Number {
					case 1:
						inMemory = string(f.Bytes)
					case 2:
						path = string(f.Bytes)
						raw, err := os.ReadFile(path)
						if err != nil {
							return err
						}
						onDisk = string(raw)
					}
				}
				return err
			})
			body := strings.Repeat("x", size)
			r, err := http.NewRequest(http.MethodPost, w.proxy.URL, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if c.chunk {
				r.ContentLength = -1
			}
			send := w.send
			if c.http2 {
				send = w.sendHTTP2
			}
			if res, answer := send(r); res.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", res.StatusCode, answer)
			}
			// nginx sends a body on with its length, however it came.
			if up, _ := w.upstream(); up.ContentLength != int64(size) || len(up.TransferEncoding) > 0 {
				t.Errorf("to the upstream: length %d, encoding %q", up.ContentLength, up.TransferEncoding)
			}
			if w.body != body {
				t.Errorf("the upstream got %d bytes", len(w.body))
			}
			if c.onDisk {
				if onDisk != body {
					t.Errorf("%d bytes on disk", len(onDisk))
				}
				if _, err := os.Stat(path); err == nil {
					t.Error("the file is still there")
				}
			} else if inMemory != body || path != "" {
				t.Errorf("%d bytes in memory, path %q", len(inMemory), path)
			}
		})
	}
}

func TestSharedAndConsumer(t *testing.T) {
	w := newWorld(t)
	if status, got := w.call(http.MethodPost, "/consumers", "application/json", `{"id":"11111111-1111-4111-8111-111111111111","username":"bob"}`); status != 201 {
		t.Fatalf("%d %v", status, got)
	}
	spec := func(id string, byName uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(appendString(nil, 1, id), 2, protowire.VarintType), byName)
	}
	var got []string
	res, body := w.event(func(e *pluginserver.Event) error {
		got = nil
		if err := e.Tell("kong.ctx.shared.set", kv("groups", []any{"a", "b"})); err != nil {
			return err
		}
		if err := e.Tell("kong.client.authenticate", appendMessage(nil, 1, appendString(nil, 1, "the-id"))); err != nil {
			return err
		}
		reply, err := e.Ask("kong.ctx.shared.get", str("groups"))
		if err != nil {
			return err
		}
		v, err := decodeValue(reply, 0)
		if err != nil {
			return err
		}
		got = append(got, fmt.Sprint(v))
		for _, c := range []struct {
			method string
			args   []byte
		}{
			{"kong.client.get_consumer", nil},
			{"kong.client.load_consumer", spec("bob", 1)},
			{"kong.client.load_consumer", spec("11111111-1111-4111-8111-111111111111", 0)},
			{"kong.client.load_consumer", spec("11111111-1111-4111-8111-111111111112", 1)},
		} {
			reply, err := e.Ask(c.method, c.args)
			if err != nil {
				return err
			}
			id, err := pluginserver.DecodeString(reply)
			if err != nil {
				return err
			}
			got = append(got, id)
		}
		return nil
	})
	want := []string{"[a b]", "the-id", "11111111-1111-4111-8111-111111111111", "11111111-1111-4111-8111-111111111111", ""}
	if res.StatusCode != http.StatusOK || !slices.Equal(got, want) {
		t.Errorf("%d %s\n got %q\nwant %q", res.StatusCode, body, got, want)
	}
}

// A Host in set_headers arrives as a list: what nginx then sends makes the upstream answer 400.
func TestHostInSetHeaders(t *testing.T) {
	w := newWorld(t)
	res, _ := w.event(func(e *pluginserver.Event) error {
		return e.Tell("kong.service.request.set_headers", encodeStruct(map[string]any{"Host": []any{"example.org"}}))
	})
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("a list: status %d", res.StatusCode)
	}
	res, _ = w.event(func(e *pluginserver.Event) error {
		return e.Tell("kong.service.request.set_header", kv("host", "example.org"))
	})
	if up, _ := w.upstream(); res.StatusCode != http.StatusOK || up.Host != "example.org" {
		t.Errorf("a string: status %d, host %q", res.StatusCode, up.Host)
	}
}

func FuzzDecoders(f *testing.F) {
	for _, seed := range [][]byte{nil, kv("a", "b"), encodeStruct(map[string]any{"a": []any{"b", 1.5, true, nil, map[string]any{}}}), encodeList("x"), {0x0a, 0xff}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeStruct(b, 0)
		if err != nil {
			return
		}
		// What was read once reads the same again, but for what Kong loses: a null becomes a text.
		again, err := decodeStruct(encodeStruct(m), 0)
		if err != nil || len(again) != len(m) {
			t.Errorf("%v: %v, then %v", err, m, again)
		}
	})
}
