package framework

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// GenerationState says what becomes of a generation of a view.
type GenerationState string

// The states of a generation.
const (
	Building GenerationState = "building" // it is being filled
	Ready    GenerationState = "ready"    // it is whole and follows the log, so it can be switched to
	Reading  GenerationState = "read"     // queries are answered from it
	Retired  GenerationState = "retired"  // it is given up, and deleted soon
)

// Generation is a complete copy of a view, as this process sees it.
type Generation struct {
	Number  int // counted up per view
	Version int // of the fold that makes it
	State   GenerationState
	Lag     int64         // events and derived records that it is behind the end of the log
	Done    int64         // events below which it holds all, over all partitions
	End     int64         // events that the log has
	Rate    float64       // events a second that it has taken in the last seconds
	Left    time.Duration // until it has caught up, at that rate; 0: it has, or nobody can say
	Parked  int           // keys that it holds back in the partitions that this process serves; see DeadLetters
	Carried bool          // processes that carry its version follow all partitions
	Created time.Time
	By      string // who wanted it
	Err     error  // why it does not go on; nil while it does

	Shadowed *Shadowed // what came of asking it beside the one that is read; nil: it is not asked so, and never was
}

// Rebuild asks for a new generation of a view.
type Rebuild struct {
	Version int    // of the fold; 0: the greatest that this program carries
	Rate    int    // events a second that it may take over the whole application while it is building; 0: no limit
	By      string // who wants it, at most 256 bytes
}

// Switch asks for another generation to be read.
type Switch struct {
	Force  bool   // though it lags or differs
	Reason string // of force, which needs one, at most 256 bytes; it is recorded
	By     string // who wants it, at most 256 bytes
}

// Comparison says how two generations of a view differ at one place of the log: the
// one that is read, and another.
type Comparison struct {
	Equal       bool      // the other holds the same, and holds no key back
	Documents   [2]int64  // of the one that is read and of the other
	Entries     [2]int64  // of sets
	Digests     [2]string // of all documents and entries
	Parked      [2]int    // keys that are held back; see DeadLetters
	Positions   eventlog.Positions
	Differences []Difference // the first, at most 20
}

// Difference is a document or entry that two generations do not agree on.
type Difference struct {
	Key   string
	Read  json.RawMessage // in the one that is read; null: it is not there
	Other json.RawMessage // in the other; null: it is not there
}

// GenerationError says that something may not be done with a generation of a view as
// it is now.
type GenerationError struct {
	View   string
	Number int
	State  GenerationState
	Reason string // what keeps it, and what to do
}

func (e *GenerationError) Error() string {
	return fmt.Sprintf("generation %d of view %s, which is %s: %s", e.Number, e.View, e.State, e.Reason)
}

// Generations returns the generations of a view, by number, as far as this process
// knows; of retired ones the last 100. Errors: ErrUnknown, *UnavailableError.
func (a *App) Generations(ctx context.Context, view string) ([]Generation, error) {
	p, k, err := a.viewed(view)
	if err != nil {
		return nil, err
	}
	ends, err := a.ends(ctx, p, p.topic)
	if err != nil {
		return nil, a.readError(ctx, err)
	}
	l := p.lineage(view)
	list := make([]Generation, 0, len(l.Generations))
	for _, g := range l.Generations {
		one, err := a.describe(ctx, p, k, g, l.Read, ends)
		if err != nil {
			return nil, a.readError(ctx, err)
		}
		list = append(list, one)
	}
	return list, nil
}

// Rebuild lets a new generation of a view be built, and returns its number. While one of
// the version is, or is ready, and came behind the one that is read, it returns that.
// Errors: ErrUnknown, ErrInvalid, *GenerationError where too many are kept,
// *UnavailableError, whose Unresolved says that it may yet be built.
func (a *App) Rebuild(ctx context.Context, view string, r Rebuild) (number int, err error) {
	p, k, err := a.viewed(view)
	if err != nil {
		return 0, err
	}
	if r.Version == 0 {
		r.Version = k.current.Version
	}
	if err := checkText("by", r.By); err != nil {
		return 0, err
	}
	if r.Version < 0 || r.Rate < 0 || !p.carried(k, r.Version) {
		return 0, fmt.Errorf("%w rebuild of view %s: version %d, rate %d: want a version that a process carries, and a rate of 0 or more", ErrInvalid, view, r.Version, r.Rate)
	}
	for {
		l := p.lineage(view)
		if number := l.Newest(r.Version); number > 0 {
			return number, nil
		}
		if l.Kept() == control.MaxKept {
			return 0, &GenerationError{View: view, Number: l.Greatest + 1, State: Building, Reason: fmt.Sprintf("%d generations are kept; retire one first", control.MaxKept)}
		}
		g := a.next(&l, r.Version, r, view)
		if took, err := a.propose(ctx, p, g.Record()); took || err != nil {
			return g.Number, err
		}
	}
}

// Switch lets a generation be read, in this process when it returns. Unless it is
// forced, the generation must hold what the one that is read does, hold no key back,
// be no more than 1,000 records behind, and have given no other answer where it was asked too (see App.Shadow).
// Nothing lets one be read that is still being filled. Errors:
// ErrUnknown, ErrInvalid, *GenerationError, *UnavailableError, whose Unresolved says
// that it may yet be switched.
func (a *App) Switch(ctx context.Context, view string, number int, s Switch) error {
	p, k, err := a.viewed(view)
	if err != nil {
		return err
	}
	if err := checkSwitch(s); err != nil {
		return err
	}
	for {
		l := p.lineage(view)
		g := l.Find(number)
		switch {
		case g == nil:
			return noGeneration(view, number)
		case l.Read == number:
			return nil
		case g.Retired != nil:
			return &GenerationError{View: view, Number: number, State: Retired, Reason: "it is deleted; rebuild the view"}
		}
		if err := a.mayBeRead(ctx, p, k, number, s.Force); err != nil {
			return err
		}
		if err := likewise(k, number, s.Force); err != nil {
			return err
		}
		if err := a.same(ctx, view, number, s.Force); err != nil {
			return err
		}
		took, err := a.propose(ctx, p, control.Switch{View: view, Turn: l.Turns + 1, From: l.Read, To: number,
			Forced: s.Force, Reason: s.Reason, By: s.By, At: a.cfg.Clock.Now().UTC()}.Record())
		if took || err != nil {
			return err
		}
	}
}

// same returns an error unless a generation holds what the one that is read does, or
// that is not asked for.
func (a *App) same(ctx context.Context, view string, number int, forced bool) error {
	if forced {
		return nil
	}
	c, err := a.Compare(ctx, view, number)
	if err == nil && c.Parked[1] > 0 {
		return &GenerationError{View: view, Number: number, State: Ready,
			Reason: fmt.Sprintf("it holds back %d keys with an event that it cannot fold; see the dead letters: mend the fold, rule on them, or force the switch with a reason", c.Parked[1])}
	}
	if err == nil && !c.Equal {
		err = &GenerationError{View: view, Number: number, State: Ready,
			Reason: fmt.Sprintf("it differs from what is read, in %d documents or entries at least, the first %q; compare them, or force the switch with a reason", len(c.Differences), c.first())}
	}
	return err
}

func (c *Comparison) first() string {
	if len(c.Differences) == 0 {
		return ""
	}
	return c.Differences[0].Key
}

// Rollback undoes the last switch of a view, and returns the number of the generation
// that is read then: the one that was before, which has been followed on. Undoing it
// again changes nothing. Errors: ErrUnknown, ErrInvalid, *GenerationError where there is
// none to go back to, *UnavailableError as of Switch.
func (a *App) Rollback(ctx context.Context, view string, by string) (number int, err error) {
	p, k, err := a.viewed(view)
	if err != nil {
		return 0, err
	}
	if err := checkText("by", by); err != nil {
		return 0, err
	}
	for {
		l := p.lineage(view)
		none := &GenerationError{View: view, Number: l.Read, State: Reading, Reason: "no other was read before it"}
		if len(l.Switches) == 0 || l.Switches[len(l.Switches)-1].From == 0 {
			return 0, none
		}
		last := l.Switches[len(l.Switches)-1]
		if last.Back {
			return l.Read, nil
		}
		if g := l.Find(last.From); g == nil || g.Retired != nil {
			none.Reason = fmt.Sprintf("generation %d, which was read before it, is retired", last.From)
			return 0, none
		}
		if g := l.Find(last.From); !p.carried(k, g.Version) {
			return 0, &GenerationError{View: view, Number: g.Number, State: Ready,
				Reason: fmt.Sprintf("no process carries version %d, so it has not been followed; force a switch to it with a reason, if it is good enough", g.Version)}
		}
		if err := a.mayBeRead(ctx, p, k, last.From, true); err != nil {
			return 0, err
		}
		took, err := a.propose(ctx, p, control.Switch{View: view, Turn: l.Turns + 1, From: l.Read, To: last.From, Back: true, By: by, At: a.cfg.Clock.Now().UTC()}.Record())
		if took || err != nil {
			return last.From, err
		}
	}
}

// Retire gives a generation up that is not read: its tasks end, and what the stores,
// the snapshots and its shuffle hold of it is deleted once no query can be reading it.
// Errors: ErrUnknown, ErrInvalid, *GenerationError, *UnavailableError as of Switch.
func (a *App) Retire(ctx context.Context, view string, number int, by string) error {
	p, _, err := a.viewed(view)
	if err != nil {
		return err
	}
	if err := checkText("by", by); err != nil {
		return err
	}
	for {
		l := p.lineage(view)
		g := l.Find(number)
		switch {
		case g == nil:
			return noGeneration(view, number)
		case g.Retired != nil:
			return nil
		case l.Read == number:
			return &GenerationError{View: view, Number: number, State: Reading, Reason: "switch to another one first"}
		}
		took, err := a.propose(ctx, p, control.Retired{View: view, Number: number, By: by, At: a.cfg.Clock.Now().UTC()}.Record())
		if took || err != nil {
			return err
		}
	}
}

// viewed returns a view as this process keeps it.
func (a *App) viewed(name string) (*process, *kept, error) {
	if _, ok := a.views[name]; !ok {
		return nil, nil, fmt.Errorf("%w view %q", ErrUnknown, name)
	}
	p, err := a.now()
	if err != nil {
		return nil, nil, err
	}
	return p, p.views[name], nil
}

// noGeneration says that a view has no generation of this number.
func noGeneration(view string, number int) error {
	return fmt.Errorf("%w generation %d of view %q", ErrUnknown, number, view)
}

// propose is Catalogue.Propose with a caller's bound and error.
func (a *App) propose(ctx context.Context, p *process, r eventlog.Record) (took bool, err error) {
	within, cancel := context.WithTimeout(ctx, a.cfg.CommandWait)
	defer cancel()
	if took, err = p.catalogue.Propose(within, r); err != nil {
		a.cfg.Logger.Warn("a change of a view's generations is not known to be in the control log", "err", err)
		return false, &UnavailableError{Reason: "the control log did not answer; ask which generations there are, and again for what is missing", Unresolved: true, RetryAfter: retryAfter}
	}
	return took, nil
}

func checkText(name, text string) error {
	if len(text) > control.MaxText {
		return fmt.Errorf("%w %s: %d bytes; want at most %d", ErrInvalid, name, len(text), control.MaxText)
	}
	return nil
}

func checkSwitch(s Switch) error {
	if s.Force && strings.TrimSpace(s.Reason) == "" {
		return fmt.Errorf("%w switch: force needs a reason, which is recorded", ErrInvalid)
	}
	if err := checkText("reason", s.Reason); err != nil {
		return err
	}
	return checkText("by", s.By)
}
