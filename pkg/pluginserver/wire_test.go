package pluginserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// raw talks to the server byte by byte.
func raw(t *testing.T, path string) net.Conn {
	t.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

func TestWire(t *testing.T) {
	path, h := serve(t, Options{Plugin: access(pass), MaxFrame: 1 << 16})
	id := startInstance(t, h, `{}`)
	framed := func(c call) []byte { return appendFrame(nil, c.append(nil)) }
	event := call{sequence: 9, command: cmdHandleEvent, instance: id, text: []byte("access")}
	other := event
	other.instance = id ^ 1
	passed := append([]byte{0, 0, 0, 0}, appendFrame(nil, appendReturn(nil, 9, 0))...)
	for _, tc := range []struct {
		name string
		send []byte
		want []byte // all that the server sends before it closes
	}{
		{"an event", framed(event), passed},
		{"two events at once", append(framed(event), framed(event)...), append(bytes.Clone(passed), passed...)},
		{"half a prefix", []byte{1, 0}, nil},
		{"half a frame", framed(event)[:10], nil},
		{"a length of 4 GiB", []byte{255, 255, 255, 255, 1, 2, 3}, nil},
		{"garbage", appendFrame(nil, "\xff\xff\xff\xff\xff"), nil},
		{"an empty frame", []byte{0, 0, 0, 0}, nil},
		{"get_plugin_names", framed(call{command: cmdGetPluginNames}), nil},
		{"get_plugin_info", framed(call{command: cmdGetPluginInfo}), nil},
		{"get_instance_status", framed(call{command: cmdGetInstanceStatus, instance: id}), nil},
		{"an instance that is not known", framed(other), nil},
		{
			"closing an instance that is not known", framed(call{sequence: 5, command: cmdCloseInstance, instance: id ^ 1}),
			appendFrame(nil, appendReturn(nil, 5, 0)),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc := raw(t, path)
			for _, b := range tc.send { // one byte a write
				if _, err := nc.Write([]byte{b}); err != nil {
					break // closed already
				}
			}
			nc.(*net.UnixConn).CloseWrite()
			got, err := io.ReadAll(nc)
			if !bytes.Equal(got, tc.want) {
				t.Errorf("%x, %v; want %x", got, err, tc.want)
			}
		})
	}
	if err := h.HandleEvent(ctx, id, eventAccess, &kong{}); err != nil {
		t.Error("afterwards:", err)
	}
}

func TestKongClosesMidAsk(t *testing.T) {
	got := make(chan error, 2)
	path, h := serve(t, Options{Plugin: access(func(_ context.Context, e *Event) {
		for range 2 {
			_, err := e.Ask("kong.request.get_headers", thousand)
			got <- err
		}
		e.Exit(500, nil, nil)
	})})
	id := startInstance(t, h, `{}`)
	nc := raw(t, path)
	nc.Write(appendFrame(nil, call{sequence: 1, command: cmdHandleEvent, instance: id, text: []byte("access")}.append(nil)))
	if _, err := io.ReadFull(nc, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	for range 2 {
		if err := await(t, got); err == nil {
			t.Error("no error")
		}
	}
}

// An answer that is too large is an error for the handler, and the request is denied on the same
// connection.
func TestAnswerTooLarge(t *testing.T) {
	path, h := serve(t, Options{MaxFrame: 1 << 10, Plugin: access(func(_ context.Context, e *Event) {
		if _, err := e.Ask("kong.request.get_raw_body", nil); errors.Is(err, errFrameTooLarge) {
			e.Pass()
		}
	})})
	id := startInstance(t, h, `{}`)
	s := newStream(raw(t, path), 1<<16, time.Minute)
	s.frame(call{sequence: 1, command: cmdHandleEvent, instance: id, text: []byte("access")}.append(nil))
	s.flush()
	s.readFrame(true)
	s.readFrame(true)
	s.frame(nil)
	s.out[3] = 0x7f
	s.flush()
	if method, err := s.readFrame(true); err != nil || string(method) != methodExit {
		t.Errorf("%q, %v", method, err)
	}
}

func TestDump(t *testing.T) {
	info := Info{
		Name: "openid-connect", Version: "1.2.3", Priority: 1050, Phases: []string{"access"},
		Schema: json.RawMessage("{\"name\":\"openid-connect\",\n \"fields\":[{\"a\":\"<>\"}]}"),
	}
	got, err := info.Dump("/run/kong/x.socket")
	want := `{"Protocol":"ProtoBuf:1","SocketPath":"/run/kong/x.socket","Plugins":[{"Name":"openid-connect","Version":"1.2.3","Priority":1050,` +
		`"Phases":["access"],"Schema":{"name":"openid-connect","fields":[{"a":"<>"}]}}]}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	for name, change := range map[string]func(*Info){
		"version":   func(i *Info) { i.Version = "1.2" },
		"name":      func(i *Info) { i.Name = "other" },
		"no phase":  func(i *Info) { i.Phases = nil },
		"no schema": func(i *Info) { i.Schema = nil },
		"no JSON":   func(i *Info) { i.Schema = json.RawMessage(`{"name":`) },
	} {
		bad := info
		change(&bad)
		if _, err := bad.Dump("s"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
