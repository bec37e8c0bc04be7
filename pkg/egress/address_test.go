package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestCheckURL(t *testing.T) {
	https := &url.URL{Scheme: "https", Host: "idp.test"}
	tests := []struct {
		raw  string
		base *url.URL
		want Kind
	}{
		{"https://idp.test/a?b=c", https, ""},
		{"https://other.test", https, ""},
		{"http://10.0.0.1:8080/x", nil, ""},
		{"http://127.0.0.1", nil, ""},
		{"http://[::1]:80", nil, ""},
		{"https://x", &url.URL{Scheme: "http"}, ""},
		{"http://idp.test", https, RefusedURL},
		{"file:///etc/passwd", nil, RefusedURL},
		{"gopher://idp.test", nil, RefusedURL},
		{"HTTPS://idp.test", https, ""},
		{"idp.test", nil, RefusedURL},
		{"//idp.test", https, RefusedURL},
		{"", nil, RefusedURL},
		{"https://", nil, RefusedURL},
		{"https:idp.test", nil, RefusedURL},
		{"https://:443", nil, RefusedURL},
		{"https://u@idp.test", nil, RefusedURL},
		{"https://u:canary@idp.test", nil, RefusedURL},
		{"https://idp.test#f", nil, RefusedURL},
		{"https://idp.test#", nil, RefusedURL},
		{"https://idp.test:0", nil, RefusedURL},
		{"https://idp.test:99999", nil, RefusedURL},
		{"https://idp.test:x", nil, RefusedURL},
		{"https://idp.test/\x00", nil, RefusedURL},
		{"https://idp\r\n.test", nil, RefusedURL},
		{"https://idé.test", nil, RefusedURL},
		{"http://169.254.169.254/latest", nil, RefusedAddress},
		{"http://[fd00:ec2::254]/latest", nil, RefusedAddress},
		{"http://[fe80::1%25eth0]/", nil, RefusedAddress},
		{"http://[::ffff:169.254.169.254]/", nil, RefusedAddress},
		{"http://0.0.0.0/", nil, RefusedAddress},
	}
	for _, tt := range tests {
		err := CheckURL(tt.raw, tt.base)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%q: %v", tt.raw, err)
			}
			continue
		}
		if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want %s", tt.raw, err, tt.want)
		}
	}
}

func TestRefusedAddresses(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "192.168.0.1": false, "fd00::1": false, "1.1.1.1": false, "100.64.0.1": false,
		"169.254.169.254": true, "169.254.0.1": true, "fe80::1": true, "fd00:ec2::254": true, "fd20:ce::254": true, "100.100.100.200": true,
		"0.0.0.0": true, "::": true, "224.0.0.1": true, "ff02::1": true, "255.255.255.255": true, "::ffff:169.254.169.254": true,
		"64:ff9b::a9fe:a9fe": true, "64:ff9b::101:101": false, "fe80::1%lo": true,
	} {
		if got := refused(netip.MustParseAddr(addr)) != ""; got != want {
			t.Errorf("%s refused: %t, want %t", addr, got, want)
		}
	}
}

// The dialled address is what is checked: a name or a resolve entry that leads to a refused
// one does not connect (row 57).
func TestDialledAddressIsChecked(t *testing.T) {
	p := newPool(t, Options{Resolve: map[string]string{"mapped.test:80": "169.254.169.254:80"}})
	p.lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("fe80::1"), netip.MustParseAddr("169.254.169.254")}, nil
	}
	for _, u := range []string{"http://mapped.test", "http://rebound.test", "https://rebound.test", "http://169.254.169.254"} {
		_, err := p.Client(plainSettings).Do(t.Context(), Request{URL: u})
		wantKind(t, err, RefusedAddress)
	}
}

func TestResolve(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	p := newPool(t, Options{Resolve: map[string]string{"IdP.test:8443": s.Listener.Addr().String(), "bad.test:80": "nonsense"}})
	resp, err := p.Client(plainSettings).Do(t.Context(), Request{URL: "http://idp.Test:8443/"})
	if err != nil || !strings.EqualFold(string(resp.Body), "idp.test:8443") {
		t.Fatalf("%v", err)
	}
	_, err = p.Client(plainSettings).Do(t.Context(), Request{URL: "http://bad.test/"})
	wantKind(t, err, DNS)
}

// Row 63.
func TestConnecting(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	good := netip.MustParseAddrPort(s.Listener.Addr().String())
	loopback := good.Addr()
	closed := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}()
	found := func(addrs ...netip.Addr) func(context.Context, string) ([]netip.Addr, error) {
		return func(context.Context, string) ([]netip.Addr, error) { return addrs, nil }
	}
	// Nothing answers in 240.0.0.0/4 (RFC 1112), so that it is refused at once or hangs.
	dead := netip.MustParseAddr("240.0.0.1")
	tests := []struct {
		name   string
		url    string
		lookup func(context.Context, string) ([]netip.Addr, error)
		want   Kind
	}{
		{"no such name", "http://idp.test", func(context.Context, string) ([]netip.Addr, error) {
			return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
		}, DNS},
		{"DNS hangs", "http://idp.test", func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }, DNS},
		{"no address", "http://idp.test", found(), DNS},
		{"refused", "http://" + closed, nil, Unreachable},
		{"next address is tried", fmt.Sprintf("http://idp.test:%d", good.Port()), found(dead, netip.MustParseAddr("169.254.1.1"), loopback), ""},
		{"IPv6 leads nowhere", fmt.Sprintf("http://idp.test:%d", good.Port()), found(netip.MustParseAddr("100::1"), netip.MustParseAddr("100::2"), loopback), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{}
			if tt.name == "DNS hangs" {
				o.ConnectTimeout = 50 * time.Millisecond
			}
			p := newPool(t, o)
			if tt.lookup != nil {
				p.lookup = tt.lookup
			}
			_, err := p.Client(plainSettings).Do(t.Context(), Request{URL: tt.url})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantKind(t, err, tt.want)
		})
	}
}
