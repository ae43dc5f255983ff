// Package docs checks the documentation against the code: that links lead
// somewhere, that Go code is what is compiled or parses at least, and that the
// make targets it names exist.
//
//	for _, fault := range docs.Check(os.DirFS("../..")) {
//		fmt.Println(fault)
//	}
//
// A block of Go code under the line
//
//	<!-- from doc/start/book/book.go -->
//
// must stand in that file, line by line, whatever its indentation. A page whose
// reader makes a module example.com/library imports the packages under doc/start
// by that name.
package docs

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Check returns what is wrong with the Markdown files of a tree, each fault with
// its file and line.
func Check(tree fs.FS) []string {
	var faults []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != ".":
			return fs.SkipDir
		case path.Ext(name) == ".md":
			faults = append(faults, checkFile(tree, name)...)
		}
		return nil
	})
	if err != nil {
		faults = append(faults, err.Error())
	}
	return faults
}

func checkFile(tree fs.FS, name string) []string {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return []string{err.Error()}
	}
	p := parse(string(text))
	var faults []string
	for _, l := range p.links {
		if why := l.check(tree, name, p); why != "" {
			faults = append(faults, fmt.Sprintf("%s:%d: link to %s: %s", name, l.line, l.to, why))
		}
	}
	for _, b := range p.blocks {
		if why := b.check(tree); why != "" {
			faults = append(faults, fmt.Sprintf("%s:%d: code: %s", name, b.line, why))
		}
	}
	for _, t := range p.targets {
		if !slices.Contains(makeTargets(tree), t.to) {
			faults = append(faults, fmt.Sprintf("%s:%d: make has no target %s", name, t.line, t.to))
		}
	}
	return faults
}

// page is a Markdown file in its parts.
type page struct {
	links   []link
	blocks  []block
	targets []link   // of make
	anchors []string // of headings
}

type link struct {
	line int
	to   string
}

// block is fenced code.
type block struct {
	line     int
	language string
	from     string // the file it stands in; empty: none is said
	lines    []string
}

var (
	linkAt   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fromAt   = regexp.MustCompile(`^<!-- from (\S+) -->$`)
	makeAt   = regexp.MustCompile("(?:^|`)make ([a-z][a-z0-9-]*)")
	codeSpan = regexp.MustCompile("`[^`]*`")
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func parse(text string) *page {
	p := &page{}
	var from string
	var open *block
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		fence := strings.HasPrefix(line, "```")
		switch {
		case open != nil && fence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
			p.addTargets(n, line, open.language == "sh")
		case fence:
			open, from = &block{line: n, language: strings.TrimPrefix(line, "```"), from: from}, ""
		default:
			p.addText(n, line)
			p.addTargets(n, line, true)
			from = ""
			if m := fromAt.FindStringSubmatch(line); m != nil {
				from = m[1]
			}
		}
	}
	if open != nil {
		p.blocks = append(p.blocks, block{line: open.line, language: "not closed"})
	}
	return p
}

// addText takes in a line that is not code.
func (p *page) addText(n int, line string) {
	if heading := strings.TrimLeft(line, "#"); heading != line && strings.HasPrefix(heading, " ") {
		p.anchors = append(p.anchors, anchor(heading))
	}
	for _, m := range linkAt.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
		p.links = append(p.links, link{n, m[1]})
	}
}

func (p *page) addTargets(n int, line string, shell bool) {
	for _, m := range makeAt.FindAllStringSubmatch(line, -1) {
		if shell && (strings.HasPrefix(m[0], "`") || strings.HasPrefix(line, "make")) {
			p.targets = append(p.targets, link{n, m[1]})
		}
	}
}

// anchor is what a heading is called in links.
func anchor(heading string) string {
	text := strings.ToLower(strings.TrimSpace(heading))
	return strings.ReplaceAll(noAnchor.ReplaceAllString(text, ""), " ", "-")
}

// check returns why a link of a page leads nowhere.
func (l link) check(tree fs.FS, page string, here *page) string {
	if strings.Contains(l.to, "://") || strings.HasPrefix(l.to, "mailto:") {
		return ""
	}
	to, heading, _ := strings.Cut(l.to, "#")
	if to != "" {
		to = path.Join(path.Dir(page), to)
		if _, err := fs.Stat(tree, to); err != nil {
			return "there is no such file"
		}
		if path.Ext(to) == ".md" {
			text, err := fs.ReadFile(tree, to)
			if err != nil {
				return err.Error()
			}
			here = parse(string(text))
		}
	}
	if heading != "" && !slices.Contains(here.anchors, heading) {
		return "there is no such heading"
	}
	return ""
}

// check returns why a block is not as it should be.
func (b block) check(tree fs.FS) string {
	switch {
	case b.language == "not closed":
		return "the block is not closed"
	case b.from != "":
		text, err := fs.ReadFile(tree, b.from)
		if err != nil {
			return err.Error()
		}
		if !stands(b.lines, strings.Split(asReaders.Replace(string(text)), "\n")) {
			return "it is not what stands in " + b.from
		}
	case b.language == "go":
		return parses(strings.Join(b.lines, "\n"))
	}
	return ""
}

// asReaders names packages as they are in the module that doc/start.md makes.
var asReaders = strings.NewReplacer("github.com/drivetrain-go/drivetrain/doc/start/", "example.com/library/")

// stands reports whether lines follow one another somewhere in file, all with
// the same indentation in front.
func stands(lines, file []string) bool {
	if len(lines) == 0 {
		return false
	}
	for start := 0; start+len(lines) <= len(file); start++ {
		indent, ok := strings.CutSuffix(file[start], lines[0])
		if !ok || strings.Trim(indent, "\t") != "" {
			continue
		}
		if slices.EqualFunc(lines, file[start:start+len(lines)], func(shown, real string) bool {
			return shown == "" && real == "" || indent+shown == real
		}) {
			return true
		}
	}
	return false
}

// parses returns why code is neither a file nor declarations nor statements.
func parses(code string) string {
	var err error
	for _, around := range [][2]string{{"", ""}, {"package p\n", ""}, {"package p\nfunc _() {\n", "\n}"}} {
		_, err = parser.ParseFile(token.NewFileSet(), "", around[0]+code+around[1], parser.SkipObjectResolution)
		if err == nil {
			return ""
		}
	}
	return "it does not parse: " + err.Error()
}

var targetAt = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):(?: |$)`)

// makeTargets returns the targets of the tree's Makefile.
func makeTargets(tree fs.FS) []string {
	text, err := fs.ReadFile(tree, "Makefile")
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range targetAt.FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	return names
}
