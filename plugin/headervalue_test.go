package plugin

import (
	"fmt"
	"strings"
	"testing"
)

// TestNoControlInClaimHeaders: no byte that HTTP forbids in a value (RFC 9110 §5.5) comes from a
// claim, in whatever form it stands.
func TestNoControlInClaimHeaders(t *testing.T) {
	for c := range 0x100 {
		text := "a" + string(rune(c)) + "b"
		forbidden := c < 0x20 || c == 0x7f
		for form, claim := range map[string]any{"text": text, "list": []any{"x", text}} {
			if value, err := headerValue(claim, maxClaimValue); (err != nil) != forbidden {
				t.Errorf("%s with %#x: %q, %v", form, c, value, err)
			}
		}
		// In JSON all of them but DEL are escaped.
		value, err := headerValue(map[string]any{"k": text}, maxClaimValue)
		if (err != nil) != (c == 0x7f) || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			t.Errorf("object with %#x: %q, %v", c, value, err)
		}
	}
	for _, n := range []int{9, 10, 11} {
		if value, err := headerValue(strings.Repeat("x", n), 10); (err != nil) != (n > 10) || err == nil && len(value) != n {
			t.Errorf("%d bytes: %s", n, fmt.Sprint(value, err))
		}
	}
}
