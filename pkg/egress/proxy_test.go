package egress

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testProxy is a forward proxy that wants user:canary and resolves names by a map.
func testProxy(t *testing.T, names map[string]string) (addr string, seen *atomic.Int32) {
	t.Helper()
	seen = new(atomic.Int32)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		if r.Header.Get("Proxy-Authorization") != "Basic dXNlcjpjYW5hcnk=" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect {
			_, _ = io.WriteString(w, "proxied "+r.URL.String())
			return
		}
		up, err := net.Dial("tcp", names[r.Host])
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer down.Close()
		_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		done := make(chan struct{})
		go func() { defer close(done); _, _ = io.Copy(up, rw); up.Close() }()
		_, _ = io.Copy(down, up)
		down.Close()
		<-done
	})
	return s.Listener.Addr().String(), seen
}

func TestProxy(t *testing.T) {
	ca := newCA(t)
	target := tlsServer(t, ca.issue(t, certSpec{}), nil)
	proxy, seen := testProxy(t, map[string]string{"idp.test:443": target})
	hang := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	const auth = "Basic dXNlcjpjYW5hcnk="
	tests := []struct {
		name, url string
		s         Settings
		body      string
		kind      Kind
	}{
		{"https", "https://idp.test/", Settings{VerifyTLS: true, HTTPSProxy: "http://" + proxy, HTTPSProxyAuthorization: auth}, "HTTP/1.1", ""},
		{"https, user in the URL", "https://idp.test/", Settings{VerifyTLS: true, HTTPSProxy: "http://user:canary@" + proxy}, "HTTP/1.1", ""},
		{"https, http/2", "https://idp.test/", Settings{VerifyTLS: true, HTTPVersion: HTTP2, HTTPSProxy: "http://user:canary@" + proxy}, "HTTP/2.0", ""},
		{"http", "http://idp.test/x", Settings{HTTPProxy: "http://" + proxy, HTTPProxyAuthorization: auth}, "proxied http://idp.test/x", ""},
		{"https, 407", "https://idp.test/", Settings{HTTPSProxy: "http://user:wrong-canary@" + proxy}, "", Proxy},
		{"http, 407", "http://idp.test/", Settings{HTTPProxy: "http://" + proxy, HTTPProxyAuthorization: "Basic canary"}, "", Proxy},
		{"https, 502", "https://unknown.test/", Settings{HTTPSProxy: "http://user:canary@" + proxy}, "", Proxy},
		{"https, proxy hangs", "https://idp.test/", Settings{HTTPSProxy: "http://user:canary@" + hang}, "", Proxy},
		{"http, proxy down", "http://idp.test/", Settings{HTTPProxy: "http://127.0.0.1:1"}, "", Proxy},
		{"https, proxy down", "https://idp.test/", Settings{HTTPSProxy: "http://127.0.0.1:1"}, "", Proxy},
		{"no proxy URL", "https://idp.test/", Settings{HTTPSProxy: "socks5://user:canary@127.0.0.1:1"}, "", Proxy},
		{"no_proxy", "https://idp.test/", Settings{VerifyTLS: true, HTTPSProxy: "http://127.0.0.1:1", NoProxy: "a.test,idp.test"}, "HTTP/1.1", ""},
		{"metadata by the proxy", "http://169.254.169.254/", Settings{HTTPProxy: "http://" + proxy, HTTPProxyAuthorization: auth}, "", RefusedAddress},
		{"proxy at a refused address", "http://idp.test/", Settings{HTTPProxy: "http://169.254.169.254:80"}, "", Proxy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{RootCAs: ca.pool, Resolve: map[string]string{"idp.test:443": target}}
			if strings.Contains(tt.name, "hangs") {
				o.ConnectTimeout = 50 * time.Millisecond
			}
			p := newPool(t, o)
			before := seen.Load()
			resp, err := p.Client(tt.s).Do(t.Context(), Request{URL: tt.url})
			if tt.kind != "" {
				if e := wantKind(t, err, tt.kind); strings.Contains(e.Error(), "canary") {
					t.Errorf("message %q", e.Error())
				}
				return
			}
			if err != nil || string(resp.Body) != tt.body {
				t.Fatalf("%v %+v", err, resp)
			}
			if direct := tt.s.NoProxy != ""; direct == (seen.Load() > before) {
				t.Errorf("went by the proxy: %t", !direct)
			}
		})
	}
}

func TestSettingsHideCredentials(t *testing.T) {
	s := Settings{HTTPProxy: "http://u:canary@p", HTTPSProxyAuthorization: "Basic canary"}
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if out := fmt.Sprintf(f, s) + fmt.Sprintf(f, &s); strings.Contains(out, "canary") {
			t.Errorf("%s prints %s", f, out)
		}
	}
	p := NewPool(Options{})
	defer p.Close()
	req := Request{Method: "POST", URL: "https://idp.test/?canary", Header: http.Header{"Authorization": {"canary"}}, Body: []byte("canary")}
	resp := Response{Status: 200, Header: http.Header{"A": {"canary"}}, Body: []byte("canary")}
	out := fmt.Sprintf("%+v %#v %+v %#v %+v %s %+v %s", p.Client(s), p.Client(s), p, p, req, &req, resp, &resp)
	text, _ := s.MarshalText()
	if out += string(text) + s.LogValue().String(); strings.Contains(out, "canary") {
		t.Errorf("prints %s", out)
	}
}
