package egress

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// metadata are the addresses at which clouds tell an instance its secrets, as far as they
// are not link-local: AWS, Google, Alibaba, Azure, Oracle.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),
	netip.MustParseAddr("fd20:ce::254"),
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("192.0.0.192"),
}

var (
	broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: IPv4 in the last four bytes
)

// refused says why no provider can be at this address; "" if one may. Loopback and private
// addresses are fine: providers stand beside the gateway.
func refused(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
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
		if ip == m {
			return "a cloud's metadata service"
		}
	}
	return ""
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
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return checkAddr(hostPort(u), ip)
	}
	return nil
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
