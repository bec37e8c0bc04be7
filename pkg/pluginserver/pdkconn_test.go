package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/Kong/go-pdk/entities"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

func TestGoPDK(t *testing.T) {
	consumer, err := proto.Marshal(&kong_plugin_protocol.Consumer{Id: "c1", Username: "john"})
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string][]byte{
		"kong.request.get_headers":  AppendRawHeaders(nil, []Header{{"a", []string{"1"}}, {"b", []string{"2", "3"}}}),
		"kong.request.get_method":   AppendString(nil, "PATCH"),
		"kong.client.load_consumer": consumer,
	}
	failed := make(chan error, 1)
	run := func(e *Event) error {
		k := e.PDK()
		if k != e.PDK() {
			return errors.New("two objects")
		}
		if err := k.ServiceRequest.SetHeader("X-First", "1"); err != nil {
			return err
		}
		headers, err := k.Request.GetHeaders(1000)
		if want := map[string][]string{"a": {"1"}, "b": {"2", "3"}}; err != nil || !cmp.Equal(want, headers) {
			return fmt.Errorf("headers %v, %w", headers, err)
		}
		if err := errors.Join(k.Log.Err("one", 2), k.Ctx.SetShared("groups", []any{"g"}), k.Response.SetStatus(201)); err != nil {
			return err
		}
		if m, err := k.Request.GetMethod(); err != nil || m != "PATCH" {
			return fmt.Errorf("method %q, %w", m, err)
		}
		c, err := k.Client.LoadConsumer("john", true)
		if err != nil || c.Id != "c1" || c.Username != "john" {
			return fmt.Errorf("consumer %v, %w", c, err)
		}
		return k.Client.Authenticate(&entities.Consumer{Id: c.Id}, nil)
	}
	_, h := serve(t, Options{Plugin: access(func(_ context.Context, e *Event) { failed <- run(e); e.Pass() })})
	k := &kong{answers: answers}
	if err := errors.Join(h.HandleEvent(ctx, startInstance(t, h, `{}`), eventAccess, k), await(t, failed)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kong.service.request.set_header", "kong.request.get_headers", "kong.log.err", "kong.ctx.shared.set", "kong.response.set_status",
		"kong.request.get_method", "kong.client.load_consumer", "kong.client.authenticate",
	}
	if diff := cmp.Diff(want, k.calls); diff != "" {
		t.Error(diff)
	}
	if kv, err := DecodeKV(k.args[0]); err != nil || kv.Name != "X-First" || kv.Values[0] != "1" {
		t.Error(kv, err)
	}
}

func TestGoPDKEnds(t *testing.T) {
	for _, tc := range []struct {
		name    string
		handler access
		status  int
		calls   int
	}{
		{"exit", func(_ context.Context, e *Event) {
			e.PDK().Log.Warn("x")
			e.PDK().Response.Exit(401, []byte("no"), map[string][]string{"A": {"b"}})
			e.Pass()
		}, 401, 2},
		{"a value that go-pdk cannot encode, ignored", func(_ context.Context, e *Event) {
			e.PDK().ServiceRequest.SetHeader("X-Name", "J\xf6rg")
			e.Pass()
		}, 500, 1},
		{"the same with more calls behind it", func(_ context.Context, e *Event) {
			e.PDK().ServiceRequest.SetHeader("X-Name", "J\xf6rg")
			e.PDK().Log.Err("x")
			e.Pass()
		}, 500, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, h := serve(t, Options{Plugin: tc.handler})
			k := &kong{}
			if err := h.HandleEvent(ctx, startInstance(t, h, `{}`), eventAccess, k); !errors.Is(err, ErrExited) {
				t.Fatal(err)
			}
			if a := k.exit(t); a.Status != tc.status || len(k.calls) != tc.calls {
				t.Errorf("exit with %d after %q", a.Status, k.calls)
			}
		})
	}
}
