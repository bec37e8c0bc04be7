package egress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// An address that takes the connection and then says nothing leaves time for the next one.
func TestHangingHandshakeLeavesTimeForTheNext(t *testing.T) {
	ca := newCA(t)
	s := tlsServer(t, ca.issue(t, certSpec{}), nil)
	hang := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	p := newPool(t, Options{RootCAs: ca.pool})
	d := &dialer{pool: p, tls: tlsConfig(plainSettings)}
	first := true
	var mu sync.Mutex
	p.lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := d.race(ctx, "idp.test:443", func(ctx context.Context, a attempt) (net.Conn, error) {
		mu.Lock()
		to := s
		if first {
			to, first = hang, false
		}
		mu.Unlock()
		a.addr = netip.MustParseAddrPort(to)
		return d.inTLS(p.trusting(d.tls))(ctx, a)
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestConnectTimeoutIsAnError(t *testing.T) {
	hang := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	p := newPool(t, Options{ConnectTimeout: 50 * time.Millisecond})
	_, err := p.Client(plainSettings).Do(t.Context(), Request{URL: "https://" + hang})
	wantKind(t, err, Unreachable)
}

// testCA issues certificates for idp.test.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

type certSpec struct {
	name    string
	expired bool
	key     any
}

func newCA(t *testing.T) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := Roots(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return &testCA{cert: cert, key: key, pool: pool}
}

func (ca *testCA) issue(t *testing.T, s certSpec) tls.Certificate {
	t.Helper()
	if s.key == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.key = key
	}
	if s.name == "" {
		s.name = "idp.test"
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{s.name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if s.expired {
		tmpl.NotAfter = time.Now().Add(-time.Minute)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, publicOf(s.key), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: s.key}
}

func publicOf(key any) any {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return &k.PublicKey
	case *rsa.PrivateKey:
		return &k.PublicKey
	}
	return nil
}

func tlsServer(t *testing.T, cert tls.Certificate, tune func(*tls.Config)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if tune != nil {
		tune(s.TLS)
	}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Row 62.
func TestTLS(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		cert     tls.Certificate
		tune     func(*tls.Config)
		settings Settings
		want     string // of the message; "" is success
		proto    string
	}{
		{"good", ca.issue(t, certSpec{}), nil, plainSettings, "", "HTTP/1.1"},
		{"http/2", ca.issue(t, certSpec{}), nil, Settings{VerifyTLS: true, Keepalive: true, HTTPVersion: HTTP2}, "", "HTTP/2.0"},
		{"http/2 without keepalive", ca.issue(t, certSpec{}), nil, Settings{VerifyTLS: true, HTTPVersion: HTTP2}, "", "HTTP/2.0"},
		{"unknown CA", other.issue(t, certSpec{}), nil, plainSettings, "-ca-file", ""},
		{"unknown CA, not verified", other.issue(t, certSpec{}), nil, Settings{Keepalive: true}, "", "HTTP/1.1"},
		{"wrong host", ca.issue(t, certSpec{name: "evil.test"}), nil, plainSettings, "another host", ""},
		{"expired", ca.issue(t, certSpec{expired: true}), nil, plainSettings, "expired", ""},
		{"RSA 1024", ca.issue(t, certSpec{key: weak}), nil, plainSettings, "2048 bits", ""},
		{"TLS 1.1 at most", ca.issue(t, certSpec{}), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, plainSettings, "TLS", ""},
		{"TLS 1.1 at most, not verified", ca.issue(t, certSpec{}), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, Settings{}, "TLS", ""},
		{"TLS 1.2", ca.issue(t, certSpec{}), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, plainSettings, "", "HTTP/1.1"},
		{"asks for a certificate", ca.issue(t, certSpec{}), func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert; c.MaxVersion = tls.VersionTLS12 }, plainSettings, "TLS", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := tlsServer(t, tt.cert, tt.tune)
			p := newPool(t, Options{RootCAs: ca.pool, Resolve: map[string]string{"idp.test:443": addr}})
			resp, err := p.Client(tt.settings).Do(t.Context(), Request{URL: "https://idp.test/x?secret=canary"})
			if tt.want == "" {
				if err != nil || string(resp.Body) != tt.proto {
					t.Fatalf("%v %+v", err, resp)
				}
				return
			}
			if e := wantKind(t, err, TLS); !strings.Contains(e.Error(), tt.want) || !strings.Contains(e.Error(), "idp.test:443") {
				t.Errorf("message %q, want %q in it", e.Error(), tt.want)
			}
		})
	}
	t.Run("no TLS at all", func(t *testing.T) {
		addr := serve(t, func(http.ResponseWriter, *http.Request) {}).Listener.Addr().String()
		_, err := newPool(t, Options{}).Client(plainSettings).Do(t.Context(), Request{URL: "https://" + addr})
		wantKind(t, err, TLS)
	})
	if _, err := Roots([]byte("no PEM")); err == nil {
		t.Error("a CA file without certificate is accepted")
	}
}

// TestSetRootCAs: authorities that are set anew hold for the next exchange, kept connections or
// not.
func TestSetRootCAs(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	addr := tlsServer(t, ca.issue(t, certSpec{}), nil)
	p := newPool(t, Options{RootCAs: other.pool, Resolve: map[string]string{"idp.test:443": addr}})
	c := p.Client(plainSettings)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, c2 := range []struct {
		roots *x509.CertPool
		trust bool
	}{{ca.pool, true}, {ca.pool, true}, {other.pool, false}, {ca.pool, true}} {
		p.SetRootCAs(c2.roots)
		_, err := c.Do(ctx, Request{URL: "https://idp.test/"})
		if trusted := !errors.Is(err, TLS); trusted != c2.trust {
			t.Errorf("%d: %v", i, err)
		}
	}
}
