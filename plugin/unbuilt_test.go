package plugin

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// TestEveryFieldIsBuiltOrSaysSo: a field that no code reads says in its tag that it is not built
// (plugin/config/config.go has the words), and one that code reads does not say so any more.
func TestEveryFieldIsBuiltOrSaysSo(t *testing.T) {
	used := usedFields(t)
	speaks := map[string]bool{} // refused or warned of
	for _, f := range declared() {
		if f.says(`unbuilt=refuse`) || f.says(`unbuilt=warn`) {
			speaks[f.name] = true
		}
	}
	for _, f := range declared() {
		owners, unbuilt := f.word("unbuilt")
		excused := unbuilt || f.says("ignored")
		if excused == used[f.goName] {
			t.Errorf("%s: used in code: %t, excused by its tag: %t", f.name, used[f.goName], excused)
		}
		if !unbuilt || speaks[f.name] {
			continue
		}
		for owner := range strings.SplitSeq(owners, "|") {
			built := authn.Usable(&config.Config{Methods: config.Methods{AuthMethods: []config.AuthMethod{config.AuthMethod(owner)}}}) == nil
			known := slices.Contains(allMethods(t), config.AuthMethod(owner))
			if built || !known && !speaks[owner] {
				t.Errorf("%s says nothing because of %s, which is built or does not speak", f.name, owner)
			}
		}
	}
}

// allMethods are all the methods there are: those of the default.
func allMethods(t *testing.T) []config.AuthMethod {
	t.Helper()
	cfg, _, err := config.Decode([]byte(`{"issuer":"https://idp.example"}`))
	if err != nil {
		t.Fatal(err)
	}
	return cfg.AuthMethods
}

type declaredField struct{ name, goName, tag string }

// word is the value of a word in the tag.
func (f declaredField) word(key string) (string, bool) {
	for word := range strings.SplitSeq(f.tag, ",") {
		if name, value, _ := strings.Cut(word, "="); name == key {
			return value, true
		}
	}
	return "", false
}

func (f declaredField) says(word string) bool {
	return slices.Contains(strings.Split(f.tag, ","), word)
}

// declared are the fields of the configuration; without old names, which are empty after decoding,
// and what the schema refuses.
func declared() []declaredField {
	var list []declaredField
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		tag := f.Tag.Get("kong")
		if tag == "" || strings.Contains(tag, ",replaced=") || strings.Contains(tag, ",refused=") {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		list = append(list, declaredField{name, f.Name, f.Tag.Get("oidc")})
	}
	return list
}

// usedFields are the fields that the product's code reads: as cfg.Field, or in methods of package
// config. Checks of values and the list of what is not built are no use of a field.
func usedFields(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	for _, root := range []string{".", "../cmd"} {
		err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
			skipped := strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "config/check") || root == "." && name == "unbuilt.go"
			if err != nil || entry.IsDir() || path.Ext(name) != ".go" || skipped {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path.Join(root, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, decl := range file.Decls {
				receiver := "cfg"
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Recv.List[0].Names != nil && strings.HasPrefix(name, "config/") {
					receiver = fn.Recv.List[0].Names[0].Name
				}
				ast.Inspect(decl, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok && endsIn(s.X, receiver) {
						used[s.Sel.Name] = true
					}
					return true
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return used
}

// endsIn reports whether x is name, or something.name.
func endsIn(x ast.Expr, name string) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == name
	case *ast.SelectorExpr:
		return x.Sel.Name == name
	}
	return false
}
