package framework

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// hasty is a clock whose pauses take no time.
type hasty struct{ now time.Time }

func (c hasty) Now() time.Time { return c.now }
func (c hasty) After(time.Duration) <-chan time.Time {
	over := make(chan time.Time, 1)
	over <- c.now
	return over
}
func (c hasty) Entropy() (b [10]byte) { return b }

// moving is a log of one partition that grows, and two generations that follow it, each as
// fast as it likes. A generation answers with how often the key was moved below where it
// stands.
type moving struct {
	*rand.Rand
	moves  []bool     // by offset: the key is moved there
	busy   float64    // how likely an event moves it
	at     [2]int64   // where the one that is read stands, and the other one
	stalls [2]float64 // how likely each stays where it is as long as it may
	wrong  bool       // the other one counts one too many
	waits  bool       // they wait for what they are to have passed
}

// newMoving is as a seed says.
func newMoving(seed uint64) *moving {
	m := &moving{Rand: rand.New(rand.NewPCG(seed, 1)), waits: true}
	m.busy = []float64{0.02, 0.2, 1}[m.IntN(3)]
	for range 1 + m.IntN(4) {
		m.grow()
	}
	for side := range m.at {
		m.at[side] = m.between(0, int64(len(m.moves)))
		m.stalls[side] = []float64{0, 0.5, 0.95}[m.IntN(3)]
	}
	return m
}

func (m *moving) between(least, most int64) int64 { return least + m.Int64N(most-least+1) }

func (m *moving) grow() {
	for range m.IntN(4) {
		m.moves = append(m.moves, m.Float64() < m.busy)
	}
}

func (m *moving) ask(_ context.Context, other bool, min eventlog.Positions) (reply, error) {
	m.grow()
	side := 0
	if other {
		side = 1
	}
	said := m.at[side] // what it is known to have passed may be less than what it has
	if want, ok := min.Offsets[0]; ok && m.waits {
		said = max(said, want+1)
	}
	if m.at[side] = said; m.Float64() > m.stalls[side] {
		said = m.between(said, int64(len(m.moves)))
		m.at[side] = m.between(said, int64(len(m.moves)))
	}
	n := 0
	for _, moved := range m.moves[:m.at[side]] {
		if moved {
			n++
		}
	}
	if other && m.wrong {
		n++
	}
	r := reply{json: fmt.Append(nil, n), same: fmt.Sprint(n), at: eventlog.NewPositions()}
	if said > 0 {
		r.at.Offsets[0] = said - 1
	}
	m.grow()
	return r, nil
}

func (m *moving) end(context.Context) (eventlog.Positions, error) {
	m.grow()
	at := eventlog.NewPositions()
	if len(m.moves) > 0 {
		at.Offsets[0] = int64(len(m.moves)) - 1
	}
	return at, nil
}

const shadowSeeds = 5000

// outcomesOf are those of many runs, with the first seed that came to each.
func outcomesOf(alter func(*moving)) (seen map[outcome]int, first map[outcome]uint64) {
	seen, first = make(map[outcome]int), make(map[outcome]uint64)
	for seed := range uint64(shadowSeeds) {
		m := newMoving(seed)
		alter(m)
		before, _ := m.ask(context.Background(), false, eventlog.Positions{})
		d := &dispute{clock: hasty{}, ask: m.ask, end: m.end}
		o, _, _, _ := d.settle(context.Background(), before)
		if seen[o]++; seen[o] == 1 {
			first[o] = seed
		}
	}
	return seen, first
}

// Two that fold alike are never found to differ, however the log grows meanwhile and
// wherever both stand, as long as they wait for what they are asked to have passed.
func TestWhatFoldsAlikeIsNeverFoundToDiffer(t *testing.T) {
	seen, first := outcomesOf(func(*moving) {})
	if seen[shadowDifferent]+seen[shadowFailed] > 0 || seen[shadowEqual] == 0 || seen[shadowMoved] == 0 {
		t.Errorf("outcomes %v, the first by the seeds %v", seen, first)
	}
}

// Without the waits they would be: the test above can fail.
func TestWithoutTheWaitsWhatFoldsAlikeSeemsToDiffer(t *testing.T) {
	if seen, _ := outcomesOf(func(m *moving) { m.waits = false }); seen[shadowDifferent] == 0 {
		t.Errorf("outcomes %v", seen)
	}
}

// One that is wrong is found to be where the key rests, but for where it is first met at a place at
// which it says by chance what the other one said.
func TestAMistakeIsFound(t *testing.T) {
	seen, first := outcomesOf(func(m *moving) { m.wrong, m.busy = true, 0 })
	if seen[shadowDifferent] < shadowSeeds*9/10 || seen[shadowMoved]+seen[shadowFailed] > 0 {
		t.Errorf("outcomes %v, the first by the seeds %v", seen, first)
	}
}

// TestWhatSettlesADispute: what both say in turn, the one that is read first; its last
// word stays.
func TestWhatSettlesADispute(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		want outcome
	}{
		"the same at once":                         {"a a", shadowEqual},
		"the same a little later":                  {"a b a a", shadowEqual},
		"the one that is read came later":          {"a b a b b", shadowEqual},
		"it stays another one":                     {"a b a b", shadowDifferent},
		"another one each time is none":            {"a b a c a d a e a f a g a h a i a j a k a l a m a", shadowMoved},
		"what is read moves on and on":             {"a z b z c z d z e z f z g z h z i z j z k z l z", shadowMoved},
		"it moves a while":                         {"a z b z c z d z", shadowDifferent},
		"it has stayed for too short":              {"a z a z a z a z b z b z b z b z c z c z", shadowMoved},
		"the key goes to and fro and is met at it": {"a b a b a a", shadowEqual},
	} {
		said, n := strings.Fields(c.says), 0
		d := &dispute{clock: hasty{}, end: func(context.Context) (eventlog.Positions, error) { return eventlog.Positions{}, nil },
			ask: func(_ context.Context, other bool, _ eventlog.Positions) (reply, error) {
				n++
				for (n%2 == 1) != other { // a turn that was left out
					n++
				}
				at := n
				if n >= len(said) {
					at = len(said) - 2 + (n-len(said))%2
				}
				return reply{same: said[at]}, nil
			}}
		if got, _, _, err := d.settle(context.Background(), reply{same: said[0]}); got != c.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", name, outcomeNames[got], err, outcomeNames[c.want])
		}
	}
}

func TestADisputeFailsWhereNobodyAnswers(t *testing.T) {
	away := errors.New("away")
	for asks := range 4 {
		n := 0
		fail := func() (err error) {
			if n++; n > asks {
				err = away
			}
			return err
		}
		d := &dispute{clock: hasty{}, end: func(context.Context) (eventlog.Positions, error) { return eventlog.Positions{}, fail() },
			ask: func(_ context.Context, other bool, _ eventlog.Positions) (reply, error) {
				return reply{same: fmt.Sprint(other)}, fail()
			}}
		if o, _, _, err := d.settle(context.Background(), reply{same: "false"}); o != shadowFailed || !errors.Is(err, away) {
			t.Errorf("after %d answers: %s, %v", asks, outcomeNames[o], err)
		}
	}
}

// TestWhatSaysTheSameIsComparedAsTheSame: each row is answers to one query, of which all
// say the same, or none does.
func TestWhatSaysTheSameIsComparedAsTheSame(t *testing.T) {
	best, sorted := &Query{Text: "oak"}, &Query{Text: "oak", Sort: "n"}
	for name, c := range map[string]struct {
		kind    ViewKind
		q       *Query
		same    bool
		answers []string
	}{
		"order of members and blanks":     {Document, &Query{}, true, []string{`{"a":1,"b":{"c":[true,null,"x"]}}`, ` {"b": {"c":[true,null,"\u0078"]},"a":1} `}},
		"forms of a number":               {Document, &Query{}, true, []string{`[1,0,1500]`, `[1.0,-0,1.5e3]`, `[10e-1,0.0,1500.0]`}},
		"values":                          {Document, &Query{}, false, []string{`1`, `2`, `"1"`, `null`, `true`, `[1]`, `[]`, `{}`, `{"a":1}`, `{"a":null}`, `{"b":1}`, `1.5`, ``, `1 1`, `{"a":"1"}`}},
		"whole numbers beyond floats":     {Document, &Query{}, false, []string{`9007199254740993`, `9007199254740992`}},
		"order of items":                  {Feed, &Query{}, false, []string{`{"items":[1,2],"next":"x"}`, `{"items":[2,1],"next":"x"}`}},
		"next of a feed":                  {Feed, &Query{}, false, []string{`{"items":[1,2],"next":"x"}`, `{"items":[1,2],"next":"y"}`}},
		"the next of a search is a place": {Search, sorted, true, []string{`{"items":[1,2],"total":9,"next":"x"}`, `{"items":[1,2],"total":9,"next":"y"}`}},
		"there is a next":                 {Search, sorted, false, []string{`{"items":[1,2],"total":9,"next":"x"}`, `{"items":[1,2],"total":9,"next":""}`}},
		"order of a sorted search":        {Search, sorted, false, []string{`{"items":[1,2],"total":2,"next":""}`, `{"items":[2,1],"total":2,"next":""}`}},
		"order of the best":               {Search, best, true, []string{`{"items":[1,2],"total":2,"next":""}`, `{"items":[2,1],"total":2,"next":""}`}},
		"which the best are":              {Search, best, false, []string{`{"items":[1,2],"total":2,"next":""}`, `{"items":[1,3],"total":2,"next":""}`}},
		"which of them are on the page":   {Search, best, true, []string{`{"items":[1,2],"total":3,"next":"x"}`, `{"items":[1,3],"total":3,"next":"y"}`}},
		"how many there are of the best":  {Search, best, false, []string{`{"items":[1,2],"total":3,"next":"x"}`, `{"items":[1,2],"total":4,"next":"x"}`}},
	} {
		texts := make(map[string]string)
		for _, a := range c.answers {
			texts[reply{json: []byte(a)}.compared(c.kind, c.q).same] = a
		}
		texts[reply{}.compared(c.kind, c.q).same] = "not found"
		texts[reply{refused: "no"}.compared(c.kind, c.q).same] = "refused"
		want := len(c.answers) + 2
		if c.same {
			want = 3
		}
		if len(texts) != want {
			t.Errorf("%s: %d different ones, want %d: %q", name, len(texts), want, texts)
		}
	}
}

// idleShadower has a queue that nobody empties.
func idleShadower() *shadower {
	return newShadower(New(Config{Logger: slog.New(slog.DiscardHandler), Open: func(context.Context) (Resources, error) { return Resources{}, nil }}), &process{})
}

// askedToo is a generation that is asked a share of the queries.
func askedToo(s *shadower, share float64) *shadow {
	return &shadow{read: 1, most: mostOf(share), found: s.nothing("cards", &control.Generation{Number: 2})}
}

func TestAShareOfTheQueriesIsChosen(t *testing.T) {
	s := idleShadower()
	for _, share := range []float64{0.001, 0.05, 0.5, 0.999, 1} {
		to, chosen, run := askedToo(s, share), 0, 0
		const all = 200_000
		var rhythm [20]int
		for n := range all {
			if to.chosen() {
				chosen++
				rhythm[n%20]++
			}
		}
		if want := share * all; float64(chosen) < 0.9*want-10 || float64(chosen) > 1.1*want+10 {
			t.Errorf("of %d queries %d are chosen, want %.0f", all, chosen, want)
		}
		for _, n := range rhythm {
			if n == 0 {
				run++
			}
		}
		if run > 0 {
			t.Errorf("of each 20 queries %d are never chosen, at a share of %v", run, share)
		}
	}
	if to := askedToo(s, 1e-300); to.chosen() {
		t.Error("next to nothing is chosen")
	}
}

// A query that is not chosen costs no memory, nor does one of a view that has no shadow.
func TestWhatIsNotChosenCostsNothing(t *testing.T) {
	s, k := idleShadower(), newKept(View{Name: "cards"}, nil)
	q, answered := &Query{Key: "t1"}, &Answer{JSON: []byte(`{"n":1}`), Generation: 1}
	ask := func() {
		if list := k.shadows.Load(); list != nil {
			s.offer(*list, k, q, answered)
		}
	}
	if n := testing.AllocsPerRun(1000, ask); n != 0 {
		t.Errorf("%v allocations without a shadow", n)
	}
	k.shadows.Store(&[]*shadow{askedToo(s, 1e-300)})
	if n := testing.AllocsPerRun(1000, ask); n != 0 {
		t.Errorf("%v allocations for what is not chosen", n)
	}
	if len(s.queue) > 0 {
		t.Errorf("%d wait", len(s.queue))
	}
}

// What does not find room is dropped and counted: too many, or too much.
func TestWhatFindsNoRoomIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		answer  int // bytes
		offered int
		taken   int64
	}{
		"many":           {10, MaxShadowWaiting + 5, MaxShadowWaiting},
		"much":           {MaxShadowBytes / 4, 9, 4},
		"one too large":  {MaxShadowBytes + 1, 1, 0},
		"not even empty": {0, MaxShadowWaiting + 1, MaxShadowWaiting},
	} {
		s, k := idleShadower(), newKept(View{Name: "cards"}, nil)
		to := askedToo(s, 1)
		for range c.offered {
			s.offer([]*shadow{to}, k, &Query{}, &Answer{JSON: make([]byte, c.answer), Generation: 1})
		}
		got := to.found.shown(1)
		if got.Asked != c.taken || got.Dropped != int64(c.offered)-c.taken || int64(len(s.queue)) != c.taken || s.bytes.Load() != c.taken*int64(c.answer) {
			t.Errorf("%s: %+v, %d bytes of %d; want %d taken", name, got, s.bytes.Load(), len(s.queue), c.taken)
		}
	}
}

// Only what the one generation answers is asked of the other, and no later page of the
// best hits.
func TestWhatIsNotAskedToo(t *testing.T) {
	s, k := idleShadower(), newKept(View{Name: "found"}, nil)
	to := askedToo(s, 1)
	s.offer([]*shadow{to}, k, &Query{Text: "oak"}, &Answer{Generation: 2})
	s.offer([]*shadow{to}, k, &Query{Text: "oak", After: "x"}, &Answer{Generation: 1})
	if len(s.queue) > 0 {
		t.Errorf("%d are asked", len(s.queue))
	}
	s.offer([]*shadow{to}, k, &Query{Text: "oak", Sort: "n", After: "x"}, &Answer{Generation: 1})
	if len(s.queue) != 1 {
		t.Errorf("%d are asked, want one", len(s.queue))
	}
}

// Of the differences the first are kept, of each question one, and no more of an answer
// than is bounded.
func TestTheFirstDifferencesAreKept(t *testing.T) {
	f := &findings{}
	for n := range 3 * MaxShadowDifferences {
		f.keep(&ShadowDifference{Question: Query{Key: fmt.Sprint(n / 2), Is: map[string]string{"a": "b"}}, Refused: fmt.Sprint(n)})
	}
	f.asked = 1
	got := f.shown(0).First
	if len(got) != MaxShadowDifferences {
		t.Fatalf("%d are kept", len(got))
	}
	for i, d := range got {
		if d.Refused != fmt.Sprint(2*i) {
			t.Errorf("at %d the difference %s is kept", i, d.Refused)
		}
	}
	long := []byte(`"` + strings.Repeat("ß", MaxShadowAnswer) + `"`)
	if got := clipped(long); len(got) > MaxShadowAnswer+20 || !strings.HasSuffix(string(got), `…"`) || !strings.HasPrefix(string(got), `"\"ß`) {
		t.Errorf("%d bytes: %.20s", len(got), got)
	}
	if got := clipped(long[:100]); string(got) != string(long[:100]) {
		t.Errorf("%s", got)
	}
}
