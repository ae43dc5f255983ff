package stream_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/stream/streamtest"
)

// Click is what the examples' topic "clicks" holds, under the user's name.
type Click struct {
	Page string `json:"page"`
}

// clicks reads them.
func clicks(t *stream.Topology) *stream.Stream[Click] {
	return stream.From(t, &stream.Source[Click]{Name: "clicks", Topic: "clicks", Decode: decode[Click]})
}

func decode[V any](r *stream.Record, v *V) error { return json.Unmarshal(r.Value, v) }

// out publishes to the topic that show prints.
func out[V any](in *stream.Stream[V]) {
	stream.To(in, &stream.Publish[V]{Name: "out", Topic: "out"})
}

var noon = time.Date(2017, 1, 1, 12, 0, 0, 0, time.UTC)

// start runs a topology in memory.
func start(t *stream.Topology) *streamtest.Run {
	return streamtest.New(printing{}, t, streamtest.Topics{"clicks": 1, "payments": 1, "rules": 1, "prices": 2, "out": 1})
}

// click sends clicks of a user, given as "page@seconds" after noon.
func click(run *streamtest.Run, user string, all ...string) {
	for _, c := range all {
		page, at, _ := strings.Cut(c, "@")
		after, err := time.ParseDuration(at + "s")
		if err != nil {
			panic(err)
		}
		run.Send("clicks", user, Click{page}, noon.Add(after))
	}
}

func show(run *streamtest.Run) {
	for _, line := range run.Lines("out") {
		fmt.Println(line)
	}
}

type printing struct{}

func (printing) Helper()                   {}
func (printing) Errorf(f string, a ...any) { fmt.Printf(f+"\n", a...) }
func (printing) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// The smallest whole: clicks in, counts of each page out.
func Example() {
	t := &stream.Topology{Name: "clicks-by-page"}
	clicks := stream.From(t, &stream.Source[Click]{Name: "clicks", Topic: "clicks",
		Decode: func(r *stream.Record, c *Click) error { return json.Unmarshal(r.Value, c) }})
	pages := stream.KeyBy(clicks, "pages", func(c Click) string { return c.Page }, stream.Codec[Click]{})
	counts, _ := stream.Via(pages, &stream.Process[int, Click, int]{Name: "count",
		OnEvent: func(c *stream.Context[int, int], _ Click) error {
			*c.State()++
			c.Emit(*c.State())
			return nil
		}})
	stream.To(counts, &stream.Publish[int]{Name: "counts", Topic: "clicks-by-page"})

	// On Kafka: runner, err := stream.NewRunner(t, stream.Config{Log: kafka}), then
	// runner.Run(ctx). Here, in memory:
	run := streamtest.New(printing{}, t, streamtest.Topics{"clicks": 2, "clicks-by-page": 2})
	run.Send("clicks", "maya", Click{"start"}, noon)
	run.Send("clicks", "maya", Click{"pay"}, noon)
	run.Settle()
	run.Send("clicks", "tomasz", Click{"start"}, noon)
	for _, line := range run.Lines("clicks-by-page") {
		fmt.Println(line)
	}
	// Output:
	// pay 1
	// start 1
	// start 2
}

func ExampleMap() {
	t := &stream.Topology{Name: "example"}
	out(stream.Map(clicks(t), func(c Click) string { return strings.ToUpper(c.Page) }))

	run := start(t)
	click(run, "maya", "start@0")
	show(run)
	// Output: maya "START"
}

func ExampleFilter() {
	t := &stream.Topology{Name: "example"}
	out(stream.Filter(clicks(t), func(c Click) bool { return c.Page != "start" }))

	run := start(t)
	click(run, "maya", "start@0", "pay@1")
	show(run)
	// Output: maya {"page":"pay"}
}

func ExampleFlatMap() {
	t := &stream.Topology{Name: "example"}
	out(stream.FlatMap(clicks(t), func(c Click, yield func(string)) {
		for word := range strings.SplitSeq(c.Page, "/") {
			yield(word)
		}
	}))

	run := start(t)
	click(run, "maya", "shop/shoes@0")
	show(run)
	// Output:
	// maya "shop"
	// maya "shoes"
}

func ExampleKeyBy() {
	t := &stream.Topology{Name: "example"}
	byPage := stream.KeyBy(clicks(t), "by-page", func(c Click) string { return c.Page }, stream.Codec[Click]{})
	counts, _ := stream.Via(byPage, &stream.Process[int, Click, int]{Name: "count",
		OnEvent: func(c *stream.Context[int, int], _ Click) error {
			*c.State()++
			c.Emit(*c.State())
			return nil
		}})
	out(counts)

	run := start(t)
	click(run, "maya", "start@0", "pay@1")
	click(run, "tomasz", "start@2")
	show(run)
	// Output:
	// pay 1
	// start 1
	// start 2
}

func ExampleMerge() {
	t := &stream.Topology{Name: "example"}
	all := clicks(t)
	pages := stream.Map(all, func(c Click) string { return "saw " + c.Page })
	sales := stream.Map(stream.Filter(all, func(c Click) bool { return c.Page == "pay" }), func(Click) string { return "bought" })
	out(stream.Merge(pages, sales))

	run := start(t)
	click(run, "maya", "start@0", "pay@1")
	show(run)
	// Output:
	// maya "saw start"
	// maya "saw pay"
	// maya "bought"
}

// Payment is what the examples' topic "payments" holds, under the payment's number.
type Payment struct {
	By     string `json:"by"`
	Amount int    `json:"amount"`
}

// byUser brings clicks and payments together, each under the user's name.
func byUser(t *stream.Topology) (*stream.Stream[Click], *stream.Stream[Payment]) {
	payments := stream.From(t, &stream.Source[Payment]{Name: "payments", Topic: "payments", Decode: decode[Payment]})
	type named struct {
		Click
		User string
	}
	all := stream.From(t, &stream.Source[named]{Name: "named-clicks", Topic: "clicks",
		Decode: func(r *stream.Record, v *named) error { v.User = string(r.Key); return decode(r, &v.Click) }})
	users := stream.NewShuffle(t, "by-user")
	return stream.Map(stream.Into(all, users, func(v named) string { return v.User }, stream.Codec[named]{}), func(v named) Click { return v.Click }),
		stream.Into(payments, users, func(p Payment) string { return p.By }, stream.Codec[Payment]{})
}

func ExampleInto() {
	t := &stream.Topology{Name: "example"}
	clicks, payments := byUser(t)
	out(stream.Merge(
		stream.Map(clicks, func(c Click) string { return "saw " + c.Page }),
		stream.Map(payments, func(p Payment) string { return fmt.Sprint("paid ", p.Amount) })))

	run := start(t)
	click(run, "maya", "pay@0")
	run.Settle()
	run.Send("payments", "17", Payment{"maya", 30}, noon.Add(time.Second))
	show(run)
	// Output:
	// maya "saw pay"
	// maya "paid 30"
}

// result is what a window comes to.
func result(s stream.Span, n int) string {
	return fmt.Sprintf("%s to %s: %d", s.Start.Format("04:05"), s.End.Format("04:05"), n)
}

func count(n int, _ Click) int { return n + 1 }

func ExampleIntake() {
	// A process runs this topology, which copies the topic "clicks".
	intake := &stream.Intake{Name: "click-intake", Topic: "clicks", Partitions: 1}
	_ = intake.Topology()

	// This one reads the copy, today or in its next version, whatever is left of the topic.
	t := &stream.Topology{Name: "example", Version: 2, Partitions: 1}
	clicks := stream.From(t, &stream.Source[Click]{Name: "clicks", Intake: intake, Decode: decode[Click]})
	out(clicks)

	run := streamtest.New(printing{}, t, streamtest.Topics{intake.CopyTopic(): 1, "out": 1})
	run.Take(intake, "maya", Click{"/start"}, noon)
	run.Take(intake, "tomasz", Click{"/pay"}, noon)
	show(run)
	// Output:
	// maya {"page":"/start"}
	// tomasz {"page":"/pay"}
}

func ExampleWindow_tumbling() {
	t := &stream.Topology{Name: "example"}
	perMinute, late := stream.Windowed(clicks(t), &stream.Window[Click, int, string]{Name: "per-minute",
		Size: time.Minute, Fold: count, Result: result})
	out(stream.Merge(perMinute, stream.Map(late, func(c Click) string { return "too late: " + c.Page })))

	run := start(t)
	click(run, "maya", "start@1", "pay@59", "start@61", "old@3", "end@200")
	show(run)
	// Output:
	// maya "00:00 to 01:00: 2"
	// maya "too late: old"
	// maya "01:00 to 02:00: 1"
}

func ExampleWindow_sliding() {
	t := &stream.Topology{Name: "example"}
	sliding, _ := stream.Windowed(clicks(t), &stream.Window[Click, int, string]{Name: "sliding",
		Size: time.Minute, Slide: 30 * time.Second, Fold: count, Result: result})
	out(sliding)

	run := start(t)
	click(run, "maya", "start@5", "pay@40", "end@200")
	show(run)
	// Output:
	// maya "59:30 to 00:30: 1"
	// maya "00:00 to 01:00: 2"
	// maya "00:30 to 01:30: 1"
}

func ExampleWindow_session() {
	t := &stream.Topology{Name: "example"}
	sessions, _ := stream.Windowed(clicks(t), &stream.Window[Click, int, string]{Name: "sessions",
		Gap: 30 * time.Second, Fold: count, Merge: func(a, b int) int { return a + b }, Result: result})
	out(sessions)

	run := start(t)
	click(run, "maya", "start@0", "shoes@20", "pay@40", "start@100", "end@900")
	show(run)
	// Output:
	// maya "00:00 to 01:10: 3"
	// maya "01:40 to 02:10: 1"
}

func ExampleWindow_lateness() {
	t := &stream.Topology{Name: "example"}
	perMinute, _ := stream.Windowed(clicks(t), &stream.Window[Click, int, string]{Name: "per-minute",
		Size: time.Minute, Lateness: time.Minute, Fold: count, Result: result})
	out(perMinute)

	run := start(t)
	click(run, "maya", "start@1", "start@61", "old@3")
	show(run)
	// Output:
	// maya "00:00 to 01:00: 1"
	// maya "00:00 to 01:00: 2"
}

func ExampleJoinInterval() {
	t := &stream.Topology{Name: "example"}
	clicks, payments := byUser(t)
	joined, _, _ := stream.JoinInterval(clicks, payments, &stream.IntervalJoin[Click, Payment, string]{Name: "led-to",
		After: time.Minute, // a payment within a minute after the click
		Join:  func(_ string, c Click, p Payment) string { return fmt.Sprintf("%s led to %d", c.Page, p.Amount) }})
	out(joined)

	run := start(t)
	click(run, "maya", "shoes@0", "socks@50")
	run.Send("payments", "17", Payment{"maya", 30}, noon.Add(70*time.Second))
	show(run)
	// Output: maya "socks led to 30"
}

func ExampleJoinLatest() {
	t := &stream.Topology{Name: "example"}
	clicks, payments := byUser(t)
	out(stream.JoinLatest(clicks, payments, &stream.LatestJoin[Click, Payment, string]{Name: "last-payment",
		Join: func(_ string, c Click, last Payment, known bool) string {
			return fmt.Sprintf("%s, customer %v, paid %d", c.Page, known, last.Amount)
		}}))

	run := start(t)
	click(run, "maya", "shoes@0")
	run.Settle()
	run.Send("payments", "17", Payment{"maya", 30}, noon.Add(time.Second))
	run.Settle()
	click(run, "maya", "socks@2")
	show(run)
	// Output:
	// maya "shoes, customer false, paid 0"
	// maya "socks, customer true, paid 30"
}

func ExampleBroadcast() {
	t := &stream.Topology{Name: "example", Partitions: 4}
	type rule struct {
		Ban string `json:"ban"`
	}
	rules := stream.From(t, &stream.Source[rule]{Name: "rules", Topic: "rules", Decode: decode[rule]})
	pages := stream.NewShuffle(t, "pages")
	byPage := stream.Into(clicks(t), pages, func(c Click) string { return c.Page }, stream.Codec[Click]{})
	toAll := stream.Broadcast(rules, pages, stream.Codec[rule]{}) // under the empty key, in each partition

	type either struct {
		click Click
		ban   string
	}
	both := stream.Merge(stream.Map(byPage, func(c Click) either { return either{click: c} }),
		stream.Map(toAll, func(r rule) either { return either{ban: r.Ban} }))
	bans := stream.NewMapState[bool]("bans")
	allowed, _ := stream.Via(both, &stream.Process[struct{}, either, Click]{Name: "allowed", Maps: []stream.Entries{bans},
		OnEvent: func(c *stream.Context[struct{}, Click], v either) error {
			switch {
			case v.ban != "":
				bans.Put(stream.Shared(c), v.ban, true)
			case !bans.Has(stream.Shared(c), v.click.Page):
				c.Emit(v.click)
			}
			return nil
		}})
	out(allowed)

	run := start(t)
	click(run, "maya", "shoes@0", "socks@1")
	run.Settle()
	run.Send("rules", "", rule{"socks"}, noon.Add(2*time.Second))
	run.Settle()
	click(run, "maya", "shoes@3", "socks@4")
	show(run)
	// Output:
	// shoes {"page":"shoes"}
	// shoes {"page":"shoes"}
	// socks {"page":"socks"}
}

func ExampleLookUp() {
	t := &stream.Topology{Name: "example"}
	prices := stream.FromTable(t, &stream.Table[int]{Name: "prices", Topic: "prices", Decode: decode[int]})
	byPage := stream.KeyBy(clicks(t), "by-page", func(c Click) string { return c.Page }, stream.Codec[Click]{})
	out(stream.LookUp(byPage, prices, func(c Click) string { return c.Page },
		func(c Click, cents int, known bool) string { return fmt.Sprintf("%d cents, %v", cents, known) }))

	run := start(t)
	run.Send("prices", "shoes", 4999, noon)
	run.Settle()
	click(run, "maya", "shoes@0", "socks@1")
	run.Settle()
	run.Send("prices", "shoes", nil, noon) // deletes it
	run.Settle()
	click(run, "maya", "shoes@2")
	show(run)
	// Output:
	// shoes "4999 cents, true"
	// shoes "0 cents, false"
	// socks "0 cents, false"
}

func ExampleMapState() {
	t := &stream.Topology{Name: "example"}
	seen := stream.NewMapState[bool]("seen")
	firsts, _ := stream.Via(clicks(t), &stream.Process[struct{}, Click, string]{Name: "firsts", Maps: []stream.Entries{seen},
		OnEvent: func(c *stream.Context[struct{}, string], v Click) error {
			if !seen.Has(c, v.Page) {
				seen.Put(c, v.Page, true) // costs one entry, however many there are
				c.Emit(fmt.Sprintf("%s is new, %d so far", v.Page, seen.Len(c)))
			}
			return nil
		}})
	out(firsts)

	run := start(t)
	click(run, "maya", "start@0", "pay@1", "start@2")
	show(run)
	// Output:
	// maya "start is new, 1 so far"
	// maya "pay is new, 2 so far"
}

func ExampleListState() {
	t := &stream.Topology{Name: "example"}
	last := stream.NewListState[string]("last")
	trails, _ := stream.Via(clicks(t), &stream.Process[struct{}, Click, []string]{Name: "trail", Maps: []stream.Entries{last},
		OnEvent: func(c *stream.Context[struct{}, []string], v Click) error {
			last.Append(c, v.Page)
			last.Drop(c, last.Len(c)-2) // keeps two
			var trail []string
			for page := range last.All(c) {
				trail = append(trail, page)
			}
			c.Emit(trail)
			return nil
		}})
	out(trails)

	run := start(t)
	click(run, "maya", "start@0", "shoes@1", "pay@2")
	show(run)
	// Output:
	// maya ["start"]
	// maya ["start","shoes"]
	// maya ["shoes","pay"]
}

func ExampleProcess_timers() {
	t := &stream.Topology{Name: "example"}
	type cart struct {
		Page string `json:"page"`
	}
	reminders, _ := stream.Via(clicks(t), &stream.Process[cart, Click, string]{Name: "reminders",
		OnEvent: func(c *stream.Context[cart, string], v Click) error {
			if v.Page == "pay" {
				c.Clear() // the timer goes with the state
				return nil
			}
			c.State().Page = v.Page
			c.SetTimer("remind", c.Time().Add(time.Hour)) // in place of the one before
			return nil
		},
		OnTimer: func(c *stream.Context[cart, string], t stream.Timer) error {
			c.Emit(fmt.Sprintf("you left %s an hour before %s", c.State().Page, t.Time.Format("15:04:05")))
			c.Clear()
			return nil
		}})
	out(reminders)

	run := start(t)
	click(run, "maya", "shoes@0", "socks@10")
	click(run, "tomasz", "shoes@20", "pay@30", "end@7200")
	show(run)
	// Output: maya "you left socks an hour before 13:00:10"
}

func ExampleProcess_ttl() {
	t := &stream.Topology{Name: "example"}
	visits, _ := stream.Via(clicks(t), &stream.Process[int, Click, int]{Name: "visits", TTL: time.Hour,
		OnEvent: func(c *stream.Context[int, int], _ Click) error {
			*c.State()++
			c.Emit(*c.State())
			return nil
		}})
	out(visits)

	run := start(t)
	click(run, "maya", "start@0", "pay@1")
	click(run, "tomasz", "start@3601") // the watermark is an hour after maya's last click
	click(run, "maya", "start@3602")
	show(run)
	// Output:
	// maya 1
	// maya 2
	// maya 1
	// tomasz 1
}

func ExamplePublish() {
	t := &stream.Topology{Name: "example"}
	stream.To(clicks(t), &stream.Publish[Click]{Name: "out", Topic: "out",
		Mode: stream.Transactional, // once, for readers who take committed records only
		Codec: stream.Codec[Click]{
			Append: func(b []byte, c *Click) ([]byte, error) { return append(b, c.Page...), nil },
			Decode: func(data []byte, c *Click) error { c.Page = string(data); return nil },
		}})

	run := start(t)
	click(run, "maya", "start@0")
	show(run)
	// Output: maya start
}
