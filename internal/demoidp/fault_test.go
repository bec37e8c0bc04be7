package demoidp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	s := start(t, Options{})
	location := http.Header{"location": {"http://elsewhere.test/"}}
	tests := []struct {
		name  string
		fault Fault
		check func(t *testing.T, r reply, err error)
	}{
		{"status", Fault{Status: 503, Header: http.Header{"Retry-After": {"7"}}, Body: []byte("<html>")}, func(t *testing.T, r reply, err error) {
			if err != nil || r.status != 503 || r.header.Get("Retry-After") != "7" || r.raw != "<html>" {
				t.Errorf("%+v, %v", r, err)
			}
		}},
		{"redirect", Fault{Status: 302, Header: location}, func(t *testing.T, r reply, err error) {
			if err != nil || r.status != 302 || r.header.Get("Location") == "" {
				t.Errorf("%+v, %v", r, err)
			}
		}},
		{"mutated", Fault{Mutate: func(m map[string]any) { m["expires_in"] = -1; delete(m, "token_type") }}, func(t *testing.T, r reply, err error) {
			if err != nil || r.status != 200 || r.body["expires_in"] != -1.0 || r.body["token_type"] != nil || r.body["access_token"] == "" {
				t.Errorf("%+v, %v", r, err)
			}
		}},
		{"delay", Fault{Delay: time.Millisecond}, func(t *testing.T, r reply, err error) {
			if err != nil || r.status != 200 {
				t.Errorf("%+v, %v", r, err)
			}
		}},
		{"garbage", Fault{Deliver: Garbage}, func(t *testing.T, r reply, err error) {
			if err != nil || r.status != 200 || r.body != nil || len(r.raw) < 100 {
				t.Errorf("%+v, %v", r, err)
			}
		}},
		{"drip", Fault{Status: 200, Body: []byte("{}"), Deliver: Drip, Interval: time.Millisecond}, func(t *testing.T, r reply, err error) {
			if err != nil || r.raw != "{}" {
				t.Errorf("%+v, %v", r, err)
			}
		}},
		{"reset", Fault{Deliver: Reset}, func(t *testing.T, r reply, err error) {
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%+v, %v", r, err)
			}
		}},
		{"closed", Fault{Deliver: Closed}, func(t *testing.T, r reply, err error) {
			if !errors.Is(err, io.EOF) {
				t.Errorf("%+v, %v", r, err)
			}
		}},
		{"endless", Fault{Deliver: Endless}, func(t *testing.T, r reply, err error) {
			if err != nil || len(r.raw) != 1<<20 { // as much as we read
				t.Errorf("%d bytes, %v", len(r.raw), err)
			}
		}},
		{"gzip bomb", Fault{Deliver: GzipBomb}, func(t *testing.T, r reply, err error) {
			if err != nil || len(r.raw) != 1<<20 || !strings.HasPrefix(r.raw, `{"access_token":`) {
				t.Errorf("%d bytes, %v", len(r.raw), err)
			}
		}},
		{"header flood", Fault{Deliver: HeaderFlood}, func(t *testing.T, r reply, err error) {
			if err == nil || !strings.Contains(err.Error(), "header") {
				t.Errorf("%d, %v", r.status, err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t)
			defer c.CloseIdleConnections()
			s.SetFault(TokenEndpoint, &tt.fault)
			r, err := do(t, c, tokenRequest(t, s, "service", storySecret, nil))
			tt.check(t, r, err)
			s.SetFault(TokenEndpoint, nil)
			if r, err := do(t, c, tokenRequest(t, s, "service", storySecret, nil)); err != nil || r.status != 200 {
				t.Errorf("cleared: %+v, %v", r, err)
			}
		})
	}
}

// TestGzipBombIsOne: little on the wire, and after 64 MiB there is still more.
func TestGzipBombIsOne(t *testing.T) {
	s := start(t, Options{})
	s.SetFault(JWKSEndpoint, &Fault{Deliver: GzipBomb})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity") // as it comes
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	packed, err := io.ReadAll(resp.Body)
	if err != nil || len(packed) > 2<<20 {
		t.Fatalf("%d bytes, %v", len(packed), err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, z, 64<<20); err != nil {
		t.Errorf("%d bytes unpacked, %v", n, err)
	}
}

func TestHangUntilCleared(t *testing.T) {
	s := start(t, Options{})
	s.SetFault(TokenEndpoint, &Fault{Hang: true})
	replies := make(chan reply, 3)
	for range 3 {
		req := tokenRequest(t, s, "service", storySecret, nil)
		c := client(t)
		go func() {
			r, err := do(t, c, req)
			if err != nil {
				t.Error(err)
			}
			replies <- r
		}()
	}
	if err := s.Await(t.Context(), TokenEndpoint, 3); err != nil {
		t.Fatal(err)
	}
	// A client that leaves is let go.
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	req := tokenRequest(t, s, "service", storySecret, nil).WithContext(ctx)
	c := client(t)
	go func() {
		_, err := do(t, c, req)
		left <- err
	}()
	if err := s.Await(t.Context(), TokenEndpoint, 4); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.SetFault(TokenEndpoint, nil)
	for range 3 {
		if r := <-replies; r.status != 200 {
			t.Errorf("released: %+v", r)
		}
	}
}

func TestFaultTimesAndRate(t *testing.T) {
	var log bytes.Buffer
	strikes := func(seed uint64, f Fault) (pattern string) {
		s := start(t, Options{Seed: seed, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		s.SetFault(JWKSEndpoint, &f)
		c := client(t)
		for range 40 {
			if get(t, c, s.URL()+"/keys").status == 500 {
				pattern += "x"
			} else {
				pattern += "."
			}
		}
		s.Close() // before log is read
		return pattern
	}
	if got := strikes(1, Fault{Status: 500, Times: 2}); got != "xx"+strings.Repeat(".", 38) {
		t.Errorf("Times: %s", got)
	}
	half := Fault{Status: 500, Rate: 0.5}
	a, b, c := strikes(7, half), strikes(7, half), strikes(8, half)
	if a != b || a == c || strings.Count(a, "x") < 8 || strings.Count(a, "x") > 32 {
		t.Errorf("Rate: %s, %s, %s", a, b, c)
	}
	if n := strings.Count(log.String(), "misbehaves"); n != 2+strings.Count(a+b+c, "x") || !strings.Contains(log.String(), "seed=7") {
		t.Errorf("%d faults logged", n)
	}
	if strings.Contains(log.String(), storySecret) {
		t.Error("a secret is in the log")
	}
}

func TestMutateWithoutJSON(t *testing.T) {
	s := start(t, Options{})
	got := make(chan map[string]any, 1)
	s.SetFault(OtherEndpoint, &Fault{Mutate: func(m map[string]any) { got <- m }, Times: 1})
	if r := get(t, client(t), s.URL()+"/nothing"); r.status != 404 || <-got != nil {
		t.Errorf("%+v", r)
	}
	s.SetFault(JWKSEndpoint, &Fault{Mutate: func(m map[string]any) { m["x"] = func() {} }})
	if r := get(t, client(t), s.URL()+"/keys"); r.status != 500 {
		t.Errorf("%+v", r)
	}
}
