package framework

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Limits of asking a generation beside the one that is read.
const (
	MaxShadowWaiting     = 256      // questions of a process that wait to be asked; more are dropped
	MaxShadowBytes       = 8 << 20  // and of their answers together
	MaxShadowAtOnce      = 4        // that are being asked
	MaxShadowDifferences = 10       // of a generation that are kept
	MaxShadowAnswer      = 16 << 10 // bytes of each answer of these
)

// Shadow asks for a share of a view's queries to be asked of another generation too.
type Shadow struct {
	Share float64 // of the queries, 0 to 1; 0 ends it
	By    string  // who wants it, at most 256 bytes
}

// Shadowed says what came of asking a generation that is not read a share of the view's
// queries too: those of this process, since the share became more than 0 last.
type Shadowed struct {
	Share     float64 // 0 to 1; 0: it has ended
	Asked     int64   // queries that were taken, to be asked of it too
	Equal     int64   // of these: it gave the same answer
	Different int64   // it gave another one, again and again, while that of the one that is read stayed the same
	Moved     int64   // the answers changed too fast to be compared
	Failed    int64   // one of both did not answer, or did not come as far as the other in time
	Dropped   int64   // queries that were not taken, since too many waited
	First     []ShadowDifference
}

// ShadowDifference is a question that two generations answer differently. Of each question the
// first one is kept, of MaxShadowDifferences questions.
type ShadowDifference struct {
	Question    Query           // what was asked, without Min
	Read, Other json.RawMessage // the answers: of the one that is read, of the other; null: not found. A long one is a text, of its first MaxShadowAnswer bytes
	Refused     string          // why the other one does not take the question; empty: it does
	ReadAt      eventlog.Positions
	OtherAt     eventlog.Positions
	At          time.Time
}

// Shadow lets a share of a view's queries be asked too of a generation that is not read:
// by all processes that carry its version, also after they were started again, until the share is 0, the generation
// is retired, or the view is switched. Whoever asks gets what the generation that is read
// answers, at once and whatever becomes of the rest: the question is then put to the
// other one, by a few at a time, and both answers are compared; see Generations. An answer that
// differs keeps App.Switch, in the process that has seen it, from letting the
// generation be read unless forced. With a share above 0 after 0 counting begins anew. Errors: ErrUnknown, ErrInvalid,
// *GenerationError while it is being filled, cannot be followed, is the one that is read or is
// retired, *UnavailableError, whose Unresolved says that it may yet be asked.
func (a *App) Shadow(ctx context.Context, view string, number int, s Shadow) error {
	p, k, err := a.viewed(view)
	if err != nil {
		return err
	}
	if !(s.Share >= 0 && s.Share <= 1) { // also what is no number
		return fmt.Errorf("%w share %v: want 0 to 1", ErrInvalid, s.Share)
	}
	if err := checkText("by", s.By); err != nil {
		return err
	}
	defer p.shadower.arrange() // in this process it holds from now on
	for {
		l := p.lineage(view)
		g := l.Find(number)
		switch {
		case g == nil:
			return noGeneration(view, number)
		case g.Shadowed.Share == s.Share:
			return nil
		}
		if err := a.mayBeAsked(ctx, p, k, g, l.Read, s.Share); err != nil {
			return err
		}
		took, err := a.propose(ctx, p, control.Shadow{View: view, Number: number, Turn: g.Shadowed.Turn + 1, Share: s.Share, By: s.By, At: a.cfg.Clock.Now().UTC()}.Record())
		if took || err != nil {
			return err
		}
	}
}

// mayBeAsked returns a *GenerationError while a generation cannot be asked a share of
// the queries.
func (a *App) mayBeAsked(ctx context.Context, p *process, k *kept, g *control.Generation, read int, share float64) error {
	refused := &GenerationError{View: k.name, Number: g.Number, State: Ready}
	switch {
	case g.Retired != nil:
		refused.State, refused.Reason = Retired, "it is deleted; rebuild the view"
	case g.Number == read:
		refused.State, refused.Reason = Reading, "it answers all queries; name another one"
	case share == 0:
		return nil
	case !p.carried(k, g.Version):
		refused.Reason = fmt.Sprintf("no process carries version %d, so it cannot follow the log", g.Version)
	default:
		return a.mayBeRead(ctx, p, k, g.Number, true)
	}
	return refused
}

// likewise returns an error if a generation has answered otherwise than the one that is
// read, as far as this process knows, unless that does not matter.
func likewise(k *kept, number int, forced bool) error {
	f := k.generation(number)
	if f == nil || forced {
		return nil
	}
	s := f.findings.Load().shown(0)
	if s == nil || s.Different == 0 {
		return nil
	}
	return &GenerationError{View: k.name, Number: number, State: Ready,
		Reason: fmt.Sprintf("of %d queries that it was asked too, it answered %d otherwise than what is read; look at these answers, and force the switch with a reason, or let it be asked anew", s.Asked, s.Different)}
}

// findings are what came of asking a generation beside the one that is read.
type findings struct {
	begun   int // the turn by which that began
	metrics [outcomes]prometheus.Counter

	mu    sync.Mutex
	asked int64
	count [outcomes]int64
	first []ShadowDifference
}

// outcome is what came of a question that was put to a second generation.
type outcome int

// The outcomes.
const (
	shadowEqual outcome = iota
	shadowDifferent
	shadowMoved
	shadowFailed
	shadowDropped
	outcomes // how many there are
)

var outcomeNames = [outcomes]string{"equal", "different", "moved", "failed", "dropped"}

// newShadowMetrics registers with r, or takes what another application of the process
// has registered.
func newShadowMetrics(r prometheus.Registerer) *prometheus.CounterVec {
	return registered(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "drivetrain_view_shadow_queries_total",
		Help: "Queries that a generation which is not read was to be asked too, by what came of that."}, []string{"view", "generation", "outcome"}))
}

// note counts an outcome. It reports whether it is the first difference.
func (f *findings) note(o outcome) (first bool) {
	f.metrics[o].Inc()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[o]++
	return o == shadowDifferent && f.count[o] == 1
}

// take counts a question that is asked.
func (f *findings) take() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
}

// keep keeps a difference, if it is one of the first, and of a question of which none is
// kept.
func (f *findings) keep(d *ShadowDifference) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.first) == MaxShadowDifferences {
		return
	}
	for i := range f.first {
		if sameQuestion(&f.first[i].Question, &d.Question) {
			return
		}
	}
	f.first = append(f.first, *d)
}

// shown returns what was found, nil if that is nothing.
func (f *findings) shown(share float64) *Shadowed {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if share == 0 && f.asked == 0 && f.count[shadowDropped] == 0 {
		return nil
	}
	return &Shadowed{Share: share, Asked: f.asked, Equal: f.count[shadowEqual], Different: f.count[shadowDifferent], Moved: f.count[shadowMoved],
		Failed: f.count[shadowFailed], Dropped: f.count[shadowDropped], First: append([]ShadowDifference(nil), f.first...)}
}

// clipped returns an answer that is not too long to be kept: as it is, or as a text of
// its beginning.
func clipped(answer []byte) json.RawMessage {
	if len(answer) <= MaxShadowAnswer {
		return answer
	}
	text, _ := json.Marshal(string(answer[:MaxShadowAnswer]) + "…") // a string can always be
	return text
}
