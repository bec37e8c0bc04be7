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
		{"http://[64:ff9b::169.254.169.254]/", nil, RefusedAddress},
		// Hosts that inet_aton takes for 169.254.169.254.
		{"http://2852039166/", nil, RefusedAddress},
		{"http://0xA9FEA9FE/", nil, RefusedAddress},
		{"http://0Xa9fea9fe:80/", nil, RefusedAddress},
		{"http://025177524776/", nil, RefusedAddress},
		{"http://169.254.43518/", nil, RefusedAddress},
		{"http://169.16689662/", nil, RefusedAddress},
		{"http://0xa9.254.0251.0xfe/", nil, RefusedAddress},
		{"http://0251.0376.0251.0376/", nil, RefusedAddress},
		{"http://169.254.169.254./", nil, RefusedAddress},
		{"http://0/", nil, RefusedAddress},
		{"http://0x6464.100.200/", nil, ""}, // the first part is above a byte: a name
		{"http://100.100.25800/", nil, RefusedAddress},
		{"http://2130706433/", nil, ""}, // 127.0.0.1
		{"http://0x7f.1/", nil, ""},
		{"http://4294967296/", nil, ""}, // no address
		{"http://1.2.3.4.5/", nil, ""},
		{"http://169.254.169.idp.test/", nil, ""},
		{"http://a9fea9fe.test/", nil, ""},
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
		"fe80::1%lo": true,
		// All of AWS's network, and its neighbours.
		"fd00:ec2::23": true, "fd00:ec2:ffff::1": true, "fd00:ec1::254": false, "fd00:ec3::254": false,
		// IPv4 inside IPv6: the metadata service, another cloud's, multicast, and addresses that
		// are fine.
		"::ffff:100.100.100.200": true, "::ffff:10.0.0.1": false, "::ffff:0.0.0.0": true,
		"::169.254.169.254": true, "::10.0.0.1": false,
		"::ffff:0:169.254.169.254": true, "::ffff:0:10.0.0.1": false,
		"2002:a9fe:a9fe::1": true, "2002:6464:64c8:1::1": true, "2002:a00:1::a9fe:a9fe": false, "2002::1": true,
		"64:ff9b::a9fe:a9fe": true, "64:ff9b::e000:1": true, "64:ff9b::101:101": false, "64:ff9b::": true,
		"64:ff9b:1::a9fe:a9fe": true, "64:ff9b:1:6464:64:c800::": true, "64:ff9b:1:64:64:64c8::": true,
		"64:ff9b:1:0:64:6464:c800:0": true, "64:ff9b:1::a00:1": false, "64:ff9b:1:a00:0:100::": false,
		"64:ff9b:2::a9fe:a9fe":     false,
		"2001:db8::5efe:a9fe:a9fe": true, "2001:db8::200:5efe:a9fe:a9fe": true, "2001:db8::5efe:a00:1": false,
		"2001:db8::5eff:a9fe:a9fe":    false,
		"2001:0:a9fe:a9fe::f5ff:fffe": true, "2001:0:a00:1::5601:5601": true, "2001:0:a00:1::f5ff:fffe": false,
	} {
		if got := refused(netip.MustParseAddr(addr)) != ""; got != want {
			t.Errorf("%s refused: %t, want %t", addr, got, want)
		}
	}
}

// FuzzCheckURL: however a host is written, what is let through is not the metadata service.
func FuzzCheckURL(f *testing.F) {
	for _, host := range []string{"169.254.169.254", "[::ffff:a9fe:a9fe]", "0xa9.0376.43518", "2852039166.", "0x", "08", "1..2", "idp.test:8443"} {
		f.Add(host, uint32(0xa9fea9fe))
	}
	f.Fuzz(func(t *testing.T, host string, v4 uint32) {
		if numericAddr(host); CheckURL("http://"+host+"/", nil) != nil {
			return
		}
		if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.Trim(host, "[]"), ".")); err == nil && refused(ip) != "" {
			t.Fatalf("%q is let through", host)
		}
		want := netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)})
		for _, form := range []string{"%d", "%#x", "%#o", "%d."} {
			if form == "%#o" && v4 == 0 {
				continue
			}
			if got, ok := numericAddr(fmt.Sprintf(form, v4)); !ok || got != want {
				t.Fatalf("%s of %v is %v", form, want, got)
			}
		}
	})
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
