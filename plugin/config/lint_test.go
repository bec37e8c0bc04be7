package config

import (
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	runGolden(t, "testdata/lint.txtar", func(_ *testing.T, input []byte) string {
		problems, err := Lint(input)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		return lines(problems)
	})
}

// TestLintIsBounded: aliases must not blow up.
func TestLintIsBounded(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 9 {
		n := string(rune('0' + i))
		m := string(rune('1' + i))
		bomb.WriteString("a" + m + ": &a" + m + " [" + strings.TrimSuffix(strings.Repeat("*a"+n+",", 10), ",") + "]\n")
	}
	for name, file := range map[string]string{
		"aliases": bomb.String(),
		"cycle":   "a: &a [*a]\nplugins: []\n",
		"depth":   strings.Repeat("[", 100) + strings.Repeat("]", 100),
	} {
		if _, err := Lint([]byte(file)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzLint(f *testing.F) {
	for _, seed := range []string{
		"plugins:\n- name: openid-connect\n  config: {issuer: x}\n", `{"issuer":"https://a.example"}`, "a: &a [*a]", "<<: 1", "services: [{plugins: [1]}]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		first, err := Lint(file)
		again, err2 := Lint(file)
		if (err == nil) != (err2 == nil) || lines(first) != lines(again) {
			t.Errorf("two verdicts on %q: %v, %v", file, first, again)
		}
	})
}
