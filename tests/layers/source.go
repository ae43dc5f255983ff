package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// File is a parsed file of a package.
type File struct {
	Package string // module-relative
	Main    bool   // of a program
	Test    bool
	Path    string // module-relative
	Syntax  *ast.File
	Set     *token.FileSet
}

// Files parses all files of the module's own packages, tests included.
func (g *Graph) Files() ([]*File, error) {
	var files []*File
	for _, p := range g.Own() {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles, p.IgnoredGoFiles) {
			f := &File{Package: g.name(p.ImportPath), Main: p.Name == "main", Test: strings.HasSuffix(name, "_test.go"),
				Path: filepath.ToSlash(filepath.Join(g.name(p.ImportPath), name))}
			if err := f.parse(filepath.Join(p.Dir, name), nil); err != nil {
				return nil, err
			}
			files = append(files, f)
		}
	}
	return files, nil
}

func (f *File) parse(path string, src any) (err error) {
	f.Set = token.NewFileSet()
	f.Syntax, err = parser.ParseFile(f.Set, path, src, parser.ParseComments|parser.SkipObjectResolution)
	return err
}

func (f *File) at(n ast.Node) string {
	return f.Path + ":" + strconv.Itoa(f.Set.Position(n.Pos()).Line)
}

func (f *File) lines(n ast.Node) int {
	return f.Set.Position(n.End()).Line - f.Set.Position(n.Pos()).Line + 1
}

// Check returns what breaks the rules about the text of files.
func (s Source) Check(files []*File) []Violation {
	found := comments(files)
	for _, f := range files {
		if n := f.Set.File(f.Syntax.Pos()).LineCount(); n > s.File {
			found = append(found, Violation{fmt.Sprintf("%s has %d lines", f.Path, n),
				fmt.Sprintf("a file above %d lines is read by nobody", s.File), "split it by what its parts are for"})
		}
		if f.Test {
			continue
		}
		found = append(found, s.long(f)...)
		found = append(found, inits(f)...)
		found = append(found, dots(f)...)
		if !anyMatches(s.Clock, f.Package) {
			found = append(found, clocks(f)...)
			found = append(found, chance(f, anyMatches(s.Seeded, f.Package))...)
		}
		if !f.Main {
			found = append(found, exits(f)...)
		}
		if anyMatches(s.Documented, f.Package) {
			found = append(found, undocumented(f)...)
		}
	}
	return found
}

// comments checks that each package has a comment.
func comments(files []*File) []Violation {
	has := make(map[string]bool)
	var order []string
	for _, f := range files {
		if f.Test {
			continue
		}
		if _, seen := has[f.Package]; !seen {
			order = append(order, f.Package)
		}
		has[f.Package] = has[f.Package] || f.Syntax.Doc != nil
	}
	var found []Violation
	for _, p := range order {
		if !has[p] {
			found = append(found, Violation{"package " + p + " has no comment",
				"a package is entered by its comment", "say what it is, with the smallest program that uses it"})
		}
	}
	return found
}

func (s Source) long(f *File) []Violation {
	var found []Violation
	for name, n := range f.functions() {
		if n > s.Function {
			found = append(found, Violation{fmt.Sprintf("%s: %s has %d lines", f.Path, name, n),
				fmt.Sprintf("a function above %d lines fits no screen", s.Function), "take its loops and cases out into functions with names"})
		}
	}
	return found
}

// Long returns the functions, outside of tests, that have more than s.Name lines.
func (s Source) Long(files []*File) []string {
	var out []string
	for _, f := range files {
		for name, n := range f.functions() {
			if n > s.Name && !f.Test {
				out = append(out, fmt.Sprintf("%s: %s has %d lines", f.Path, name, n))
			}
		}
	}
	slices.Sort(out)
	return out
}

// functions returns the lines of each function, by name.
func (f *File) functions() map[string]int {
	out := make(map[string]int)
	for _, d := range f.Syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			out[signature(fn)] = f.lines(fn)
		}
	}
	return out
}

// signature returns "Name" or "Type.Name".
func signature(fn *ast.FuncDecl) string {
	if r := receiver(fn); r != "" {
		return r + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// receiver returns the name of a method's type, "" for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	switch t := bare(fn.Recv.List[0].Type).(type) {
	case *ast.IndexExpr:
		return fmt.Sprint(bare(t.X))
	case *ast.IndexListExpr:
		return fmt.Sprint(bare(t.X))
	default:
		return fmt.Sprint(t)
	}
}

func bare(e ast.Expr) ast.Expr {
	if star, ok := e.(*ast.StarExpr); ok {
		return star.X
	}
	return e
}

func inits(f *File) []Violation {
	var found []Violation
	for _, d := range f.Syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, Violation{f.at(fn) + ": func init",
				"what an import does by itself nobody sees, and no test can leave out", "let the caller call a function, or initialise a variable"})
		}
	}
	return found
}

const outside = "time and chance come from outside, so that a seed reproduces a run"

func clocks(f *File) []Violation {
	var found []Violation
	for _, use := range f.uses("time") {
		if slices.Contains([]string{"Now", "Sleep", "Since", "Until"}, use.Sel.Name) {
			found = append(found, Violation{f.at(use) + ": time." + use.Sel.Name, outside,
				"take internal/clock's Clock or a func() time.Time; wait with a timer that also ends with the context"})
		}
	}
	return found
}

// chance checks for random numbers. A package that is seeded may have a
// generator of its own, but not the one that the process shares.
func chance(f *File, seeded bool) []Violation {
	var found []Violation
	for _, pkg := range []string{"math/rand", "math/rand/v2", "crypto/rand"} {
		spec := f.imports(pkg)
		if spec == nil {
			continue
		}
		if !seeded || pkg == "crypto/rand" {
			found = append(found, Violation{f.at(spec) + ": imports " + pkg, outside, "take internal/clock's Clock and its Entropy"})
			continue
		}
		for _, use := range f.uses(pkg) {
			if !slices.Contains([]string{"Rand", "New", "NewPCG", "NewChaCha8", "PCG", "ChaCha8"}, use.Sel.Name) {
				found = append(found, Violation{f.at(use) + ": rand." + use.Sel.Name, outside, "draw from the generator that has the seed"})
			}
		}
	}
	return found
}

func dots(f *File) []Violation {
	var found []Violation
	for _, spec := range f.Syntax.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			found = append(found, Violation{f.at(spec) + ": dot import of " + spec.Path.Value,
				"a reader cannot tell where a name comes from, nor can the other rules", "import it under its name"})
		}
	}
	return found
}

func exits(f *File) []Violation {
	const why = "a library that ends the process skips everybody's shutdown"
	const do = "return an error"
	var found []Violation
	for _, use := range f.uses("os") {
		if use.Sel.Name == "Exit" {
			found = append(found, Violation{f.at(use) + ": os.Exit", why, do})
		}
	}
	for _, use := range f.uses("log") {
		if strings.HasPrefix(use.Sel.Name, "Fatal") || strings.HasPrefix(use.Sel.Name, "Panic") {
			found = append(found, Violation{f.at(use) + ": log." + use.Sel.Name, why, do})
		}
	}
	return found
}

// imports returns the import of a package, nil if there is none.
func (f *File) imports(pkg string) *ast.ImportSpec {
	for _, spec := range f.Syntax.Imports {
		if spec.Path.Value == strconv.Quote(pkg) {
			return spec
		}
	}
	return nil
}

// uses returns where the file mentions names of a package, by whatever name it
// imports it.
func (f *File) uses(pkg string) []*ast.SelectorExpr {
	spec := f.imports(pkg)
	if spec == nil {
		return nil
	}
	local := strings.TrimSuffix(pkg, "/v2")
	local = local[strings.LastIndexByte(local, '/')+1:]
	if spec.Name != nil {
		local = spec.Name.Name
	}
	var found []*ast.SelectorExpr
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
				found = append(found, sel)
			}
		}
		return true
	})
	return found
}

// plain is the methods whose meaning everybody knows.
var plain = []string{"Error", "String", "Unwrap", "Is", "Len", "Less", "Swap"}

// undocumented returns the exported names of a file without a doc comment; one
// over a group of constants or variables, or behind one of them, is enough.
func undocumented(f *File) []Violation {
	var found []Violation
	report := func(n ast.Node, name string) {
		found = append(found, Violation{f.at(n) + ": " + name + " has no doc comment",
			"what a name promises must not be guessed from its code", "say its shape, unit, default, bound and errors, as they apply"})
	}
	for _, d := range f.Syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			r := receiver(d)
			if d.Doc == nil && d.Name.IsExported() && (r == "" || ast.IsExported(r) && !slices.Contains(plain, d.Name.Name)) {
				report(d, signature(d))
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if name := undocumentedSpec(d, spec); name != "" {
					report(spec, name)
				}
			}
		}
	}
	return found
}

// undocumentedSpec returns the first exported name of spec if nothing documents
// it.
func undocumentedSpec(d *ast.GenDecl, spec ast.Spec) string {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if d.Doc == nil && s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
			return s.Name.Name
		}
	case *ast.ValueSpec:
		if d.Doc != nil || s.Doc != nil || s.Comment != nil {
			return ""
		}
		for _, name := range s.Names {
			if name.IsExported() {
				return name.Name
			}
		}
	}
	return ""
}
