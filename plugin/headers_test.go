package plugin

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// FuzzMayManage: the cheap look at a name never passes over one that is managed, however it is
// spelled.
func FuzzMayManage(f *testing.F) {
	plan := compileHeaders(&config.Config{Upstream: config.Upstream{
		UpstreamAccessTokenHeader: "Authorization:bearer", UpstreamIDTokenHeader: "-token", UpstreamRefreshTokenHeader: "x",
	}})
	for _, seed := range []string{
		"authorization", "AUTHORIZATION", "-token", "_token", "_TOKEN", "x", "X", "x_consumer_id", "X-Consumer-Of-The-Future", "x_authenticated_groups", "", "accept",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if plan.manages(config.FoldHeader(name)) && !plan.mayManage(name) {
			t.Errorf("%q is passed over", name)
		}
	})
}

// FuzzPrintable: what goes into Kong's log is one line of printable text, and plain text stays.
func FuzzPrintable(f *testing.F) {
	for _, seed := range []string{"plain", "a\nb", "\x1b[31m", "\x00", "\u2028", "\u202e", "\xff", "ü€"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u2028' || r == '\u202e' }) {
			t.Errorf("%q became %q", s, got)
		}
	})
}
