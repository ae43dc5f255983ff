package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/drivetrain-go/drivetrain/internal/clock"
)

const (
	lookEvery  = 500 * time.Millisecond // between two looks at what is followed
	linesEvery = time.Second            // between two lines about a generation
)

// events is how many of how many events it has, such as "12,000 of 50,000".
func (g *generation) events() string {
	if g.Done == g.End {
		return grouped(g.Done)
	}
	return grouped(g.Done) + " of " + grouped(g.End)
}

// left is how long it will take, empty if nobody can say or nothing is left.
func (g *generation) left() string {
	if g.Left <= 0 {
		return ""
	}
	d := time.Duration(g.Left * float64(time.Second))
	if d < time.Second {
		return "1s" // it is not there yet
	}
	return d.Round(time.Second).String()
}

// words is how far it is, such as "12,000 of 50,000 events, 8,123/s, 38,000 behind, 5s left".
func (g *generation) words() string {
	text := fmt.Sprintf("%s events, %s/s, %s behind", g.events(), grouped(int64(g.Rate)), grouped(g.Lag))
	if left := g.left(); left != "" {
		text += ", " + left + " left"
	}
	return text
}

// over reports whether there is nothing more to follow.
func (g *generation) over() bool { return g.State != building }

// follower follows generations of a view.
type follower struct {
	*oneView
	wanted []int
	shown  display
	lost   time.Time      // since when the application does not answer; zero: it does
	states map[int]string // of what is followed, when it was looked at last
	faults map[int]string // why it did not go on then, empty: it did
}

// display is where what is followed is shown.
type display interface {
	show(g *generation, raw json.RawMessage) error
	// say writes a line beside it.
	say(format string, args ...any)
	end()
}

// follow shows how generations are built until all are ready, ctx ends, or nobody
// answers any more.
func (v *oneView) follow(ctx context.Context, out io.Writer, n notes, wanted []int) error {
	f := &follower{oneView: v, wanted: wanted, shown: v.display(out, n), states: make(map[int]string), faults: make(map[int]string)}
	err := f.run(ctx)
	f.shown.end()
	if ctx.Err() != nil {
		return fmt.Errorf("not followed any more; %s goes on being built; follow it again with: %s", f.names(), f.again("view progress "+v.View+f.numbers(" ")))
	}
	if err != nil {
		return err
	}
	for _, number := range wanted {
		text := fmt.Sprintf("%s is %s", v.named(number), f.states[number])
		if f.states[number] == ready {
			text += "; compare it with: " + v.again(fmt.Sprintf("view compare %s %d", v.View, number))
		}
		if err := v.say(out, "%s", text); err != nil {
			return err
		}
	}
	return nil
}

// names is "generation 3 of tribe-card", numbers what stands for it in a command.
func (f *follower) names() string {
	return "generation" + f.numbers(" ") + " of " + f.View
}

func (f *follower) numbers(before string) string {
	var b strings.Builder
	for _, n := range f.wanted {
		fmt.Fprintf(&b, "%s%d", before, n)
	}
	return b.String()
}

func (v *oneView) display(out io.Writer, n notes) display {
	if v.JSON {
		return &jsonLines{out, n}
	}
	if f, ok := n.to.(*os.File); ok && cwriter.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		return newBars(v, f)
	}
	return &plainLines{notes: n, view: v, said: make(map[int]time.Time)}
}

func (f *follower) run(ctx context.Context) error {
	for {
		over, err := f.look(ctx)
		if err != nil {
			err = f.away(err)
		}
		if over || err != nil {
			return err
		}
		if err := clock.Sleep(ctx, clock.System, lookEvery); err != nil {
			return err
		}
	}
}

// away returns err unless it may pass by itself and has not lasted for long.
func (f *follower) away(err error) error {
	var none *awayError
	var no *adminError
	if !errors.As(err, &none) && !(errors.As(err, &no) && no.passes()) {
		return err
	}
	now := clock.System.Now()
	if f.lost.IsZero() {
		f.lost = now
		f.shown.say("%v; trying again for %v", err, f.within(requestTime))
	}
	if now.Sub(f.lost) > f.within(requestTime) {
		return fmt.Errorf("not followed any more: %w", err)
	}
	return nil
}

// look shows what is followed as it is now, and reports whether all is over.
func (f *follower) look(ctx context.Context) (over bool, err error) {
	var all struct {
		Items []json.RawMessage `json:"items"`
	}
	if _, err := f.call(ctx, http.MethodGet, f.path("generations"), nil, &all); err != nil {
		return false, err
	}
	f.lost = time.Time{}
	left := slices.Clone(f.wanted)
	over = true
	for _, raw := range all.Items {
		var g generation
		if err := json.Unmarshal(raw, &g); err != nil {
			return false, fmt.Errorf("read a generation: %w", err)
		}
		at := slices.Index(left, g.Number)
		if at < 0 {
			continue
		}
		left = slices.Delete(left, at, at+1)
		if g.State == retired {
			return false, fmt.Errorf("%s is retired", f.named(g.Number))
		}
		over, f.states[g.Number] = over && g.over(), g.State
		f.fault(&g)
		if err := f.shown.show(&g, raw); err != nil {
			return false, err
		}
	}
	if len(left) > 0 {
		return false, fmt.Errorf("there is no %s; look with: %s", f.named(left[0]), f.again("view list "+f.View))
	}
	return over, nil
}

// fault says once why a generation does not go on.
func (f *follower) fault(g *generation) {
	if g.Error != "" && f.faults[g.Number] != g.Error {
		f.shown.say("%s does not go on: %s", f.named(g.Number), onOneLine(g.Error))
	}
	f.faults[g.Number] = g.Error
}

// jsonLines shows what the application answers, a line each.
type jsonLines struct {
	out io.Writer
	notes
}

func (j *jsonLines) show(_ *generation, raw json.RawMessage) error {
	_, err := fmt.Fprintf(j.out, "%s\n", raw)
	return err
}

func (j *jsonLines) end() {}

// plainLines shows a line a second, where there is no terminal.
type plainLines struct {
	notes
	view *oneView
	said map[int]time.Time
}

func (l *plainLines) show(g *generation, _ json.RawMessage) error {
	if now := clock.System.Now(); now.Sub(l.said[g.Number]) >= linesEvery && !g.over() {
		l.said[g.Number] = now
		l.say("%s: %s", l.view.named(g.Number), g.words())
	}
	return nil
}

func (l *plainLines) end() {}

// bars shows a bar for each generation on a terminal.
type bars struct {
	view *oneView
	all  *mpb.Progress
	bars map[int]*bar
}

type bar struct {
	*mpb.Bar
	words atomic.Pointer[string]
	over  bool
}

func newBars(v *oneView, terminal *os.File) *bars {
	return &bars{v, mpb.New(mpb.WithOutput(terminal), mpb.WithWidth(40)), make(map[int]*bar)}
}

func (b *bars) say(format string, args ...any) { notes{b.all}.say(format, args...) }

func (b *bars) show(g *generation, _ json.RawMessage) error {
	one := b.bars[g.Number]
	if one == nil {
		one = &bar{}
		one.words.Store(new(string))
		one.Bar = b.all.New(0, mpb.BarStyle(), mpb.PrependDecorators(decor.Name(fmt.Sprintf("%s %d", b.view.View, g.Number))),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *one.words.Load() })))
		b.bars[g.Number] = one
	}
	if one.over {
		return nil
	}
	words, total := g.words(), max(g.Done+g.Lag, 1) // what derived records lack counts too
	if g.over() {
		words = g.State + ", " + g.events() + " events"
	}
	one.words.Store(&words)
	one.SetTotal(total, false)
	one.SetCurrent(g.Done)
	if one.over = g.over(); one.over {
		one.SetTotal(total, true)
	}
	return nil
}

// end leaves the bars as they are.
func (b *bars) end() {
	for _, one := range b.bars {
		one.Abort(false)
	}
	b.all.Wait()
}
