package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/seeds"
)

// The third topology under simulation: events that cannot be folded, before a shuffle
// and behind it, and an operator who rules on what is parked. The operator looks at the
// tasks as they run, so the oracle takes the rulings from the logs, as it does the
// events.

const (
	parkTopic = "park.events"
	parkParts = 3
	parkLate  = time.Second
)

var parkTopics = map[string]int{parkTopic: parkParts, "first": parkParts, "second": simShuffles}

// parkFact is "op n": what is to go wrong, and a number.
type parkFact struct {
	op string
	n  int64
}

// parkState is changed in place, before a call fails.
type parkState struct {
	Sum  int64            `json:"sum"`
	Last []int64          `json:"last"`
	By   map[string]int64 `json:"by"`
}

// parkVersion is a version of the topology. In a mended one nothing fails; what cannot
// be decoded is left out.
type parkVersion struct {
	number uint64
	mended bool
}

var (
	parkFirstVersion  = parkVersion{number: simVersion}
	parkMendedVersion = parkVersion{number: simVersion + 1, mended: true}
)

func parkTopology(store *simStore, seed uint64, version parkVersion) *Topology {
	t := &Topology{Name: "parks", Version: version.number, Partitions: simShuffles, Park: &Park{Refold: seed%4 == 0}}
	events := FromEvents(t, &Events[parkFact]{Name: "events", Topic: parkTopic, Late: parkLate, Decode: func(e *partition.Event, v *parkFact) (bool, error) {
		if e.Type == RulingType {
			return false, errors.New("a ruling was decoded")
		}
		err := simFields(e.Data, &v.op, &v.n)
		if err != nil && version.mended {
			return false, nil
		}
		return true, err
	}})
	first, _ := Via(events, parkFirst(version.mended))
	To(first, &Publish[simSum]{Name: "first", Topic: "first", Mode: Transactional, Codec: simSums})
	groups := KeyBy(first, "groups", func(v simSum) string { return "g" + strconv.FormatInt(v.n%7, 10) }, simSums)
	second, _ := Via(groups, &Process[int64, simSum, simSum]{Name: "sum", State: simInts, OnEvent: func(c *Context[int64, simSum], v simSum) error {
		s := c.State()
		*s += v.n
		c.Emit(simSum{c.Key(), *s})
		if v.n%13 == 5 && !version.mended {
			panic("as it is meant to")
		}
		return nil
	}})
	To(second, &Publish[simSum]{Name: "second", Topic: "second", Mode: Transactional, Codec: simSums})
	if parkFills(seed) {
		Fill(second, store.store())
	}
	return t
}

// parkFills reports whether a seed's second stage fills a store; else its shuffle is trimmed.
func parkFills(seed uint64) bool { return seed%3 != 2 }

// parkFirst changes all kinds of state, and then fails as it is told.
func parkFirst(mended bool) *Process[parkState, parkFact, simSum] {
	users := NewMapState[int64]("users", simInts)
	recent := NewListState[int64]("recent", simInts)
	tell := func(c *Context[parkState, simSum], what string) {
		s, _ := c.Peek()
		b := fmt.Appendf(nil, "%s,%s,%d", c.Key(), what, s.Sum)
		for _, n := range s.Last {
			b = fmt.Appendf(b, ",%d", n)
		}
		b = fmt.Appendf(b, ",%d,%d", s.By["bad"], s.By["one"])
		for op, n := range users.All(c) {
			b = fmt.Appendf(b, ",%s=%d", op, n)
		}
		for n := range recent.All(c) {
			b = fmt.Appendf(b, ",%d", n)
		}
		c.Emit(simSum{string(b), s.Sum})
	}
	return &Process[parkState, parkFact, simSum]{Name: "fold", Maps: []Entries{users, recent}, Timed: true,
		OnEvent: func(c *Context[parkState, simSum], v parkFact) error {
			s := c.State()
			s.Sum += v.n
			if s.By == nil {
				s.By = map[string]int64{}
			}
			s.By[v.op]++
			if s.Last = append(s.Last, v.n); len(s.Last) > 3 {
				copy(s.Last, s.Last[1:]) // in place, so that a shallow copy would see it
				s.Last = s.Last[:3]
			}
			if recent.Append(c, v.n); recent.Len(c) > 2 {
				recent.Drop(c, 1)
			}
			if v.n%5 == 0 {
				users.Delete(c, "one")
			}
			users.Put(c, v.op, v.n)
			tell(c, v.op)
			switch v.op {
			case "bad", "panics", "early":
				if mended {
					return nil
				}
			}
			switch mark, ok := c.Watermark(); v.op {
			case "bad":
				recent.Clear(c)
				return errors.New("it is bad")
			case "panics":
				c.Clear()
				panic("it panics")
			case "early":
				if !ok || mark.UnixMilli() < v.n {
					return errors.New("it is too early")
				}
			case "wake":
				c.SetTimer("ring", c.Time().Add(time.Duration(v.n)*time.Millisecond))
			case "fail":
				c.SetTimer("fail", c.Time().Add(time.Duration(v.n)*time.Millisecond))
			case "clear":
				c.Clear()
			}
			return nil
		},
		OnTimer: func(c *Context[parkState, simSum], t Timer) error {
			c.State().Sum += 1000
			tell(c, t.Name)
			if t.Name == "fail" && !mended {
				return errors.New("the timer fails")
			}
			return nil
		}}
}

// parkOps are drawn from.
var parkOps = []string{"one", "one", "one", "one", "two", "two", "wake", "wake", "clear", "bad", "panics", "early", "early", "fail", "garbage"}

// parkWorld appends events and rulings.
type parkWorld struct {
	*Simulation
	r        *rand.Rand
	now      int64 // milliseconds
	versions map[string]uint64
	commands uint64
	rulings  int
}

// commit appends a commit to a partition.
func (w *parkWorld) commit(p int, key, kind string, data ...[]byte) {
	w.commands++
	for i, d := range data {
		w.versions[key]++
		e := event.Envelope{ID: event.ID{9}, Command: event.ID{7, byte(w.commands >> 8), byte(w.commands)}, Type: kind,
			Version: w.versions[key], Epoch: 1, Index: i, Count: len(data), Time: simAt(w.now - w.r.Int64N(900))}
		w.SendTo(parkTopic, int32(p), eventlog.Record{Key: []byte(key), Header: e.Append(nil), Value: d})
	}
}

func (w *parkWorld) events() {
	p := w.r.IntN(parkParts)
	key := fmt.Sprintf("x/%d%c", p, 'a'+rune(min(w.r.IntN(8), w.r.IntN(8))))
	var all [][]byte
	for range 1 + w.r.IntN(2) {
		op, n := parkOps[w.r.IntN(len(parkOps))], w.r.Int64N(3000)
		if op == "early" {
			n += w.now
		}
		if op == "garbage" {
			all = append(all, []byte("garbage"))
			continue
		}
		all = append(all, fmt.Appendf(nil, "%s %d", op, n))
	}
	w.commit(p, key, "e", all...)
}

// rule rules on a key that some task has parked now; or, by chance, on what is not
// parked there.
func (w *parkWorld) rule(settling bool) bool {
	var all []Ruling
	for _, l := range w.lives {
		if l.ended || l.core.parking == nil || settling && l.stray {
			continue
		}
		for _, u := range l.core.parking.keys.all() {
			all = append(all, Ruling{Topology: "parks", Version: simVersion, Operator: l.task.stage.name, Partition: l.task.part, Key: u.key, Offset: u.state.at})
		}
	}
	if len(all) == 0 {
		return false
	}
	r := all[w.r.IntN(len(all))]
	r.Act = []Act{Retry, Retry, Discard}[w.r.IntN(3)]
	switch n := w.r.IntN(12); {
	case settling:
	case n == 0:
		r.Version++
	case n == 1:
		r.Offset += 1 - w.r.Int64N(3)
	case n == 2:
		r.Partition = (r.Partition + 1) % parkParts
	}
	p := w.r.IntN(parkParts) // a ruling on what is behind the shuffle may lie anywhere
	if r.Operator == "events" {
		p = int(r.Partition)
	}
	data, _ := json.Marshal(r)
	w.commit(p, fmt.Sprintf("%s/%d", RulingsOf, p), RulingType, data)
	w.rulings++
	return true
}

// parkSeeds is how many seeds a plain run has.
const parkSeeds = max(simSeeds/10, 10)

// parkMust is what the seeds of a plain run bring about, each at least once.
var parkMust = []string{"event parked", "task careful", "restore", "snapshot", "process killed", "task moved", "store emptied", "ruling", "retry succeeded", "shuffle trimmed",
	"retry failed", "discarded", "ruling without effect", "timer parked", "event held", "behind the shuffle"}

// TestSimulationOfPoison folds events that fail, under all faults, while an operator
// rules on what is parked, and compares with what an oracle makes of the logs.
func TestSimulationOfPoison(t *testing.T) {
	seeds.Test(t, parkSeeds, parkMust, func(_ *testing.T, seed uint64) seeds.Report { return simulateParks(seed, plantNothing) })
}

func TestPlantedPoison(t *testing.T) {
	for name, bug := range map[string]planted{"folded-on": plantParkedOn, "left-out": plantParkedLost, "not-undone": plantNoUndo, "any-version": plantAnyVersion,
		"trimmed": plantTrimParked, "ruled-twice": plantRuledTwice, "newest-first": plantNewestFirst, "timers": plantParkedTimers} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 10; seed++ {
				if r := simulateParks(seed, bug); len(r.Failures) > 0 {
					t.Logf("%.200s", r.Failures[0])
					return
				}
			}
			t.Error("not found in 10 seeds")
		})
	}
}

// simulateParks runs one seed and judges it.
func simulateParks(seed uint64, bug planted) (r seeds.Report) {
	store := newSimStore(seed)
	cfg := SimulationConfig{Seed: seed, Topics: parkTopics, Faults: 0.4 + 0.3*float64(seed%3)}
	s := Simulate(parkTopology(store, seed, parkFirstVersion), cfg)
	s.planted = bug
	w := &parkWorld{Simulation: s, r: rand.New(rand.NewPCG(seed, 5)), now: 1_000_000, versions: map[string]uint64{}}
	for p := range parkParts {
		w.SendTo(parkTopic, int32(p), eventlog.Record{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})})
	}
	for range 250 {
		w.now += w.r.Int64N(200)
		if w.r.IntN(4) > 0 || !w.rule(false) {
			w.events()
		}
		for range 8 {
			s.Step()
			store.lose()
		}
	}
	for !s.Done() {
		s.Step()
	}
	err := s.Settle()
	for range 4 {
		w.now += 3000
		if err == nil && w.rule(true) {
			err = s.Settle()
		}
	}
	r.Counts, r.Digest = s.Counts(), s.digest()
	r.Counts["ruling"], r.Counts["store emptied"] = w.rulings, r.Counts["store emptied"]+store.lost
	if err != nil {
		r.Fail(seed, "%v", err)
		return r
	}
	o := &parkOracle{version: parkFirstVersion, counts: r.Counts}
	for _, failure := range o.judge(s, store) {
		r.Fail(seed, "%s", failure)
	}
	if seed%2 == 0 {
		if err := foldMended(cfg, s.logs[parkTopic], bug); err != nil {
			r.Fail(seed, "a mended version: %v", err)
		}
	}
	return r
}

// foldMended lets a newer version fold the same logs, the rulings on the former one
// among them, under faults of its own: all is as if nothing had ever failed.
func foldMended(cfg SimulationConfig, logs [][]eventlog.Record, bug planted) error {
	store := newSimStore(cfg.Seed)
	s := Simulate(parkTopology(store, cfg.Seed, parkMendedVersion), cfg)
	s.planted = bug
	for n := 0; ; n++ {
		more := false
		for p, log := range logs {
			if n < len(log) {
				more = true
				s.SendTo(parkTopic, int32(p), eventlog.Record{Key: log[n].Key, Header: log[n].Header, Value: log[n].Value})
			}
		}
		if !more {
			break
		}
		s.Step()
		store.lose()
	}
	for !s.Done() {
		s.Step()
	}
	if err := s.Settle(); err != nil {
		return err
	}
	if failures := (&parkOracle{version: parkMendedVersion, counts: map[string]int{}}).judge(s, store); len(failures) > 0 {
		return errors.New(failures[0])
	}
	if s.Counts()["event parked"] > 0 {
		return errors.New("it parks")
	}
	return nil
}

// splitOp is what Decode takes.
func splitOp(data string) (f parkFact, ok bool) {
	op, n, two := strings.Cut(data, " ")
	number, err := strconv.ParseInt(n, 10, 64)
	return parkFact{op, number}, two && err == nil && !slices.Contains([]string{""}, op)
}
