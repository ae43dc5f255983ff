package projections

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// origins says which events a document comes from.
func (v *View[D, E]) origins() *framework.Origins {
	o := &framework.Origins{Stored: v.stored, Fold: v.refold}
	if of := v.cards(); v.Key == nil {
		o.Aggregate = of.aggregate
		return o
	}
	o.Moves = func(e *partition.Event) ([]string, error) {
		var r routed[E]
		if ok, err := v.route(e, &r); !ok {
			return nil, err
		}
		return r.keys, nil
	}
	return o
}

// stored returns a document as it is kept.
func (v *View[D, E]) stored(ctx context.Context, r framework.Resources, g view.Generation, at view.Ref) ([]byte, error) {
	var store view.Store = r.Documents
	if v.Search != nil {
		store = r.Search
	}
	docs, err := store.Get(ctx, g, []view.Ref{at})
	if err != nil {
		return nil, err
	}
	return docs[0], nil
}

// refold folds one document beside what the engine does.
func (v *View[D, E]) refold(key string) func(*partition.Event) ([]byte, error) {
	var doc D
	return func(e *partition.Event) ([]byte, error) {
		fact, ok, err := decode(v.From, e)
		if err != nil || !ok {
			return nil, err
		}
		fact.Key = key
		if err := v.move(&doc, doc, fact); err != nil {
			return nil, err
		}
		if v.Gone != nil && v.Gone(doc) {
			return nil, nil
		}
		return json.Marshal(&doc)
	}
}

// placingOrigins says which events a set comes from, by what they do to sets.
func placingOrigins(read func(*partition.Event, *[]placing) (bool, error), show func(view.Entry) (shownEntry, error)) *framework.Origins {
	return &framework.Origins{
		Stored: storedSet(show),
		Moves: func(e *partition.Event) (keys []string, err error) {
			var list []placing
			if _, err := read(e, &list); err != nil {
				return nil, err
			}
			for i := range list {
				keys = append(keys, list[i].set)
			}
			return keys, nil
		},
		Fold: func(key string) func(*partition.Event) ([]byte, error) {
			stands, set := make(map[string]place), &setFold{show: show}
			return func(e *partition.Event) ([]byte, error) {
				var list []placing
				if _, err := read(e, &list); err != nil {
					return nil, err
				}
				for i := range list {
					if list[i].set != key {
						continue
					}
					was := stands[list[i].member]
					is, err := was.after(&list[i])
					if err != nil {
						return nil, err
					}
					if was.there {
						set.remove(was.entry(key, list[i].member))
					}
					if delete(stands, list[i].member); is.there {
						stands[list[i].member] = is
						set.add(is.entry(key, list[i].member))
					}
				}
				return set.json()
			}
		},
	}
}

// entryOrigins says which events a feed's set comes from that takes entries in only.
func entryOrigins(read func(*partition.Event, *view.Entry) (bool, error)) *framework.Origins {
	return &framework.Origins{
		Stored: storedSet(shownAt),
		Moves: func(e *partition.Event) ([]string, error) {
			var one view.Entry
			if ok, err := read(e, &one); !ok {
				return nil, err
			}
			return []string{one.Set}, nil
		},
		Fold: func(key string) func(*partition.Event) ([]byte, error) {
			set := &setFold{show: shownAt}
			return func(e *partition.Event) ([]byte, error) {
				var one view.Entry
				ok, err := read(e, &one)
				if err != nil {
					return nil, err
				}
				if ok && one.Set == key {
					set.add(one)
				}
				return set.json()
			}
		},
	}
}

// maxShown is how many entries of a set an explanation shows.
const maxShown = 100

// shownSet is a set as an explanation shows it, the greatest entry first.
type shownSet struct {
	Size    int64        `json:"size"`
	Entries []shownEntry `json:"entries"`
}

type shownEntry struct {
	Key   string     `json:"key"`
	At    *time.Time `json:"at,omitempty"`    // of a feed
	Score *float64   `json:"score,omitempty"` // of a ranking
}

func shownAt(e view.Entry) (shownEntry, error) {
	order, err := orderAt(e.Sort)
	at := time.Unix(0, int64(order)).UTC()
	return shownEntry{Key: e.Member, At: &at}, err
}

func shownScore(e view.Entry) (shownEntry, error) {
	score, err := scoreAt(e.Sort)
	return shownEntry{Key: e.Member, Score: &score}, err
}

// encodeSet writes a set of which it is given the first entries; nil if it has none.
func encodeSet(size int64, first []view.Entry, show func(view.Entry) (shownEntry, error)) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	out := shownSet{Size: size}
	for _, e := range first {
		one, err := show(e)
		if err != nil {
			return nil, err
		}
		out.Entries = append(out.Entries, one)
	}
	return json.Marshal(out)
}

func storedSet(show func(view.Entry) (shownEntry, error)) func(context.Context, framework.Resources, view.Generation, view.Ref) ([]byte, error) {
	return func(ctx context.Context, r framework.Resources, g view.Generation, at view.Ref) ([]byte, error) {
		sizes, err := r.Documents.Sizes(ctx, g, []view.Ref{at})
		if err != nil {
			return nil, err
		}
		first, err := r.Documents.Page(ctx, g, []view.Ref{at}, nil, maxShown)
		if err != nil {
			return nil, err
		}
		return encodeSet(sizes[0], first, show)
	}
}

// setFold is a set in memory, in the order of a page.
type setFold struct {
	show    func(view.Entry) (shownEntry, error)
	entries []view.Entry
}

func compareShown(a, b view.Entry) int {
	if c := strings.Compare(b.Sort, a.Sort); c != 0 {
		return c
	}
	return strings.Compare(b.Member, a.Member)
}

func (s *setFold) add(e view.Entry) {
	if i, there := slices.BinarySearchFunc(s.entries, e, compareShown); !there {
		s.entries = slices.Insert(s.entries, i, e)
	}
}

func (s *setFold) remove(e view.Entry) {
	if i, there := slices.BinarySearchFunc(s.entries, e, compareShown); there {
		s.entries = slices.Delete(s.entries, i, i+1)
	}
}

func (s *setFold) json() ([]byte, error) {
	return encodeSet(int64(len(s.entries)), s.entries[:min(maxShown, len(s.entries))], s.show)
}
