// Package readme_test holds what README.md and docs/ say against what is there: flags, files and configurations.
package readme_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

const root = "../.."

func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob(filepath.Join(root, "examples", "*", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{}
	for _, file := range append(append(files, examples...), filepath.Join(root, "README.md")) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pages[file] = string(raw)
	}
	return pages
}

var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

func TestLinks(t *testing.T) {
	for file, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

var flagName = regexp.MustCompile("`(-[a-z][a-z-]+)[ `]")

// Flags of the server that the pages name exist, and those of the settings table are all there are.
func TestFlags(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "openid-connect")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/openid-connect")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	help, err := exec.CommandContext(t.Context(), binary, "-help").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"-help": true}
	for _, m := range regexp.MustCompile(`(?m)^  (-[a-z-]+)`).FindAllStringSubmatch(string(help), -1) {
		known[m[1]] = true
	}
	if len(known) < 5 {
		t.Fatalf("no flags in the help:\n%s", help)
	}
	all := pages(t)
	operations := all[filepath.Join(root, "docs", "operations.md")]
	for _, file := range []string{filepath.Join(root, "README.md"), filepath.Join(root, "docs", "operations.md")} {
		for _, m := range flagName.FindAllStringSubmatch(all[file], -1) {
			if !known[m[1]] {
				t.Errorf("%s names %s, which is no flag", file, m[1])
			}
		}
	}
	for name := range known {
		variable := "`OPENID_CONNECT_" + strings.ToUpper(strings.ReplaceAll(name[1:], "-", "_")) + "`"
		if name != "-help" && name != "-dump" && name != "-version" && !strings.Contains(operations, variable) {
			t.Errorf("docs/operations.md does not have %s and %s", name, variable)
		}
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// A configuration in the README is one that `openid-connect lint` has nothing to say of.
func TestConfigurations(t *testing.T) {
	blocks := yamlBlock.FindAllStringSubmatch(pages(t)[filepath.Join(root, "README.md")], -1)
	if len(blocks) == 0 {
		t.Fatal("README.md has no configuration")
	}
	for _, m := range blocks {
		problems, err := config.Lint([]byte(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s\n%s", p.Field, p.Message, m[1])
		}
	}
}

// The names that only the image, the compose file and the README have to agree on.
func TestImageAgrees(t *testing.T) {
	dockerfile, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	readme := pages(t)[filepath.Join(root, "README.md")]
	for _, m := range regexp.MustCompile(`(?m)(KONG_[A-Z_]+)="([^"]*)"`).FindAllStringSubmatch(string(dockerfile), -1) {
		line := strings.ToLower(strings.TrimPrefix(m[1], "KONG_")) + " = " + m[2]
		if !strings.Contains(readme, line) || !strings.Contains(readme, "`"+m[1]+"`") {
			t.Errorf("the image sets %s=%s; the README has no %q, or no %s", m[1], m[2], line, m[1])
		}
	}
}
