package streamtest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/stream/streamtest"
)

func decodeBump[V any](e *partition.Event, v *V) (bool, error) {
	if e.Type != "post.bumped" {
		return false, nil
	}
	return true, json.Unmarshal(e.Data, v)
}

// noting is a T that keeps what a test would have failed with.
type noting struct{ said []string }

type gaveUp struct{}

func (n *noting) Helper()                   {}
func (n *noting) Errorf(f string, a ...any) { n.said = append(n.said, fmt.Sprintf(f, a...)) }
func (n *noting) Fatalf(f string, a ...any) { n.Errorf(f, a...); panic(gaveUp{}) }

// failsWith checks what f fails with: nothing, or a message that holds want.
func failsWith(t *testing.T, want string, f func(streamtest.T)) {
	t.Helper()
	n := &noting{}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (gaveUp{}) {
				panic(p)
			}
		}()
		f(n)
	}()
	if got := strings.Join(n.said, "\n"); want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("failed with %q, want %q", got, want)
	}
}

func echo(f func(c *stream.Context[int, string], v string) error) *stream.Process[int, string, string] {
	return &stream.Process[int, string, string]{Name: "echo", OnEvent: f}
}

func TestAnOperatorsErrorFailsTheTest(t *testing.T) {
	failsWith(t, "echo: no such page", func(t streamtest.T) {
		streamtest.Operator(t, echo(func(*stream.Context[int, string], string) error { return errors.New("no such page") })).
			When("x").Then()
	})
}

func TestAnOperatorThatDoesNotFollowFromItsInputFailsTheTest(t *testing.T) {
	calls := 0
	failsWith(t, "something else of the same input", func(t streamtest.T) {
		streamtest.Operator(t, echo(func(c *stream.Context[int, string], _ string) error {
			calls++
			c.Emit(fmt.Sprint(calls))
			return nil
		})).When("x").Then("1")
	})
}

func TestAStateThatItsCodecForgetsIsFoundOut(t *testing.T) {
	p := echo(func(c *stream.Context[int, string], _ string) error {
		*c.State()++
		c.Emit(fmt.Sprint(*c.State()))
		return nil
	})
	failsWith(t, "", func(t streamtest.T) { streamtest.Operator(t, p).Given("x").When("x").Then("2") })
	p.State = stream.Codec[int]{Append: func(b []byte, _ *int) ([]byte, error) { return b, nil }, Decode: func([]byte, *int) error { return nil }}
	failsWith(t, "- \"2\"\n+ \"1\"", func(t streamtest.T) { streamtest.Operator(t, p).Given("x").When("x").Then("2") })
}

func TestOutputsThatTheirCodecCannotTellApartAreRefused(t *testing.T) {
	type hidden struct{ n int }
	p := &stream.Process[int, int, hidden]{Name: "hidden", OnEvent: func(c *stream.Context[int, hidden], v int) error {
		c.Emit(hidden{v})
		return nil
	}}
	failsWith(t, "give Operator a codec", func(t streamtest.T) { streamtest.Operator(t, p).When(1).Then(hidden{2}) })
}

func TestWhatIsLateAndNotExpectedFailsTheTest(t *testing.T) {
	late := echo(func(c *stream.Context[int, string], v string) error {
		if c.IsLate(c.Time()) {
			c.Late()
			return nil
		}
		c.Emit(v)
		return nil
	})
	failsWith(t, "set Timed in its Process", func(t streamtest.T) { streamtest.Operator(t, late).When("x").Then("x") })
	late.Timed = true
	story := func(t streamtest.T) *streamtest.Scenario[string, string] {
		return streamtest.Operator(t, late).Advance(noon.Add(time.Hour)).At(noon)
	}
	failsWith(t, "", func(t streamtest.T) { story(t).When("x").ThenLate("x") })
	failsWith(t, "called late, which was not expected: x", func(t streamtest.T) { story(t).When("x").Then() })
	failsWith(t, "called late: [], want [x]", func(t streamtest.T) { story(t).At(noon.Add(2 * time.Hour)).When("x").ThenLate("x") })
}

func TestStatesOfMapsAndListsCanBeReadByKey(t *testing.T) {
	tags, log := stream.NewMapState[int]("tags"), stream.NewListState[string]("log")
	p := &stream.Process[int, string, string]{Name: "tagging", Maps: []stream.Entries{tags, log},
		OnEvent: func(c *stream.Context[int, string], v string) error {
			n, _ := tags.Get(c, v)
			tags.Put(c, v, n+1)
			log.Append(c, v)
			if log.Len(c) > 2 {
				log.Drop(c, 1)
			}
			return nil
		}}
	s := streamtest.Operator(t, p).Given("a", "b", "a").When("c")
	var counts map[string]int
	var last []string
	if !s.State("tagging/tags", &counts) || !s.State("tagging/log", &last) || fmt.Sprint(counts, last) != "map[a:2 b:1 c:1] [a c]" {
		t.Errorf("states are %v and %v", counts, last)
	}
	if s.Key("other").State("tagging/tags", &counts) || len(counts) > 0 {
		t.Errorf("another key has %v", counts)
	}
	failsWith(t, "do not fit in *int", func(t streamtest.T) { streamtest.Operator(t, p).State("tagging/tags", new(int)) })
	failsWith(t, "no operator tugging", func(t streamtest.T) { streamtest.Operator(t, p).State("tugging", new(int)) })
}

func TestACrashWithOrWithoutASnapshotChangesNothing(t *testing.T) {
	whole := func(between func(*streamtest.Run)) string {
		run := streamtest.New(t, visits(), streamtest.Topics{"clicks": 3, "visits": 2})
		for i := range 40 {
			run.Send("clicks", fmt.Sprint("user-", i%7), Click{}, noon.Add(time.Duration(i)*4*time.Second))
			if i%9 == 0 {
				between(run)
			}
		}
		return strings.Join(run.Lines("visits"), "\n")
	}
	want := whole(func(*streamtest.Run) {})
	for name, between := range map[string]func(*streamtest.Run){
		"crash":    func(r *streamtest.Run) { r.Settle(); r.Crash() },
		"snapshot": func(r *streamtest.Run) { r.Snapshot(); r.Crash() },
		"looked at": func(r *streamtest.Run) {
			r.Snapshot()
			r.State("counter", "user-1", new(Visit))
			r.Snapshot()
			r.Crash()
		},
		"states, then cut": func(r *streamtest.Run) { r.Snapshot(); r.Settle(); states(t, r); r.Snapshot(); r.Crash() },
	} {
		if got := whole(between); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

func states(t *testing.T, r *streamtest.Run) {
	t.Helper()
	if _, err := r.Simulation().States("counter"); err != nil {
		t.Error(err)
	}
}

func TestValuesAreSentAsTheyAreOrAsJSON(t *testing.T) {
	top := &stream.Topology{Name: "raw"}
	raw := stream.From(top, &stream.Source[string]{Name: "raw", Topic: "in", Decode: func(r *stream.Record, v *string) error {
		*v = fmt.Sprintf("%q %v %v", r.Value, r.Value == nil, r.Time.Format(time.RFC3339))
		return nil
	}})
	stream.To(raw, &stream.Publish[string]{Name: "out", Topic: "out"})
	run := streamtest.New(t, top, streamtest.Topics{"in": 1, "out": 1})
	run.Send("in", "a", nil, noon.In(time.FixedZone("X", 3600)))
	run.Send("in", "a key", []byte("b\n"), time.Time{})
	run.Send("in", "", "text", noon)
	run.Send("in", "a", map[string]int{"n": 1}, noon)
	run.Expect("out",
		`a "\"\" true 2017-01-01T12:00:00Z"`,
		`"a key" "\"b\\n\" false 0001-01-01T00:00:00Z"`,
		`"\"text\" false 2017-01-01T12:00:00Z"`,
		`a "\"{\\\"n\\\":1}\" false 2017-01-01T12:00:00Z"`)
	run.Expect("out")
}

func TestSeedsFindNothingInACorrectTopology(t *testing.T) {
	const clicks = 60
	streamtest.Simulate(t, visits(), streamtest.Topics{"clicks": 2, "visits": 2}, 10, func(run *streamtest.Run, r *rand.Rand) {
		for range clicks {
			run.Send("clicks", fmt.Sprint("user-", r.IntN(5)), Click{}, noon)
		}
	}, func(t *testing.T, run *streamtest.Run) {
		if n := len(run.Published("visits")); n != clicks {
			t.Errorf("%d clicks made %d visits", clicks, n)
		}
	})
}
