package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// The topology under simulation. Clicks by user and prices by page are brought
// together by page, with rules for all partitions; there they are joined, folded by
// windows and kept; and what comes of that is summed behind a second shuffle.

type simClick struct {
	user, page string
	at, n      int64
	op         string
}

type simPrice struct {
	page  string
	at, n int64
}

type simPair struct {
	click simClick
	price int64 // -1: none is known
}

type simSum struct {
	key string
	n   int64
}

var errSimText = errors.New("not what the simulation writes")

// simFields reads values that stand in a line, with spaces between.
func simFields(data []byte, to ...any) error {
	words := strings.Split(string(data), " ")
	if len(words) != len(to) {
		return fmt.Errorf("%w: %q", errSimText, data)
	}
	for i, p := range to {
		switch p := p.(type) {
		case *string:
			*p = words[i]
		case *int64:
			var err error
			if *p, err = strconv.ParseInt(words[i], 10, 64); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *simClick) text(b []byte) []byte {
	b = append(append(append(append(b, c.user...), ' '), c.page...), ' ')
	b = append(strconv.AppendInt(b, c.at, 10), ' ')
	b = append(strconv.AppendInt(b, c.n, 10), ' ')
	return append(b, c.op...)
}

func (c *simClick) parse(data []byte) error {
	return simFields(data, &c.user, &c.page, &c.at, &c.n, &c.op)
}

var (
	simClicks = Codec[simClick]{
		Append: func(b []byte, v *simClick) ([]byte, error) { return v.text(b), nil },
		Decode: func(data []byte, v *simClick) error { return v.parse(data) },
	}
	simPrices = Codec[simPrice]{
		Append: func(b []byte, v *simPrice) ([]byte, error) { return fmt.Appendf(b, "%s %d %d", v.page, v.at, v.n), nil },
		Decode: func(data []byte, v *simPrice) error { return simFields(data, &v.page, &v.at, &v.n) },
	}
	simSums = Codec[simSum]{
		Append: func(b []byte, v *simSum) ([]byte, error) {
			return strconv.AppendInt(append(append(b, v.key...), ' '), v.n, 10), nil
		},
		Decode: func(data []byte, v *simSum) error { return simFields(data, &v.key, &v.n) },
	}
	simPairs = Codec[simPair]{
		Append: func(b []byte, v *simPair) ([]byte, error) {
			return strconv.AppendInt(append(v.click.text(b), ' '), v.price, 10), nil
		},
		Decode: func(data []byte, v *simPair) error {
			return simFields(data, &v.click.user, &v.click.page, &v.click.at, &v.click.n, &v.click.op, &v.price)
		},
	}
	simInts = Codec[int64]{
		Append: func(b []byte, v *int64) ([]byte, error) { return strconv.AppendInt(b, *v, 10), nil },
		Decode: func(data []byte, v *int64) error { return simFields(data, v) },
	}
)

// The bounds that operators and oracle share.
const (
	simVersion   = 2
	simShuffles  = 3 // partitions
	simMarkEvery = 500 * time.Millisecond
	simLate      = time.Second
	simBefore    = 2 * time.Second
	simAfter     = time.Second
	simPriceTTL  = 6 * time.Second
	simKeepTTL   = 5 * time.Second
	simTumble    = 5 * time.Second
	simSize      = 6 * time.Second
	simSlide     = 2 * time.Second
	simLateness  = 3 * time.Second
	simGap       = 1500 * time.Millisecond
	simGapLate   = 2 * time.Second
	simTotals    = 4 * time.Second
)

// simTopics are the topics of others, and their partitions.
var simTopics = map[string]int{"clicks": 3, "prices": 2, "rules": 1, "pairs": 2, "kept": 3, "late": 2, "told": 1, "sums": 3}

func simAt(at int64) time.Time { return time.Unix(0, at*int64(time.Millisecond)) }

func simTopology(sums *simStore) *Topology {
	t := &Topology{Name: "sim", Version: simVersion, Partitions: simShuffles, MarkEvery: simMarkEvery}
	clicks := From(t, &Source[simClick]{Name: "clicks", Topic: "clicks", Late: simLate,
		Decode: func(r *Record, v *simClick) error { return v.parse(r.Value) },
		Time:   func(_ *Record, v *simClick) time.Time { return simAt(v.at) }})
	prices := From(t, &Source[simPrice]{Name: "prices", Topic: "prices", Late: simLate,
		Decode: func(r *Record, v *simPrice) error { return simPrices.Decode(r.Value, v) },
		Time:   func(_ *Record, v *simPrice) time.Time { return simAt(v.at) }})
	rules := From(t, &Source[simPrice]{Name: "rules", Topic: "rules", Late: simLate,
		Decode: func(r *Record, v *simPrice) error { return simPrices.Decode(r.Value, v) },
		Time:   func(_ *Record, v *simPrice) time.Time { return simAt(v.at) }})

	main := NewShuffle(t, "main")
	visits, _ := Via(clicks, simVisits())
	c := Into(visits, main, func(v simClick) string { return v.page }, simClicks)
	p := Into(prices, main, func(v simPrice) string { return v.page }, simPrices)
	r := Broadcast(rules, main, simPrices)
	totals := NewShuffle(t, "totals")
	simTotal(simPages(t, totals, c, p, r), sums)
	return t
}

// simVisits counts a user's clicks, emits each, some for several pages, and says
// when a user came no more.
func simVisits() *Process[int64, simClick, simClick] {
	return &Process[int64, simClick, simClick]{Name: "visits", State: simInts,
		OnEvent: func(c *Context[int64, simClick], v simClick) error {
			*c.State() += v.n
			switch v.op {
			case "many":
				for _, i := range []string{"3", "0", "2"} {
					c.Emit(simClick{v.user, "p" + i, v.at, v.n, "one"})
				}
			case "cancel":
				c.CancelTimer("away")
			case "leave":
				c.Clear()
			default:
				c.SetTimer("away", c.Time().Add(4*time.Second))
			}
			c.Emit(v)
			return nil
		},
		OnTimer: func(c *Context[int64, simClick], t Timer) error {
			c.Emit(simClick{c.Key(), "p" + c.Key()[1:], t.Time.UnixMilli(), *c.State(), t.Name})
			return nil
		}}
}

// simPages is the stage behind the first shuffle. It returns all that is summed.
func simPages(t *Topology, totals *Shuffle, c *Stream[simClick], p, r *Stream[simPrice]) *Stream[simSum] {
	pairs, lateA, lateB := JoinInterval(c, p, &IntervalJoin[simClick, simPrice, simPair]{Name: "meet", Before: simBefore, After: simAfter,
		A: simClicks, B: simPrices, Join: func(_ string, a simClick, b simPrice) simPair { return simPair{a, b.n} }})
	To(pairs, &Publish[simPair]{Name: "pairs", Topic: "pairs", Mode: Transactional, Codec: simPairs})
	To(lateA, &Publish[simClick]{Name: "late-clicks", Topic: "late", Codec: simClicks})
	To(lateB, &Publish[simPrice]{Name: "late-prices", Topic: "late", Codec: simPrices})
	priced := JoinLatest(c, p, &LatestJoin[simClick, simPrice, simPair]{Name: "price", TTL: simPriceTTL, B: simPrices,
		Join: func(_ string, a simClick, b simPrice, known bool) simPair {
			if !known {
				return simPair{a, -1}
			}
			return simPair{a, b.n}
		}})
	kept, _ := Via(priced, simKeep())
	To(kept, &Publish[string]{Name: "kept", Topic: "kept"})
	tumbling, _ := Windowed(c, &Window[simClick, int64, simSum]{Name: "tumbling", Size: simTumble, Acc: simInts, Fold: simFold, Result: simResult})
	sliding, late := Windowed(c, &Window[simClick, int64, simSum]{Name: "sliding", Size: simSize, Slide: simSlide, Lateness: simLateness,
		Acc: simInts, Fold: simFold, Result: simResult})
	To(late, &Publish[simClick]{Name: "late-windows", Topic: "late", Codec: simClicks})
	sessions, lateS := Windowed(priced, &Window[simPair, int64, simSum]{Name: "sessions", Gap: simGap, Lateness: simGapLate, Acc: simInts,
		Fold: func(n int64, v simPair) int64 { return n + v.click.n + v.price }, Merge: func(a, b int64) int64 { return a + b }, Result: simResult})
	To(lateS, &Publish[simPair]{Name: "late-sessions", Topic: "late", Codec: simPairs})
	rules, _ := Via(r, &Process[int64, simPrice, simSum]{Name: "obey", State: simInts, OnEvent: func(c *Context[int64, simSum], v simPrice) error {
		*c.State() = *c.State()*7 + v.n
		c.Emit(simSum{"rule", *c.State()})
		return nil
	}})
	To(rules, &Publish[simSum]{Name: "told", Topic: "told", Codec: simSums})
	key := func(s simSum) string { return s.key }
	of := Map(pairs, func(v simPair) simSum { return simSum{"u" + v.click.user, v.price} })
	return Merge(Into(tumbling, totals, key, simSums), Into(sliding, totals, key, simSums),
		Into(sessions, totals, key, simSums), Into(of, totals, key, simSums))
}

func simFold(n int64, v simClick) int64 { return (n*31 + v.n) % 1_000_003 }

// simResult names a window by what few have in common.
func simResult(s Span, n int64) simSum {
	return simSum{"w" + strconv.FormatInt(s.Start.UnixMilli()/1000%4, 10), n}
}

// simKeep uses all that an operator has.
func simKeep() *Process[simSum, simPair, string] {
	users := NewMapState[int64]("users", simInts)
	recent := NewListState[int64]("recent", simInts)
	tell := func(c *Context[simSum, string], why string) {
		s, _ := c.Peek()
		b := fmt.Appendf(nil, "%s %s %d", why, c.Key(), s.n)
		for user, n := range users.All(c) {
			b = fmt.Appendf(b, " %s=%d", user, n)
		}
		for n := range recent.All(c) {
			b = fmt.Appendf(b, " %d", n)
		}
		c.Emit(string(b))
	}
	return &Process[simSum, simPair, string]{Name: "keep", TTL: simKeepTTL, State: simSums, Maps: []Entries{users, recent},
		OnEvent: func(c *Context[simSum, string], v simPair) error {
			n := v.click.n
			if n%11 == 0 {
				tell(c, "clear")
				c.Clear()
			}
			if n%5 != 0 {
				s := c.State()
				s.key, s.n = v.click.page, s.n+1
			}
			old, _ := users.Get(c, v.click.user)
			users.Put(c, v.click.user, old+n)
			if recent.Append(c, n); recent.Len(c) > 4 {
				recent.Drop(c, 2)
			}
			switch {
			case n%13 == 0:
				c.SetTimer("past", c.Time().Add(-5*time.Second))
			case n%7 == 0:
				c.CancelTimer("flush")
			case n%3 == 0:
				c.SetTimer("flush", c.Time().Add(3*time.Second))
			case n%4 == 0:
				users.Delete(c, "u1")
				tell(c, "now")
			}
			return nil
		},
		OnTimer: func(c *Context[simSum, string], t Timer) error {
			tell(c, t.Name)
			if t.Name == "flush" {
				recent.Clear(c)
			}
			return nil
		}}
}

// simTotal is the stage behind the second shuffle. The sums are published, and kept.
func simTotal(in *Stream[simSum], kept *simStore) {
	sums, _ := Via(in, &Process[int64, simSum, simSum]{Name: "sum", State: simInts, OnEvent: func(c *Context[int64, simSum], v simSum) error {
		s := c.State()
		*s += v.n
		c.Emit(simSum{c.Key(), *s})
		return nil
	}})
	To(sums, &Publish[simSum]{Name: "sums", Topic: "sums", Mode: Transactional, Codec: simSums})
	Fill(sums, kept.store())
	windows, late := Windowed(in, &Window[simSum, int64, simSum]{Name: "totals-window", Size: simTotals, Acc: simInts,
		Fold: func(n int64, v simSum) int64 { return (n*31 + v.n) % 1_000_003 }, Result: simResult})
	To(windows, &Publish[simSum]{Name: "window-sums", Topic: "sums", Mode: Transactional, Codec: simSums})
	To(late, &Publish[simSum]{Name: "late-totals", Topic: "late", Codec: simSums})
}

// simInput sends a seed's records: with disorder, equal times, skewed keys, and
// some that are late.
func simInput(s *Simulation, seed uint64) (sent int) {
	r := rand.New(rand.NewPCG(seed, 2))
	now := int64(-3000) + r.Int64N(6000)
	for n := int64(1); n <= 540; n++ {
		if r.IntN(3) > 0 {
			now += r.Int64N(250)
		}
		at := now - r.Int64N(900)
		switch r.IntN(20) {
		case 0:
			at = now - 500 - r.Int64N(9000)
		case 1:
			now += r.Int64N(1500)
		}
		at -= at % 50 // so that times are equal
		page := "p" + strconv.Itoa(min(r.IntN(8), r.IntN(8)))
		switch k := r.IntN(20); {
		case k == 0:
			s.Send("rules", simRecord("rule", &simPrice{page, at, n}))
		case k < 6:
			s.Send("prices", simRecord("item"+page, &simPrice{page, at, n}))
		default:
			user := "u" + strconv.Itoa(min(r.IntN(6), r.IntN(6)))
			op := []string{"one", "one", "one", "one", "many", "cancel", "leave"}[r.IntN(7)]
			v := simClick{user, page, at, n, op}
			s.Send("clicks", eventlog.Record{Key: []byte(user), Value: v.text(nil)})
		}
		sent++
	}
	return sent
}

func simRecord(key string, v *simPrice) eventlog.Record {
	data, _ := simPrices.Append(nil, v)
	return eventlog.Record{Key: []byte(key), Value: data}
}
