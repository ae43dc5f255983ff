package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var root = os.DirFS("../..")

func TestTheDocumentationIsTrue(t *testing.T) {
	for _, fault := range Check(root) {
		t.Error(fault)
	}
}

func TestAPlantedFaultIsFound(t *testing.T) {
	const imports = "package p\n\nimport \"github.com/drivetrain-go/drivetrain/doc/start/book\"\n"
	const file = "package p\n\nfunc F() {\n\tif true {\n\t\tf(1)\n\n\t\tf(2)\n\t}\n}\n"
	for _, c := range []struct{ name, text, want string }{
		{"a link that leads somewhere", "[x](p.go) and [y](#a-heading) and [z](README.md#a-heading) and [w](https://x.org)\n# A heading!", ""},
		{"a link that leads nowhere", "\n[x](q.go)", "README.md:2: link to q.go: there is no such file"},
		{"a heading that is not there", "[x](#b)\n# A", "README.md:1: link to #b: there is no such heading"},
		{"a link in code", "`[x](q.go)`", ""},
		{"code that stands in its file", "<!-- from p.go -->\n```go\nif true {\n\tf(1)\n\n\tf(2)\n```", ""},
		{"code that imports what the reader has", "<!-- from i.go -->\n```go\nimport \"example.com/library/book\"\n```", ""},
		{"code that has changed", "<!-- from p.go -->\n```go\nf(1)\nf(2)\n```", "README.md:2: code: it is not what stands in p.go"},
		{"code of a file that is gone", "<!-- from q.go -->\n```go\nf(1)\n```", "README.md:2: code: open q.go"},
		{"code that is a file", "```go\npackage p\n```", ""},
		{"code that is a declaration", "```go\nvar x = 1\n```", ""},
		{"code that is a statement", "```go\nx := 1\n```", ""},
		{"code that is none of these", "```go\nx := {\n```", "README.md:1: code: it does not parse"},
		{"a block that does not end", "```go\nx := 1", "README.md:1: code: the block is not closed"},
		{"a target that is there", "run `make check`\n```sh\nmake check\n```\nto make do", ""},
		{"a target that is not there", "run `make chek`", "README.md:1: make has no target chek"},
		{"one in a block", "```sh\nmake chek\n```", "README.md:2: make has no target chek"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := fstest.MapFS{"README.md": {Data: []byte(c.text)}, "p.go": {Data: []byte(file)}, "i.go": {Data: []byte(imports)}, "Makefile": {Data: []byte("check: ## all\n\ttrue\n")}}
			got := strings.Join(Check(tree), "\n")
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// Who writes down what doc/start.md shows has the program that is tested: all
// lines, in order, of the files that it names.
func TestTheProgramOfStartIsWhollyOnItsPage(t *testing.T) {
	text, err := fs.ReadFile(root, "doc/start.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string][]string{}
	for _, b := range parse(string(text)).blocks {
		shown[b.from] = append(shown[b.from], b.lines...)
	}
	for _, name := range []string{"book/book.go", "book/book_test.go", "main.go", "main_test.go"} {
		source, err := fs.ReadFile(root, "doc/start/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("the page does not name %s", name)
		}
		want := asReaders.Replace(string(source))
		if name == "main.go" { // its comment tells how to run it in this repository
			want = want[strings.Index(want, "package main"):]
		}
		if got := shown["doc/start/"+name]; !slices.Equal(written(got), written(strings.Split(want, "\n"))) {
			t.Errorf("%s: the page shows %d lines of %d, or in another order", name, len(written(got)), len(written(strings.Split(want, "\n"))))
		}
	}
}

// written returns the lines that are not blank.
func written(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.TrimSpace(line) == "" })
}

// What .ci/run reads in README must be there: a step without commands would
// check nothing.
func TestREADMEHasTheCommandsThatCIRuns(t *testing.T) {
	text, err := fs.ReadFile(root, "README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"test": "go test ./...", "try": "/v1/views/post-card/"} {
		_, behind, ok := strings.Cut(string(text), "\n<!-- ci: "+name+" -->\n```sh\n")
		commands, _, closed := strings.Cut(behind, "\n```\n")
		if !ok || !closed || !strings.Contains(commands, want) {
			t.Errorf("README.md has no block of commands with %q under <!-- ci: %s -->", want, name)
		}
	}
}

func TestMakeHelpNamesEveryTarget(t *testing.T) {
	text, err := fs.ReadFile(root, "Makefile")
	if err != nil {
		t.Fatal(err)
	}
	described := regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):.*## \S`).FindAllStringSubmatch(string(text), -1)
	for _, name := range makeTargets(root) {
		if !slices.ContainsFunc(described, func(m []string) bool { return m[1] == name }) {
			t.Errorf("target %s has no description", name)
		}
	}
	if len(described) < 10 {
		t.Errorf("%d targets are described", len(described))
	}
}

// Every kind of problem that the API answers with is in the reference, and no
// other.
func TestEveryProblemIsInTheReference(t *testing.T) {
	source, err := fs.ReadFile(root, "api/problems.go")
	if err != nil {
		t.Fatal(err)
	}
	reference, err := fs.ReadFile(root, "doc/reference/http.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`&kind\{"([a-z-]+)", (\d+),`).FindAllStringSubmatch(string(source), -1)
	rows := regexp.MustCompile("(?m)^\\| (\\d+) \\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(reference), -1)
	if len(kinds) == 0 {
		t.Fatal("api/problems.go declares no kind in the form that this test reads")
	}
	for _, k := range kinds {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[1] == k[2] && row[2] == k[1] }) {
			t.Errorf("doc/reference/http.md has no row for %s %s", k[2], k[1])
		}
	}
	for _, row := range rows {
		if !slices.ContainsFunc(kinds, func(k []string) bool { return row[1] == k[2] && row[2] == k[1] }) {
			t.Errorf("doc/reference/http.md has %s %s, which the API does not answer", row[1], row[2])
		}
	}
}

// The steps that .ci/run names in its usage exist.
func TestCISaysWhichStepsThereAre(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "../../.ci/run", "unheard").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no step unheard; the steps are install format vet lint modules test race fuzz start") {
		t.Errorf("%v: %s", err, out)
	}
}
