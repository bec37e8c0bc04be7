// Package internal_test holds the rules on imports that the architecture rests on.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kong-openid-connect/openid-connect"

// layers lists our packages from the lowest up: a package imports only what stands
// in an earlier layer. The reasons are those of docs/architecture.md.
var layers = []struct {
	why      string
	packages []string // a name ending in /... covers what is below it
}{
	{"libraries of one RFC or one protocol, usable alone", []string{"pkg/strictjson"}},
	{"libraries of one protocol or one duty, usable alone", []string{"pkg/kongschema", "pkg/cache", "pkg/pluginserver", "pkg/egress"}},
	{"the token endpoint calls out through egress", []string{"pkg/oauth2"}},
	{"discovery and keys call out through egress; tokens are oauth2's secrets", []string{"pkg/oidc"}},
	{"the fields, and the edge to Kong: neither knows the other", []string{"plugin/config", "plugin/kong"}},
	{"methods turn a request and a configuration into tokens", []string{"plugin/authn"}},
	{"rules judge what methods found", []string{"plugin/authz"}},
	{"the product puts them together", []string{"plugin"}},
	{"what demonstrates and tests the product", []string{"internal/..."}},
	{"commands", []string{"cmd/...", "examples"}},
}

// owners are the only packages that may import a module, test files included.
var owners = map[string]struct {
	why      string
	packages []string
}{
	"github.com/Kong/go-pdk":          {"Kong's side of the world ends at these two", []string{"pkg/pluginserver", "plugin/kong"}},
	"github.com/lestrrat-go/jwx/v2":   {"unmaintained: its successor must be one package's change", []string{"pkg/oidc"}},
	"github.com/patrickmn/go-cache":   {"unbounded unless it stands behind our bound", []string{"pkg/cache"}},
	"github.com/zitadel/oidc/v3":      {"the demonstration's provider, never part of the product", []string{"internal/demoidp"}},
	"github.com/go-jose/go-jose/v4":   {"op's storage speaks it", []string{"internal/demoidp"}},
	"github.com/mccutchen/go-httpbin": {"the demonstration's upstream", []string{"cmd/demo"}},
	"go.yaml.in/yaml/v3":              {"YAML is for files that people write", []string{"plugin/config", "internal/devgateway", "internal/keycloaktest", "examples"}},
	"google.golang.org/protobuf":      {"the wire format ends where go-pdk does", []string{"pkg/pluginserver", "plugin/kong", "internal/devgateway"}},
	"github.com/google/go-cmp":        {"tests only", nil},
	"go.uber.org/goleak":              {"tests only", nil},
	"golang.org/x/tools":              {"tests only", nil},
	"golang.org/x/net/http/httpproxy": {"proxies are egress's", []string{"pkg/egress"}},
	"github.com/goccy/go-json":        {"encoding/json is enough", []string{}},
	"github.com/stretchr/testify":     {"the standard testing package is enough", []string{}},
}

// apart lists, by package, what it must not import: a judge shares no code with what it judges.
var apart = map[string][]string{
	"internal/demoidp": {"pkg/", "plugin"},
}

func TestImports(t *testing.T) {
	rank := func(pkg string) int {
		for i, layer := range layers {
			for _, p := range layer.packages {
				prefix, covers := strings.CutSuffix(p, "/...")
				if pkg == p || covers && strings.HasPrefix(pkg, prefix+"/") || strings.HasPrefix(pkg, p+"/internal/") {
					return i
				}
			}
		}
		return -1
	}
	for file, imports := range sources(t) {
		pkg := path.Dir(file)
		test := strings.HasSuffix(file, "_test.go")
		if !test && rank(pkg) < 0 && pkg != "internal" {
			t.Errorf("%s: package %s stands in no layer: give it one, with the reason", file, pkg)
		}
		for _, imported := range imports {
			ours, isOurs := strings.CutPrefix(imported, module+"/")
			if isOurs && !test && ours != pkg && rank(ours) >= rank(pkg) && !(rank(ours) == rank(pkg) && rank(pkg) >= len(layers)-2) {
				t.Errorf("%s imports %s, which stands no lower (%s)", file, ours, layers[rank(pkg)].why)
			}
			for _, prefix := range apart[pkg] {
				if isOurs && strings.HasPrefix(ours, prefix) {
					t.Errorf("%s imports %s: what is judged must not judge", file, ours)
				}
			}
			for module, owner := range owners {
				if imported != module && !strings.HasPrefix(imported, module+"/") {
					continue
				}
				testsOnly := owner.packages == nil
				if testsOnly && !test || !testsOnly && !slices.ContainsFunc(owner.packages, func(p string) bool { return pkg == p || strings.HasPrefix(pkg, p+"/") }) {
					t.Errorf("%s imports %s: %s", file, imported, owner.why)
				}
			}
		}
	}
}

// sources maps every Go file of the module, by its slash path from the root, to
// what it imports.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", filepath.FromSlash(name)), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files[name] = []string{}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			files[name] = append(files[name], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files found", len(files))
	}
	return files
}
