package egress

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// metadata are the networks at which clouds tell an instance its secrets, beside the link-local
// ones: AWS, Google, Alibaba, Azure, Oracle.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::254/128"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// refused says why no provider can be at this address; "" if one may. Loopback and private
// addresses are fine: providers stand beside the gateway.
func refused(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	for _, ip := range append(embedded(ip), ip) {
		if why := refusedItself(ip); why != "" {
			return why
		}
	}
	return ""
}

func refusedItself(ip netip.Addr) string {
	switch {
	case !ip.IsValid(), ip.IsUnspecified():
		return "unspecified"
	case ip.IsMulticast():
		return "multicast"
	case ip == broadcast:
		return "broadcast"
	case ip.IsLinkLocalUnicast():
		return "link-local"
	}
	for _, m := range metadata {
		if m.Contains(ip) {
			return "a cloud's metadata service"
		}
	}
	return ""
}

// carriers are the networks of IPv6 whose addresses lead to an IPv4 address, and the bytes
// in which they have it.
var carriers = []struct {
	net netip.Prefix
	at  [4]int
}{
	{netip.MustParsePrefix("::/96"), [4]int{12, 13, 14, 15}},           // compatible (RFC 4291 §2.5.5.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), [4]int{12, 13, 14, 15}}, // translated (RFC 2765 §2.1)
	{netip.MustParsePrefix("2002::/16"), [4]int{2, 3, 4, 5}},           // 6to4 (RFC 3056 §2)
	{teredo, [4]int{4, 5, 6, 7}},                                       // Teredo's server (RFC 4380 §4)
	{netip.MustParsePrefix("64:ff9b::/96"), [4]int{12, 13, 14, 15}},    // NAT64 (RFC 6052 §2.1)
	// NAT64 with a prefix of the network's own, of any length (RFC 8215, RFC 6052 §2.2).
	{nat64Local, [4]int{6, 7, 9, 10}},
	{nat64Local, [4]int{7, 9, 10, 11}},
	{nat64Local, [4]int{9, 10, 11, 12}},
	{nat64Local, [4]int{12, 13, 14, 15}},
}

var (
	teredo     = netip.MustParsePrefix("2001::/32")
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")
)

// embedded are the IPv4 addresses to which an IPv6 address may lead.
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() || ip.IsLoopback() || ip.IsUnspecified() {
		return nil
	}
	var found []netip.Addr
	b := ip.As16()
	for _, c := range carriers {
		v4 := netip.AddrFrom4([4]byte{b[c.at[0]], b[c.at[1]], b[c.at[2]], b[c.at[3]]})
		// Zero where the length of the prefix is not known means: not this length.
		if c.net.Contains(ip) && (c.net != nat64Local || !v4.IsUnspecified()) {
			found = append(found, v4)
		}
	}
	if teredo.Contains(ip) { // its client, bits inverted
		found = append(found, netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	// ISATAP (RFC 5214 §6.1), in any network.
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		found = append(found, netip.AddrFrom4([4]byte(b[12:])))
	}
	return found
}

// numericAddr reads a host name that is all numbers as inet_aton does, and so some
// resolvers and proxies: one to four parts, each decimal, octal or hexadecimal, the last
// of which fills what is left.
func numericAddr(host string) (netip.Addr, bool) {
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v4 uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		n, err := parseCNumber(part, bits)
		if err != nil {
			return netip.Addr{}, false
		}
		v4 = v4<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)}), true
}

// parseCNumber reads a number as C writes it: 0x10, 020 or 16.
func parseCNumber(s string, bits int) (uint64, error) {
	digits, base := s, 10
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		digits, base = hex, 16
	} else if len(s) > 1 && s[0] == '0' {
		base = 8
	}
	return strconv.ParseUint(digits, base, bits)
}

func checkAddr(host string, ip netip.Addr) error {
	if why := refused(ip); why != "" {
		return &Error{Kind: RefusedAddress, Host: host, reason: "address " + ip.String() + " is refused: " + why}
	}
	return nil
}

// CheckURL reports whether raw may be called: an absolute http or https URL with a host,
// without user and fragment, not at a refused literal address, and https if base is. base
// is where raw was learned from; nil if it is the operator's word. The error is an *Error
// that names no query. Names are resolved, and addresses checked, when they are dialled.
func CheckURL(raw string, base *url.URL) error {
	_, err := parseURL(raw, base)
	return err
}

func parseURL(raw string, base *url.URL) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, &Error{Kind: RefusedURL, reason: "a URL cannot be read", cause: err}
	case strings.ContainsFunc(u.Host, notVisible):
		return nil, &Error{Kind: RefusedURL, reason: "URL has a host with characters outside of ASCII"}
	case strings.Contains(raw, "#"):
		return nil, &Error{Kind: RefusedURL, Host: u.Host, reason: "URL has a fragment"}
	}
	return u, checkURL(u, base)
}

func checkURL(u, base *url.URL) error {
	refuse := func(reason string) error {
		return &Error{Kind: RefusedURL, Host: u.Host, reason: reason}
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return refuse("URL has the scheme " + strconv.QuoteToASCII(cut(u.Scheme)) + ", not http or https")
	case u.Hostname() == "" || u.Opaque != "":
		return refuse("URL has no host")
	case u.User != nil:
		return refuse("URL has a user in it")
	case base != nil && base.Scheme == "https" && u.Scheme != "https":
		return refuse("URL leaves https")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return refuse("URL has no usable port")
		}
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		var numeric bool
		if ip, numeric = numericAddr(u.Hostname()); !numeric {
			return nil
		}
	}
	return checkAddr(hostPort(u), ip)
}

func notVisible(r rune) bool { return r <= ' ' || r >= 0x7f }

// cut bounds what of a foreign text is shown.
func cut(s string) string {
	const most = 32
	if len(s) > most {
		return s[:most]
	}
	return s
}

// hostPort is u's host with its port, lower-case.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
