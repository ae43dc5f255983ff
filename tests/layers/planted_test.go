package layers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const module = "example.org/m"

// graph makes a graph of lines "package: import import"; a name without a dot
// in its first part is of the module, one that starts with "std:" of the
// standard library.
func graph(lines ...string) *Graph {
	g := &Graph{Module: module, Packages: make(map[string]*Package)}
	add := func(name string) *Package {
		p := &Package{ImportPath: full(name), Standard: strings.HasPrefix(name, "std:")}
		if known := g.Packages[p.ImportPath]; known != nil {
			return known
		}
		g.Packages[p.ImportPath] = p
		return p
	}
	for _, line := range lines {
		name, imports, _ := strings.Cut(line, ":")
		p := add(name)
		for _, i := range strings.Fields(imports) {
			p.Imports = append(p.Imports, add(i).ImportPath)
		}
	}
	return g
}

func full(name string) string {
	first, _, _ := strings.Cut(name, "/")
	if std, ok := strings.CutPrefix(name, "std:"); ok {
		return std
	}
	if strings.Contains(first, ".") {
		return name
	}
	return module + "/" + name
}

// The layers of the real module, each importing all that it may.
var sound = []string{
	"internal/clock: framework/event std:time",
	"framework/event:",
	"framework/eventlog: framework/event",
	"framework/partition: framework/event",
	"framework/view: framework/event",
	"framework/eventlog/boltlog: framework/eventlog go.etcd.io/bbolt",
	"framework/eventlog/kafkalog: framework/eventlog github.com/segmentio/kafka-go github.com/twmb/franz-go/pkg/kgo",
	"framework/view/redisstore: framework/view github.com/redis/go-redis/v9",
	"framework/stream: framework/partition framework/eventlog framework/view internal/clock",
	"framework/cluster: framework/stream",
	"framework: framework/cluster framework/stream internal/clock",
	"aggregates: framework/event internal/clock",
	"commands: aggregates framework",
	"projections: aggregates framework framework/view",
	"api: commands framework github.com/go-chi/chi/v5",
	"framework/embedded: framework framework/eventlog/boltlog framework/view/redisstore github.com/alicebob/miniredis/v2",
	"framework/servers: framework/embedded framework/eventlog/kafkalog",
	"examples/drivetribe: api framework/servers examples/drivetribe/user examples/drivetribe/views",
	"examples/drivetribe/user: aggregates framework/event",
	"examples/drivetribe/views: projections examples/drivetribe/user framework/view",
	"cmd/drivetrain: framework/eventlog/boltlog framework/partition github.com/alecthomas/kong",
	"tests/e2e: go.etcd.io/bbolt.invalid framework/embedded",
}

func TestASoundModuleBreaksNoRule(t *testing.T) {
	for _, v := range Default.Imports(graph(sound...)) {
		t.Error(v)
	}
}

func TestAPlantedImportIsFound(t *testing.T) {
	for _, c := range []struct{ plant, want string }{
		{"framework/event: framework/eventlog", "framework/event imports framework/eventlog"},
		{"framework/event: internal/clock", "framework/event imports internal/clock"},
		{"framework/eventlog: framework/partition", "framework/eventlog imports framework/partition"},
		{"framework/partition: framework/view", "framework/partition imports framework/view"},
		{"framework/view: framework/eventlog", "framework/view imports framework/eventlog"},
		{"framework/snapshot: framework/view", "framework/snapshot imports framework/view"},
		{"framework/eventlog/memlog: framework/eventlog/boltlog", "framework/eventlog/memlog imports framework/eventlog/boltlog"},
		{"framework/eventlog/memlog: framework/partition", "framework/eventlog/memlog imports framework/partition"},
		{"framework/stream: framework/cluster", "framework/stream imports framework/cluster"},
		{"framework/cluster: framework", "framework/cluster imports framework"},
		{"framework: aggregates", "framework imports aggregates"},
		{"framework: commands", "framework imports commands"},
		{"framework: projections", "framework imports projections"},
		{"framework: api", "framework imports api"},
		{"framework: framework/eventlog/boltlog", "framework imports framework/eventlog/boltlog"},
		{"framework/bus: api", "framework/bus imports api"},
		{"aggregates: framework", "aggregates imports framework"},
		{"aggregates: framework/eventlog", "aggregates imports framework/eventlog"},
		{"commands: projections", "commands imports projections"},
		{"projections: commands", "projections imports commands"},
		{"commands: api", "commands imports api"},
		{"api: framework/embedded", "api imports framework/embedded"},
		{"api: framework/eventlog/boltlog", "api imports framework/eventlog/boltlog"},
		{"framework/embedded: framework/servers", "framework/embedded imports framework/servers"},
		{"internal/clock: framework/eventlog", "internal/clock imports framework/eventlog"},
		{"examples/drivetribe/user: framework", "examples/drivetribe/user imports framework"},
		{"examples/drivetribe/user: internal/clock", "examples/drivetribe/user imports internal/clock"},
		{"examples/drivetribe/user: examples/drivetribe/post", "examples/drivetribe/user imports examples/drivetribe/post"},
		{"examples/drivetribe/views: api", "examples/drivetribe/views imports api"},
		{"examples/drivetribe: cmd/drivetrain", "examples/drivetribe imports cmd/drivetrain"},
		{"cmd/drivetrain: examples/drivetribe", "cmd/drivetrain imports examples/drivetribe"},
		{"unheard:", "package unheard has no layer"},

		{"framework/cluster: github.com/segmentio/kafka-go", "framework/cluster imports github.com/segmentio/kafka-go"},
		{"framework/bus: github.com/twmb/franz-go/pkg/kgo", "framework/bus imports github.com/twmb/franz-go/pkg/kgo"},
		{"framework/eventlog: go.etcd.io/bbolt", "framework/eventlog imports go.etcd.io/bbolt"},
		{"framework/view: github.com/redis/go-redis/v9", "framework/view imports github.com/redis/go-redis/v9"},
		{"framework/view/redisstore: github.com/alicebob/miniredis/v2", "framework/view/redisstore imports github.com/alicebob/miniredis/v2"},
		{"framework/embedded: github.com/blevesearch/bleve/v2", "framework/embedded imports github.com/blevesearch/bleve/v2"},
		{"framework: github.com/danielgtaylor/huma/v2", "framework imports github.com/danielgtaylor/huma/v2"},
		{"examples/drivetribe: github.com/go-chi/chi/v5/middleware", "examples/drivetribe imports github.com/go-chi/chi/v5/middleware"},
		{"examples/drivetribe: github.com/alecthomas/kong", "examples/drivetribe imports github.com/alecthomas/kong"},
		{"examples/drivetribe: github.com/alecthomas/kong", "examples/drivetribe links github.com/alecthomas/kong"},
		{"framework/view/esstore: github.com/elastic/go-elasticsearch/v8", "framework/view/esstore imports github.com/elastic/go-elasticsearch/v8"},
		{"framework: github.com/elastic/go-elasticsearch/v8/esapi", "framework imports github.com/elastic/go-elasticsearch/v8/esapi"},

		{"framework/stream: github.com/google/uuid", "framework/stream imports github.com/google/uuid"},
		{"internal/clock: github.com/google/uuid", "framework/stream imports internal/clock, which imports github.com/google/uuid"},
	} {
		t.Run(c.plant, func(t *testing.T) {
			found := Default.Imports(graph(append(slices.Clone(sound), c.plant)...))
			if !slices.ContainsFunc(found, func(v Violation) bool { return strings.HasPrefix(v.What, c.want) }) {
				t.Errorf("not found: %s; found: %v", c.want, found)
			}
			for _, v := range found {
				if v.Why == "" || v.Do == "" {
					t.Errorf("%s: says not why, or not what to do", v.What)
				}
			}
		})
	}
}

func TestTheRootOfElasticsearchIsRefusedInTestsToo(t *testing.T) {
	g := graph(sound...)
	g.Packages[full("framework/view")].XTestImports = []string{"github.com/elastic/go-elasticsearch/v8"}
	g.Packages[full("framework/view")].TestImports = []string{"github.com/redis/go-redis/v9"} // free
	found := Default.Imports(g)
	if len(found) != 1 || !strings.Contains(found[0].What, "go-elasticsearch") {
		t.Errorf("found %v", found)
	}
}

func TestAProgramThatLinksTooMuchIsFound(t *testing.T) {
	lines := slices.Clone(sound)
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("framework/servers: big.example/lib/p%d", i))
	}
	found := Default.Imports(graph(lines...))
	if len(found) != 1 || !strings.Contains(found[0].What, "examples/drivetribe links 306 packages") || !strings.Contains(found[0].Do, "big.example/lib/p0 (1)") {
		t.Errorf("found %v", found)
	}
}

// A source file, where each rule that it breaks is named in its own line.
func TestAPlantedLineIsFound(t *testing.T) {
	for _, c := range []struct{ pkg, src, want string }{
		{"framework", "// Package p.\npackage p\nimport \"time\"\nvar t = time.Now()", "f.go:4: time.Now"},
		{"framework", "// Package p.\npackage p\nimport w \"time\"\nfunc f() { w.Sleep(1) }", "f.go:4: time.Sleep"},
		{"api", "// Package p.\npackage p\nimport \"time\"\nvar f = time.Since", "f.go:4: time.Since"},
		{"framework", "// Package p.\npackage p\nimport . \"time\"\nvar t = Now()", "f.go:3: dot import of \"time\""},
		{"framework", "// Package p.\npackage p\nimport \"math/rand\"\nvar n = rand.Int()", "f.go:3: imports math/rand"},
		{"framework", "// Package p.\npackage p\nimport \"crypto/rand\"\nvar n = rand.Text()", "f.go:3: imports crypto/rand"},
		{"framework/eventlog/memlog", "// Package p.\npackage p\nimport \"math/rand/v2\"\nvar n = rand.Int()", "f.go:4: rand.Int"},
		{"framework", "// Package p.\npackage p\nfunc init() {}", "f.go:3: func init"},
		{"framework", "// Package p.\npackage p\nimport \"os\"\nfunc f() { os.Exit(1) }", "f.go:4: os.Exit"},
		{"framework", "// Package p.\npackage p\nimport \"log\"\nfunc f() { log.Fatalf(\"\") }", "f.go:4: log.Fatalf"},
		{"framework", "package p", "package framework has no comment"},
		{"framework", "// Package p.\npackage p\nfunc F() {}", "f.go:3: F has no doc comment"},
		{"framework", "// Package p.\npackage p\ntype T struct{}", "f.go:3: T has no doc comment"},
		{"framework", "// Package p.\npackage p\n// T is.\ntype T[S any] struct{}\nfunc (t *T[S]) M() {}", "f.go:5: T.M has no doc comment"},
		{"framework", "// Package p.\npackage p\nvar V int", "f.go:3: V has no doc comment"},
		{"framework", "// Package p.\npackage p\nfunc f() {\n" + strings.Repeat("\t_ = 1\n", 99) + "}", "f.go: f has 101 lines"},
		{"framework", "// Package p.\npackage p\n" + strings.Repeat("var _ = 1\n", 699), "f.go has 70"},
	} {
		t.Run(c.want, func(t *testing.T) {
			found := Default.Source.Check([]*File{source(t, c.pkg, c.src)})
			if len(found) != 1 || !strings.Contains(found[0].What, c.want) {
				t.Errorf("not found alone: %s; found: %v", c.want, found)
			}
		})
	}
}

func TestSoundSourceBreaksNoRule(t *testing.T) {
	for pkg, src := range map[string]string{
		"framework": `// Package p is.
package p

import "time"

// Limits.
const (
	A = 1
	B = 2
)

// T is.
type T struct{}

func (t *T) Error() string { return "" }

type hidden struct{}

func (hidden) Close() {}

func wait() { <-time.After(time.Second); time.NewTimer(1).Stop() }`,
		"framework/eventlog/memlog": "// Package p is.\npackage p\nimport \"math/rand/v2\"\nvar n = rand.New(rand.NewPCG(1, 2)).Int()",
		"internal/clock":            "// Package p is.\npackage p\nimport \"time\"\nvar n = time.Now()",
		"internal/wire":             "// Package p is.\npackage p\nfunc F() {}",
	} {
		for _, v := range Default.Source.Check([]*File{source(t, pkg, src)}) {
			t.Errorf("%s: %v", pkg, v)
		}
	}
	main := source(t, "cmd/x", "// Command x is.\npackage main\nimport \"os\"\nfunc main() { os.Exit(1) }")
	main.Main = true
	for _, v := range Default.Source.Check([]*File{main}) {
		t.Error(v)
	}
}

func TestALongFunctionIsNamedBeforeItFails(t *testing.T) {
	f := source(t, "framework", "// Package p is.\npackage p\nfunc f() {\n"+strings.Repeat("\t_ = 1\n", 79)+"}")
	if got := Default.Source.Long([]*File{f}); len(got) != 1 || got[0] != "framework/f.go: f has 81 lines" {
		t.Errorf("named %q", got)
	}
	if found := Default.Source.Check([]*File{f}); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}

func TestWhatGoListPrintsIsRead(t *testing.T) {
	g, err := read(strings.NewReader(`{"ImportPath":"m/a","Module":{"Path":"m","Main":true},"Imports":["fmt"]}
		{"ImportPath":"fmt","Standard":true}`))
	if err != nil || g.Module != "m" || len(g.Own()) != 1 || g.third("fmt") || !g.third("other.org/x") {
		t.Errorf("read %+v, %v", g, err)
	}
	for _, bad := range []string{"", "{", `{"ImportPath":"fmt","Standard":true}`} {
		if _, err := read(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func source(t *testing.T, pkg, src string) *File {
	t.Helper()
	f := &File{Package: pkg, Path: pkg + "/f.go"}
	if err := f.parse("f.go", src); err != nil {
		t.Fatal(err)
	}
	return f
}
