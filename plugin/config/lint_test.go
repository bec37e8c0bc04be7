package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	runGolden(t, "testdata/lint.txtar", func(_ *testing.T, input []byte) string { return verdict(Lint(input)) })
}

// verdict is the readable form of what Lint returns.
func verdict(findings []Finding, err error) string {
	var out strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&out, "%d: %s", f.Line, lines([]Problem{f.Problem}))
	}
	if err != nil {
		out.WriteString("error: " + err.Error() + "\n")
	}
	return out.String()
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
		findings, _ := Lint([]byte(file))
		if len(findings) != 1 || findings[0].Warning {
			t.Errorf("%s: %v", name, findings)
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
		if first, again := verdict(Lint(file)), verdict(Lint(file)); first != again {
			t.Errorf("two verdicts on %q: %s, %s", file, first, again)
		}
	})
}
