package kiln_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The bars of the house style.
const (
	maxFunctionLines = 100
	maxFileLines     = 700
	maxParameters    = 5
	maxComplexity    = 25
)

// A source is a Go file of ours.
type source struct {
	name   string
	fset   *token.FileSet
	file   *ast.File
	isTest bool
}

func (s source) line(p token.Pos) int { return s.fset.Position(p).Line }

// sources parses every Go file of the module that a person wrote.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			// The applications of the examples are only there to be built.
			isExample := filepath.Dir(name) == "examples"
			if isExample || name != "." && (base == "testdata" || base == "bin" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(base) != ".go" {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !ast.IsGenerated(f) {
			out = append(out, source{filepath.ToSlash(name), fset, f, strings.HasSuffix(base, "_test.go")})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("found only %d files", len(out))
	}
	return out
}

// functions calls f for every declared function with a body.
func functions(s source, f func(name string, d *ast.FuncDecl)) {
	for _, d := range s.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			f(fmt.Sprintf("%s:%d: %s", s.name, s.line(fn.Pos()), fn.Name.Name), fn)
		}
	}
}

// Files and functions stay short enough to be read at once.
func TestHouseSizes(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.line(s.file.FileEnd); n > maxFileLines {
			t.Errorf("%s has %d lines, the most is %d", s.name, n, maxFileLines)
		}
		functions(s, func(name string, d *ast.FuncDecl) {
			if n := s.line(d.End()) - s.line(d.Pos()) + 1; n > maxFunctionLines && !s.isTest {
				t.Errorf("%s has %d lines, the most is %d", name, n, maxFunctionLines)
			}
			if n := d.Type.Params.NumFields(); n > maxParameters {
				t.Errorf("%s has %d parameters, the most is %d: make them a struct", name, n, maxParameters)
			}
			if n := complexity(d); n > maxComplexity {
				t.Errorf("%s has complexity %d, the most is %d", name, n, maxComplexity)
			}
		})
	}
}

// complexity counts the ways through a function: one, and one more for every
// branch.
func complexity(d *ast.FuncDecl) int {
	n := 1
	ast.Inspect(d.Body, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if node.List != nil {
				n++
			}
		case *ast.CommClause:
			if node.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if node.Op == token.LAND || node.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

// Nothing happens by importing a package, and only main ends the program.
func TestHouseNoHiddenEffects(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest {
			continue
		}
		functions(s, func(name string, d *ast.FuncDecl) {
			if d.Recv == nil && d.Name.Name == "init" {
				t.Errorf("%s: no init", name)
			}
			ast.Inspect(d.Body, func(n ast.Node) bool {
				call, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				pkg, ok := call.X.(*ast.Ident)
				if ok && s.file.Name.Name != "main" && (pkg.Name == "os" && call.Sel.Name == "Exit" || pkg.Name == "log" && strings.HasPrefix(call.Sel.Name, "Fatal")) {
					t.Errorf("%s: %s.%s ends the program; return an error", name, pkg.Name, call.Sel.Name)
				}
				return true
			})
		})
	}
}

// Every package and every exported name says what it is.
func TestHouseDocComments(t *testing.T) {
	documented := map[string]bool{}
	var packages []string
	for _, s := range sources(t) {
		if s.isTest {
			continue
		}
		dir := filepath.Dir(s.name)
		documented[dir] = documented[dir] || s.file.Doc != nil
		if !slices.Contains(packages, dir) && !isEmpty(s.file) {
			packages = append(packages, dir)
		}
		for _, d := range s.file.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s:%d: %s has no doc comment", s.name, s.line(name.Pos()), name.Name)
			}
		}
	}
	for _, dir := range packages {
		if !documented[dir] {
			t.Errorf("%s: the package has no comment", dir)
		}
	}
}

// isEmpty reports whether a file holds nothing but imports.
func isEmpty(f *ast.File) bool {
	return !slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
		g, ok := d.(*ast.GenDecl)
		return !ok || g.Tok != token.IMPORT
	})
}

// undocumented returns the exported names of a declaration that nothing is
// said of. A comment on a group of constants or variables speaks for all.
func undocumented(d ast.Decl) []*ast.Ident {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && !isKnownMethod(d) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		var out []*ast.Ident
		for _, spec := range d.Specs {
			out = append(out, undocumentedIn(d, spec)...)
		}
		return out
	}
	return nil
}

func undocumentedIn(d *ast.GenDecl, spec ast.Spec) []*ast.Ident {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
			return []*ast.Ident{s.Name}
		}
	case *ast.ValueSpec:
		if d.Doc == nil && s.Doc == nil && s.Comment == nil {
			return slices.DeleteFunc(slices.Clone(s.Names), func(n *ast.Ident) bool { return !n.IsExported() })
		}
	}
	return nil
}

// isKnownMethod reports whether a method needs no words of its own: it is one
// of an unexported type, or everybody knows what it does.
func isKnownMethod(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	if id, ok := typ.(*ast.Ident); ok && !id.IsExported() {
		return true
	}
	return slices.Contains([]string{"Error", "Unwrap", "String", "Read", "Write", "Close", "MarshalJSON", "UnmarshalJSON"}, d.Name.Name)
}

// The bars themselves: what they count and what they let through.
func TestHouseBarsCount(t *testing.T) {
	const text = `package p
// Documented is.
func Documented(a, b int, c ...string) { if a > 0 && b > 0 || a < 0 { for range c { } } ; switch { case a > 1: case b > 1: default: } }
func Bare() {}
type hidden struct{}
func (hidden) Exported() {}
type T struct{}
func (*T) Error() string { return "" }
func (*T) Do() {}
const ( A = 1 // a
 B = 2 )
// Both are.
var ( C, D int )
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range f.Decls {
		for _, n := range undocumented(d) {
			got = append(got, n.Name)
		}
	}
	if want := []string{"Bare", "T", "Do", "B"}; !slices.Equal(got, want) {
		t.Errorf("undocumented: got %v, want %v", got, want)
	}
	fn := f.Decls[0].(*ast.FuncDecl)
	if got := complexity(fn); got != 7 {
		t.Errorf("complexity is %d, want 7", got)
	}
	if got := fn.Type.Params.NumFields(); got != 3 {
		t.Errorf("%d parameters, want 3", got)
	}
}
