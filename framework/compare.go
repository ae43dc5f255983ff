package framework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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
)

// errMoved says that a part was not where it was held.
var errMoved = errors.New("a generation moved while it was compared, as after a failure; compare again")

// Compare says whether a generation of a view holds what the one that is read does. Both
// are held at one place of the log while they are walked, one partition after another
// where no shuffle lies between, all at once where one does; no query with a
// Min-Position waits longer than that takes. It holds two pages of documents at a time.
// One comparison runs at a time in a process. Errors: ErrUnknown, *GenerationError while the generation is being
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

	mu      sync.Mutex // guards cut and renewed, which both walks renew
	cut     control.Cut
	renewed time.Time

	at    map[int32]int64 // where each partition was compared
	found []Difference
}

// side is one of two generations that are compared.
type side struct {
	f     *following
	g     view.Generation
	store view.Store
	all   *content

	parked map[int32]int // keys that it holds back, by partition
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
	c := &comparer{a: a, p: p, k: k, at: make(map[int32]int64)}
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
		c.sides[i] = side{f: f, g: view.Generation{App: a.cfg.App, View: k.name, Number: n}, store: p.Documents, all: newContent(), parked: make(map[int32]int)}
		if f.view.Kind == Search {
			c.sides[i].store = p.Search
		}
	}
	return c, nil
}

func (c *comparer) result() Comparison {
	read, other := c.sides[0].all, c.sides[1].all
	out := Comparison{Documents: [2]int64{read.documents, other.documents}, Entries: [2]int64{read.entries, other.entries},
		Digests: [2]string{read.String(), other.String()}, Positions: eventlog.NewPositions(), Differences: c.found}
	for i := range c.sides {
		for _, keys := range c.sides[i].parked {
			out.Parked[i] += keys
		}
	}
	if read.same(other) {
		out.Differences = nil // what lies in another partition is no difference
		out.Equal = out.Parked[1] == 0
	}
	for n, next := range c.at {
		if next > 0 {
			out.Positions.Offsets[n] = next - 1
		}
	}
	return out
}

// compare goes through the partitions, each held by itself, or all at once where a part
// is made of the events of all.
func (c *comparer) compare(ctx context.Context) error {
	defer c.release(ctx)
	partitions := all(c.a.cfg.Partitions)
	if c.sides[0].f.fills == nil && c.sides[1].f.fills == nil {
		for _, n := range partitions {
			if err := c.held(ctx, []int32{n}); err != nil {
				return err
			}
		}
		return nil
	}
	return c.held(ctx, partitions)
}

// held holds partitions of the events and compares what lies in their parts, again
// where that is disturbed.
func (c *comparer) held(ctx context.Context, partitions []int32) (err error) {
	before := slices.Clone(c.found)
	for range partTries {
		var parts [][2]*content
		if err = c.hold(ctx, partitions); err == nil {
			parts, err = c.parts(ctx, partitions)
		}
		if err == nil {
			for _, d := range parts {
				c.sides[0].all.join(d[0])
				c.sides[1].all.join(d[1])
			}
			return nil
		}
		if !errors.Is(err, errMoved) {
			return err
		}
		c.found = slices.Clone(before)
	}
	return err
}

// parts walks the parts of held partitions.
func (c *comparer) parts(ctx context.Context, partitions []int32) (list [][2]*content, err error) {
	var marks [2][]int64
	for i := range c.sides {
		if marks[i], err = c.marks(ctx, &c.sides[i], partitions); err != nil {
			return nil, err
		}
	}
	for i, n := range partitions {
		d, err := c.part(ctx, n, marks[0][i], marks[1][i])
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// marks returns where the parts of held partitions are to be: where the events are
// held, or at the end of the shuffle, for which it waits.
func (c *comparer) marks(ctx context.Context, s *side, partitions []int32) ([]int64, error) {
	want := make([]int64, len(partitions))
	for i, n := range partitions {
		if want[i] = c.at[n]; s.f.fills == nil {
			continue
		}
		end, err := c.p.Log.End(ctx, s.f.shuffle, n)
		if err != nil {
			return nil, err
		}
		want[i] = end
	}
	for deadline := c.a.cfg.Clock.Now().Add(holdWait); s.f.fills != nil; {
		marks, err := s.store.Marks(ctx, s.g, partitions)
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(marks, want, func(m view.Mark, next int64) bool { return m.Next >= next }) && c.counted(s, partitions, want) {
			break
		}
		if err := c.renew(ctx); err != nil {
			return nil, err
		}
		if c.a.cfg.Clock.Now().After(deadline) {
			return nil, fmt.Errorf("generation %d has not written what its shuffle holds, or not said what it holds back of it, within %v", s.f.number, holdWait)
		}
		if err := clock.Sleep(ctx, c.a.cfg.Clock, markPause); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// counted notes what a side holds back, and reports whether that is known of all that
// is wanted behind its shuffle.
func (c *comparer) counted(s *side, partitions []int32, want []int64) (all bool) {
	all = true
	c.p.catalogue.See(func(f *control.Fold) {
		for i, n := range partitions {
			h, ok := f.Held(c.cut.ID, s.f.number, n)
			s.parked[n], all = h.Parked, all && ok && h.Derived >= want[i]
		}
	})
	return all
}

// part compares one part, and finds the first differences of those that differ.
func (c *comparer) part(ctx context.Context, n int32, marks ...int64) (d [2]*content, err error) {
	var walks sync.WaitGroup
	var errs [2]error
	for i := range c.sides {
		d[i] = newContent()
		walks.Go(func() {
			errs[i] = c.walk(ctx, &c.sides[i], n, marks[i], func(page *view.Scanned) (bool, error) {
				d[i].page(page)
				return true, nil
			})
		})
	}
	walks.Wait()
	if err := errors.Join(errs[:]...); err != nil || d[0].same(d[1]) || len(c.found) == maxDifferences {
		return d, err
	}
	return d, c.differ(ctx, n, marks)
}

// Bounds of a page: how many documents are asked for first, and the bytes beyond which
// fewer are.
const (
	firstPage = 256
	pageBytes = 4 << 20
)

// walk calls f with the pages of a part, which must be at mark, until it says no.
func (c *comparer) walk(ctx context.Context, s *side, n int32, mark int64, f func(*view.Scanned) (bool, error)) error {
	w := &walker{c: c, s: s, n: n, mark: mark, size: firstPage}
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
	c     *comparer
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
	if err := w.c.renew(ctx); err != nil {
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
