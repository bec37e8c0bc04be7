package pluginserver

import "testing"

// TestCanonicalTrailing: bytes behind the object are part of the configuration, also where they are
// no JSON. Two that differ in them are two configurations, and the compiler is to see them.
func TestCanonicalTrailing(t *testing.T) {
	for _, raw := range []string{`{"a":1} {}`, `{"a":1}{"a":1}`, `{"a":1} x`, `{"a":1}]`, `{"a":1}}`, `{"a":1} "`, `{"a":1},`, "{\"a\":1}\x00"} {
		if got := string(canonical([]byte(raw))); got != raw {
			t.Errorf("%q became %q", raw, got)
		}
	}
	if got := string(canonical([]byte("{\"a\": 1}\r\n\t "))); got != `{"a":1}` {
		t.Errorf("space behind it: %q", got)
	}
}
