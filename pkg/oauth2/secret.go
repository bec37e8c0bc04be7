package oauth2

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// redacted is what every Secret prints as.
const redacted = "[redacted]"

// Secret is a string that must not be seen: a client secret, a token, an Authorization
// header. However it is formatted, marshalled or logged, it appears as "[redacted]";
// the empty Secret appears as "", so that a missing one can be told. string(s) reveals it.
// It unmarshals from a JSON string, as a string does.
type Secret string

var (
	_ fmt.Formatter  = Secret("")
	_ slog.LogValuer = Secret("")
	_ json.Marshaler = Secret("")
)

// String returns "[redacted]", or "" for the empty Secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format prints the redacted form whatever the verb: %x and %d would reveal it otherwise.
func (s Secret) Format(f fmt.State, verb rune) {
	out := s.String()
	if verb == 'q' || (verb == 'v' && f.Flag('#')) {
		out = `"` + out + `"`
	}
	_, _ = f.Write([]byte(out))
}

// MarshalText gives the redacted form to every text encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON gives the redacted form.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// LogValue gives slog the redacted form.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
