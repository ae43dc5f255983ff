package framework

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Origins says how documents come of events. The document of a feed or a ranking is a
// set.
type Origins struct {
	// Aggregate returns the aggregate whose events alone make the document of a key;
	// ok is false for a key that no aggregate has. Nil: a shuffle lies between, and
	// Moves says what it carries.
	Aggregate func(key string) (aggregate, id string, ok bool)
	// Moves returns the keys of the documents that an event moves: one for each record
	// that the shuffle gets of it, those of one key in their order.
	Moves func(e *partition.Event) (keys []string, err error)
	// Stored returns what a generation's store holds of a document, as JSON; nil: it
	// is not there.
	Stored func(ctx context.Context, r Resources, g view.Generation, at view.Ref) (json []byte, err error)
	// Fold returns a fold of one document from nothing: it moves it by an event, and
	// returns it as Stored does.
	Fold func(key string) func(e *partition.Event) (json []byte, err error)
}

// Limits of an Explanation.
const (
	MaxExplained = 1000      // events of one
	MaxLook      = 1_000_000 // records that are read for one, unless Explain.Look says otherwise

	explainFor   = 30 * time.Second // that the log is read for one
	explainBytes = 8 << 20          // of its events and documents, after which it ends with the next
)

// Explain asks where a document comes from. The zero Explain asks for the first 100
// events of the document that is read.
type Explain struct {
	Generation int    // of the view; 0: that of After, else the one that is read
	After      string // the Next of an Explanation before, asked in the same way
	Limit      int    // of events, 1 to MaxExplained; default 100
	Look       int    // the most records that are read for it, at least 1; default MaxLook
	// Documents asks for the document after each event. They are folded from the first
	// event on, however late the page begins, within the same limits.
	Documents bool
	// AsOf leaves out events that had not happened by then; of a position, events of
	// partitions that it does not name too. Version is for views whose keys are those of
	// aggregates.
	AsOf
}

// Explanation is where a document comes from.
type Explanation struct {
	Generation int
	Version    int             // of the fold
	Document   json.RawMessage // as the store has it; nil: it is not there. A set is {size, entries: [{key, at or score}]}, of which it shows 100
	Events     []Origin        // those that moved it, in the order in which they were folded
	Next       string          // to be passed as Explain.After: there may be more; empty: there are none
	Looked     Looked
}

// Origin is an event that has moved a document.
type Origin struct {
	Position  eventlog.Position // at which its commit took effect
	Aggregate string
	ID        string
	Event     cluster.Recorded // as it would be written today
	Document  json.RawMessage  // after it, if that was asked for; nil: it is not there
	Pending   bool             // the store need not hold it yet
}

// Looked says how far the log was looked through.
type Looked struct {
	Topic     string // the events, or a shuffle of the view
	Partition int32
	Next      int64 // no record before it moves the document but for those that are listed, on this page or one before
	End       int64 // that the partition had
	Folded    int64 // the view has folded all records before it
}

func (e *Explain) check(a *App) error {
	if e.Limit == 0 {
		e.Limit = 100
	}
	if e.Look == 0 {
		e.Look = MaxLook
	}
	if e.Limit < 1 || e.Limit > MaxExplained || e.Look < 1 || e.Generation < 0 {
		return fmt.Errorf("%w limit %d, look %d or generation %d: want 1 to %d, 1 or more, and 0 or more", ErrInvalid, e.Limit, e.Look, e.Generation, MaxExplained)
	}
	if err := e.AsOf.check(); err != nil {
		return err
	}
	return a.checkMin(e.Position)
}

// Explain says which events have made a document of a view, in the order in which they
// were folded, whether or not it is there still. Where a view is keyed as its events,
// the owner of their partition knows where they lie, if it is in this process; else the
// partition of the events, or of the view's shuffle, is read, as far as Explain.Look
// lets it, and 30 s at most: an Explanation may hold fewer events than there are room for
// and still have a Next. Errors: ErrUnknown, ErrInvalid, *GenerationError for a
// generation that is retired or whose version this program does not carry, ErrNotFound
// where there is neither a document nor an event, *UnavailableError.
func (a *App) Explain(ctx context.Context, name, key string, e Explain) (Explanation, error) {
	p, k, err := a.viewed(name)
	if err != nil {
		return Explanation{}, err
	}
	if err := e.check(a); err != nil {
		return Explanation{}, err
	}
	if key == "" || len(key) > view.MaxKey {
		return Explanation{}, fmt.Errorf("%w key of %d bytes: want 1 to %d", ErrInvalid, len(key), view.MaxKey)
	}
	x := &explainer{a: a, p: p, key: key, asked: e}
	if x.from, err = parseBookmark(e.After); err != nil {
		return Explanation{}, err
	}
	if err := x.choose(k); err != nil {
		return Explanation{}, err
	}
	if err := x.explain(ctx); err != nil {
		return Explanation{}, err
	}
	if out := &x.out; out.Document == nil && len(out.Events) == 0 && e.After == "" && out.Next == "" {
		return *out, fmt.Errorf("%w: %s has no %q, and no event has moved it", ErrNotFound, name, key)
	}
	return x.out, nil
}

// explainer makes an Explanation.
type explainer struct {
	a     *App
	p     *process
	f     *following
	key   string
	asked Explain
	from  bookmark

	fold  func(*partition.Event) ([]byte, error) // nil: documents are not asked for
	again uint64                                 // events that are folded and not listed: those of pages before
	count uint64                                 // events that were taken, on all pages
	bytes int
	ended bool // at a bound of AsOf
	out   Explanation
}

// choose finds the generation that is asked for.
func (x *explainer) choose(k *kept) error {
	l := x.p.lineage(k.name)
	number := l.Read
	for _, asked := range []int{x.from.generation, x.asked.Generation} {
		if asked > 0 {
			number = asked
		}
	}
	if x.from.generation > 0 && number != x.from.generation {
		return fmt.Errorf("%w after: it continues in generation %d, not %d", ErrInvalid, x.from.generation, number)
	}
	g := l.Find(number)
	if g == nil {
		return fmt.Errorf("%w generation %d of view %q", ErrUnknown, number, k.name)
	}
	refused := &GenerationError{View: k.name, Number: number, State: Building}
	switch x.f = k.generation(number); {
	case g.Retired != nil:
		refused.State, refused.Reason = Retired, "it is deleted"
	case x.f == nil:
		refused.Reason = "it is being set up"
	case !x.f.runs:
		refused.State, refused.Reason = Ready, fmt.Sprintf("this program does not carry version %d, and cannot say which events it takes; ask one that does", g.Version)
	case x.f.view.Origins == nil:
		return fmt.Errorf("%w request: view %s does not say where its documents come from (framework.View.Origins)", ErrInvalid, k.name)
	}
	if refused.Reason != "" {
		return refused
	}
	x.out.Generation, x.out.Version = number, x.f.version
	return nil
}

// explain looks for the events where the view has them from.
func (x *explainer) explain(ctx context.Context) error {
	origins := x.f.view.Origins
	if x.asked.Documents {
		x.fold, x.again = origins.Fold(x.key), x.from.events
	} else {
		x.count = x.from.events
	}
	if origins.Aggregate == nil {
		if x.asked.Version > 0 {
			return fmt.Errorf("%w version: the documents of view %s are made of events of several aggregates", ErrInvalid, x.f.view.Name)
		}
		part := eventlog.PartitionOf([]byte(x.key), x.a.cfg.Partitions)
		if err := x.begin(ctx, x.f.shuffle, part, x.f.fills[part].Status().Done); err != nil {
			return err
		}
		return x.byShuffle(ctx)
	}
	aggregate, id, ok := origins.Aggregate(x.key)
	if !ok {
		return fmt.Errorf("%w: view %s has no document %q, whose key would be type.id", ErrNotFound, x.f.view.Name, x.key)
	}
	key := partition.Key(aggregate, id)
	part := eventlog.PartitionOf(key, x.a.cfg.Partitions)
	if _, err := x.asked.in(part); err != nil {
		return err
	}
	if err := x.begin(ctx, x.p.topic, part, x.f.sources[part].Status().Done); err != nil {
		return err
	}
	if t, declared := x.a.aggregates[aggregate]; declared {
		if owner := x.p.stations[part].owner.Load(); owner != nil {
			return x.byTrail(ctx, owner, t, id)
		}
	}
	return x.byKey(ctx, key)
}

// begin reads the document, of which folded is how far its part was at least.
func (x *explainer) begin(ctx context.Context, topic string, part int32, folded int64) (err error) {
	x.out.Looked = Looked{Topic: topic, Partition: part, Folded: max(0, folded)}
	within, cancel := context.WithTimeout(ctx, x.a.cfg.ReadWait)
	defer cancel()
	g := view.Generation{App: x.a.cfg.App, View: x.f.view.Name, Number: x.f.number}
	if x.out.Document, err = x.f.view.Origins.Stored(within, x.p.Resources, g, view.Ref{Partition: part, Key: x.key}); err != nil {
		return x.a.readError(ctx, err)
	}
	if x.out.Looked.End, err = x.p.Log.End(within, topic, part); err != nil {
		return x.a.readError(ctx, err)
	}
	return nil
}

// take lists an event, and reports whether there is room for more. offset is of the
// record by which the view has learned of it.
func (x *explainer) take(e *partition.Event, commit eventlog.Position, offset int64) (more bool, err error) {
	q := &x.asked
	if q.Version > 0 && e.Version > q.Version || !q.At.IsZero() && e.Time.After(q.At) {
		x.ended = true
		return false, nil
	}
	if named, ok := q.Position.Offsets[commit.Partition]; len(q.Position.Offsets) > 0 && (!ok || commit.Offset > named) {
		return true, nil
	}
	o := Origin{Position: commit, Event: cluster.Record(e), Pending: offset >= x.out.Looked.Folded}
	kind, id, _ := bytes.Cut(e.Key, []byte{'/'})
	o.Aggregate, o.ID = string(kind), string(id)
	if x.fold != nil {
		if o.Document, err = x.fold(e); err != nil {
			return false, broken(e, commit.Partition, err)
		}
	}
	if x.count++; x.count <= x.again {
		return true, nil
	}
	if t, declared := x.a.aggregates[o.Aggregate]; declared {
		if o.Event.Type, o.Event.Data, err = t.Upcast(e.Type, e.Data); err != nil {
			return false, broken(e, commit.Partition, err)
		}
	}
	x.out.Events = append(x.out.Events, o)
	x.bytes += len(o.Event.Data) + len(o.Document)
	return len(x.out.Events) < q.Limit && x.bytes < explainBytes, nil
}

// broken says of which event it is that a user's code cannot take it.
func broken(e *partition.Event, part int32, err error) error {
	return &cluster.BrokenError{Aggregate: string(e.Key), Position: eventlog.Position{Partition: part, Offset: e.Offset}, Err: err}
}

// next says where the following page begins: all events that lie before it are listed.
func (x *explainer) next(b bookmark) error {
	if x.ended {
		return nil
	}
	if x.count < x.again {
		return fmt.Errorf("%w documents: the %d events of the pages before lie further back than %d records; ask without documents, or look at more",
			ErrInvalid, x.again, x.asked.Look)
	}
	b.generation, b.events = x.f.number, x.count
	x.out.Next = b.String()
	return nil
}

// failed makes of what kept the log from being read what a caller is told.
func (x *explainer) failed(ctx context.Context, err error) error {
	if kept := (*cluster.BrokenError)(nil); errors.As(err, &kept) {
		return err
	}
	return x.a.readError(ctx, err)
}

// errEnough ends a walk whose page is full.
var errEnough = errors.New("enough")

// byTrail asks the owner of the aggregate where its events lie.
func (x *explainer) byTrail(ctx context.Context, owner *cluster.Owner, t Aggregate, id string) error {
	within, cancel := context.WithTimeout(ctx, explainFor)
	defer cancel()
	trail, err := owner.Trail(within, t, id, false)
	if err != nil {
		return err
	}
	looked := &x.out.Looked
	looked.End = trail.Position.Offset + 1
	looked.Next = looked.End
	err = owner.Walk(within, trail.Behind(x.count), cluster.AsOf{Offset: -1}, func(e *partition.Event, commit int64) error {
		more, err := x.take(e, eventlog.Position{Partition: looked.Partition, Offset: commit}, commit)
		if looked.Next = commit + 1; err == nil && !more {
			err = errEnough
		}
		return err
	})
	switch {
	case err == nil:
		looked.Next = looked.End
		return nil
	case !errors.Is(err, errEnough):
		return x.failed(ctx, err)
	case x.count == trail.Len():
		looked.Next = looked.End
		return nil
	}
	return x.next(bookmark{})
}
