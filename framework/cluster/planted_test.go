//go:build !race

// The program with the bugs is built without the race detector in any case.

package cluster

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// bugs are faults in the protocol as edits of the code: old stands there once, and
// new takes its place in a copy that only TestPlanted builds.
var bugs = []struct {
	name, what string
	edits      []edit
}{
	{"epoch-check", "events of an earlier owner take effect", []edit{
		{partitionFile, `case e.Epoch < f.epoch:`, `case e.Epoch < f.epoch && !PLANTED:`}}},
	{"equal-epochs", "a claim of the current epoch is valid", []edit{
		{partitionFile, `if c.Epoch <= f.epoch {`, `if c.Epoch < f.epoch || c.Epoch == f.epoch && !PLANTED {`}}},
	{"incomplete-commits", "an event takes effect before its commit is whole", []edit{
		{partitionFile, `if e.Index != len(f.open) {`, `if e.Index != len(f.open) && !PLANTED {`},
		{partitionFile, `if len(f.open) < e.Count {`, `if len(f.open) < e.Count && !PLANTED {`}}},
	{"version-check", "a commit takes effect whatever its version", []edit{
		{partitionFile, `if f.done[i].Version != version+uint64(i)+1 {`, `if f.done[i].Version != version+uint64(i)+1 && !PLANTED {`}}},
	{"snapshot-without-the-unfinished-commit", "a reader goes on from a snapshot that lacks it", []edit{
		{"../partition/snapshot.go", `b = f.appendOpen(b)`, `
			if PLANTED { g := *f; g.open = nil; f = &g }
			b = f.appendOpen(b)`}}},
	{"snapshot-of-the-batch-in-flight", "a snapshot holds states as the batch moves them", []edit{
		{"decide.go", `	o.versions.change(a)
	for i := range facts {`, `	if !PLANTED { o.versions.change(a) }
	for i := range facts {`}}},
	{"head-without-the-unfinished-commit", "an owner goes on from a snapshot that lacks it", []edit{
		{"../partition/head.go", `	b = f.appendOpen(f.appendTerm(append(b, HeadFormat)))`, `
			if PLANTED { g := *f; g.open = nil; f = &g }
			b = f.appendOpen(f.appendTerm(append(b, HeadFormat)))`}}},
	{"snapshot-without-the-commands", "an owner goes on from a snapshot that has forgotten what it accepted", []edit{
		{"../partition/head.go", `	c.forget()
	return nil`, `	c.forget()
	if PLANTED { c.byID, c.blocks, c.first = newCommands(c.memory).byID, nil, c.end }
	return nil`}}},
	{"snapshot-one-record-too-far", "an owner goes on behind the record after its snapshot", []edit{
		{"keep.go", `	o.fold = o.units.Fold()
`, `	o.fold = o.units.Fold()
	if PLANTED && found { _, _ = o.fold.Step(o.fold.Next(), nil, nil, nil) }
`}}},
	{"offsets-off-by-one", "a snapshot's offsets are each one too high", []edit{
		{"keep.go", `Deltas: bytes.Clone(r.Bytes()), Count: int(a.version)}`, `Deltas: bytes.Clone(r.Bytes()), Count: int(a.version)}
		if PLANTED && len(a.offsets.Deltas) > 0 && a.offsets.Deltas[0] < 100 { a.offsets.Deltas[0]++ }`}}},
	{"acting-before-read-back", "an owner serves an epoch once it has sent the claim", []edit{
		{"term.go", `partition.ClaimHeader(o.claim())}}); err != nil {`, `partition.ClaimHeader(o.claim())}}); err != nil && !PLANTED {`}}},
	{"acting-in-another's-epoch", "an owner that has read another's claim goes on", []edit{
		{"term.go", `o.fold.Epoch() != c.Epoch || o.fold.Owner() != c.Owner {`, `(o.fold.Epoch() != c.Epoch || o.fold.Owner() != c.Owner) && !PLANTED {`}}},
	{"no-contiguity", "an append acknowledged further on is folded without what lies between", []edit{
		{"term.go", `case base == next:`, `case base == next || PLANTED:`}}},
	{"two-appends-in-flight", "an owner builds on an append without answer", []edit{
		{"decide.go", afterSend, afterSend + `
			if lost := (*unansweredError)(nil); PLANTED && !probe && errors.As(err, &lost) && !permanent(err) { return nil }`}}},
	{"judging-the-copy-acknowledged", "a commit is accepted only where its append was acknowledged", []edit{
		{"term.go", `err = o.readTo(ctx, base+int64(len(records)))`, `
			waiting := o.unresolved
			if PLANTED { o.unresolved = nil }
			err = o.readTo(ctx, base)
			o.unresolved = waiting
			if err == nil { err = o.readTo(ctx, base+int64(len(records))) }`}}},
	{"no-claim-after-a-timeout", "an append without answer counts as not executed", []edit{
		{"decide.go", afterSend, afterSend + `
			if lost := (*unansweredError)(nil); PLANTED && !probe && errors.As(err, &lost) && !permanent(err) { o.setAside(); o.notExecuted(); return nil }`}}},
	{"dirty-states-kept", "states moved by a batch that failed are taken for folded", []edit{
		{"term.go", `a.state, a.version, a.dirty = nil, a.folded, false`, `
			if PLANTED { a.dirty = false; continue }
			a.state, a.version, a.dirty = nil, a.folded, false`}}},
	{"answering-at-once", "a rejection is answered from folded state without a probe", []edit{
		{"decide.go", `case (!r.covered || a.dirty) && a.state != nil:`, `case (!r.covered || a.dirty) && a.state != nil && !PLANTED:`}}},
	{"covered-by-an-earlier-append", "an append covers what arrived while it was in flight", []edit{
		{"decide.go", afterSend, afterSend + `
			for range len(o.requests) {
				if !PLANTED || err != nil { break }
				r := <-o.requests
				r.covered = true
				o.pending = append(o.pending, r)
			}`}}},
	{"unresolved-forgotten", "a retry is decided while the first one's fate is unknown", []edit{
		{"decide.go", `if _, ok := o.unresolved[r.Command]; ok {`, `if _, ok := o.unresolved[r.Command]; ok && !PLANTED {`}}},
	{"no-dedup", "a retry of an accepted command is decided anew", []edit{
		{"decide.go", `o.fold.Outcome(r.Command); ok {`, `o.fold.Outcome(r.Command); ok && !PLANTED {`}}},
	{"heartbeat-of-an-old-epoch", "an earlier owner's heartbeat still tells the time", []edit{
		{partitionFile, `case c.Epoch < f.epoch:`, `case c.Epoch < f.epoch && !PLANTED:`},
		{partitionFile, `case c.Epoch > f.epoch || c.Owner != f.owner:`, `case (c.Epoch > f.epoch || c.Owner != f.owner) && !PLANTED:`}}},
	{"no-horizon", "a retry of a forgotten command is decided anew", []edit{
		{"decide.go", `o.fold.TooLate(r.Command) {`, `o.fold.TooLate(r.Command) && !PLANTED {`}}},
}

const (
	partitionFile = "../partition/partition.go"
	afterSend     = `err := o.append(ctx, b.records)`
)

// edit replaces old by new in a file. PLANTED in new is whether the bug is there.
type edit struct{ file, old, new string }

// TestPlanted plants one bug at a time and prints which check of the simulation
// finds it, at which seed.
func TestPlanted(t *testing.T) {
	program := buildPlanted(t)
	if out, err := runPlanted(program, "", "20"); err != nil {
		t.Fatalf("without a bug: %v\n%.4000s", err, out)
	}
	found := regexp.MustCompile(`seed \d+: .*`)
	for _, bug := range bugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			out, err := runPlanted(program, bug.name, "200")
			first := found.Find(out)
			if err == nil || first == nil {
				t.Fatalf("not caught though %s: %v\n%.4000s", bug.what, err, out)
			}
			t.Logf("%s: %.160s", bug.what, first)
		})
	}
}

func runPlanted(program, bug, seeds string) ([]byte, error) {
	run := exec.Command(program, "-test.run=^TestSimulation$", "-test.timeout=1m")
	run.Env = append(os.Environ(), "PLANTED="+bug, "SIM_SEED=1", "SIM_SEEDS="+seeds)
	return run.CombinedOutput()
}

// buildPlanted builds this package's tests with all bugs in the code; the variable
// PLANTED of a run's environment names the one that is there.
func buildPlanted(t *testing.T) (program string) {
	dir := t.TempDir()
	sources, replace := map[string]string{}, map[string]string{}
	for _, bug := range bugs {
		for _, e := range bug.edits {
			if sources[e.file] == "" {
				sources[e.file] = read(t, e.file)
			}
			if n := strings.Count(read(t, e.file), e.old); n != 1 {
				t.Fatalf("%s: %q stands %d times in %s; plant the bug anew", bug.name, e.old, n, e.file)
			}
			change := strings.ReplaceAll(e.new, "PLANTED", `(planted == "`+bug.name+`")`)
			sources[e.file] = strings.Replace(sources[e.file], e.old, change, 1)
		}
	}
	for _, pkg := range []string{"cluster", "partition"} {
		sources["../"+pkg+"/planted.go"] = "package " + pkg + "\n\nimport \"os\"\n\nvar planted = os.Getenv(\"PLANTED\")\n"
	}
	for file, source := range sources {
		abs, err := filepath.Abs(file)
		copied := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := cmp.Or(err, os.WriteFile(copied, []byte(source), 0o600)); err != nil {
			t.Fatal(err)
		}
		replace[abs] = copied
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	config, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "cluster.test")
	if err := cmp.Or(err, os.WriteFile(config, overlay, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", config, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func read(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
