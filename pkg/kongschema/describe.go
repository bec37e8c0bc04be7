package kongschema

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"strings"
)

// Describe fills in the descriptions of a schema that Of derived, from the comments above the
// fields in the Go sources of their package (test files excepted). A field without a comment is an
// error.
func Describe(f *Field, sources fs.FS) error {
	docs, err := ReadComments(sources)
	if err != nil {
		return err
	}
	return f.describe(docs)
}

func (f *Field) describe(docs Comments) error {
	for _, sub := range f.Fields {
		if sub.owner != nil {
			if sub.Description = docs.Field(sub.owner, sub.source.name); sub.Description == "" {
				return fmt.Errorf("kongschema: %s.%s has no comment", sub.owner.Name(), sub.source.name)
			}
		}
		if err := sub.describe(docs); err != nil {
			return err
		}
	}
	if f.Elements != nil {
		return f.Elements.describe(docs)
	}
	return nil
}

// Comments are the comments of struct types and of their fields, each as one line of text.
type Comments map[string]string

// Type is the comment of a struct type, without its leading name.
func (c Comments) Type(t reflect.Type) string { return c[t.Name()] }

// Field is the comment of a struct's field.
func (c Comments) Field(t reflect.Type, name string) string { return c[t.Name()+"."+name] }

// ReadComments reads the comments of all struct types in the Go files of a directory.
func ReadComments(sources fs.FS) (Comments, error) {
	names, err := fs.Glob(sources, "*.go")
	if err != nil {
		return nil, fmt.Errorf("kongschema: %w", err)
	}
	docs := Comments{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := fs.ReadFile(sources, name)
		if err != nil {
			return nil, fmt.Errorf("kongschema: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("kongschema: %w", err)
		}
		ast.Inspect(file, docs.visit)
	}
	return docs, nil
}

func (c Comments) visit(n ast.Node) bool {
	decl, ok := n.(*ast.GenDecl)
	if !ok {
		return true
	}
	for _, spec := range decl.Specs {
		typ, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		body, ok := typ.Type.(*ast.StructType)
		if !ok {
			continue
		}
		c[typ.Name.Name] = oneLine(decl.Doc)
		for _, field := range body.Fields.List {
			for _, name := range field.Names {
				c[typ.Name.Name+"."+name.Name] = oneLine(field.Doc)
			}
		}
	}
	return false
}

func oneLine(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }
