package stream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// tableOf runs a topology of one task over elements written "key time number", with
// times in milliseconds, and returns what it publishes to topic out, in order, as
// "key time text".
func tableOf(t *testing.T, elements string, declare func(*Topology, *Stream[simSum]) *Stream[string]) (got []string) {
	t.Helper()
	topology := &Topology{Name: "table", Partitions: 1}
	in := From(topology, &Source[simSum]{Name: "in", Topic: "in",
		Decode: func(r *Record, v *simSum) error {
			_, text, _ := strings.Cut(string(r.Value), " ")
			return simSums.Decode([]byte(text), v)
		},
		Time: func(_ *Record, v *simSum) time.Time { return simAt(number64(v.key)) }})
	To(declare(topology, in), &Publish[string]{Name: "out", Topic: "out", Codec: Codec[string]{
		Append: func(b []byte, v *string) ([]byte, error) { return append(b, *v...), nil },
		Decode: func(b []byte, v *string) error { *v = string(b); return nil }}})
	s := Simulate(topology, SimulationConfig{Topics: map[string]int{"in": 1, "out": 1}})
	for _, e := range strings.Split(elements, ",") {
		e = strings.TrimSpace(e)
		key, _, _ := strings.Cut(e, " ")
		s.Send("in", eventlog.Record{Key: []byte(key), Value: []byte(e)})
	}
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Records("out")[0] {
		got = append(got, fmt.Sprintf("%s %s", r.Key, r.Value))
	}
	return got
}

func spanText(s Span, n int64) string {
	return fmt.Sprintf("%d-%d=%d", s.Start.UnixMilli(), s.End.UnixMilli(), n)
}

func TestWindows(t *testing.T) {
	const ms = time.Millisecond
	sum := func(n int64, v simSum) int64 { return n + v.n }
	for _, c := range []struct {
		name   string
		window Window[simSum, int64, string]
		in     string
		want   []string
	}{
		{"an element at a window's end is in the next one", Window[simSum, int64, string]{Size: 10 * ms},
			"a 0 1, a 9 2, a 10 4, a 20 8", []string{"a 0-10=3", "a 10-20=4"}},
		{"before 1970 windows begin at multiples too", Window[simSum, int64, string]{Size: 10 * ms},
			"a -11 1, a -10 2, a -1 4, a 0 8, a 10 0", []string{"a -20--10=1", "a -10-0=6", "a 0-10=8"}},
		{"without lateness what comes after the end is late", Window[simSum, int64, string]{Size: 10 * ms},
			"a 1 1, a 10 2, a 9 4, b 9 8, a 20 0", []string{"a 0-10=1", "a late 4", "b late 8", "a 10-20=2"}},
		{"within the lateness the result is emitted anew", Window[simSum, int64, string]{Size: 10 * ms, Lateness: 5 * ms},
			"a 1 1, a 14 2, a 9 4, a 15 8, a 9 16, a 20 0", []string{"a 0-10=1", "a 0-10=5", "a late 16", "a 10-20=10"}},
		{"a window that opens within its lateness emits at once", Window[simSum, int64, string]{Size: 10 * ms, Lateness: 5 * ms},
			"b 12 0, a 3 1, a 4 2", []string{"a 0-10=1", "a 0-10=3"}},
		{"sliding windows overlap", Window[simSum, int64, string]{Size: 10 * ms, Slide: 5 * ms},
			"a 7 1, a 12 2, a 30 0", []string{"a 0-10=1", "a 5-15=3", "a 10-20=2"}},
		{"an element is late only if it is for all its windows", Window[simSum, int64, string]{Size: 10 * ms, Slide: 5 * ms},
			"b 11 0, a 7 1, a 4 2, b 30 0", []string{"a late 2", "a 5-15=1", "b 5-15=0", "b 10-20=0"}},
		{"a slide that does not divide the size", Window[simSum, int64, string]{Size: 10 * ms, Slide: 4 * ms},
			"a 9 1, a 40 0", []string{"a 0-10=1", "a 4-14=1", "a 8-18=1"}},
		{"sessions that only touch stay apart", Window[simSum, int64, string]{Gap: 10 * ms},
			"a 0 1, a 10 2, a 19 4, a 40 0", []string{"a 0-10=1", "a 10-29=6"}},
		{"an element joins the sessions on its two sides", Window[simSum, int64, string]{Gap: 10 * ms, Lateness: 30 * ms},
			"a 0 1, a 15 2, a 8 4, a 60 0", []string{"a 0-10=1", "a 0-25=7"}},
		{"a session before 1970", Window[simSum, int64, string]{Gap: 10 * ms},
			"a -30 1, a -25 2, a 0 0", []string{"a -30--15=3"}},
		{"a late element lengthens a session that has ended", Window[simSum, int64, string]{Gap: 10 * ms, Lateness: 10 * ms},
			"a 0 1, b 12 0, a 5 2, b 60 0", []string{"a 0-10=1", "a 0-15=3", "b 12-22=0"}},
		{"a session takes nothing after its lateness", Window[simSum, int64, string]{Gap: 10 * ms, Lateness: 5 * ms},
			"a 0 1, b 15 0, a 0 2, a 3 4, b 60 0", []string{"a 0-10=1", "a late 2", "a 3-13=4", "b 15-25=0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.window
			w.Name, w.Fold, w.Result = "w", sum, spanText
			if w.Gap > 0 {
				w.Merge = func(a, b int64) int64 { return a + b }
			}
			got := tableOf(t, c.in, func(_ *Topology, in *Stream[simSum]) *Stream[string] {
				results, late := Windowed(in, &w)
				return Merge(results, Map(late, func(v simSum) string { return "late " + strconv.FormatInt(v.n, 10) }))
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestIntervalJoins(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name          string
		before, after time.Duration
		in            string // even numbers are of a, odd ones of b
		want          []string
	}{
		{"both ends are included", 5 * ms, 5 * ms, "k 0 1, k 5 2, k 10 3, k 11 5", []string{"k 2+1", "k 2+3"}},
		{"one millionth beyond does not meet", 4 * ms, 4 * ms, "k 0 1, k 5 2, k 10 3", nil},
		{"other keys do not meet", 9 * ms, 9 * ms, "k 0 1, l 0 2", nil},
		{"only later ones", -1 * ms, 3 * ms, "k 0 2, k 0 1, k 1 3, k 3 5, k 4 7", []string{"k 2+3", "k 2+5"}},
		{"before 1970", 2 * ms, 2 * ms, "k -3 2, k -1 1, k 1 3", []string{"k 2+1"}},
		{"equal times meet in the order of arrival", 0, 0, "k 1 2, k 1 4, k 1 1", []string{"k 2+1", "k 4+1"}},
		{"what is behind the watermark is late", 9 * ms, 9 * ms, "k 5 2, k 4 1, k 5 3", []string{"k late 1", "k 2+3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := tableOf(t, c.in, func(_ *Topology, in *Stream[simSum]) *Stream[string] {
				a := Filter(in, func(v simSum) bool { return v.n%2 == 0 })
				b := Filter(in, func(v simSum) bool { return v.n%2 != 0 })
				joined, lateA, lateB := JoinInterval(a, b, &IntervalJoin[simSum, simSum, string]{Name: "j", Before: c.before, After: c.after,
					A: simSums, B: simSums, Join: func(_ string, a, b simSum) string { return fmt.Sprintf("%d+%d", a.n, b.n) }})
				late := func(v simSum) string { return fmt.Sprintf("late %d", v.n) }
				return Merge(joined, Map(lateA, late), Map(lateB, late))
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestATimerThatIsDueWhenItIsSetFiresAfterItsInput(t *testing.T) {
	got := tableOf(t, "a 10 1, a 5 2, a 5 3, a 20 4", func(_ *Topology, in *Stream[simSum]) *Stream[string] {
		out, _ := Via(in, &Process[int64, simSum, string]{Name: "p",
			OnEvent: func(c *Context[int64, string], v simSum) error {
				*c.State() = v.n
				if v.n == 2 {
					c.SetTimer("t", c.Time())
				}
				return nil
			},
			OnTimer: func(c *Context[int64, string], t Timer) error {
				c.Emit(fmt.Sprintf("after %d", *c.State()))
				return nil
			}})
		return out
	})
	if want := []string{"a after 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAStateEndsOnceNothingOfItWasChangedForItsTimeToLive(t *testing.T) {
	names := NewMapState[int64]("names", simInts)
	for _, c := range []struct{ name, in, want string }{
		{"it ends", "a 0 1, b 10 0, a 10 2", "a new"},
		{"a change makes it longer, once", "a 0 1, a 5 1, b 14 0, a 14 2, b 15 0, b 26 0, a 26 2", "a 2|a new"},
		{"what is late makes nothing older", "a 5 1, a 0 1, b 14 0, a 14 2", "a 2"},
		{"an entry is part of it", "a 0 1, a 6 3, b 12 0, a 12 2", "a 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := tableOf(t, c.in, func(_ *Topology, in *Stream[simSum]) *Stream[string] {
				out, _ := Via(in, &Process[int64, simSum, string]{Name: "p", TTL: 10 * time.Millisecond, Maps: []Entries{names},
					OnEvent: func(c *Context[int64, string], v simSum) error {
						switch s, ok := c.Peek(); {
						case v.n == 1:
							*c.State()++
						case v.n == 3:
							names.Put(c, "x", 1)
						case v.n == 2 && ok:
							c.Emit(strconv.FormatInt(*s, 10))
						case v.n == 2:
							c.Emit("new")
						}
						return nil
					}})
				return out
			})
			if text := strings.Join(got, "|"); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}
