package layers

import (
	"fmt"
	"slices"
	"strings"
)

// Imports returns what breaks the rules about imports, by package.
func (r Rules) Imports(g *Graph) []Violation {
	var found []Violation
	for _, p := range g.Own() {
		found = append(found, r.layer(g, p)...)
		found = append(found, r.libraries(g, p)...)
		found = append(found, r.pure(g, p)...)
	}
	for _, program := range r.Programs {
		found = append(found, program.check(g)...)
	}
	return found
}

// layer checks p's imports of our own packages.
func (r Rules) layer(g *Graph, p *Package) []Violation {
	name := g.name(p.ImportPath)
	i := slices.IndexFunc(r.Layers, func(l Layer) bool { return matches(l.Packages, name) })
	if i < 0 {
		return []Violation{{"package " + name + " has no layer",
			"a package that no rule names may import anything",
			"give it a place in tests/layers/rules.go"}}
	}
	var found []Violation
	for _, imported := range p.Imports {
		own, ok := g.inside(imported)
		if !ok || slices.Contains(r.Layers[i].May, "...") || anyMatches(r.Layers[i].May, own) {
			continue
		}
		found = append(found, Violation{name + " imports " + own, r.Layers[i].Why,
			"declare in " + name + " the interface it needs, and let a layer above both pass " + own + " in; it may import " +
				orNothing(r.Layers[i].May)})
	}
	return found
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing of ours"
	}
	return strings.Join(list, ", ")
}

// libraries checks p's imports of other people's packages.
func (r Rules) libraries(g *Graph, p *Package) []Violation {
	var found []Violation
	for _, l := range r.Libraries {
		imports := p.Imports
		if l.Tests {
			imports = slices.Concat(imports, p.TestImports, p.XTestImports)
		}
		for _, imported := range imports {
			if v, bad := l.check(g.name(p.ImportPath), imported); bad {
				found = append(found, v)
			}
		}
	}
	return found
}

func (l Library) check(name, imported string) (Violation, bool) {
	meant := imported == l.Path || !l.Root && below(l.Path, imported)
	if !meant || anyMatches(l.In, name) {
		return Violation{}, false
	}
	do := "use it in " + strings.Join(l.In, ", ") + " only, behind the interface that is there"
	if len(l.In) == 0 {
		do = "import one of its packages below, none of which imports the root"
	}
	return Violation{name + " imports " + imported, l.Why, do}, true
}

// pure checks that p reaches nobody else's package.
func (r Rules) pure(g *Graph, p *Package) []Violation {
	name := g.name(p.ImportPath)
	var found []Violation
	for _, rule := range r.Pure {
		if !matches(rule.Packages, name) {
			continue
		}
		if steps := g.path(p.ImportPath, g.third); steps != nil {
			for i := range steps {
				steps[i] = g.name(steps[i])
			}
			found = append(found, Violation{name + " imports " + strings.Join(steps, ", which imports "), rule.Why,
				"stay with the standard library and our own pure packages here"})
		}
	}
	return found
}

// check counts the packages that a program links; a program that does not exist
// yet has none.
func (program Program) check(g *Graph) []Violation {
	root := g.Module + "/" + program.Package
	if g.Packages[root] == nil {
		return nil
	}
	var found []Violation
	for _, library := range program.Never {
		wanted := func(p string) bool { return below(library, p) }
		if steps := g.path(root, wanted); steps != nil {
			found = append(found, Violation{program.Package + " links " + library + " by " + strings.Join(steps, ", "), program.Why,
				"make it an optional package that a user imports"})
		}
	}
	if linked := g.linked(root); len(linked) > program.Most {
		found = append(found, Violation{
			fmt.Sprintf("%s links %d packages of others, at most %d are meant", program.Package, len(linked), program.Most), program.Why,
			"see `go list -deps`; the libraries with most packages are " + strings.Join(largest(linked, 5), ", ")})
	}
	return found
}

// Size says how many packages of others a program links, for the test's output.
func (program Program) Size(g *Graph) string {
	return fmt.Sprintf("%s links %d packages of others, at most %d are meant", program.Package, len(g.linked(g.Module+"/"+program.Package)), program.Most)
}

// linked returns the packages of others that a program is made of.
func (g *Graph) linked(root string) []string {
	var out []string
	g.path(root, func(p string) bool { // walks all: nothing is wanted
		if g.third(p) {
			out = append(out, p)
		}
		return false
	})
	return out
}

// largest returns the n modules, by the first three parts of their packages'
// paths, with most packages, each with its number.
func largest(packages []string, n int) []string {
	count := make(map[string]int)
	for _, p := range packages {
		parts := strings.SplitN(p, "/", 4)
		count[strings.Join(parts[:min(3, len(parts))], "/")]++
	}
	var out []string
	for range min(n, len(count)) {
		best := ""
		for m := range count {
			if best == "" || count[m] > count[best] || count[m] == count[best] && m < best {
				best = m
			}
		}
		out = append(out, fmt.Sprintf("%s (%d)", best, count[best]))
		delete(count, best)
	}
	return out
}
