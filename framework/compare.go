package framework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Limits of a comparison.
const (
	maxDifferences = 20
	cutLasts       = 10 * time.Second      // a cut ends by itself after it, should who made it be gone; renewed in half the time
	holdWait       = 10 * time.Second      // for all tasks to be held at one place, and for what they sent to be written
	markPause      = 20 * time.Millisecond // between two looks at whether it is
	cutTries       = 8                     // until they are
	partTries      = 3                     // a part that was disturbed while it was read is compared again
	heldAtOnce     = 3                     // partitions, each by a cut of its own: stores answer slowly rather than little
)

// errMoved says that a part was not where it was held.
var errMoved = errors.New("a generation moved while it was compared, as after a failure; compare again")

// Compare says whether a generation of a view holds what the one that is read does. Both
// are held at one place of the log while they are walked: each partition for as long as
// its own two parts take, three at a time, where no shuffle lies between, all until the
// last is walked where one does; no query with a Min-Position waits longer than that
// takes. It holds six pages of documents at a time. One comparison runs at a time in a
// process. Errors: ErrUnknown, *GenerationError while the generation is being
// filled, is retired, cannot be followed or is itself the one that is read,
// *UnavailableError.
func (a *App) Compare(ctx context.Context, view string, number int) (Comparison, error) {
	p, k, err := a.viewed(view)
	if err != nil {
		return Comparison{}, err
	}
	select {
	case a.comparing <- struct{}{}:
		defer func() { <-a.comparing }()
	case <-ctx.Done():
		return Comparison{}, ctx.Err()
	}
	c, err := a.comparer(p, k, number)
	if err != nil {
		return Comparison{}, err
	}
	if err := c.compare(ctx); err != nil {
		var refused *GenerationError
		var unavailable *UnavailableError
		if errors.As(err, &refused) || errors.As(err, &unavailable) || ctx.Err() != nil {
			return Comparison{}, err
		}
		a.cfg.Logger.Warn("a comparison failed", "view", view, "generation", number, "err", err)
		return Comparison{}, &UnavailableError{Reason: fmt.Sprintf("the generations cannot be compared: %v", err), RetryAfter: retryAfter}
	}
	return c.result(), nil
}

// comparer compares two generations.
type comparer struct {
	a     *App
	p     *process
	k     *kept
	sides [2]side // of the generation that is read, and of the other

	mu   sync.Mutex
	done []*holding // by place among what is held; nil: not compared yet
}

// side is one of two generations that are compared.
type side struct {
	f     *following
	g     view.Generation
	store view.Store
}

func (a *App) comparer(p *process, k *kept, number int) (*comparer, error) {
	l := p.lineage(k.name)
	refused := &GenerationError{View: k.name, Number: number, State: Building}
	switch g := l.Find(number); {
	case g == nil:
		return nil, noGeneration(k.name, number)
	case g.Retired != nil:
		refused.State, refused.Reason = Retired, "it is deleted; rebuild the view"
		return nil, refused
	case number == l.Read:
		refused.State, refused.Reason = Reading, "it is the one that others are compared with; name another"
		return nil, refused
	}
	c := &comparer{a: a, p: p, k: k}
	for i, n := range []int{l.Read, number} {
		f := k.generation(n)
		switch {
		case f == nil:
			refused.Number, refused.Reason = n, "it is being set up"
		case !p.carried(k, f.version):
			refused.Number, refused.State = n, Ready
			refused.Reason = fmt.Sprintf("no process carries version %d, so it stays where it is and cannot be compared", f.version)
		default:
			if err := f.whole(); err != nil {
				refused.Number, refused.Reason = n, err.Error()
			}
		}
		if refused.Reason != "" {
			return nil, refused
		}
		c.sides[i] = side{f: f, g: view.Generation{App: a.cfg.App, View: k.name, Number: n}, store: p.Documents}
		if f.view.Kind == Search {
			c.sides[i].store = p.Search
		}
	}
	return c, nil
}

// result joins what was found, the first differences of the first partitions that differ.
func (c *comparer) result() Comparison {
	read, other := newContent(), newContent()
	out := Comparison{Positions: eventlog.NewPositions()}
	for _, h := range c.done {
		read.join(h.all[0])
		other.join(h.all[1])
		for i := range h.parked {
			for _, keys := range h.parked[i] {
				out.Parked[i] += keys
			}
		}
		for n, next := range h.at {
			if next > 0 {
				out.Positions.Offsets[n] = next - 1
			}
		}
		out.Differences = append(out.Differences, h.found[:min(len(h.found), maxDifferences-len(out.Differences))]...)
	}
	slices.SortStableFunc(out.Differences, func(a, b Difference) int { return strings.Compare(a.Key, b.Key) })
	out.Documents, out.Entries = [2]int64{read.documents, other.documents}, [2]int64{read.entries, other.entries}
	out.Digests = [2]string{read.String(), other.String()}
	if read.same(other) {
		out.Differences = nil // what lies in another partition is no difference
		out.Equal = out.Parked[1] == 0
	}
	return out
}

// compare goes through the partitions, each held by itself, or all at once where a part
// is made of the events of all. It ends with the first error.
func (c *comparer) compare(ctx context.Context) error {
	partitions := all(c.a.cfg.Partitions)
	if c.sides[0].f.fills != nil || c.sides[1].f.fills != nil {
		c.done = make([]*holding, 1)
		return c.held(ctx, 0, partitions)
	}
	c.done = make([]*holding, len(partitions))
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var next atomic.Int32
	var work sync.WaitGroup
	for range heldAtOnce {
		work.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(partitions) {
					return
				}
				if err := c.held(ctx, i, partitions[i:i+1]); err != nil {
					end(err)
				}
			}
		})
	}
	work.Wait()
	return context.Cause(ctx)
}

// held holds partitions of the events, the i-th that are held, and compares what lies
// in their parts, again where that is disturbed.
func (c *comparer) held(ctx context.Context, i int, partitions []int32) (err error) {
	h := &holding{comparer: c, room: c.room()}
	defer h.release(ctx)
	for range partTries {
		h.begin()
		if err = h.hold(ctx, partitions); err == nil {
			err = h.parts(ctx, partitions)
		}
		if err == nil {
			c.mu.Lock()
			c.done[i] = h
			c.mu.Unlock()
		}
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	return err
}

// room returns how many differences are still to be found. What is held first finds
// first, so that the first ones are found however the parts fall out.
func (c *comparer) room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := maxDifferences
	for _, h := range c.done {
		if h != nil {
			room -= len(h.found)
		}
	}
	return max(room, 0)
}

// holding is partitions that one cut holds, from hold to release, and what is found in
// their parts. Of a single partition the hold lasts for as long as both generations take
// to stop there and to write what they have folded, and their parts to be read, for which
// Elasticsearch refreshes: at most for the one refresh under way and one more. What else
// is held does not lengthen it but by the work that it makes.
type holding struct {
	*comparer
	room int // for differences

	renewing sync.Mutex // guards cut and renewed, which both walks renew
	cut      control.Cut
	renewed  time.Time

	at     map[int32]int64  // where each partition is compared
	parked [2]map[int32]int // keys that a side holds back, by partition
	all    [2]*content      // of all that is held
	found  []Difference     // room at most
}

// begin forgets what was found.
func (h *holding) begin() {
	h.at, h.found = make(map[int32]int64), nil
	for i := range h.all {
		h.all[i], h.parked[i] = newContent(), make(map[int32]int)
	}
}

// parts walks the parts of held partitions.
func (h *holding) parts(ctx context.Context, partitions []int32) (err error) {
	var marks [2][]int64
	for i := range h.sides {
		if marks[i], err = h.marks(ctx, i, partitions); err != nil {
			return err
		}
	}
	for i, n := range partitions {
		if err := h.part(ctx, n, marks[0][i], marks[1][i]); err != nil {
			return err
		}
	}
	return nil
}

// marks returns where the parts of held partitions are to be: where the events are
// held, or at the end of the shuffle, for which it waits.
func (h *holding) marks(ctx context.Context, i int, partitions []int32) ([]int64, error) {
	s := &h.sides[i]
	want := make([]int64, len(partitions))
	for i, n := range partitions {
		if want[i] = h.at[n]; s.f.fills == nil {
			continue
		}
		end, err := h.p.Log.End(ctx, s.f.shuffle, n)
		if err != nil {
			return nil, err
		}
		want[i] = end
	}
	for deadline := h.a.cfg.Clock.Now().Add(holdWait); s.f.fills != nil; {
		marks, err := s.store.Marks(ctx, s.g, partitions)
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(marks, want, func(m view.Mark, next int64) bool { return m.Next >= next }) && h.counted(i, partitions, want) {
			break
		}
		if err := h.renew(ctx); err != nil {
			return nil, err
		}
		if h.a.cfg.Clock.Now().After(deadline) {
			return nil, fmt.Errorf("generation %d has not written what its shuffle holds, or not said what it holds back of it, within %v", s.f.number, holdWait)
		}
		if err := clock.Sleep(ctx, h.a.cfg.Clock, markPause); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// counted notes what a side holds back, and reports whether that is known of all that
// is wanted behind its shuffle.
func (h *holding) counted(side int, partitions []int32, want []int64) (all bool) {
	all = true
	h.p.catalogue.See(func(f *control.Fold) {
		for i, n := range partitions {
			at, ok := f.Held(h.cut.ID, h.sides[side].f.number, n)
			h.parked[side][n], all = at.Parked, all && ok && at.Derived >= want[i]
		}
	})
	return all
}

// part compares one part, and finds the first differences of those that differ.
func (h *holding) part(ctx context.Context, n int32, marks ...int64) error {
	var d [2]*content
	var walks sync.WaitGroup
	var errs [2]error
	for i := range h.sides {
		d[i] = newContent()
		walks.Go(func() {
			errs[i] = h.walk(ctx, &h.sides[i], n, marks[i], func(page *view.Scanned) (bool, error) {
				d[i].page(page)
				return true, nil
			})
		})
	}
	walks.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	for i := range d {
		h.all[i].join(d[i])
	}
	if d[0].same(d[1]) || h.full() {
		return nil
	}
	return h.differ(ctx, n, marks)
}

// Bounds of a page: how many documents are asked for first, and the bytes beyond which
// fewer are.
const (
	firstPage = 256
	pageBytes = 4 << 20
)

// walk calls f with the pages of a part, which must be at mark, until it says no.
func (h *holding) walk(ctx context.Context, s *side, n int32, mark int64, f func(*view.Scanned) (bool, error)) error {
	w := &walker{h: h, s: s, n: n, mark: mark, size: firstPage}
	for {
		page, err := w.next(ctx)
		if err != nil || page == nil {
			return err
		}
		if more, err := f(page); err != nil || !more {
			return err
		}
	}
}

// walker goes through a part page by page.
type walker struct {
	h     *holding
	s     *side
	n     int32
	mark  int64
	size  int
	from  string
	epoch uint64 // of the first page
	begun bool
}

// next returns the next page, nil behind the last. It is errMoved if the part is not
// where it is held, or was opened again.
func (w *walker) next(ctx context.Context) (*view.Scanned, error) {
	if w.begun && w.from == "" {
		return nil, nil
	}
	if err := w.h.renew(ctx); err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, holdWait)
	defer cancel()
	page, err := w.s.store.Scan(within, w.s.g, w.n, w.from, w.size)
	switch {
	case err != nil:
		return nil, err
	case page.Mark.Next != w.mark, w.begun && page.Mark.Epoch != w.epoch:
		return nil, fmt.Errorf("generation %d, partition %d: %w", w.s.f.number, w.n, errMoved)
	}
	w.begun, w.epoch, w.from = true, page.Mark.Epoch, page.Next
	bytes := 0
	for i := range page.Documents {
		bytes += len(page.Documents[i].Value)
	}
	if w.size = min(2*w.size, view.MaxPage); bytes > pageBytes {
		w.size = max(w.size/4, 1)
	}
	return &page, nil
}
