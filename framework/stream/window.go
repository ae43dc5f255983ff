package stream

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Window folds the elements of a key by stretches of event time and emits a
// result for each once the watermark has passed its end: tumbling with Size,
// sliding with Size and Slide, or sessions with Gap.
type Window[In, Acc, Out any] struct {
	Name string        // [a-z][a-z0-9-]*, for ever
	Size time.Duration // of each window; they begin at multiples of Slide since 1970
	// Slide is the time from one window's beginning to the next one's, at most
	// Size; default Size, so that windows tumble.
	Slide time.Duration
	// Gap, in place of Size, makes sessions: a window ends when no element came for
	// so long.
	Gap time.Duration
	// Lateness is how long after its end a window still takes elements; each then
	// emits the result anew. What comes later goes to the late stream. Default 0.
	Lateness time.Duration
	Fold     func(Acc, In) Acc   // moves a window's sum by one element; pure
	Merge    func(a, b Acc) Acc  // of sessions that an element has joined; pure
	Result   func(Span, Acc) Out // what is emitted; the element's time is the window's end
	Acc      Codec[Acc]          // of sums in snapshots; default JSON
}

// Span is the time from Start on and before End.
type Span struct{ Start, End time.Time }

// Windowed folds a stream by windows, and returns the results and what came too
// late for every window that it belongs to.
func Windowed[In, Acc, Out any](in *Stream[In], w *Window[In, Acc, Out]) (results *Stream[Out], late *Stream[In]) {
	if err := w.check(); err != nil {
		panic(err)
	}
	p := &Process[panes[Acc], In, Out]{Name: w.Name, State: panesCodec(w.Acc.orJSON()),
		OnEvent: w.onEvent, OnTimer: w.onTimer}
	return Via(in, p)
}

func (w *Window[In, Acc, Out]) check() error {
	switch {
	case w.Fold == nil || w.Result == nil:
		return fmt.Errorf("window %q: set Fold and Result", w.Name)
	case w.Gap > 0 && (w.Size != 0 || w.Slide != 0 || w.Merge == nil):
		return fmt.Errorf("window %q: sessions have Gap and Merge, and neither Size nor Slide", w.Name)
	case w.Gap <= 0 && (w.Size <= 0 || w.Slide < 0 || w.Slide > w.Size) || w.Lateness < 0:
		return fmt.Errorf("window %q: want Size above zero, Slide of at most Size, or Gap above zero, and no Lateness below zero", w.Name)
	case w.Gap <= 0 && w.Slide > 0 && w.Size/w.Slide > maxPanes:
		return fmt.Errorf("window %q: Size is more than %d times Slide, and so many windows each element is in", w.Name, maxPanes)
	}
	return w.Acc.check("window " + w.Name)
}

// maxPanes bounds the windows that one element is in.
const maxPanes = 10_000

// panes are a key's open windows, by their beginning.
type panes[Acc any] struct{ open []pane[Acc] }

type pane[Acc any] struct {
	start, end int64
	acc        Acc
}

// Two timers each window has: at its end, and when it takes no more.
const (
	timerEnds  = 'e'
	timerGoes  = 'g'
	timerBytes = 9
)

func paneTimer(kind byte, start int64) string {
	return string(binary.BigEndian.AppendUint64([]byte{kind}, uint64(start)))
}

func (w *Window[In, Acc, Out]) onEvent(c *Context[panes[Acc], Out], v In) error {
	t := c.core.time
	if w.Gap > 0 {
		return w.session(c, v, pane[Acc]{start: t, end: t + int64(w.Gap)})
	}
	slide, taken := int64(w.Slide), false
	if slide == 0 {
		slide = int64(w.Size)
	}
	for start := floor(t, slide); start > t-int64(w.Size); start -= slide {
		p := pane[Acc]{start: start, end: start + int64(w.Size)}
		if w.goneBy(&p, c.core.mark) || c.core.planted == plantLateness && p.end <= c.core.mark {
			break // and so are those before it
		}
		taken = true
		w.add(c, v, p)
	}
	if !taken {
		c.Late()
	}
	return nil
}

// floor returns the greatest multiple of step that is not above t.
func floor(t, step int64) int64 {
	m := t % step
	if m < 0 {
		m += step
	}
	return t - m
}

// goneBy reports whether a window takes no more at a watermark.
func (w *Window[In, Acc, Out]) goneBy(p *pane[Acc], mark int64) bool {
	return p.end+int64(w.Lateness) <= mark
}

// add folds an element into its window, which is opened if it is not.
func (w *Window[In, Acc, Out]) add(c *Context[panes[Acc], Out], v In, p pane[Acc]) {
	open := &c.State().open
	i, known := slices.BinarySearchFunc(*open, p.start, func(p pane[Acc], start int64) int { return int(min(max(p.start-start, -1), 1)) })
	if !known {
		*open = slices.Insert(*open, i, p)
	}
	at := &(*open)[i]
	at.acc = w.Fold(at.acc, v)
	w.schedule(c, at, known)
}

// schedule emits at once for a window that has ended, and sets the timers of one
// that is new.
func (w *Window[In, Acc, Out]) schedule(c *Context[panes[Acc], Out], p *pane[Acc], known bool) {
	if p.end <= c.core.mark {
		w.emit(c, p)
	} else if !known {
		c.setTimer(paneTimer(timerEnds, p.start), p.end)
	}
	if !known && w.Lateness > 0 {
		c.setTimer(paneTimer(timerGoes, p.start), p.end+int64(w.Lateness))
	}
}

func (w *Window[In, Acc, Out]) emit(c *Context[panes[Acc], Out], p *pane[Acc]) {
	was := c.core.time
	c.core.time = p.end
	c.Emit(w.Result(Span{time.Unix(0, p.start).UTC(), time.Unix(0, p.end).UTC()}, p.acc))
	c.core.time = was
}

// session folds an element into the session that it belongs to, and joins those
// that it connects.
func (w *Window[In, Acc, Out]) session(c *Context[panes[Acc], Out], v In, own pane[Acc]) error {
	old, _ := c.Peek()
	merged, first := own, -1
	n := 0
	for i := range old.open {
		if p := &old.open[i]; p.start < own.end && own.start < p.end {
			if first < 0 {
				first = i
			}
			n++
			merged.start, merged.end = min(merged.start, p.start), max(merged.end, p.end)
		}
	}
	if w.goneBy(&merged, c.core.mark) {
		c.Late()
		return nil
	}
	open := &c.State().open
	for i := range n {
		p := &(*open)[first+i]
		if i == 0 {
			merged.acc = p.acc
		} else {
			merged.acc = w.Merge(merged.acc, p.acc)
		}
		c.CancelTimer(paneTimer(timerEnds, p.start))
		c.CancelTimer(paneTimer(timerGoes, p.start))
	}
	merged.acc = w.Fold(merged.acc, v)
	if n > 0 {
		*open = slices.Delete(*open, first, first+n)
	}
	i, _ := slices.BinarySearchFunc(*open, merged.start, func(p pane[Acc], start int64) int { return int(min(max(p.start-start, -1), 1)) })
	*open = slices.Insert(*open, i, merged)
	w.schedule(c, &(*open)[i], false)
	return nil
}

func (w *Window[In, Acc, Out]) onTimer(c *Context[panes[Acc], Out], t Timer) error {
	if len(t.Name) != timerBytes {
		return fmt.Errorf("timer %q is none of a window's", t.Name)
	}
	start := int64(binary.BigEndian.Uint64([]byte(t.Name[1:])))
	open := &c.State().open
	i := slices.IndexFunc(*open, func(p pane[Acc]) bool { return p.start == start })
	if i < 0 {
		return nil
	}
	if t.Name[0] == timerEnds {
		w.emit(c, &(*open)[i])
	}
	if t.Name[0] == timerGoes || w.Lateness == 0 {
		if *open = slices.Delete(*open, i, i+1); len(*open) == 0 {
			c.Clear()
		}
	}
	return nil
}

// panesCodec is how windows are kept in snapshots.
func panesCodec[Acc any](acc Codec[Acc]) Codec[panes[Acc]] {
	return Codec[panes[Acc]]{
		Append: func(b []byte, v *panes[Acc]) (_ []byte, err error) {
			var one []byte
			b = binary.AppendUvarint(b, uint64(len(v.open)))
			for i := range v.open {
				p := &v.open[i]
				b = binary.AppendVarint(b, p.start)
				b = binary.AppendVarint(b, p.end)
				if one, err = acc.Append(one[:0], &p.acc); err != nil {
					return b, err
				}
				b = packed.AppendBytes(b, one)
			}
			return b, nil
		},
		Decode: func(data []byte, v *panes[Acc]) error {
			r := packed.Read(data)
			for range r.Count(3) {
				p := pane[Acc]{start: r.Signed(), end: r.Signed()}
				if err := acc.Decode(r.Bytes(), &p.acc); err != nil {
					return err
				}
				v.open = append(v.open, p)
			}
			if r.Bad() {
				return errMangled
			}
			return nil
		},
	}
}
