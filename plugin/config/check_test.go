package config

import (
	"errors"
	"testing"
)

func TestCheck(t *testing.T) {
	runGolden(t, "testdata/check.txtar", func(t *testing.T, input []byte) string {
		c, warnings, err := Decode(input)
		var refused Invalid
		if errors.As(err, &refused) {
			return lines(refused)
		} else if err != nil {
			t.Fatal(err)
		}
		return lines(append(warnings, c.Check()...))
	})
}

func TestParseTokenHeader(t *testing.T) {
	for value, want := range map[string]struct {
		name   string
		bearer bool
	}{
		"authorization:bearer": {"authorization", true},
		"X-Token:Bearer":       {"X-Token", true},
		"x-token":              {"x-token", false},
		"x-token:basic":        {"x-token:basic", false},
		"":                     {"", false},
	} {
		if name, bearer := ParseTokenHeader(value); name != want.name || bearer != want.bearer {
			t.Errorf("%q: got %q, %t", value, name, bearer)
		}
	}
}
