package devgateway

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

const bobID, uuidName = "1111111a-1111-4111-8111-111111111111", "2222222a-2222-4222-8222-222222222222"

// consumers adds bob, and one whose username looks like an id.
func (w *world) consumers() {
	w.t.Helper()
	for _, body := range []string{`{"id":"` + bobID + `","username":"bob","custom_id":"cid","tags":["x"]}`, `{"username":"` + uuidName + `"}`} {
		if status, got := w.call(http.MethodPost, "/consumers", "application/json", body); status != http.StatusCreated {
			w.t.Fatal(got)
		}
	}
	if status, got := w.call(http.MethodPost, "/consumers", "application/json", `{"username":"eve","custom_id":"cid"}`); status != http.StatusConflict {
		w.t.Errorf("a second custom_id: %d %v", status, got)
	}
}

func TestLoadConsumer(t *testing.T) {
	w := newWorld(t)
	w.consumers()
	for _, c := range []struct {
		key    string
		byName bool
		want   string // username, or the status
	}{
		{bobID, true, "bob"},
		{bobID, false, "bob"},
		{"bob", true, "bob"},
		{"bob", false, "500"},
		{"Bob", true, ""},
		{"cid", true, ""},
		{"cid", false, "500"},
		{"", true, ""},
		{"", false, "500"},
		{"33333333-3333-4333-8333-333333333333", true, ""},
		{"33333333-3333-4333-8333-333333333333", false, ""},
		{uuidName, true, uuidName},
		{uuidName, false, ""},
		{"1111111A-1111-4111-8111-111111111111", true, ""},
	} {
		got := ""
		w.handle(func(e *pluginserver.Event) error {
			args := appendString(nil, 1, c.key)
			if c.byName {
				args = appendInt(args, 2, 1)
			}
			reply, err := e.Ask("kong.client.load_consumer", args)
			if err != nil {
				return err
			}
			members, err := pluginserver.DecodeMembers(reply)
			for _, m := range members {
				if m.Number == 3 {
					got = string(m.Bytes)
				}
			}
			return err
		})
		if res, _ := w.get("/", nil); res.StatusCode != http.StatusOK {
			got = fmt.Sprint(res.StatusCode)
		}
		if got != c.want {
			t.Errorf("load_consumer(%q, %v) = %q, want %q", c.key, c.byName, got, c.want)
		}
	}
}

// Consumer and credential are in ngx.ctx, whichever way they came there.
func TestAuthenticated(t *testing.T) {
	w := newWorld(t)
	consumer := appendMessage(nil, 1, appendString(nil, 1, "c1"))
	credential := appendMessage(nil, 2, appendString(nil, 1, "k1"))
	const auth, set = "kong.client.authenticate", "kong.nginx.set_ctx"
	for _, c := range []struct {
		name  string
		calls [][2]string
		want  []string // consumer, credential, and the latter's table in ngx.ctx
	}{
		{"nobody", nil, []string{"", "", "NULL_VALUE"}},
		{"consumer", [][2]string{{auth, string(consumer)}}, []string{"c1", "", "NULL_VALUE"}},
		{"an empty consumer", [][2]string{{auth, string(appendMessage(nil, 1, nil))}}, []string{"", "", "NULL_VALUE"}},
		{"both", [][2]string{{auth, string(consumer) + string(credential)}}, []string{"c1", "k1", "map[consumer_id: id:k1]"}},
		{"credential alone", [][2]string{{auth, string(credential)}}, []string{"", "k1", "map[consumer_id: id:k1]"}},
		{"a second call", [][2]string{{auth, string(consumer) + string(credential)}, {auth, string(consumer)}}, []string{"c1", "", "NULL_VALUE"}},
		{"a virtual credential", [][2]string{{set, string(kv(credentialKey, map[string]any{"id": "v1"}))}}, []string{"", "v1", "map[id:v1]"}},
	} {
		var got []string
		w.handle(func(e *pluginserver.Event) error {
			for _, call := range c.calls {
				if _, err := e.Ask(call[0], []byte(call[1])); err != nil {
					return err
				}
			}
			for _, method := range []string{"kong.client.get_consumer", "kong.client.get_credential"} {
				reply, err := e.Ask(method, nil)
				if err != nil {
					return err
				}
				id, err := pluginserver.DecodeString(reply)
				if err != nil {
					return err
				}
				got = append(got, id)
			}
			reply, err := e.Ask("kong.nginx.get_ctx", str(credentialKey))
			if err != nil {
				return err
			}
			v, err := decodeValue(reply, 0)
			got = append(got, fmt.Sprint(v))
			return err
		})
		if res, body := w.get("/", nil); res.StatusCode != http.StatusOK || !slices.Equal(got, c.want) {
			t.Errorf("%s: %d %s, got %q, want %q", c.name, res.StatusCode, body, got, c.want)
		}
	}
}

// What Lua makes of values on their way to ctx.shared and back.
func TestSharedValues(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ in, want any }{
		{"caf\xe9", "caf\xe9"},
		{1.5, 1.5},
		{true, true},
		{false, "NULL_VALUE"},
		{nil, "NULL_VALUE"},
		{[]any{"g1", "g2"}, []any{"g1", "g2"}},
		{[]any{}, map[string]any{}},
		{map[string]any{"a": []any{false, "x"}}, map[string]any{"a": []any{"x"}}},
	} {
		var got any
		w.handle(func(e *pluginserver.Event) error {
			if err := e.Tell("kong.ctx.shared.set", kv("k", c.in)); err != nil {
				return err
			}
			reply, err := e.Ask("kong.ctx.shared.get", str("k"))
			if err == nil {
				got, err = decodeValue(reply, 0)
			}
			return err
		})
		if res, body := w.get("/", nil); res.StatusCode != http.StatusOK || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%v: %d %s, got %v, want %v", c.in, res.StatusCode, body, got, c.want)
		}
	}
}

// A plugin that is bound to a consumer runs for that one, and only for it.
func TestPluginOfAConsumer(t *testing.T) {
	s := &snapshot{plugins: map[string][]*configured{"p": {{id: "of all"}, {id: "of bob", consumer: bobID}}}}
	for consumer, want := range map[string]string{"": "of all", uuidName: "of all", bobID: "of bob"} {
		if got := s.pluginFor("p", &compiledRoute{}, consumer); got.id != want {
			t.Errorf("for %q runs the one %s", consumer, got.id)
		}
	}
}
