package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

func (r *Ranking[E]) feedName() string { return r.Name }

func (r *Ranking[E]) check() error {
	if err := r.From.Check(); err != nil {
		return fmt.Errorf("ranking %q: From: %w", r.Name, err)
	}
	if r.Scores == nil || r.Cards == nil {
		return fmt.Errorf("ranking %q: set Scores and Cards", r.Name)
	}
	return checkCards("ranking "+r.Name, r.Cards)
}

func (r *Ranking[E]) register(app *framework.App) error {
	if err := r.check(); err != nil {
		return err
	}
	app.AddView(framework.View{Name: r.Name, Version: r.Version, Kind: framework.Ranking, Item: r.Cards.item(),
		Reads:    r.Cards.reads(),
		Topology: r.topology, Shuffle: sets, Partition: setPartition, Answer: r.page, Drop: dropSets, Origins: placingOrigins(r.placings(), shownScore)})
	return nil
}

// topology declares how scores come from the events to their sets.
func (r *Ranking[E]) topology(at framework.Following) *stream.Topology {
	return spread(at, r.placings(), true)
}

func (r *Ranking[E]) placings() func(*partition.Event, *[]placing) (bool, error) {
	return placingsBy("ranking "+r.Name+": Scores", r.From, r.Scores, Score.placing)
}

func (s Score) placing() (placing, error) {
	p := placing{op: opPlace, set: s.Set, member: s.Key}
	switch {
	case s.Set == "" || s.Key == "" || len(s.Set)+len(s.Key) > view.MaxKey-2 || strings.IndexByte(s.Set, 0) >= 0:
		return p, fmt.Errorf("Score.Set and Score.Key have %d and %d bytes, want one at least and %d together, without a zero in Set", len(s.Set), len(s.Key), view.MaxKey-2)
	case s.Remove:
		p.op = opRemove
	case math.IsNaN(s.Score) || math.IsInf(s.Score, 0):
		return p, fmt.Errorf("Score.Score of %q is %v, want a finite number", s.Key, s.Score)
	case s.Add:
		p.op, p.amount = opAdd, s.Score
	default:
		p.order = orderOf(s.Score)
	}
	return p, nil
}

// page reads a page of a set, finds its place and fetches the cards.
func (r *Ranking[E]) page(ctx context.Context, res framework.Resources, q framework.Query) ([]byte, error) {
	g, set := q.Generation(r.Name), held(&q, r.Name, setRef(q))
	after, err := parseCursor(q.After)
	if err != nil {
		return nil, err
	}
	rank := int64(1)
	var entries []view.Entry
	switch {
	case q.From != "" && after != nil:
		return nil, fmt.Errorf("%w query: it has both from and after; the next pages need after alone", framework.ErrInvalid)
	case q.From != "":
		rank, entries, err = r.from(ctx, res.Documents, g, set, q)
	default:
		if after != nil {
			rank, err = res.Documents.Rank(ctx, g, set, *after)
			rank++
		}
		if err == nil {
			entries, err = res.Documents.Page(ctx, g, []view.Ref{set}, after, q.Limit+1)
		}
	}
	if err != nil {
		return nil, err
	}
	return r.answer(ctx, res, q, rank, entries)
}

// from reads the page that begins with the entry of a key.
func (r *Ranking[E]) from(ctx context.Context, store view.Documents, g view.Generation, set view.Ref, q framework.Query) (rank int64, page []view.Entry, err error) {
	gone := fmt.Errorf("%w: %q is not in %q of %s", framework.ErrNotFound, q.From, q.Key, r.Name)
	if len(q.From)+len(q.Key) > view.MaxKey-2 {
		return 0, nil, gone
	}
	docs, err := store.Get(ctx, g, []view.Ref{{Partition: set.Partition, Key: scoreKey(q.Key, q.From), Least: set.Least}})
	if err == nil && docs[0] == nil {
		err = gone
	}
	if err != nil {
		return 0, nil, err
	}
	var score float64
	if err := json.Unmarshal(docs[0], &score); err != nil {
		return 0, nil, fmt.Errorf("score of %q in %q of %s: %w", q.From, q.Key, r.Name, err)
	}
	at := standsAt(orderOf(score)).entry(q.Key, q.From)
	if rank, err = store.Rank(ctx, g, set, at); err != nil {
		return 0, nil, err
	}
	page, err = store.Page(ctx, g, []view.Ref{set}, &at, q.Limit)
	return rank, append([]view.Entry{at}, page...), err
}

// answer shows entries, of which there may be one more than asked for.
func (r *Ranking[E]) answer(ctx context.Context, res framework.Resources, q framework.Query, rank int64, entries []view.Entry) ([]byte, error) {
	out := Page[Ranked[json.RawMessage]]{}
	if len(entries) > q.Limit {
		entries = entries[:q.Limit]
		out.Next = cursor(entries[len(entries)-1])
	}
	docs, err := shown(ctx, res, q, r.Cards, entries)
	if err != nil {
		return nil, err
	}
	out.Items = make([]Ranked[json.RawMessage], len(entries))
	for i, e := range entries {
		score, err := scoreAt(e.Sort)
		if err != nil {
			return nil, fmt.Errorf("%q of %s: %w", q.Key, r.Name, err)
		}
		out.Items[i] = Ranked[json.RawMessage]{Rank: rank + int64(i), Key: e.Member, Score: score, Item: docs[i]}
	}
	return json.Marshal(out)
}
