package docs

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/projections"
)

var (
	pathAt = regexp.MustCompile("^`([a-z0-9/_.-]+)`")
	nameAt = regexp.MustCompile("`([a-z0-9_]+\\.go)`")
)

// mapped returns the files that the map in doc/internals.md names, by their paths: a row
// begins with a file or folder, and names others of the same folder.
func mapped(t *testing.T) map[string]bool {
	t.Helper()
	files := map[string]bool{}
	for _, row := range cells(section(t, "doc/internals.md", "## File map")) {
		first := pathAt.FindStringSubmatch(row[0])
		if first == nil {
			continue
		}
		dir := strings.TrimSuffix(first[1], "/")
		if path.Ext(dir) == ".go" {
			files[dir] = true
			dir = path.Dir(dir)
		}
		for _, m := range nameAt.FindAllStringSubmatch(strings.Join(row, " "), -1) {
			files[path.Join(dir, m[1])] = true
		}
	}
	return files
}

// Who looks for the place of a thing finds it in the map: it names every file of the
// packages that most changes touch, and none that is gone.
func TestTheFileMapIsWhole(t *testing.T) {
	named := mapped(t)
	for _, dir := range []string{"framework", "framework/cluster", "framework/cluster/control", "framework/stream", "projections", "api", "cmd/drivetrain"} {
		files, err := fs.Glob(root, dir+"/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has %d files: %v", dir, len(files), err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") && !named[file] {
				t.Errorf("doc/internals.md, File map: no row of %s names %s", dir, path.Base(file))
			}
		}
	}
	for file := range named {
		if _, err := fs.Stat(root, file); err != nil {
			t.Errorf("doc/internals.md, File map: there is no %s", file)
		}
	}
}

// The limits that the page on operating gives are those of the code.
func TestTheLimitsAreAsDocumented(t *testing.T) {
	rows := cells(section(t, "doc/operating.md", "## Limits"))
	for where, want := range map[string]string{
		"`control.MaxViews`, `MaxKept`": thousands(control.MaxViews) + "; " + thousands(control.MaxKept),
		"`control.MaxKept`":             thousands(control.MaxKept),
		"`control.MaxCuts`":             "10 s, renewed while it goes on; " + thousands(control.MaxCuts) + " at once, over all processes",
		"`framework.MaxShadowWaiting`, `MaxShadowBytes`, `MaxShadowAtOnce`": fmt.Sprintf("%d; %d MiB; %d, in each process", framework.MaxShadowWaiting, framework.MaxShadowBytes>>20, framework.MaxShadowAtOnce),
		"`framework.MaxShadowDifferences`, `MaxShadowAnswer`":               fmt.Sprintf("of %d questions; %d KiB of each answer", framework.MaxShadowDifferences, framework.MaxShadowAnswer>>10),
		"`eventlog.MaxRecords`":     thousands(eventlog.MaxRecords),
		"`snapshot.MaxChain`":       thousands(snapshot.MaxChain),
		"`projections.MaxCounters`": "100, at most " + thousands(projections.MaxCounters) + "; " + thousands(projections.MaxCountedKey) + " bytes of each",
		"`View.Key`, `Feed.Places`, `Ranking.Scores`, `projections.MaxKeys`": thousands(projections.MaxKeys),
	} {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[2] == where && row[1] == want }) {
			t.Errorf("doc/operating.md, Limits: no row says %q for %s", want, where)
		}
	}
}

// thousands writes a number with its thousands apart.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
