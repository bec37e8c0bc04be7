package devgateway

import (
	"fmt"
	"sort"
	"strings"
)

// normalizePath is the path as Kong's router and kong.request.get_path see it: escapes of
// characters that are not reserved are decoded, repeated slashes merged, dot segments removed (RFC
// 3986 §6.2.2).
func normalizePath(raw string) string { return cleanPath(decodeUnreserved(raw)) }

// cleanPath merges slashes and removes dot segments.
func cleanPath(decoded string) string {
	var out []string
	segments := strings.Split(decoded, "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case "", ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

func decodeUnreserved(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c, ok := unhex(s, i)
		switch {
		case !ok:
			b.WriteByte(s[i])
			continue
		case c == '%' || strings.IndexByte(":/?#[]@!$&'()*+,;=", c) >= 0:
			b.WriteString(strings.ToUpper(s[i : i+3]))
		default:
			b.WriteByte(c)
		}
		i += 2
	}
	return b.String()
}

// unhex reads the escape that begins at s[i], if one does.
func unhex(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	return byte(hi<<4 | lo), true
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// escapePath escapes what may not stand in a request line; escapes that are there stay.
func escapePath(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$&'()*+,/:;=?@[]-_.~%", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// escapeArg escapes a name or a value of a query as nginx's Lua does.
func escapeArg(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// unescapeArg reads + and escapes; what is no escape stays as it is.
func unescapeArg(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c, ok := unhex(s, i); ok {
			b.WriteByte(c)
			i += 2
		} else if s[i] == '+' {
			b.WriteByte(' ')
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// argument is one of a query or a form; flag says that there was no "=".
type argument struct {
	name, value string
	flag        bool
}

// parseArgs reads a query or a form in its order, at most limit arguments; more says that there
// were others.
func parseArgs(s string, limit int) (args []argument, more bool) {
	for _, part := range strings.Split(s, "&") {
		if part == "" {
			continue
		}
		if len(args) == limit {
			return args, true
		}
		name, value, given := strings.Cut(part, "=")
		args = append(args, argument{name: unescapeArg(name), value: unescapeArg(value), flag: !given})
	}
	return args, false
}

// queryValues groups arguments as Lua sees them: a string, true for one without "=", a list where
// the name is repeated.
func queryValues(args []argument) map[string]any {
	out := map[string]any{}
	for _, a := range args {
		var v any = a.value
		if a.flag {
			v = true
		}
		switch old := out[a.name].(type) {
		case nil:
			out[a.name] = v
		case []any:
			out[a.name] = append(old, v)
		default:
			out[a.name] = []any{old, v}
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
