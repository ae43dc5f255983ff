package stream

import (
	"context"
	"fmt"
	"time"
)

// Store is a place outside the log that is filled with a stream. It keeps its
// mark beside what it is given: how far in the task's input that goes. So a task
// that starts anew writes nothing that is there, and one whose store has lost
// something goes back to where that is.
type Store[T any] struct {
	Name string // [a-z][a-z0-9-]*, for ever
	// Part returns what keeps one partition of the input. It is called once for
	// each task, before that runs, and must not wait.
	Part func(partition int32) Part[T]
	// Most is after how many changes they are written, and the task waits where others
	// are being written; default 4096. Those of some hundred records may come on top.
	// Fewer are written once all that was read is folded.
	Most int
	// MostBehind takes the place of Most where the task begins 1,000 records or more behind
	// the end of its input, as in a rebuild, until it has passed that: changes then wait, at
	// most 5 s, so that those of the same key are written as one. Default 0: they do not
	// wait.
	MostBehind int
	// WriteTimeout is how long one write may take before the task starts anew; default
	// 10 s, below zero: for ever.
	WriteTimeout time.Duration
	// MarkEvery is how far behind the mark may stay, in time, while nothing changes;
	// default: for ever, which spares writes. Who watches the mark from elsewhere
	// needs it.
	MarkEvery time.Duration
}

// Part is a store's share of one partition. But for Mark it is used by one
// goroutine at a time. An error of Put or Batch is final: the task stops with it;
// after any other the task starts anew, from Open.
type Part[T any] interface {
	storePart
	// Put takes a change; e and its Key are good for the call.
	Put(e *Element, v T) error
}

// storePart is what a Part is whatever it keeps.
type storePart interface {
	// Open takes the part over from whoever wrote it before, whose writes have no
	// effect from then on, forgets what waits, and returns the mark: what lies below is
	// kept, and does not come again.
	Open(ctx context.Context) (mark int64, err error)
	// Pending returns how many changes wait.
	Pending() int
	// Batch takes what waits, and returns what writes it, with the mark next behind
	// it: all of it or, should that fail, any part with the mark as it was. One write
	// is under way at a time, beside Puts.
	Batch(next int64) (write func(ctx context.Context) error, err error)
	// Check returns an error when the store has lost what was written, or another
	// has taken the part over. It is called each second while there is nothing to
	// write.
	Check(ctx context.Context) error
	// Mark returns the mark, whoever wrote it. It may come before Open.
	Mark(ctx context.Context) (int64, error)
}

// Ender is a Part that has something to do when its task ends, for which it takes
// 2 s at most.
type Ender interface{ End() }

// Element says where a change comes from.
type Element struct {
	Key    []byte
	Time   time.Time
	Offset int64 // of the input that it was made of
}

// Limits of a store.
const (
	maxPending    = 4096             // see Store.Most
	farBehind     = 1000             // records; see Store.MostBehind
	storeWait     = 10 * time.Second // see Store.WriteTimeout
	gatherTime    = 5 * time.Second  // see Store.MostBehind
	checkInterval = time.Second      // between two looks at an idle store
)

// store is a Store whatever it keeps.
type store struct {
	name      string
	part      func(opening) storePart
	most      int
	behind    int // see Store.MostBehind
	timeout   time.Duration
	markEvery time.Duration
	bare      bool // it keeps nothing but its mark, which is not that of its task alone
	delivers  bool // it is a Delivery, whose mark costs nothing and follows at once
}

// opening is what a part is made for.
type opening struct {
	cfg       *Config
	topic     string // of the task's input
	partition int32
	report    func(error) // shows in the task's status why it waits; nil: it does not any more
}

// Fill fills a store with a stream.
func Fill[T any](in *Stream[T], s *Store[T]) {
	if s.Part == nil || s.Most < 0 || s.MostBehind < 0 || s.MarkEvery < 0 {
		panic(fmt.Errorf("store %q: set Part; Most is %d, MostBehind %d, MarkEvery %v, want none below zero", s.Name, s.Most, s.MostBehind, s.MarkEvery))
	}
	n := addStore(in.of, &store{name: s.Name, most: s.Most, behind: s.MostBehind, timeout: s.WriteTimeout, markEvery: s.MarkEvery,
		part: func(o opening) storePart { return s.Part(o.partition) }})
	fillShelf(in, n)
}

// fillShelf puts a stream into the n-th store of its stage.
func fillShelf[T any](in *Stream[T], n int) {
	in.link(func(c *core) sink[T] {
		shelf := c.shelves[n]
		part := shelf.part.(Part[T])
		var e Element
		put := func(v T) error {
			shelf.added++
			e = Element{Key: c.key, Time: time.Unix(0, c.time).UTC(), Offset: c.offset}
			return part.Put(&e, v)
		}
		if c.parking != nil {
			put = parkedPut(c.parking, put)
		}
		return func(v T) error {
			if c.offset < shelf.mark {
				return nil // it is there
			}
			return put(v)
		}
	})
}

// Marker is a Part that keeps nothing but its mark.
type Marker interface{ storePart }

// Trace keeps how far the tasks of in's stage have got, all that they made
// acknowledged, for others to see. What the store has lost of that is not folded
// again.
func Trace[T any](in *Stream[T], name string, every time.Duration, part func(partition int32) Marker) {
	addStore(in.of, &store{name: name, markEvery: every, bare: true, part: func(o opening) storePart { return part(o.partition) }})
}

func addStore(s *stage, st *store) (n int) {
	s.of.claim("store", st.name)
	if st.most == 0 {
		st.most = maxPending
	}
	if st.timeout == 0 {
		st.timeout = storeWait
	}
	s.stores = append(s.stores, st)
	return len(s.stores) - 1
}

// shelf is a store as a task fills it.
type shelf struct {
	of      *store
	part    storePart
	mark    int64     // what the store holds, as it was last heard
	heard   time.Time // when
	wrote   time.Time // when it was last written to, or opened
	added   uint64    // changes ever
	acked   uint64    // of these, those that the store has
	writing bool      // a call is under way
}

// openStores takes the stores over.
func (a *attempt) openStores() error {
	for i, p := range a.parts {
		st := a.stage.stores[i]
		within, cancel := context.WithTimeout(a.ctx, storeWait)
		mark, err := p.Open(within)
		cancel()
		if err != nil {
			a.update(func(s *TaskStatus) { s.unsure = true })
			return fmt.Errorf("open store %s: %w", st.name, err)
		}
		a.marks = append(a.marks, mark)
	}
	return nil
}

// aim finds the goal. If the task's stores have kept all that was
// written to them, they hold all that the task has passed; else it has a new goal.
func (a *attempt) aim() error {
	mark := a.core.written()
	a.done = a.core.next
	if mark >= 0 && len(a.stage.outs) == 0 {
		a.done = max(a.done, mark)
	}
	end, err := a.cfg.Log.End(a.ctx, a.stage.input(), a.part)
	if err != nil {
		return fmt.Errorf("find the end: %w", err)
	}
	a.end, a.far = end, end-a.core.next >= farBehind
	if mark > end {
		return Final(fmt.Errorf("store %s is at offset %d, beyond the log's end %d of %s: it belongs to another log; restore the log, or empty the store (of an effect: set its group's offset)",
			a.stage.stores[0].name, mark, end, a.stage.input()))
	}
	kept := !a.opened || mark < 0 || mark >= a.marked
	a.opened, a.marked = true, mark
	a.update(func(s *TaskStatus) {
		s.Next, s.Marked = a.core.next, max(mark, 0)
		switch {
		case kept:
			s.Done = max(s.Done, a.done)
		case a.stage.topic == "" && s.Goal < 0:
			s.Done = a.done
		default:
			s.Done, s.Goal = a.done, end
		}
		if s.Goal < 0 && a.stage.topic != "" {
			s.Goal = end
		}
		if s.Err, s.Final, s.unsure = nil, false, false; !s.Whole() {
			s.Fills++
		}
		a.done = max(a.done, s.Done)
	})
	return nil
}

// fill begins what is due for each store: a write of what waits, of the mark alone,
// or a look at it.
func (a *attempt) fill() error {
	now := a.cfg.Clock.Now()
	for _, s := range a.core.shelves {
		if s.writing {
			continue
		}
		next := a.core.next
		switch waits := s.part.Pending(); {
		case waits >= a.most(s), waits > 0 && a.idle() && !a.gathers(s, now), s.mark < next && a.marking(s, now):
			if s.of.bare {
				next = a.done
			}
			if err := a.write(s, next); err != nil {
				return err
			}
		case now.Sub(s.heard) >= checkInterval:
			a.call(s, "check", s.part.Check, func() {})
		}
	}
	return nil
}

// most returns after how many changes a store is written to.
func (a *attempt) most(s *shelf) int {
	if a.rebuilding() {
		return max(s.of.most, s.of.behind)
	}
	return s.of.most
}

// rebuilding reports whether the task began far behind the end, and has not passed that.
func (a *attempt) rebuilding() bool { return a.far && a.core.next < a.end }

// gathers reports whether changes are to wait for more of the same keys. While the task
// is to be held they do not.
func (a *attempt) gathers(s *shelf, now time.Time) bool {
	return s.of.behind > 0 && a.rebuilding() && !a.holding() && now.Sub(s.wrote) < gatherTime
}

// marking reports whether the mark is to be moved though nothing waits.
func (a *attempt) marking(s *shelf, now time.Time) bool {
	switch {
	case a.snap != nil && a.snap.now != nil && s.mark < a.snap.now.position && !s.of.bare:
		return true
	case s.of.bare:
		return s.mark < a.done && now.Sub(s.heard) >= s.of.markEvery
	case a.holding():
		return a.idle()
	}
	return s.of.delivers || s.of.markEvery > 0 && len(a.rest) == 0 && now.Sub(s.heard) >= s.of.markEvery && !a.gathers(s, now)
}

func (a *attempt) write(s *shelf, next int64) error {
	write, err := s.part.Batch(next)
	if err != nil {
		return Final(fmt.Errorf("store %s: %w", s.of.name, err))
	}
	added := s.added
	a.call(s, "write", write, func() {
		s.acked, s.mark, s.wrote = added, next, s.heard
		a.marked = a.core.written()
		a.update(func(s *TaskStatus) { s.Marked = max(a.marked, 0) })
	})
	return nil
}

// call does one call of a store beside the loop. When it fails, nobody knows what
// the store holds until it is open again.
func (a *attempt) call(s *shelf, act string, f func(context.Context) error, then func()) {
	s.writing = true
	a.busy.Go(func() {
		ctx, cancel := a.ctx, context.CancelFunc(func() {})
		if s.of.timeout > 0 {
			ctx, cancel = context.WithTimeout(a.ctx, s.of.timeout)
		}
		defer cancel()
		a.acks <- ack{err: guarded(ctx, f), then: func(err error) error {
			s.writing, s.heard = false, a.cfg.Clock.Now()
			if err != nil {
				a.update(func(s *TaskStatus) { s.unsure = true })
				return fmt.Errorf("%s store %s: %w", act, s.of.name, err)
			}
			then()
			return nil
		}}
	})
}

// guarded calls f; a panic of it is an error that does not pass.
func guarded(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Final(fmt.Errorf("it panicked: %v", p))
		}
	}()
	return f(ctx)
}

// written returns the offset up to which all stores hold what the task makes, -1
// if there are none.
func (c *core) written() int64 {
	least := int64(-1)
	for _, s := range c.shelves {
		if !s.of.bare && (least < 0 || s.mark < least) {
			least = s.mark
		}
	}
	return least
}
