package stream

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// The ways out of the second stage, in the order of their declaration.
const (
	outPairs = iota
	outLateClicks
	outLatePrices
	outKept
	outLateWindows
	outLateSessions
	outTold
	outTotals
)

// The ways out of the third.
const (
	outSums = iota
	outWindowSums
	outLateTotals
)

const mainTopic, totalsTopic = "sim.main.2", "sim.totals.2"

var (
	waysToMain = []way{{name: "main", topic: mainTopic, partitions: simShuffles, shuffle: true}}
	waysOfMain = []way{
		{name: "pairs", topic: "pairs", partitions: 2, once: true},
		{name: "late-clicks", topic: "late", partitions: 2},
		{name: "late-prices", topic: "late", partitions: 2},
		{name: "kept", topic: "kept", partitions: 3, own: true},
		{name: "late-windows", topic: "late", partitions: 2},
		{name: "late-sessions", topic: "late", partitions: 2},
		{name: "told", topic: "told", partitions: 1},
		{name: "totals", topic: totalsTopic, partitions: simShuffles, shuffle: true},
	}
	waysOfTotals = []way{
		{name: "sums", topic: "sums", partitions: 3, own: true, once: true},
		{name: "window-sums", topic: "sums", partitions: 3, own: true, once: true},
		{name: "late-totals", topic: "late", partitions: 2},
	}
)

// judge compares a simulation with what the oracle says.
type judgement struct {
	s        *Simulation
	store    *simStore
	counts   map[string]int
	failures []string
	expected map[string]map[string]string // of a topic, by the header that names the record: what it is
	once     map[string][]string          // by topic, partition and source: the records, in order
}

func (j *judgement) fail(format string, args ...any) {
	if len(j.failures) < 5 {
		j.failures = append(j.failures, fmt.Sprintf(format, args...))
	}
}

func judgeSimulation(s *Simulation, store *simStore, counts map[string]int) *judgement {
	j := &judgement{s: s, store: store, counts: counts, expected: map[string]map[string]string{}, once: map[string][]string{}}
	logs := s.logs
	var main, totals []accepted
	for p := range simShuffles {
		main = append(main, accept(logs[mainTopic][p], simVersion, 6, counts))
		totals = append(totals, accept(logs[totalsTopic][p], simVersion, simShuffles, counts))
	}
	for p, log := range logs["clicks"] {
		feds := outsideOf(log, func(v string) int64 { return number64(strings.Split(v, " ")[2]) })
		all, units := visitsOf(feds)
		j.written(p, 0, write(p, feds, all, waysToMain), waysToMain, main)
		j.units("clicks", p, map[string]unitsOf{"visits": units})
	}
	for source, topic := range []string{"", "prices", "rules"} {
		for p, log := range logs[topic] {
			feds := outsideOf(log, func(v string) int64 { return number64(strings.Split(v, " ")[1]) })
			j.written(p, source, write(p, feds, passed(feds, source), waysToMain), waysToMain, main)
		}
	}
	for p := range simShuffles {
		j.main(p, main[p].feds, totals)
		j.totals(p, totals[p].feds)
	}
	j.published()
	return j
}

func number64(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// passed is what prices and rules are: handed on as they are, to their page, or to all.
func passed(feds []fed, source int) (all []said) {
	for _, f := range feds {
		page, _, _ := strings.Cut(f.value, " ")
		if source == 1 {
			all = append(all, said{call: call{rec: f.rec}, partition: -1, key: page, port: 2, time: f.time, data: f.value})
			continue
		}
		for p := range simShuffles {
			all = append(all, said{call: call{rec: f.rec}, partition: p, port: 3, time: f.time, data: f.value})
		}
	}
	return all
}

// elementsOf returns the elements of one port; word is the place of the number in
// their text.
func elementsOf(feds []fed, port, word int) (all []element) {
	for _, f := range feds {
		if f.port == port {
			all = append(all, element{f, number64(strings.Split(f.value, " ")[word]), f.value})
		}
	}
	return all
}

func (j *judgement) main(p int, feds []fed, totals []accepted) {
	clicks, prices := elementsOf(feds, 1, 3), elementsOf(feds, 2, 2)
	var all []said
	units := map[string]unitsOf{}
	say := func(c call, out int, key string, port int, time int64, data string) {
		all = append(all, said{c, out, -1, key, port, time, data})
	}
	publish := func(out int, elements []element) {
		for _, e := range elements {
			say(call{rec: e.rec}, out, e.key, 0, e.time, e.value)
		}
		j.counts["event "+waysOfMain[out].name] += len(elements)
	}

	pairs, lateA, lateB, meet := joinOf(clicks, prices, feds, int64(simBefore), int64(simAfter))
	units["meet"] = meet
	for _, c := range pairs {
		price := strconv.FormatInt(c.b.n, 10)
		user, _, _ := strings.Cut(c.a.value, " ")
		say(call{rec: c.rec}, outPairs, c.key, 0, c.time, c.a.value+" "+price)
		say(call{rec: c.rec}, outTotals, "u"+user, 4, c.time, "u"+user+" "+price)
	}
	j.counts["event pair"] += len(pairs)
	publish(outLateClicks, lateA)
	publish(outLatePrices, lateB)

	var priced []element
	latest, units1 := latestOf(clicks, prices, feds, int64(simPriceTTL))
	units["price"] = units1
	for i, c := range clicks {
		priced = append(priced, element{c.fed, c.n + number64(latest[i]), c.value + " " + latest[i]})
	}
	kept, units2, users, recent := keepOf(clicks, feds)
	units["keep"], units["keep/users"], units["keep/recent"] = units2, users, recent
	all = append(all, kept...)
	j.counts["event kept"] += len(kept)

	result := func(what string, port int, windows []window) {
		slices.SortStableFunc(windows, func(a, b window) int { return int(b.start/1e6 - a.start/1e6) })
		for _, w := range windows {
			key := "w" + strconv.FormatInt(w.start/1e9%4, 10)
			say(w.call, outTotals, key, port, w.end, key+" "+strconv.FormatInt(w.acc, 10))
			if j.counts["event "+what]++; !w.timer {
				j.counts["event "+what+" anew"]++
			}
		}
	}
	tumbling, _, units3 := windowsOf(clicks, feds, 5, int64(simTumble), int64(simTumble), 0)
	sliding, late, units4 := windowsOf(clicks, feds, 6, int64(simSize), int64(simSlide), int64(simLateness))
	sessions, lateS, units5 := sessionsOf(priced, feds, 7, int64(simGap), int64(simGapLate))
	units["tumbling"], units["sliding"], units["sessions"] = units3, units4, units5
	result("tumbling window", 1, tumbling)
	result("sliding window", 2, sliding)
	result("session", 3, sessions)
	publish(outLateWindows, late)
	publish(outLateSessions, lateS)

	rules := int64(0)
	for _, r := range elementsOf(feds, 3, 2) {
		rules = rules*7 + r.n
		say(call{rec: r.rec}, outTold, "", 0, r.time, "rule "+strconv.FormatInt(rules, 10))
		units["obey"] = unitsOf{"": unitOf(nil, strconv.FormatInt(rules, 10))}
	}
	j.written(p, 0, write(p, feds, all, waysOfMain), waysOfMain, totals)
	j.units("main", p, units)
}

func (j *judgement) totals(p int, feds []fed) {
	var all []said
	var elements []element
	sums := map[string]int64{}
	for _, f := range feds {
		if f.port == 0 {
			continue
		}
		key, n, _ := strings.Cut(f.value, " ")
		elements = append(elements, element{f, number64(n), f.value})
		sums[key] += number64(n)
		all = append(all, said{call{rec: f.rec}, outSums, -1, key, 0, f.time, key + " " + strconv.FormatInt(sums[key], 10)})
	}
	windows, late, units := windowsOf(elements, feds, 1, int64(simTotals), int64(simTotals), 0)
	for _, w := range windows {
		all = append(all, said{w.call, outWindowSums, -1, w.of, 0, w.end, fmt.Sprintf("w%d %d", w.start/1e9%4, w.acc)})
	}
	for _, e := range late {
		all = append(all, said{call{rec: e.rec}, outLateTotals, -1, e.key, 0, e.time, e.value})
	}
	j.counts["event total window"] += len(windows)
	j.counts["event late total"] += len(late)
	summed := unitsOf{}
	for key, n := range sums {
		summed[key] = unitOf(nil, strconv.FormatInt(n, 10))
	}
	j.written(p, 0, write(p, feds, all, waysOfTotals), waysOfTotals, nil)
	if got := j.store.shelves[int32(p)]; !maps.Equal(got.sums, sums) {
		j.fail("the store holds other sums of partition %d at %d than the oracle: %v, want %v", p, got.mark, got.sums, sums)
	}
	j.units("totals", p, map[string]unitsOf{"sum": summed, "totals-window": units})
}

// written compares what a task must have written to a shuffle with what was
// accepted there, and notes what it must have published.
func (j *judgement) written(part, operator int, out [][][]written, ways []way, shuffle []accepted) {
	for i, w := range ways {
		for p, want := range out[i] {
			if w.shuffle {
				got := shuffle[p].written[[2]uint64{uint64(operator), uint64(part)}]
				for n := range max(len(got), len(want)) {
					if n >= len(got) || n >= len(want) || got[n] != want[n] {
						j.fail("%s/%d, source %d/%d: element %d of %d is %+v, want %+v of %d", w.name, p, operator, part, n, len(got), at(got, n), at(want, n), len(want))
						break
					}
				}
				continue
			}
			for _, r := range want {
				j.expect(w, part, p, &r)
			}
		}
	}
}

func at[T any](all []T, n int) any {
	if n < len(all) {
		return all[n]
	}
	return "none"
}

func (j *judgement) expect(w way, part, p int, r *written) {
	id, text := r.id(w.name, part), fmt.Sprintf("%d %q %q at %d", p, r.key, r.data, max(r.time, 0)/1e6)
	if j.expected[w.topic] == nil {
		j.expected[w.topic] = map[string]string{}
	}
	j.expected[w.topic][id] = text
	if w.once {
		of := fmt.Sprintf("%s/%d of %d as %s", w.topic, p, part, w.name)
		j.once[of] = append(j.once[of], fmt.Sprintf("%08d %04d", r.offset, r.index)+text)
	}
}

// published compares what lies in the topics of others: of plain ones each record
// once by its header, of transactional ones each once, and in order.
func (j *judgement) published() {
	for _, topic := range []string{"pairs", "kept", "late", "told", "sums"} {
		left, once := j.expected[topic], topic == "pairs" || topic == "sums"
		seen, got := map[string]bool{}, map[string][]string{}
		for p, log := range j.s.logs[topic] {
			for _, r := range log {
				id, text := string(r.Header), fmt.Sprintf("%d %q %q at %d", p, r.Key, r.Value, r.At)
				switch {
				case left[id] != text:
					j.fail("%s/%d@%d: %s, want %s", topic, p, r.Offset, text, left[id])
				case seen[id] && once:
					j.fail("%s/%d@%d: %s is there twice", topic, p, r.Offset, text)
				case seen[id]:
					j.counts["event published again"]++
				default:
					j.counts["event published"]++
				}
				seen[id] = true
				part, offset, index, name := idOf(r)
				of := fmt.Sprintf("%s/%d of %d as %s", topic, p, part, name)
				got[of] = append(got[of], fmt.Sprintf("%08d %04d", offset, index)+text)
			}
		}
		if len(seen) < len(left) {
			j.fail("%s: %d records of %d are missing", topic, len(left)-len(seen), len(left))
		}
		for of := range got {
			slices.Sort(j.once[of])
			if once && !slices.Equal(got[of], j.once[of]) {
				j.fail("%s: out of order", of)
			}
		}
	}
}

// idOf reads the header of a published record.
func idOf(r eventlog.Record) (part, offset, index uint64, name string) {
	b := r.Header
	_, n := binary.Varint(b)
	b = b[n+10:]
	_, n = binary.Varint(b)
	b = b[n+2:]
	_, n = binary.Uvarint(b) // the version
	b = b[n:]
	for _, to := range []*uint64{&part, &offset, &index} {
		v, n := binary.Uvarint(b)
		*to, b = v, b[max(n, 0):]
	}
	return part, offset, index, string(b)
}

// shows says how each operator's state is made readable; others are text.
var shows = map[string]func([]byte) string{"meet": showSides, "price": showLatest, "tumbling": showPanes, "sliding": showPanes,
	"sessions": showPanes, "totals-window": showPanes}

// units compares the final states of a task.
func (j *judgement) units(stage string, part int, want map[string]unitsOf) {
	for _, t := range j.s.tasks {
		if t.stage.name != stage || int(t.part) != part {
			continue
		}
		got, err := t.now.core.states()
		if err != nil {
			j.fail("%s/%d: %v", stage, part, err)
			return
		}
		for operator, units := range want {
			for key, text := range units {
				b, ok := got[operator+"\x00"+key]
				show := shows[operator]
				if show == nil {
					show = showText
				}
				if !ok {
					j.fail("%s/%d: %s has no state of %q, want %s", stage, part, operator, key, text)
				} else if have := unitText([]byte(b), show); have != text {
					j.fail("%s/%d: %s has %q as\n%s, want\n%s", stage, part, operator, key, have, text)
				}
				delete(got, operator+"\x00"+key)
				j.counts["event state"]++
			}
		}
		for _, key := range sortedKeys(got) {
			j.fail("%s/%d: a state that should not be: %q", stage, part, key)
		}
	}
}
