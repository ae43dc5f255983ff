package streamtest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/stream/streamtest"
)

// Click is what the examples' topic holds.
type Click struct {
	Page string `json:"page"`
}

// Visit is how many pages somebody has seen.
type Visit struct {
	Pages int `json:"pages"`
}

// counter counts the clicks of each key, and says goodbye a minute after the first.
func counter() *stream.Process[Visit, Click, Visit] {
	return &stream.Process[Visit, Click, Visit]{Name: "counter",
		OnEvent: func(c *stream.Context[Visit, Visit], _ Click) error {
			v := c.State()
			if v.Pages++; v.Pages == 1 {
				c.SetTimer("bye", c.Time().Add(time.Minute))
			}
			c.Emit(*v)
			return nil
		},
		OnTimer: func(c *stream.Context[Visit, Visit], _ stream.Timer) error {
			c.Clear()
			c.Emit(Visit{})
			return nil
		}}
}

// visits is the whole: from a topic of clicks to a topic of visits.
func visits() *stream.Topology {
	t := &stream.Topology{Name: "visits", Partitions: 2}
	clicks := stream.From(t, &stream.Source[Click]{Name: "clicks", Topic: "clicks",
		Decode: func(r *stream.Record, v *Click) error { return json.Unmarshal(r.Value, v) }})
	counts, _ := stream.Via(clicks, counter())
	stream.To(counts, &stream.Publish[Visit]{Name: "visits", Topic: "visits"})
	return t
}

var noon = time.Date(2017, 1, 1, 12, 0, 0, 0, time.UTC)

// t stands for the *testing.T of a test.
var t streamtest.T = printing{}

type printing struct{}

func (printing) Helper()                   {}
func (printing) Errorf(f string, a ...any) { fmt.Printf(f+"\n", a...) }
func (printing) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func ExampleRun() {
	run := streamtest.New(t, visits(), streamtest.Topics{"clicks": 4, "visits": 4})
	run.Send("clicks", "maya", Click{"/start"}, noon)
	run.Send("clicks", "maya", Click{"/pay"}, noon.Add(time.Second))
	run.Send("clicks", "tomasz", Click{"/start"}, noon)
	run.Expect("visits",
		`maya   {"pages": 1}`,
		`maya   {"pages": 2}`,
		`tomasz {"pages": 1}`)

	run.Snapshot()
	run.Crash() // changes nothing
	run.Advance("clicks", noon.Add(time.Hour), Click{})
	var v Visit
	fmt.Println("maya is known:", run.State("counter", "maya", &v))
	for _, line := range run.Lines("visits") {
		fmt.Println(line)
	}
	// Output:
	// maya is known: false
	// advance-12 {"pages":1}
	// advance-14 {"pages":1}
	// advance-5 {"pages":1}
	// advance-9 {"pages":1}
	// maya {"pages":1}
	// maya {"pages":2}
	// maya {"pages":0}
	// tomasz {"pages":1}
	// tomasz {"pages":0}
}

func ExampleRun_Expect() {
	run := streamtest.New(t, visits(), streamtest.Topics{"clicks": 1, "visits": 1})
	run.Send("clicks", "maya", Click{"/start"}, noon)
	run.Send("clicks", "maya", Click{"/pay"}, noon)
	run.Expect("visits",
		`maya {"pages":1}`,
		`maya {"pages":3}`)
	// Output:
	// published to visits (- is missing, + was not expected):
	//   maya {"pages":1}
	// - maya {"pages":3}
	// + maya {"pages":2}
}

func ExampleRun_Commit() {
	type bumped struct {
		By string `json:"by"`
	}
	top := &stream.Topology{Name: "bumps"}
	bumps := stream.FromEvents(top, &stream.Events[bumped]{Name: "bumps", Topic: "app.events", Decode: decodeBump[bumped]})
	stream.To(bumps, &stream.Publish[bumped]{Name: "out", Topic: "bumps"})

	run := streamtest.New(t, top, streamtest.Topics{"app.events": 2, "bumps": 2})
	run.Commit("app.events", "post", "7", noon, streamtest.Fact{Type: "post.bumped", Data: bumped{"maya"}})
	run.Commit("app.events", "post", "7", noon, streamtest.Fact{Type: "post.published", Data: struct{}{}})
	run.Heartbeat("app.events", noon.Add(time.Minute)) // closes windows, if there were any
	for _, b := range streamtest.Decode[bumped](t, run.Published("bumps")) {
		fmt.Println(b.By)
	}
	// Output: maya
}

func ExampleOperator() {
	streamtest.Operator(t, counter()).
		Given(Click{"/start"}).
		When(Click{"/pay"}).Then(Visit{2}).
		Advance(noon.Add(time.Minute)).Then(Visit{0}).
		When(Click{"/start"}).Then(Visit{1})
	// Output:
}

func ExampleThrough() {
	perMinute := &stream.Window[Click, int, int]{Name: "per-minute", Size: time.Minute,
		Fold:   func(n int, _ Click) int { return n + 1 },
		Result: func(_ stream.Span, n int) int { return n }}
	streamtest.Through(t, func(in *stream.Stream[Click]) (*stream.Stream[int], *stream.Stream[Click]) {
		return stream.Windowed(in, perMinute)
	}).
		At(noon).Given(Click{"/start"}).
		At(noon.Add(59 * time.Second)).When(Click{"/pay"}).Then().
		Advance(noon.Add(time.Minute)).Then(2).
		At(noon.Add(30 * time.Second)).When(Click{"/late"}).ThenLate(Click{"/late"})
	// Output:
}

func ExampleSimulate() {
	_ = func(t *testing.T) {
		const clicks = 200
		streamtest.Simulate(t, visits(), streamtest.Topics{"clicks": 4, "visits": 4}, 100,
			func(run *streamtest.Run, r *rand.Rand) {
				for range clicks {
					run.Send("clicks", fmt.Sprint("user-", r.IntN(10)), Click{"/start"}, noon)
				}
			},
			func(t *testing.T, run *streamtest.Run) {
				if n := len(run.Published("visits")); n != clicks {
					t.Errorf("%d clicks made %d visits", clicks, n)
				}
			})
	}
}
