package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// attempt is one life of a task, from its restore to its first failure.
type attempt struct {
	*Task
	ctx  context.Context
	core *core
	busy sync.WaitGroup // what runs beside the loop
	acks chan ack
	runs chan run
	run  []eventlog.Record // under way
	rest []eventlog.Record // of it

	recycle func([]eventlog.Record) // takes back the memory of a run; nil: nobody does

	marks []int64 // of the stores, when they were opened
	end   int64   // of the input, when the attempt began
	far   bool    // much lay before it then

	txn  *transactions // nil: no transactional outputs
	snap *snapshots    // nil: none are kept

	ticket     ticket // of all that the inputs below claimed have made; nil: done covers all
	claimed    int64
	done       int64 // all that the inputs below it have made is acknowledged
	committed  int64 // the progress that is known to be committed
	committing bool
	progressed time.Time // when progress was last committed

	trimming  bool
	trimmedTo int64 // by this attempt
	untrimmed bool  // the last try failed

	pace   pace
	stints int // slices folded
}

// ack is what came of an append, or of a step of something else that ran beside
// the loop: then is called with its error.
type ack struct {
	box  *box
	err  error
	then func(error) error
}

// run is what a reader has brought.
type run struct {
	records []eventlog.Record
	err     error
}

// slice is how many records are folded before the loop looks at what has come
// meanwhile.
const slice = 256

// How long an idle loop waits before it looks at the time: while something is due
// soon, and else.
const (
	tick = 50 * time.Millisecond
	calm = time.Second
)

func (t *Task) attempt(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	a := &attempt{Task: t, ctx: ctx, acks: make(chan ack, 64), runs: make(chan run, 1), committed: -1}
	defer func() {
		cancel()
		a.drain()
		err = errors.Join(err, a.close())
	}()
	defer func() {
		if p := recover(); p != nil {
			t.cfg.Logger.Error("an operator panicked", "operator", t.stage.name, "stack", string(debug.Stack()))
			err = Final(fmt.Errorf("it panicked at %s: %v", a.place(), p))
		}
	}()
	if err := a.open(); err != nil {
		return err
	}
	return a.explain(a.loop())
}

// place says which input is under way.
func (a *attempt) place() string {
	if a.core == nil {
		return "the start of " + a.stage.input()
	}
	return fmt.Sprintf("%d@%d of %s", a.part, a.core.offset, a.stage.input())
}

// drain waits until nothing runs beside the loop any more.
func (a *attempt) drain() {
	ended := make(chan struct{})
	go func() {
		a.busy.Wait()
		close(ended)
	}()
	for {
		select {
		case <-a.acks:
		case <-a.runs:
		case <-ended:
			return
		}
	}
}

// beside runs f beside the loop, which then calls then with its error.
func (a *attempt) beside(f func(context.Context) error, then func(error) error) {
	a.busy.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, a.cfg.AppendTimeout)
		defer cancel()
		a.acks <- ack{err: f(ctx), then: then}
	})
}

// open takes over the stores, restores the newest snapshot that fits, takes over
// the transactions, and begins to read.
func (a *attempt) open() error {
	if err := a.identify(); err != nil {
		return err
	}
	if err := a.openStores(); err != nil {
		return err
	}
	if err := a.restore(); err != nil {
		return err
	}
	if err := a.openTransactions(); err != nil {
		return err
	}
	if err := a.aim(); err != nil {
		return err
	}
	a.tellOfParking()
	a.progressed = a.cfg.Clock.Now()
	reader, err := a.reader()
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if r, ok := reader.(eventlog.Recycler); ok {
		a.recycle = r.Recycle
	}
	a.busy.Go(func() {
		defer reader.Close()
		for {
			records, err := reader.Next(a.ctx)
			select {
			case a.runs <- run{records, err}:
			case <-a.ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return nil
}

func (a *attempt) reader() (eventlog.Reader, error) {
	if a.stage.foreign {
		return a.cfg.Log.(eventlog.Outside).ReadOutside(a.stage.topic, a.part, a.core.next, a.stage.committed)
	}
	return a.cfg.Log.Read(a.stage.input(), a.part, a.core.next)
}

// fresh makes an empty core.
func (a *attempt) fresh() {
	a.core = newCore(a.stage, a.part, a.around)
	for i, s := range a.core.shelves {
		s.mark, s.heard = a.marks[i], a.cfg.Clock.Now()
		s.wrote = s.heard
	}
}

// restore makes the core, from the newest snapshot that fits, behind which nothing
// is missing from the stores.
func (a *attempt) restore() error {
	a.fresh()
	if a.cfg.Snapshots == nil {
		return a.begin()
	}
	a.snap = newSnapshots(a)
	written := a.core.written()
	fits := func(position int64) bool { return written < 0 || position <= written }
	start := int64(0)
	if a.trimmable() {
		var err error
		if start, err = a.start(); err != nil {
			return err
		}
	}
	found, problems, err := a.snap.restore(a.ctx, fits, func(head []byte, blobs []io.Reader) error {
		a.fresh()
		if err := a.core.restoreHead(head); err != nil {
			return err
		}
		for _, b := range blobs {
			if err := a.core.load(buffered(b)); err != nil {
				return err
			}
		}
		a.core.wake()
		return a.reaches(start)
	})
	for _, p := range problems {
		if errors.Is(p, errRemade) {
			return Final(fmt.Errorf("%w; restore the topic, or %s", p, a.remedy()))
		}
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if !found {
		a.fresh()
		return orUnreadable(a.begin(), problems)
	}
	a.needs()
	return nil
}

// orUnreadable is the error of a task that cannot begin without a snapshot: where one
// could not be read, that may pass.
func orUnreadable(err error, problems []error) error {
	if err == nil {
		return nil
	}
	for _, p := range problems {
		if !slices.ContainsFunc(refusals, func(known error) bool { return errors.Is(p, known) }) {
			return fmt.Errorf("%v; a snapshot could not be read: %w", err, p)
		}
	}
	return err
}

// refusals say that a snapshot cannot be used, now or later.
var refusals = []error{snapshot.ErrDamaged, snapshot.ErrForeign, snapshot.ErrFormat, snapshot.ErrRefused, snapshot.ErrNotFound}

// begin finds the first record of a topic that is folded from its start.
func (a *attempt) begin() error {
	start, err := a.start()
	switch {
	case err != nil:
		return err
	case start > 0 && !a.stage.foreign:
		return a.gone(fmt.Errorf("there is no snapshot that can be used, and %s begins at %d@%d: the state cannot be folded anew", a.stage.input(), a.part, start), "snapshots")
	}
	if a.core.next = start; start > 0 {
		return a.trimmed()
	}
	return nil
}

// start returns where the task's input begins: 0 where the log keeps all.
func (a *attempt) start() (int64, error) {
	log, can := a.cfg.Log.(interface {
		Start(ctx context.Context, topic string, partition int32) (int64, error)
	})
	if !can {
		return 0, nil
	}
	start, err := log.Start(a.ctx, a.stage.input(), a.part)
	if err != nil {
		return 0, fmt.Errorf("find the start: %w", err)
	}
	return start, nil
}

func (a *attempt) loop() error {
	for {
		if err := a.attend(); err != nil {
			return err
		}
		var runs <-chan run
		var tock <-chan time.Time
		switch {
		case a.full():
		case !a.idle() && a.pace.rest != nil:
		case !a.idle():
			if err := a.fold(); err != nil {
				return err
			}
			a.yield()
			continue
		case len(a.rest) == 0:
			runs = a.runs
		}
		select { // what is there goes first, so that no timer is made for it
		case r := <-runs:
			if err := a.take(r); err != nil {
				return err
			}
			continue
		case k := <-a.acks:
			if err := a.settle(k); err != nil {
				return err
			}
			continue
		case <-a.pace.rest:
			a.rested()
			continue
		default:
			if a.encoding() {
				continue
			}
			tock = a.cfg.Clock.After(a.patience())
		}
		select {
		case r := <-runs:
			if err := a.take(r); err != nil {
				return err
			}
		case k := <-a.acks:
			if err := a.settle(k); err != nil {
				return err
			}
		case <-a.pace.rest:
			a.rested()
		case <-tock:
		case <-a.nudge:
		case <-a.ctx.Done():
			return a.ctx.Err()
		}
	}
}

func (a *attempt) take(r run) error {
	if r.err != nil {
		return fmt.Errorf("read: %w", r.err)
	}
	a.run, a.rest = r.records, r.records
	return nil
}

// fold folds the next slice of the run under way.
func (a *attempt) fold() error {
	n := a.below(a.slice())
	part := a.rest[:n]
	a.rest = a.rest[n:]
	if err := a.core.feed(part); err != nil {
		return finally(err)
	}
	if len(a.rest) == 0 && a.recycle != nil {
		a.recycle(a.run)
		a.run = nil
	}
	a.update(func(s *TaskStatus) { s.Next = a.core.next })
	a.missed = time.Time{}
	a.pay(n)
	return nil
}

// stint is how many slices are folded before others are let go first: a millisecond or two.
// The scheduler lets a goroutine go on for ten, which each of those that answer queries, or
// follow the log, would wait for each task that has much to fold.
const stint = 4

// yield lets others go first after a stint.
func (a *attempt) yield() {
	if a.stints++; a.stints%stint == 0 {
		runtime.Gosched()
	}
}

// full reports whether the outputs must catch up first.
func (a *attempt) full() bool {
	for _, s := range a.core.shelves {
		if s.writing && s.part.Pending() >= a.most(s) {
			return true
		}
	}
	bytes, _ := a.core.waiting()
	return bytes >= a.cfg.MaxWaiting
}

// patience is how long the loop may wait for something to come.
func (a *attempt) patience() time.Duration {
	if a.txn != nil || a.committed < a.done && a.commits() || a.holding() && !a.Status().Held {
		return tick
	}
	wait, now := calm, a.cfg.Clock.Now()
	for _, s := range a.core.shelves {
		switch {
		case s.writing || s.of.delivers:
		case s.of.markEvery > 0 && s.mark < a.core.next:
			return min(tick, s.of.markEvery)
		default: // until it is to be looked at
			wait = min(wait, max(time.Millisecond, checkInterval-now.Sub(s.heard)))
		}
	}
	if s := a.snap; s != nil && s.now != nil {
		return tick
	} else if s != nil && s.now == nil && a.core.next > s.position {
		return min(wait, max(tick, a.cfg.SnapshotEvery-now.Sub(s.last)))
	}
	return wait
}

// attend takes in what has come, and begins what is due.
func (a *attempt) attend() error {
	for more := true; more; {
		select {
		case k := <-a.acks:
			if err := a.settle(k); err != nil {
				return err
			}
		default:
			more = false
		}
	}
	a.pump()
	if err := a.fill(); err != nil {
		return err
	}
	if err := a.transact(); err != nil {
		return err
	}
	a.progress()
	a.stand()
	return a.snapshot()
}

// settle takes in one acknowledgement.
func (a *attempt) settle(k ack) error {
	if k.then != nil {
		return k.then(k.err)
	}
	if k.err != nil {
		return k.err
	}
	k.box.done()
	return nil
}

// pump starts an append for each box that waits, one at a time for each.
func (a *attempt) pump() {
	for _, g := range a.core.outs {
		if g.of.to == nil && g.of.mode == Transactional {
			continue
		}
		for p, b := range g.boxes {
			if batch := b.take(); batch != nil {
				a.append(g, b, int32(p), batch)
			}
		}
	}
}

func (a *attempt) append(g *group, b *box, p int32, batch []eventlog.Record) {
	a.busy.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, a.cfg.AppendTimeout)
		defer cancel()
		var err error
		if g.of.to != nil {
			_, err = a.cfg.Log.Append(ctx, g.of.to.shuffleTopic(), p, batch)
		} else {
			_, err = a.cfg.Log.(eventlog.Outside).Publish(ctx, g.of.topic, p, batch)
		}
		a.acks <- ack{box: b, err: err}
	})
}

// progress finds out how far the task has got with all that it made acknowledged,
// and shows it.
func (a *attempt) progress() {
	for before := a.done; ; {
		if a.ticket == nil && a.core.next > a.done {
			a.ticket, a.claimed = a.core.ticket(), a.core.next
		}
		if a.ticket == nil || !a.core.covered(a.ticket) {
			if a.done > before {
				a.update(func(s *TaskStatus) { s.Done = a.done })
			}
			break
		}
		a.done, a.ticket = a.claimed, nil
	}
	if a.done > a.committed && !a.committing {
		a.commit(a.done)
	}
}

// commits reports whether the task's progress is shown in a group's offsets.
func (a *attempt) commits() bool {
	_, ok := a.cfg.Log.(eventlog.Offsets)
	return ok && a.stage.group != ""
}

// commit commits a source's progress, as often as is good for the eye: it decides
// nothing.
func (a *attempt) commit(next int64) {
	if !a.commits() {
		return
	}
	now := a.cfg.Clock.Now()
	idle := len(a.rest) == 0 && len(a.runs) == 0
	if since := now.Sub(a.progressed); since < a.cfg.ProgressEvery && !(idle && since >= tick) {
		return
	}
	a.committing, a.progressed = true, now
	a.beside(func(ctx context.Context) error {
		return a.cfg.Log.(eventlog.Offsets).Commit(ctx, a.stage.group, a.stage.topic, a.part, next)
	}, func(err error) error {
		a.committing = false
		if err != nil {
			a.cfg.Logger.Warn("progress was not committed", "operator", a.stage.name, "partition", a.part, "err", err)
			return nil
		}
		a.committed = next
		return nil
	})
}

// close gives up what the attempt holds.
func (a *attempt) close() error {
	for _, p := range a.parts {
		if e, ok := p.(Ender); ok {
			e.End()
		}
	}
	if a.core != nil {
		a.core.leave()
	}
	if a.snap != nil {
		a.snap.end()
	}
	if a.txn != nil && a.txn.producer != nil {
		return a.txn.producer.Close()
	}
	return nil
}

// stateOf describes what a stage's snapshots are made of.
func (s *stage) stateOf() string {
	return strings.Join(append([]string{strings.Join(s.operators, ",")}, s.shapes...), ";")
}
