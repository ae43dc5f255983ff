package projections_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

type storyFact interface{ story() }

type told struct {
	Who    string   `json:"who"`
	To     []string `json:"to"`
	Points float64  `json:"points"`
}

type erased struct {
	Who string `json:"who"`
}

// said is what told was written as at first.
type said struct {
	Name   string `json:"name"`
	Points int    `json:"points"`
}

func (told) story()   {}
func (erased) story() {}
func (said) story()   {}

type tellCommand struct {
	Told   []told `json:"told"`
	Erased string `json:"erased"` // empty: nobody
	aggregates.Meta
}

func (c tellCommand) facts() (out []storyFact) {
	for _, one := range c.Told {
		out = append(out, one)
	}
	if c.Erased != "" {
		out = append(out, erased{c.Erased})
	}
	return out
}

func sameNone(n none, _ storyFact) none { return n }

var (
	oldStories = &aggregates.Type[none, storyFact]{Name: "story", Evolve: sameNone, Events: event.Types[storyFact]{"story.said": event.As[storyFact, said]()}}
	stories    = &aggregates.Type[none, storyFact]{Name: "story", Evolve: sameNone, Events: event.Types[storyFact]{
		"story.told": event.As[storyFact, told](), "story.erased": event.As[storyFact, erased](),
		"story.said": event.Up[storyFact](func(s said) told { return told{Who: s.Name, Points: float64(s.Points)} })}}
	notes = &aggregates.Type[none, storyFact]{Name: "note", Evolve: sameNone, Events: event.Types[storyFact]{"note.told": event.As[storyFact, told]()}}
)

// storyCard keeps who were told of last.
type storyCard struct {
	Key  string   `json:"key"`
	Who  []string `json:"who"`
	Gone bool     `json:"gone"`
}

func (c storyCard) fold(e projections.Event[storyFact]) storyCard {
	c.Key = e.Key
	switch f := e.Fact.(type) {
	case told:
		c.Gone, c.Who = false, append(c.Who, f.Who)
	case erased:
		c.Gone = true
	}
	return c
}

// listener counts what a person has to do with.
type listener struct {
	Key   string             `json:"key"`
	From  projections.Unique `json:"from"`
	Often projections.Top    `json:"often"`
	Sum   float64            `json:"sum"`
	Last  string             `json:"last"`
	Gone  bool               `json:"gone"`
}

func (l listener) fold(e projections.Event[storyFact]) listener {
	l.Key, l.Last = e.Key, e.Aggregate+"/"+e.ID+fmt.Sprint(e.Version)
	switch f := e.Fact.(type) {
	case told:
		l.From.Add(f.Who)
		l.Often.Add(e.ID)
		l.Gone, l.Sum = false, 2*l.Sum+f.Points // the order matters
	case erased:
		l.Gone = true
	}
	return l
}

// telling is what the views make of an event.
func peopleOf(e projections.Event[storyFact]) []string {
	switch f := e.Fact.(type) {
	case told:
		return append([]string{f.Who}, f.To...)
	case erased:
		return []string{e.Fact.(erased).Who}
	}
	return nil
}

func placeOf(e projections.Event[storyFact]) (projections.Place, bool) {
	f, ok := e.Fact.(told)
	if !ok || len(f.To) == 0 {
		return projections.Place{}, false
	}
	return projections.Place{Set: f.To[0], Key: f.Who, At: e.Time}, true
}

func placesOf(e projections.Event[storyFact]) (out []projections.Place) {
	switch f := e.Fact.(type) {
	case told:
		for _, to := range f.To {
			out = append(out, projections.Place{Set: "all", Key: to, At: e.Time}, projections.Place{Set: f.Who, Key: to, At: e.Time})
		}
	case erased:
		out = append(out, projections.Place{Set: "all", Key: f.Who, Remove: true}, projections.Place{Set: f.Who, Key: f.Who, Remove: true})
	}
	return out
}

func scoresOf(e projections.Event[storyFact]) (out []projections.Score) {
	switch f := e.Fact.(type) {
	case told:
		out = append(out, projections.Score{Set: "sum", Key: f.Who, Score: f.Points, Add: true}, projections.Score{Set: "last", Key: f.Who, Score: f.Points})
		for _, to := range f.To {
			out = append(out, projections.Score{Set: "sum", Key: to, Score: -1, Add: true})
		}
	case erased:
		out = append(out, projections.Score{Set: "sum", Key: f.Who, Remove: true})
	}
	return out
}

var (
	toldStreams = stories.Stream()
	both        = aggregates.Merge(stories.Stream().Any(), notes.Stream().Any())
	people      = &projections.View[listener, storyFact]{Name: "person", From: toldStreams, Key: peopleOf, Fold: listener.fold, Gone: func(l listener) bool { return l.Gone }}
	storyViews  = []projections.Registered{
		people,
		&projections.View[storyCard, storyFact]{Name: "card", From: toldStreams, Fold: storyCard.fold, Gone: func(c storyCard) bool { return c.Gone }},
		&projections.View[storyCard, storyFact]{Name: "found", From: toldStreams, Fold: storyCard.fold, Gone: func(c storyCard) bool { return c.Gone },
			Search: view.Fields{"who": view.Keyword}},
		&projections.View[listener, storyFact]{Name: "found-person", From: toldStreams, Key: peopleOf, Fold: listener.fold, Gone: func(l listener) bool { return l.Gone },
			Search: view.Fields{"last": view.Keyword}},
		&projections.View[total, any]{Name: "any", From: both, Fold: func(t total, _ projections.Event[any]) total { return total{t.Facts + 1} }},
		&projections.View[total, any]{Name: "kind", From: both, Key: func(e projections.Event[any]) []string { return []string{"all", e.Aggregate} },
			Fold: func(t total, _ projections.Event[any]) total { return total{t.Facts + 1} }},
		&projections.Feed[storyFact]{Name: "heard", From: toldStreams, Cards: people, Place: placeOf},
		&projections.Feed[storyFact]{Name: "near", From: toldStreams, Cards: people, Places: placesOf},
		&projections.Ranking[storyFact]{Name: "liked", From: toldStreams, Cards: people, Scores: scoresOf},
	}
)

// lore is an application of stories, whose log outlives each run of it.
type lore struct {
	*testing.T
	log    *memlog.Log
	clock  *frameworktest.Clock
	random *rand.Rand
	app    *framework.App
	seen   []framework.Result
	events []recordedFact // all that there are, in the order of their partitions
}

type recordedFact struct {
	position eventlog.Position
	fact     projections.Event[storyFact]
}

// run runs an application while do works with it.
func (l *lore) run(register func(*framework.App), do func()) {
	l.Helper()
	app := framework.New(framework.Config{App: "test", Partitions: 3, Clock: l.clock, Logger: slog.New(slog.DiscardHandler), ReplaceViews: true,
		Open: func(context.Context) (framework.Resources, error) {
			r, err := embedded.With(l.log)
			release := r.Close
			l.Cleanup(func() { _ = release() })
			r.Close = nil // the log goes on
			return r, err
		}})
	register(app)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			l.Error(err)
		}
	}()
	for began := time.Now(); len(app.Unready()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			l.Fatalf("not ready: %v", app.Unready())
		}
	}
	l.app = app
	do()
}

func (l *lore) send(aggregate, command string, body any) {
	l.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		l.Fatal(err)
	}
	l.clock.Advance(time.Duration(l.random.Intn(3)) * time.Second) // events may have the same time
	id := fmt.Sprint("s", l.random.Intn(4))
	res, err := l.app.Execute(context.Background(), framework.Call{Aggregate: aggregate, ID: id, Command: command, Body: data, Actor: "eve"})
	if err != nil {
		l.Fatal(err)
	}
	l.seen = append(l.seen, res)
}

func (l *lore) person() string { return fmt.Sprint("p", l.random.Intn(6)) }

func (l *lore) telling() map[string]any {
	list := []map[string]any{}
	for range l.random.Intn(4) {
		to := []string{}
		for range l.random.Intn(4) {
			to = append(to, l.person())
		}
		list = append(list, map[string]any{"who": l.person(), "to": to, "points": l.random.Intn(20) - 5})
	}
	body := map[string]any{"told": list, "erased": ""}
	if l.random.Intn(4) == 0 || len(list) == 0 {
		body["erased"] = l.person()
	}
	return body
}

// reread reads all valid events.
func (l *lore) reread() {
	l.events = nil
	ctx := context.Background()
	ends := make(map[eventlog.Position]int64) // where the commit of an event at an offset ends
	err := framework.Replay(ctx, l.log, eventlog.Topic{Name: "test.events", Partitions: 3}, framework.ReplayOptions{}, func(part int32, e *partition.Event) error {
		kind, id, _ := strings.Cut(string(e.Key), "/")
		f := recordedFact{eventlog.Position{Partition: part, Offset: e.Offset}, projections.Event[storyFact]{Aggregate: kind, ID: id, Version: e.Version, Time: e.Time, Actor: e.Actor, EventID: e.ID}}
		f.fact.Fact = decodeFact(l.T, e.Type, e.Data)
		l.events = append(l.events, f)
		for i := len(l.events) - 1; e.Index+1 == e.Count && i >= len(l.events)-e.Count; i-- {
			ends[l.events[i].position] = e.Offset
		}
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
	for i := range l.events {
		l.events[i].position.Offset = ends[l.events[i].position]
	}
}

// decodeFact reads a fact without the framework.
func decodeFact(t *testing.T, name string, data []byte) storyFact {
	var fact told
	var gone erased
	var old said
	var err error
	switch name {
	case "story.said":
		err = json.Unmarshal(data, &old)
		fact = told{Who: old.Name, Points: float64(old.Points)}
	case "story.erased":
		if err = json.Unmarshal(data, &gone); err == nil {
			return gone
		}
	default:
		err = json.Unmarshal(data, &fact)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", name, data, err)
	}
	return fact
}

// oracle folds naively what a view makes of events.
type oracle struct {
	moves func(e projections.Event[storyFact], key string) bool
	fold  func(list []projections.Event[storyFact], key string) string // JSON; "null": not there
}

func asJSON(v any, gone bool) string {
	if gone {
		return "null"
	}
	data, _ := json.Marshal(v)
	return string(data)
}

func folded[D any](fold func(D, projections.Event[storyFact]) D, gone func(D) bool) func([]projections.Event[storyFact], string) string {
	return func(list []projections.Event[storyFact], key string) string {
		var doc D
		for _, e := range list {
			e.Key = key
			doc = fold(doc, e)
		}
		return asJSON(doc, len(list) == 0 || gone(doc))
	}
}

// setOf folds a set as a list of entries: what is at an order (of a feed: a time) under
// a key.
func setOf(change func(set map[string]float64, e projections.Event[storyFact], key string), field string) func([]projections.Event[storyFact], string) string {
	return func(list []projections.Event[storyFact], key string) string {
		set := map[string]float64{}
		for _, e := range list {
			change(set, e, key)
		}
		names := []string{}
		for name := range set {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(set[b], set[a]), cmp.Compare(b, a)) })
		var out []string
		for _, name := range names {
			shown := fmt.Sprint(set[name])
			if member, _, _ := strings.Cut(name, "|"); field == "at" {
				shown = `"` + time.Unix(0, int64(set[name])).UTC().Format(time.RFC3339Nano) + `"`
				name = member
			}
			out = append(out, fmt.Sprintf(`{"key":%q,%q:%s}`, name, field, shown))
		}
		if len(out) == 0 {
			return "null"
		}
		return fmt.Sprintf(`{"size":%d,"entries":[%s]}`, len(out), strings.Join(out, ","))
	}
}

func isStory(e projections.Event[storyFact]) bool { return e.Aggregate == "story" }

var ofAggregate = func(e projections.Event[storyFact], key string) bool { return isStory(e) && e.ID == key }

var ofPerson = func(e projections.Event[storyFact], key string) bool {
	return isStory(e) && slices.Contains(peopleOf(e), key)
}

var oracles = map[string]oracle{
	"card":         {ofAggregate, folded(storyCard.fold, func(c storyCard) bool { return c.Gone })},
	"found":        {ofAggregate, folded(storyCard.fold, func(c storyCard) bool { return c.Gone })},
	"person":       {ofPerson, folded(listener.fold, func(l listener) bool { return l.Gone })},
	"found-person": {ofPerson, folded(listener.fold, func(l listener) bool { return l.Gone })},
	"any": {func(e projections.Event[storyFact], key string) bool { return e.Aggregate+"."+e.ID == key },
		func(list []projections.Event[storyFact], _ string) string {
			return asJSON(total{len(list)}, len(list) == 0)
		}},
	"kind": {func(e projections.Event[storyFact], key string) bool { return key == "all" || key == e.Aggregate },
		func(list []projections.Event[storyFact], _ string) string {
			return asJSON(total{len(list)}, len(list) == 0)
		}},
	"heard": {
		func(e projections.Event[storyFact], key string) bool {
			p, ok := placeOf(e)
			return isStory(e) && ok && p.Set == key
		},
		setOf(func(set map[string]float64, e projections.Event[storyFact], _ string) {
			p, _ := placeOf(e)
			set[p.Key+"|"+fmt.Sprint(p.At.UnixNano())] = float64(p.At.UnixNano())
		}, "at")},
	"near": {
		func(e projections.Event[storyFact], key string) bool {
			return isStory(e) && slices.ContainsFunc(placesOf(e), func(p projections.Place) bool { return p.Set == key })
		},
		setOf(func(set map[string]float64, e projections.Event[storyFact], key string) {
			for _, p := range placesOf(e) {
				if p.Set == key && p.Remove {
					delete(set, p.Key)
				} else if p.Set == key {
					set[p.Key] = float64(p.At.UnixNano())
				}
			}
		}, "at")},
	"liked": {
		func(e projections.Event[storyFact], key string) bool {
			return isStory(e) && slices.ContainsFunc(scoresOf(e), func(s projections.Score) bool { return s.Set == key })
		},
		setOf(func(set map[string]float64, e projections.Event[storyFact], key string) {
			for _, s := range scoresOf(e) {
				switch {
				case s.Set != key:
				case s.Remove:
					delete(set, s.Key)
				case s.Add:
					set[s.Key] += s.Score
				default:
					set[s.Key] = s.Score
				}
			}
		}, "score")},
}

// pages asks for all that explains a document, page by page.
func (l *lore) pages(name, key string, e framework.Explain) (list []framework.Origin, last framework.Explanation) {
	l.Helper()
	for n := 0; ; n++ {
		x, err := l.app.Explain(context.Background(), name, key, e)
		if errors.Is(err, framework.ErrNotFound) && n == 0 {
			return nil, x
		}
		if err != nil {
			l.Fatalf("explain %s %q %+v: %v", name, key, e, err)
		}
		if len(x.Events) > e.Limit {
			l.Fatalf("explain %s %q: %d events, limit %d", name, key, len(x.Events), e.Limit)
		}
		list = append(list, x.Events...)
		if e.After = x.Next; x.Next == "" {
			return list, x
		}
		if n > 1000 {
			l.Fatalf("explain %s %q does not end", name, key)
		}
	}
}

// check holds what explains a document against the oracle.
func (l *lore) check(name, key string, e framework.Explain) {
	l.Helper()
	list, x := l.pages(name, key, e)
	var facts []projections.Event[storyFact]
	got := map[string]int{}
	versions := map[string]uint64{}
	for _, o := range list {
		f := projections.Event[storyFact]{Fact: decodeFact(l.T, o.Event.Type, o.Event.Data), Aggregate: o.Aggregate, ID: o.ID, Version: o.Event.Version,
			Time: o.Event.Time, Actor: o.Event.Actor, EventID: o.Event.ID}
		facts = append(facts, f)
		got[fmt.Sprint(o.Position, o.Aggregate, o.ID, o.Event.Version, o.Event.ID, f.Fact, o.Event.Time, o.Event.Actor)]++
		if at := o.Aggregate + "/" + o.ID; versions[at] >= o.Event.Version {
			l.Errorf("%s %q: version %d of %s comes behind %d", name, key, o.Event.Version, at, versions[at])
		} else {
			versions[at] = o.Event.Version
		}
		if o.Pending {
			l.Errorf("%s %q: an event is said to be pending in a view that has passed all", name, key)
		}
	}
	is := oracles[name]
	n := 0
	for _, f := range l.events {
		if e.Version > 0 && f.fact.Version > e.Version || len(e.Position.Offsets) > 0 && f.position.Offset > e.Position.Offsets[f.position.Partition] || !is.moves(f.fact, key) {
			continue
		}
		n++
		if one := fmt.Sprint(f.position, f.fact.Aggregate, f.fact.ID, f.fact.Version, f.fact.EventID, f.fact.Fact, f.fact.Time, f.fact.Actor); got[one] != 1 {
			l.Errorf("%s %q: the event %s is listed %d times", name, key, one, got[one])
		}
	}
	if n != len(list) {
		l.Errorf("%s %q: %d events listed, want %d", name, key, len(list), n)
	}
	want := is.fold(facts, key)
	shown := asJSON(x.Document, x.Document == nil)
	if e.AsOf.IsZero() && shown != want {
		l.Errorf("%s %q: the store has\n%s, its events fold to\n%s", name, key, shown, want)
	}
	if e.Documents && len(list) > 0 {
		if last := list[len(list)-1].Document; asJSON(last, last == nil) != want {
			l.Errorf("%s %q: the last event is said to have made\n%s, want\n%s", name, key, last, want)
		}
	}
}

// TestTheEventsOfADocumentFoldToIt asks for the events of each document of each kind of
// view, in pages of all sizes.
func TestTheEventsOfADocumentFoldToIt(t *testing.T) {
	l := &lore{T: t, log: memlog.New(), clock: frameworktest.NewClock(), random: rand.New(rand.NewSource(8))}
	l.run(func(app *framework.App) {
		commands.Handle(app, oldStories, "say", func(_ none, c tellCommand) ([]storyFact, error) {
			return []storyFact{said{c.Erased, len(c.Erased)}, said{c.Erased, 7}}, nil
		})
	}, func() {
		for range 12 {
			l.send("story", "say", map[string]any{"told": []string{}, "erased": l.person()})
		}
	})
	tell := func(app *framework.App) {
		commands.Handle(app, stories, "tell", func(_ none, c tellCommand) ([]storyFact, error) { return c.facts(), nil })
		commands.Handle(app, notes, "tell", func(_ none, c tellCommand) ([]storyFact, error) {
			return []storyFact{told{Who: "nobody", To: []string{}}}, nil
		})
	}
	l.run(func(app *framework.App) {
		tell(app)
		projections.Register(app, storyViews...)
	}, func() {
		for range 40 {
			if l.random.Intn(5) == 0 {
				l.send("note", "tell", map[string]any{"told": []string{}, "erased": ""})
			} else {
				l.send("story", "tell", l.telling())
			}
		}
		l.checkAll()
	})
	l.copies("test.events", "test.person.keys.1", "test.near.sets.1")
	// Where the owner does not know the aggregates, the partition is read.
	l.run(func(app *framework.App) { projections.Register(app, storyViews...) }, l.checkAll)
}

// copies appends again what topics hold, as a zombie might: none of it has any effect.
func (l *lore) copies(topics ...string) {
	for _, topic := range topics {
		for part := range int32(3) {
			end, err := l.log.End(l.Context(), topic, part)
			if err != nil {
				l.Fatal(err)
			}
			reader, err := l.log.Read(topic, part, 0)
			if err != nil {
				l.Fatal(err)
			}
			for next := int64(0); next < end; {
				records, err := reader.Next(l.Context())
				if err == nil {
					next = records[len(records)-1].Offset + 1
					_, err = l.log.Append(l.Context(), topic, part, records)
				}
				if err != nil {
					l.Fatal(err)
				}
			}
			reader.Close()
		}
	}
}

func (l *lore) checkAll() {
	l.Helper()
	l.reread()
	ctx := context.Background()
	keys := map[string][]string{"card": {}, "any": {"note.s0", "note.s9"}, "kind": {"all", "story", "note", "none"}, "near": {"all"}, "liked": {"sum", "last"}}
	for i := range 4 {
		id := fmt.Sprint("s", i)
		keys["card"], keys["found"], keys["any"] = append(keys["card"], id), append(keys["found"], id), append(keys["any"], "story."+id)
	}
	for i := range 7 { // of the last nobody has told
		for _, name := range []string{"person", "found-person", "heard", "near"} {
			keys[name] = append(keys[name], fmt.Sprint("p", i))
		}
	}
	min := frameworktest.After(l.seen...)
	for name, list := range keys {
		q := framework.Query{Min: min}
		if !strings.HasPrefix(name, "found") {
			q.Key = list[0]
		}
		for _, q.Key = range list { // each partition of the view has passed all
			if _, err := l.app.Ask(ctx, name, q); err != nil && !errors.Is(err, framework.ErrNotFound) {
				l.Fatalf("%s %q: %v", name, q.Key, err)
			}
		}
		for _, key := range list {
			l.check(name, key, framework.Explain{Limit: 1000})
			l.check(name, key, framework.Explain{Limit: 1 + l.random.Intn(5), Look: 1 + l.random.Intn(30)})
			l.check(name, key, framework.Explain{Limit: 1 + l.random.Intn(5), Documents: true})
			at := l.events[l.random.Intn(len(l.events))].position
			to := eventlog.NewPositions(at)
			for n := range int32(3) {
				if n != at.Partition {
					to.Offsets[n] = int64(l.random.Intn(40))
				}
			}
			l.check(name, key, framework.Explain{Limit: 1 + l.random.Intn(9), AsOf: framework.AsOf{Position: to}})
			if name == "card" || name == "any" {
				l.check(name, key, framework.Explain{Limit: 3, Documents: true, AsOf: framework.AsOf{Version: uint64(1 + l.random.Intn(6))}})
			}
		}
	}
}
