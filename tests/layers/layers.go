// Package layers checks how the module is built: which package may import
// which, where a library may be used, and what the source must look like. The
// rules are data in rules.go, each with its reason:
//
//	graph, err := layers.Load(ctx, "../..")
//	if err != nil {
//		return err
//	}
//	for _, v := range layers.Default.Check(graph) {
//		fmt.Println(v)
//	}
//
// Test files are free: a rule about imports reads the imports of the package
// alone, except where it says otherwise.
package layers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// Package is what `go list` says about a package, as far as the rules need it.
type Package struct {
	ImportPath     string
	Name           string
	Dir            string
	Standard       bool
	Module         *Module
	GoFiles        []string
	TestGoFiles    []string
	XTestGoFiles   []string
	IgnoredGoFiles []string // of other systems
	Imports        []string
	TestImports    []string
	XTestImports   []string
}

// Module is the module that a package belongs to.
type Module struct {
	Path string
	Main bool
}

// Graph is a module's packages and all that they depend on, by import path.
type Graph struct {
	Module   string // the path of the module that is checked
	Packages map[string]*Package
}

// Violation is a broken rule, as a sentence each: what, why not, what to do.
type Violation struct {
	What string // "framework/stream imports framework/cluster"
	Why  string
	Do   string
}

// String returns the three sentences, each on a line.
func (v Violation) String() string {
	return v.What + "\n\twhy not: " + v.Why + "\n\tinstead: " + v.Do
}

// Load asks `go list` in dir for the graph of the module there.
func Load(ctx context.Context, dir string) (*Graph, error) {
	const fields = "ImportPath,Name,Dir,Standard,Module,GoFiles,TestGoFiles,XTestGoFiles,IgnoredGoFiles,Imports,TestImports,XTestImports"
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json="+fields, "./...")
	cmd.Dir = dir
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages in %s: %w: %s", dir, err, problems.Bytes())
	}
	return read(bytes.NewReader(out))
}

// read takes the objects that `go list -json` prints.
func read(r io.Reader) (*Graph, error) {
	g := &Graph{Packages: make(map[string]*Package)}
	for d := json.NewDecoder(r); ; {
		p := new(Package)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read what go list prints: %w", err)
		}
		g.Packages[p.ImportPath] = p
		if p.Module != nil && p.Module.Main {
			g.Module = p.Module.Path
		}
	}
	if g.Module == "" {
		return nil, errors.New("go list names no package of the main module")
	}
	return g, nil
}

// Own returns the module's own packages, by import path.
func (g *Graph) Own() []*Package {
	var own []*Package
	for _, p := range g.Packages {
		if _, ok := g.inside(p.ImportPath); ok {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b *Package) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	return own
}

// inside returns an import path relative to the module, "." for its root, and
// whether it is in the module.
func (g *Graph) inside(importPath string) (string, bool) {
	if importPath == g.Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, g.Module+"/")
}

// name returns an import path as messages show it: our own without the module.
func (g *Graph) name(importPath string) string {
	if short, ok := g.inside(importPath); ok {
		return short
	}
	return importPath
}

// third reports whether an import path is of neither the standard library nor
// the module.
func (g *Graph) third(importPath string) bool {
	if _, own := g.inside(importPath); own || importPath == "C" {
		return false
	}
	if p, ok := g.Packages[importPath]; ok {
		return !p.Standard
	}
	first, _, _ := strings.Cut(importPath, "/") // of a test only: not in the graph
	return strings.Contains(first, ".")
}

// path returns a shortest chain of imports from a package to the first one that
// is wanted, without the package itself; nil if there is none.
func (g *Graph) path(from string, wanted func(string) bool) []string {
	came := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		p := g.Packages[queue[0]]
		if p == nil {
			continue
		}
		for _, next := range p.Imports {
			if _, seen := came[next]; seen {
				continue
			}
			came[next] = queue[0]
			if wanted(next) {
				return chain(came, next)
			}
			queue = append(queue, next)
		}
	}
	return nil
}

func chain(came map[string]string, end string) []string {
	var steps []string
	for at := end; came[at] != ""; at = came[at] {
		steps = append(steps, at)
	}
	slices.Reverse(steps)
	return steps
}

// matches reports whether a module-relative path fits a pattern: "a/b" itself,
// "a/*" one level below, "a/..." a and all below it.
func matches(pattern, name string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		parts := strings.Split(name, "/")
		n := min(len(parts), strings.Count(base, "/")+1)
		name, pattern = strings.Join(parts[:n], "/"), base
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func anyMatches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

// below reports whether an import path is that of a library or within it.
func below(library, importPath string) bool {
	return importPath == library || strings.HasPrefix(importPath, library+"/")
}
