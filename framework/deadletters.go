package framework

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// DeadLetterState says what an event keeps from going on.
type DeadLetterState string

// The states.
const (
	LetterParked  DeadLetterState = "parked"  // its key: the event cannot be folded into a view
	LetterStalled DeadLetterState = "stalled" // an effect's partition: it is tried again until it succeeds
	LetterStopped DeadLetterState = "stopped" // a view's or effect's partition, for good
)

// DeadLetter is an event that a view cannot fold, or that an effect does not get done.
type DeadLetter struct {
	ID         string // stays the same as long as it is about this event
	State      DeadLetterState
	View       string // or
	Effect     string
	Generation int    // of the view; 0: of an effect
	Operator   string // where: Source, or the view's shuffle
	Position   eventlog.Position
	Key        string         // of the event, or as the shuffle has it; empty with LetterStopped
	Event      *stream.Letter // as the log has it; nil: not read, or it cannot be now
	Timer      string         // whose call failed, in the place of an event's
	Parked     int            // events that are held back, this one among them
	Since      time.Time      // parked: event time; stalled: when it failed first; zero: not known
	Attempts   int            // parked: rulings that have not freed the key; stalled: calls
	Error      string

	task *stream.Task
}

// DeadLetterError says why a dead letter cannot be ruled on.
type DeadLetterError struct{ ID, Reason string }

func (e *DeadLetterError) Error() string { return fmt.Sprintf("dead letter %s: %s", e.ID, e.Reason) }

// Ruled is what has come of a ruling.
type Ruled struct {
	Position eventlog.Position // of the ruling
	Obeyed   bool              // within Config.CommandWait; else it is, as soon as the view gets there
	Freed    bool              // the key is not parked any more
	Letter   DeadLetter        // if it is: what it is parked for now
}

// Limits of dead letters.
const (
	maxLetters = 100 // of one page, and events that one of them shows
	maxReason  = 256 // bytes
)

// DeadLetters returns what is parked, stalled or stopped in the partitions that this
// process serves, in order, with their events: at most limit (1 to 100) behind the one
// with the ID after. Errors: ErrInvalid, *cluster.UnavailableError.
func (a *App) DeadLetters(ctx context.Context, after string, limit int) ([]DeadLetter, error) {
	if limit < 1 || limit > maxLetters {
		return nil, fmt.Errorf("%w limit %d: want 1 to %d", ErrInvalid, limit, maxLetters)
	}
	p, err := a.now()
	if err != nil {
		return nil, err
	}
	all := p.letters()
	if after != "" {
		from, err := parseLetterID(after)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(l DeadLetter) bool { return compareLetters(l.place(), from) <= 0 })
	}
	all = all[:min(limit, len(all))]
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ReadWait)
	defer cancel()
	for i := range all {
		all[i].read(ctx)
	}
	return all, nil
}

// DeadLetter returns one, and the first events that are held back with it, at most 100.
// Errors: ErrNotFound, *cluster.UnavailableError.
func (a *App) DeadLetter(ctx context.Context, id string) (DeadLetter, []stream.Letter, error) {
	l, err := a.letter(id)
	if err != nil {
		return l, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ReadWait)
	defer cancel()
	l.read(ctx)
	if l.State != LetterParked {
		return l, nil, nil
	}
	offsets, _ := l.task.ParkedEvents(l.Key, 0, maxLetters)
	var held []stream.Letter
	for _, offset := range offsets {
		event, err := l.task.Letter(ctx, offset)
		if err != nil {
			return l, held, a.readError(ctx, err)
		}
		held = append(held, event)
	}
	return l, held, nil
}

func (a *App) letter(id string) (DeadLetter, error) {
	p, err := a.now()
	if err != nil {
		return DeadLetter{}, err
	}
	for _, l := range p.letters() {
		if l.ID == id {
			return l, nil
		}
	}
	return DeadLetter{}, fmt.Errorf("dead letter %.300q: %w here: its key was freed, or it is parked for another event now, or another process serves the partition", id, ErrNotFound)
}

// Rule records an operator's decision on a parked key in the log, where the view obeys
// it, and waits for that, at most Config.CommandWait. Done twice it does no harm.
// Errors: ErrNotFound, ErrInvalid, *DeadLetterError, *cluster.UnavailableError.
func (a *App) Rule(ctx context.Context, id string, act stream.Act, reason, by string) (Ruled, error) {
	if len(reason) > maxReason || len(by) > maxReason {
		return Ruled{}, fmt.Errorf("%w reason or name of %d and %d bytes: want at most %d", ErrInvalid, len(reason), len(by), maxReason)
	}
	l, err := a.letter(id)
	if err != nil {
		return Ruled{}, err
	}
	switch l.State {
	case LetterStalled:
		return Ruled{}, &DeadLetterError{id, "an effect is tried again by itself until it succeeds; mend what it calls, or let its Do return nil for this event"}
	case LetterStopped:
		return Ruled{}, &DeadLetterError{id, "the task has stopped and obeys nothing; the error says what to do"}
	}
	p, err := a.now()
	if err != nil {
		return Ruled{}, err
	}
	owner := p.stations[l.Position.Partition].owner.Load()
	if owner == nil {
		return Ruled{}, &cluster.UnavailableError{Reason: fmt.Sprintf("partition %d is not assigned to this process", l.Position.Partition), RetryAfter: retryAfter}
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.CommandWait)
	defer cancel()
	r := stream.Ruling{Topology: a.viewTopology(l.View), Version: uint64(l.Generation), Operator: l.Operator,
		Partition: l.Position.Partition, Key: l.Key, Offset: l.Position.Offset, Act: act, Reason: reason}
	at, err := a.record(ctx, owner, r, by)
	if err != nil {
		return Ruled{}, err
	}
	return a.obeyed(ctx, l, at)
}

// viewTopology returns the name of what keeps a view's generations.
func (a *App) viewTopology(view string) string { return a.cfg.App + "." + view }

// record appends a ruling as an event of the partition's rulings.
func (a *App) record(ctx context.Context, owner *cluster.Owner, r stream.Ruling, by string) (eventlog.Position, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return eventlog.Position{}, err
	}
	id := clock.NewID(a.cfg.Clock)
	res, err := owner.Execute(ctx, cluster.Request{Aggregate: rulings{}, ID: rulingsID(r.Partition, a.cfg.Partitions), Command: id, Fresh: true,
		Actor: by, Correlation: id, Decide: func(any, cluster.Given) ([]cluster.Fact, error) {
			return []cluster.Fact{{Type: stream.RulingType, Data: data}}, nil
		}})
	return res.Position, err
}

// obeyed waits until the task has obeyed the ruling at a position, and says what the
// key is then.
func (a *App) obeyed(ctx context.Context, l DeadLetter, at eventlog.Position) (Ruled, error) {
	out := Ruled{Position: at}
	for {
		out.Freed = true
		for _, now := range l.task.Parked() {
			if now.Key == l.Key {
				out.Freed, out.Letter = false, a.parked(l, now)
			}
		}
		if out.Freed || out.Letter.ID != l.ID || out.Letter.Attempts > l.Attempts {
			out.Obeyed = true
			return out, nil
		}
		if clock.Sleep(ctx, a.cfg.Clock, 10*time.Millisecond) != nil {
			out.Freed = false
			return out, nil
		}
	}
}

// parked is a dead letter of the same task and key as l, as it is parked now.
func (a *App) parked(l DeadLetter, now stream.Parked) DeadLetter {
	of := letterOf(l.task, now)
	of.View, of.Generation = l.View, l.Generation
	of.ID = of.place().String()
	return of
}

// rulings are the aggregate type of rulings as an owner needs it. They have no state:
// who obeys them are the views.
type rulings struct{}

var _ cluster.Aggregate = rulings{}

// TypeName implements cluster.Aggregate.
func (rulings) TypeName() string { return stream.RulingsOf }

// Zero implements cluster.Aggregate.
func (rulings) Zero() any { return new(struct{}) }

// Fold implements cluster.Aggregate.
func (rulings) Fold(any, string, []byte) error { return nil }

// StateJSON implements cluster.Aggregate.
func (rulings) StateJSON(any) ([]byte, error) { return []byte("{}"), nil }

// rulingsID returns the first id of an aggregate of rulings that lies in a partition.
func rulingsID(n int32, partitions int) string {
	for i := 0; ; i++ {
		id := strconv.Itoa(i)
		if eventlog.PartitionOf(partition.Key(stream.RulingsOf, id), partitions) == n {
			return id
		}
	}
}

// letters returns all dead letters of this process, in order, without their events.
func (p *process) letters() (all []DeadLetter) {
	working := p.folding()
	for n, s := range p.stations {
		if s.owner.Load() == nil {
			continue
		}
		for _, f := range working {
			for _, tasks := range [][]*stream.Task{f.sources, f.fills} {
				if n < len(tasks) {
					all = append(all, lettersOf(tasks[n], DeadLetter{View: f.view.Name, Generation: f.number})...)
				}
			}
		}
		for name, tasks := range p.effects {
			all = append(all, lettersOf(tasks[n], DeadLetter{Effect: name})...)
		}
	}
	for i := range all {
		all[i].ID = all[i].place().String()
	}
	slices.SortFunc(all, func(a, b DeadLetter) int { return compareLetters(a.place(), b.place()) })
	return all
}

// folding returns the generations for which this process folds: those whose version it
// carries, and which are not retired.
func (p *process) folding() (list []*following) {
	for _, k := range p.views {
		for _, g := range p.lineage(k.name).Generations {
			if f := k.generation(g.Number); f != nil && f.runs && g.Retired == nil {
				list = append(list, f)
			}
		}
	}
	return list
}

// parked returns how many keys a generation holds back in the partitions that this
// process serves.
func (p *process) parked(f *following) (keys int) {
	for n, s := range p.stations {
		if s.owner.Load() == nil || !f.runs {
			continue
		}
		if keys += f.sources[n].ParkedKeys(); f.fills != nil {
			keys += f.fills[n].ParkedKeys()
		}
	}
	return keys
}

// lettersOf returns the dead letters of one task, whose view or effect is named in of.
func lettersOf(t *stream.Task, of DeadLetter) (all []DeadLetter) {
	for _, k := range t.Parked() {
		l := letterOf(t, k)
		l.View, l.Generation = of.View, of.Generation
		all = append(all, l)
	}
	s := t.Status()
	var stalled *stream.StalledError
	switch {
	case s.Final:
		of.State, of.Position.Offset, of.Error = LetterStopped, s.Next, s.Err.Error()
	case errors.As(s.Err, &stalled):
		of.State, of.Position.Offset, of.Error = LetterStalled, stalled.Offset, stalled.Err.Error()
		of.Key, of.Since, of.Attempts = stalled.Key, stalled.Since, stalled.Attempts
	default:
		return all
	}
	of.Operator, of.Position.Partition, of.task = s.Operator, s.Partition, t
	return append(all, of)
}

func letterOf(t *stream.Task, k stream.Parked) DeadLetter {
	return DeadLetter{State: LetterParked, Operator: k.Operator, Position: eventlog.Position{Partition: k.Partition, Offset: k.Offset},
		Key: k.Key, Timer: k.Timer, Parked: k.Events, Since: k.Since, Attempts: k.Attempts, Error: k.Err, task: t}
}

// read fetches the event, if there is one and it can be read now.
func (l *DeadLetter) read(ctx context.Context) {
	if l.State == LetterStopped || l.Timer != "" {
		return
	}
	if event, err := l.task.Letter(ctx, l.Position.Offset); err == nil {
		l.Event = &event
	}
}

// letterPlace is what an ID is made of: the order of dead letters.
type letterPlace struct {
	name, operator string
	generation     int
	partition      int32
	offset         int64
	key            uint64 // a digest of it
}

func (l *DeadLetter) place() letterPlace {
	h := fnv.New64a()
	h.Write([]byte(l.Key))
	return letterPlace{l.View + l.Effect, l.Operator, l.Generation, l.Position.Partition, l.Position.Offset, h.Sum64()}
}

func compareLetters(a, b letterPlace) int {
	return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.generation, b.generation), strings.Compare(a.operator, b.operator),
		cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset), cmp.Compare(a.key, b.key))
}

// String returns the ID.
func (p letterPlace) String() string {
	return fmt.Sprintf("%s.%d.%s.%d.%d.%016x", p.name, p.generation, p.operator, p.partition, p.offset, p.key)
}

func parseLetterID(id string) (p letterPlace, err error) {
	parts := strings.Split(id, ".")
	if len(parts) == 6 {
		var errs [4]error
		var n int64
		p.name, p.operator = parts[0], parts[2]
		p.generation, errs[0] = strconv.Atoi(parts[1])
		n, errs[1] = strconv.ParseInt(parts[3], 10, 32)
		p.partition = int32(n)
		p.offset, errs[2] = strconv.ParseInt(parts[4], 10, 64)
		p.key, errs[3] = strconv.ParseUint(parts[5], 16, 64)
		err = errors.Join(errs[:]...)
	}
	if len(parts) != 6 || err != nil {
		return p, fmt.Errorf("%w after %.300q: want the id of a dead letter", ErrInvalid, id)
	}
	return p, nil
}
