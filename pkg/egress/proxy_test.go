package egress

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testProxy is a forward proxy that wants user:canary and resolves names by a map. It
// speaks TLS where it has a certificate, and opens tunnels with the answer opened.
func testProxy(t *testing.T, names map[string]string, cert *tls.Certificate, opened string) (addr string, seen *atomic.Int32) {
	t.Helper()
	seen = new(atomic.Int32)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		_, _ = io.WriteString(down, opened)
		done := make(chan struct{})
		go func() { defer close(done); _, _ = io.Copy(up, rw); up.Close() }()
		_, _ = io.Copy(down, up)
		down.Close()
		<-done
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if cert == nil {
		s.Start()
	} else {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
		s.EnableHTTP2 = true // CONNECT is spoken in HTTP/1.1 all the same
		s.StartTLS()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), seen
}

func TestProxy(t *testing.T) {
	ca := newCA(t)
	target := tlsServer(t, ca.issue(t, certSpec{}), nil)
	names := map[string]string{"idp.test:443": target}
	proxy, seen := testProxy(t, names, nil, opened)
	cert := ca.issue(t, certSpec{name: "proxy.test"})
	tlsProxy, tlsSeen := testProxy(t, names, &cert, opened)
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
		// The same, where the proxy is reached in TLS (G11).
		{"TLS, https", "https://idp.test/", Settings{VerifyTLS: true, HTTPSProxy: "https://user:canary@proxy.test:3128"}, "HTTP/1.1", ""},
		{"TLS, https, http/2", "https://idp.test/", Settings{VerifyTLS: true, HTTPVersion: HTTP2, HTTPSProxy: "https://user:canary@Proxy.test:3128"}, "HTTP/2.0", ""},
		{"TLS, http", "http://idp.test/x", Settings{VerifyTLS: true, HTTPProxy: "https://user:canary@proxy.test:3128"}, "proxied http://idp.test/x", ""},
		{"TLS, http, http/2", "http://idp.test/x", Settings{VerifyTLS: true, HTTPVersion: HTTP2, HTTPProxy: "https://user:canary@proxy.test:3128"}, "proxied http://idp.test/x", ""},
		{"TLS, both", "https://idp.test/", Settings{VerifyTLS: true, HTTPProxy: "https://user:canary@proxy.test:3128", HTTPSProxy: "https://user:canary@proxy.test:3128"}, "HTTP/1.1", ""},
		{"TLS, https, 407", "https://idp.test/", Settings{VerifyTLS: true, HTTPSProxy: "https://proxy.test:3128"}, "", Proxy},
		{"TLS, https, wrong name", "https://idp.test/", Settings{VerifyTLS: true, HTTPSProxy: "https://user:canary@other.test:3128"}, "", Proxy},
		{"TLS, http, wrong name", "http://idp.test/", Settings{VerifyTLS: true, HTTPProxy: "https://user:canary@other.test:3128"}, "", Proxy},
		{"TLS, not verified", "https://idp.test/", Settings{HTTPSProxy: "https://user:canary@other.test:3128"}, "HTTP/1.1", ""},
		{"TLS to a proxy without", "https://idp.test/", Settings{VerifyTLS: true, HTTPSProxy: "https://user:canary@" + proxy}, "", Proxy},
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
			o := Options{RootCAs: ca.pool, Resolve: map[string]string{"idp.test:443": target, "proxy.test:3128": tlsProxy, "other.test:3128": tlsProxy}}
			if strings.Contains(tt.name, "hangs") {
				o.ConnectTimeout = 50 * time.Millisecond
			}
			p := newPool(t, o)
			before := seen.Load() + tlsSeen.Load()
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
			if direct := tt.s.NoProxy != ""; direct == (seen.Load()+tlsSeen.Load() > before) {
				t.Errorf("went by the proxy: %t", !direct)
			}
		})
	}
}

// opened is how most proxies say that a tunnel is open.
const opened = "HTTP/1.1 200 OK\r\n\r\n"

// What a proxy may answer to CONNECT (G05): any 2xx opens the tunnel, and no header of it
// announces a body (RFC 9110 §9.3.6).
func TestTunnel(t *testing.T) {
	ca := newCA(t)
	target := tlsServer(t, ca.issue(t, certSpec{}), nil)
	for answer, open := range map[string]bool{
		opened: true,
		"HTTP/1.0 200 Connection established\r\n\r\n":                            true,
		"HTTP/1.1 200\r\n\r\n":                                                   true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n":                  true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\n":                 true,
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n":                           true,
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\nContent-Length: 7\r\n\r\n":      true,
		"HTTP/1.1 201 Created\r\n\r\n":                                           true,
		"HTTP/1.1 204 No Content\r\n\r\n":                                        true,
		"HTTP/1.1 299 Open\r\n\r\n":                                              true,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n":                   true,
		"HTTP/1.1 300 Choose\r\n\r\n":                                            false,
		"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n": false,
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello":                      false,
		"HTTP/1.1 OK\r\n\r\n":                                                    false,
		"SSH-2.0-OpenSSH_9.9\r\n\r\n":                                            false,
		"":                                                                       false,
	} {
		proxy, _ := testProxy(t, map[string]string{"idp.test:443": target}, nil, answer)
		p := newPool(t, Options{RootCAs: ca.pool, ConnectTimeout: connectTimeoutOf(open)})
		_, err := p.Client(Settings{VerifyTLS: true, HTTPSProxy: "http://user:canary@" + proxy}).Do(t.Context(), Request{URL: "https://idp.test/"})
		if open && err != nil {
			t.Errorf("%q: %v", answer, err)
		} else if !open {
			wantKind(t, err, Proxy)
		}
	}
}

// connectTimeoutOf is short where the test waits for its end.
func connectTimeoutOf(open bool) time.Duration {
	if open {
		return 0
	}
	return 100 * time.Millisecond
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
