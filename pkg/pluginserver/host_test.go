package pluginserver

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// scripted is a plugin server that answers every call with what the script says; nil: it closes.
func scripted(t *testing.T, script func(c call) []byte) *Host {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s := newStream(nc, 1<<20, hostTimeout)
			for {
				frame, err := s.readFrame(false)
				if err != nil {
					break
				}
				c, err := decodeCall(frame)
				if err != nil {
					t.Error(err)
				}
				answer := script(c)
				if answer == nil {
					break
				}
				if _, err := nc.Write(answer); err != nil {
					break
				}
			}
			nc.Close()
		}
	}()
	h := NewHost(path)
	t.Cleanup(func() { h.Close(); l.Close(); await(t, ended) })
	return h
}

func TestHostIsStrict(t *testing.T) {
	returned := func(c call) []byte { return appendFrame([]byte{0, 0, 0, 0}, appendReturn(nil, c.sequence, 0)) }
	for _, tc := range []struct {
		name   string
		script func(c call) []byte
		api    API
		want   string // part of the error; "": none
		is     error
	}{
		{"well", returned, &kong{}, "", nil},
		{"another sequence", func(c call) []byte { c.sequence++; return returned(c) }, &kong{}, "sequence", nil},
		{"closed", func(call) []byte { return nil }, &kong{}, "closed", ErrClosed},
		{"garbage", func(call) []byte { return []byte{0, 0, 0, 0, 1, 0, 0, 0, 0xff} }, &kong{}, "not a valid", nil},
		{"exit", func(call) []byte { return appendFrame(appendFrame(nil, methodExit), "") }, &kong{}, "", ErrExited},
		{
			"an error in Kong", func(call) []byte { return appendFrame(appendFrame(nil, "kong.log.err"), "") },
			&kong{before: func(string) error { return errNested }}, "nested", errNested,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := scripted(t, tc.script)
			for range 2 {
				err := h.HandleEvent(ctx, 1, eventAccess, tc.api)
				if tc.want == "" && tc.is == nil {
					if err != nil {
						t.Error(err)
					}
				} else if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("%v, want %q", err, tc.want)
				}
			}
		})
	}
}

// Bytes that a server sends between two calls cost the connection, as does its end; the next call
// has a new one.
func TestHostDropsUsedConnections(t *testing.T) {
	for name, extra := range map[string][]byte{"bytes sent early": {0}, "nothing": {}} {
		t.Run(name, func(t *testing.T) {
			h := scripted(t, func(c call) []byte {
				return append(appendFrame(nil, appendReturn(nil, c.sequence, 7)), extra...)
			})
			for range 3 {
				if id, err := h.StartInstance(ctx, "n", []byte(`{}`)); id != 7 || err != nil {
					t.Fatal(id, err)
				}
			}
		})
	}
	r := run(t, Options{Plugin: access(pass)})
	startInstance(t, r.host, `{}`)
	r.stop()
	if err := await(t, r.ended); err != nil {
		t.Fatal(err)
	}
	if _, err := r.host.StartInstance(ctx, "n", []byte(`{}`)); err == nil || errors.Is(err, ErrClosed) {
		t.Error("a closed idle connection was used:", err)
	}
}

func TestHostContext(t *testing.T) {
	reached := make(chan struct{})
	h := scripted(t, func(call) []byte { close(reached); return []byte{0, 0} })
	ctx, cancel := context.WithCancel(context.Background())
	go func() { await(t, reached); cancel() }()
	if err := h.HandleEvent(ctx, 1, eventAccess, &kong{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestHostClosed(t *testing.T) {
	h := NewHost("/nowhere")
	h.Close()
	if err := h.CloseInstance(ctx, 1); !errors.Is(err, errHostClosed) {
		t.Error(err)
	}
}
