package partition_test

import (
	"bytes"
	"iter"
	"maps"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/partition"
	"pgregory.net/rapid"
)

// elsewhere keeps versions beside a fold.
type elsewhere map[string]uint64

func (e elsewhere) Get(key []byte) uint64          { return e[string(key)] }
func (e elsewhere) Set(key []byte, version uint64) { e[string(key)] = version }
func (e elsewhere) All() iter.Seq2[string, uint64] { return maps.All(e) }

// cut is a snapshot by its parts, as one that builds on others has them.
type cut struct {
	head     []byte
	versions elsewhere
	runs     []stretch // of commands, from all cuts before and this one
	end      uint64    // of the commands in runs
}

type stretch struct {
	from     uint64
	commands []byte
}

// next takes a cut that builds on c; the fold then goes on before the commands are
// encoded, as it does beside a loop.
func (c *cut) next(t *rapid.T, f *partition.Fold, v elsewhere, goOn func()) *cut {
	to := &cut{head: f.AppendHead(nil), versions: maps.Clone(v), runs: c.runs, end: c.end}
	commands := f.Remembered()
	goOn()
	first, end := commands.Bounds()
	for from := max(first, c.end); from < end; {
		until := min(end, from+1+rapid.Uint64Range(0, 2).Draw(t, "run"))
		to.runs = append(to.runs, stretch{from, commands.Append(nil, from, until)})
		from = until
	}
	to.end = end
	return to
}

func (c *cut) resume(m partition.Memory) (*partition.Fold, error) {
	f, err := partition.Resume(c.head, m, maps.Clone(c.versions))
	if err != nil {
		return nil, err
	}
	for _, r := range c.runs {
		if err := f.Remember(r.from, r.commands); err != nil {
			return nil, err
		}
	}
	return f, f.Remembering()
}

func TestAHeadWithVersionsAndCommandsIsTheWholeFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := histories.Draw(t, "log")
		straight, v := partition.New(memory), elsewhere{}
		f, at := partition.NewOn(memory, v), &cut{}
		for i := 0; i < len(log); i++ {
			want, got := step(t, straight, log[i].record(int64(i))), step(t, f, log[i].record(int64(i)))
			if told(got) != told(want) {
				t.Fatalf("record %d: got %s, want %s", i, told(got), told(want))
			}
			if !rapid.Bool().Draw(t, "cut") {
				continue
			}
			whole := straight.AppendSnapshot(nil)
			at = at.next(t, f, v, func() {
				for range min(rapid.IntRange(0, 8).Draw(t, "meanwhile"), len(log)-1-i) {
					i++
					step(t, straight, log[i].record(int64(i)))
					step(t, f, log[i].record(int64(i)))
				}
			})
			back, err := at.resume(memory)
			if err != nil {
				t.Fatalf("before record %d: %v", i+1, err)
			}
			if b := back.AppendSnapshot(nil); !bytes.Equal(b, whole) {
				t.Fatalf("resumed\n%x, was\n%x", b, whole)
			}
			if again := back.AppendHead(nil); !bytes.Equal(again, at.head) {
				t.Fatalf("its head is\n%x, was\n%x", again, at.head)
			}
		}
		if !bytes.Equal(f.AppendSnapshot(nil), straight.AppendSnapshot(nil)) {
			t.Fatal("a fold whose versions are kept elsewhere comes to something else")
		}
	})
}

func TestAFoldThatIsResumedWithALesserMemoryForgets(t *testing.T) {
	f := folded(t, two, sample())
	c := &cut{head: f.AppendHead(nil), versions: elsewhere{"tribe/a": 2, "tribe/b": 2}}
	first, end := f.Remembered().Bounds()
	c.runs = []stretch{{first, f.Remembered().Append(nil, first, end)}}
	for _, m := range []partition.Memory{{}, {Age: two.Age, Number: 1}, two} {
		back, err := c.resume(m)
		if err != nil {
			t.Fatal(err)
		}
		if want, got := restore(t, f, m).AppendSnapshot(nil), back.AppendSnapshot(nil); !bytes.Equal(got, want) {
			t.Errorf("%+v: resumed as\n%x, restored as\n%x", m, got, want)
		}
	}
}

func TestResumeRefusesWhatIsNoHead(t *testing.T) {
	f := folded(t, two, sample())
	head := f.AppendHead(nil)
	for n := range head {
		if _, err := partition.Resume(head[:n], two, elsewhere{}); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(head))
		}
	}
	for want, b := range map[string][]byte{
		"empty": nil, "head format 1": f.AppendSnapshot(nil), "head format 3": append([]byte{3}, head[1:]...), "mangled head, 1": append(bytes.Clone(head), 0),
	} {
		if _, err := partition.Resume(b, two, elsewhere{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%x: %v, want %q", b, err, want)
		}
	}
}

func TestCommandsThatDoNotFitTheHeadAreRefused(t *testing.T) {
	f := folded(t, two, sample())
	commands := f.Remembered()
	first, end := commands.Bounds()
	both := commands.Append(nil, first, end)
	for want, runs := range map[string][]stretch{
		"are missing":    {{first, both[:len(both)/2]}},
		"2 are missing":  {},
		"comes as":       {{first, both}, {end, both[:len(both)/2]}},
		"number 2 comes": {{first + 1, both[len(both)/2:]}},
		"mangled":        {{first, both[:len(both)-1]}},
	} {
		c := &cut{head: f.AppendHead(nil), versions: elsewhere{}, runs: runs}
		if _, err := c.resume(two); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	twice := &cut{head: f.AppendHead(nil), versions: elsewhere{}, runs: []stretch{{first, append(bytes.Clone(both[:len(both)/2]), both[:len(both)/2]...)}}}
	if _, err := twice.resume(two); err == nil {
		t.Error("a command that comes twice was taken")
	}
}
