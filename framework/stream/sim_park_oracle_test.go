package stream

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// parkOracle says what must come of the logs of the topology with poison. It keeps a
// key's state by value, so that what fails leaves nothing.
type parkOracle struct {
	version  parkVersion
	counts   map[string]int
	failures []string
}

func (o *parkOracle) fail(format string, args ...any) {
	if len(o.failures) < 5 {
		o.failures = append(o.failures, fmt.Sprintf(format, args...))
	}
}

// parkItem is an event or element in its log.
type parkItem struct {
	offset int64
	key    string
	time   int64 // milliseconds
	value  string
}

// parkHeld is a key that is parked.
type parkHeld struct {
	at       int64
	timer    string
	timerAt  int64
	attempts int
	items    []parkItem
}

func (h *parkHeld) String() string {
	b := fmt.Appendf(nil, "@%d %q %d", h.at, h.timer, h.attempts)
	for _, i := range h.items {
		b = fmt.Appendf(b, " %d", i.offset)
	}
	return string(b)
}

// parkStage folds one partition, whatever its calls do.
type parkStage struct {
	o    *parkOracle
	name string
	part int32
	held map[string]*parkHeld
	// call folds an item; false: it fails, and must have changed nothing.
	call func(parkItem) bool
	// fire calls a timer; cancel takes it away. Nil: there are none.
	fire   func(key, name string) bool
	cancel func(key, name string)
}

func (s *parkStage) take(i parkItem) {
	if h := s.held[i.key]; h != nil {
		h.items = append(h.items, i)
		s.o.counts["event held"]++
		return
	}
	if !s.call(i) {
		s.held[i.key] = &parkHeld{at: i.offset, items: []parkItem{i}}
		if s.name != "events" {
			s.o.counts["behind the shuffle"]++
		}
	}
}

// rule obeys a ruling, and reports whether it was for this stage.
func (s *parkStage) rule(data string) bool {
	var r Ruling
	if json.Unmarshal([]byte(data), &r) != nil || r.Topology != "parks" || r.Version != s.o.version.number {
		s.o.counts["ruling without effect"]++
		return true
	}
	if r.Operator != s.name {
		return false
	}
	h := s.held[r.Key]
	if r.Partition != s.part || h == nil || h.at != r.Offset {
		s.o.counts["ruling without effect"]++
		return true
	}
	h.attempts++
	if h.timer != "" && !s.fire(r.Key, h.timer) {
		if r.Act == Retry {
			s.o.counts["retry failed"]++
			return true
		}
		s.cancel(r.Key, h.timer)
	}
	h.timer = ""
	for len(h.items) > 0 {
		if !s.call(h.items[0]) && r.Act == Retry {
			h.at = h.items[0].offset
			s.o.counts["retry failed"]++
			return true
		}
		h.items = h.items[1:]
	}
	delete(s.held, r.Key)
	s.o.counts[map[Act]string{Retry: "retry succeeded", Discard: "discarded"}[r.Act]]++
	return true
}

// parkDoc is a key's state before the shuffle.
type parkDoc struct {
	sum    int64
	last   []int64
	by     map[string]int64
	users  map[string]int64
	recent []int64
	timers map[string]int64 // when each is due
}

func (d *parkDoc) clone() *parkDoc {
	c := *d
	c.last, c.recent = slices.Clone(d.last), slices.Clone(d.recent)
	c.by, c.users, c.timers = maps.Clone(d.by), maps.Clone(d.users), maps.Clone(d.timers)
	return &c
}

func emptyDoc() *parkDoc {
	return &parkDoc{by: map[string]int64{}, users: map[string]int64{}, timers: map[string]int64{}}
}

func (d *parkDoc) tell(key, what string) simSum {
	b := fmt.Appendf(nil, "%s,%s,%d", key, what, d.sum)
	for _, n := range d.last {
		b = fmt.Appendf(b, ",%d", n)
	}
	b = fmt.Appendf(b, ",%d,%d", d.by["bad"], d.by["one"])
	for _, op := range slices.Sorted(maps.Keys(d.users)) {
		b = fmt.Appendf(b, ",%s=%d", op, d.users[op])
	}
	for _, n := range d.recent {
		b = fmt.Appendf(b, ",%d", n)
	}
	return simSum{string(b), d.sum}
}

// parkFirstStage is a partition before the shuffle.
type parkFirstStage struct {
	parkStage
	docs          map[string]*parkDoc
	mark, maxTime int64
	said          []simSum        // to the topic
	out           map[int][]said2 // to the shuffle
}

// said2 is an element, or a ruling, for a partition of the shuffle.
type said2 struct{ key, value string }

func (f *parkFirstStage) doc(key string) *parkDoc {
	if d := f.docs[key]; d != nil {
		return d.clone()
	}
	return emptyDoc()
}

func (f *parkFirstStage) say(v simSum) {
	f.said = append(f.said, v)
	key := "g" + strconv.FormatInt(v.n%7, 10)
	p := int(eventlog.PartitionOf([]byte(key), simShuffles))
	f.out[p] = append(f.out[p], said2{key, v.key + " " + strconv.FormatInt(v.n, 10)})
}

func (f *parkFirstStage) event(i parkItem) bool {
	v, ok := splitOp(i.value)
	if !ok {
		return f.o.version.mended
	}
	d := f.doc(i.key)
	d.sum += v.n
	d.by[v.op]++
	if d.last = append(d.last, v.n); len(d.last) > 3 {
		d.last = d.last[1:]
	}
	if d.recent = append(d.recent, v.n); len(d.recent) > 2 {
		d.recent = d.recent[1:]
	}
	if v.n%5 == 0 {
		delete(d.users, "one")
	}
	d.users[v.op] = v.n
	said := d.tell(i.key, v.op)
	switch v.op {
	case "bad", "panics":
		if !f.o.version.mended {
			return false
		}
	case "early":
		if f.mark < v.n && !f.o.version.mended {
			return false
		}
	case "wake":
		d.timers["ring"] = i.time + v.n
	case "fail":
		d.timers["fail"] = i.time + v.n
	case "clear":
		d = emptyDoc()
	}
	f.docs[i.key] = d
	f.say(said)
	return true
}

func (f *parkFirstStage) timer(key, name string) bool {
	d := f.doc(key)
	if _, stands := d.timers[name]; !stands {
		return true
	}
	delete(d.timers, name)
	d.sum += 1000
	if name == "fail" && !f.o.version.mended {
		return false
	}
	f.docs[key] = d
	f.say(d.tell(key, name))
	return true
}

// pass moves the watermark and fires what is due, in order of time, key and name.
func (f *parkFirstStage) pass(offset int64) {
	mark := max(f.mark, f.maxTime-parkLate.Milliseconds())
	for {
		var key, name string
		at := int64(-1)
		for k, d := range f.docs {
			for n, due := range d.timers {
				if f.held[k] == nil && due <= mark && (at < 0 || due < at || due == at && (k < key || k == key && n < name)) {
					key, name, at = k, n, due
				}
			}
		}
		if at < 0 {
			break
		}
		if !f.timer(key, name) {
			f.held[key] = &parkHeld{at: offset, timer: name, timerAt: at}
			f.o.counts["timer parked"]++
		}
	}
	f.mark = mark
}

// first folds a partition of the events.
func (o *parkOracle) first(p int, log []eventlog.Record) *parkFirstStage {
	f := &parkFirstStage{docs: map[string]*parkDoc{}, mark: -1 << 40, maxTime: -1 << 40, out: map[int][]said2{}}
	f.parkStage = parkStage{o: o, name: "events", part: int32(p), held: map[string]*parkHeld{}, call: f.event, fire: f.timer,
		cancel: func(key, name string) { delete(f.docs[key].timers, name) }}
	var decoder event.Decoder
	var open []func()
	for _, r := range log {
		var e event.Envelope
		if decoder.Decode(r.Header, &e) != nil {
			continue // a claim
		}
		open = append(open, func() {
			f.maxTime = max(f.maxTime, e.Time.UnixMilli())
			if e.Type != RulingType {
				f.take(parkItem{r.Offset, string(r.Key), e.Time.UnixMilli(), string(r.Value)})
			} else if !f.rule(string(r.Value)) {
				var to Ruling
				_ = json.Unmarshal(r.Value, &to) // rule has read it
				if to.Operator == "groups" {
					q := int(to.Partition) % simShuffles
					f.out[q] = append(f.out[q], said2{to.Key, string(r.Value)})
				}
			}
		})
		if len(open) == e.Count {
			for _, fold := range open {
				fold()
			}
			open = nil
			f.pass(r.Offset)
		}
	}
	return f
}

// second folds a partition of the shuffle.
func (o *parkOracle) second(p int, feds []fed) (said []string, sums map[string]int64, s *parkStage) {
	sums = map[string]int64{}
	s = &parkStage{o: o, name: "groups", part: int32(p), held: map[string]*parkHeld{}}
	s.call = func(i parkItem) bool {
		n := number64(i.value[strings.LastIndex(i.value, " ")+1:])
		if n%13 == 5 && !o.version.mended {
			return false
		}
		sums[i.key] += n
		said = append(said, fmt.Sprintf("%s %d", i.key, sums[i.key]))
		return true
	}
	for _, f := range feds {
		if uint64(f.port) == rulingPort {
			s.rule(f.value)
		} else if f.port > 0 {
			s.take(parkItem{f.offset, f.key, f.time / 1e6, f.value})
		}
	}
	return said, sums, s
}

// judge compares a simulation with what must come of its logs.
func (o *parkOracle) judge(s *Simulation, store *simStore) []string {
	held := map[string]map[string]*parkHeld{}
	var shuffle []accepted
	for p := range simShuffles {
		shuffle = append(shuffle, accept(s.logs[fmt.Sprintf("parks.groups.%d", o.version.number)][p], o.version.number, parkParts, o.counts))
	}
	for p := range parkParts {
		f := o.first(p, s.logs[parkTopic][p])
		held[fmt.Sprintf("events/%d", p)] = f.held
		var said []string
		for _, v := range f.said {
			said = append(said, fmt.Sprintf("%s %d", v.key, v.n))
		}
		o.same(fmt.Sprintf("first/%d", p), values(s.logs["first"][p]), said)
		for q := range simShuffles {
			var got, want []string
			for _, w := range shuffle[q].written[[2]uint64{0, uint64(p)}] {
				got = append(got, w.key+": "+w.data)
			}
			for _, w := range f.out[q] {
				want = append(want, w.key+": "+w.value)
			}
			o.same(fmt.Sprintf("what events/%d wrote to groups/%d", p, q), got, want)
		}
	}
	for p := range simShuffles {
		said, sums, stage := o.second(p, shuffle[p].feds)
		held[fmt.Sprintf("groups/%d", p)] = stage.held
		o.same(fmt.Sprintf("second/%d", p), values(s.logs["second"][p]), said)
		if len(s.topology.stages[1].stores) == 0 {
			continue
		}
		if got := store.shelves[int32(p)].sums; !maps.Equal(got, sums) {
			o.fail("the store holds of groups/%d\n%v, want\n%v", p, got, sums)
		}
	}
	for _, l := range s.lives {
		o.parked(l, held[fmt.Sprintf("%s/%d", l.task.stage.name, l.task.part)])
	}
	return o.failures
}

// parked compares what a task has parked.
func (o *parkOracle) parked(l *life, want map[string]*parkHeld) {
	got := map[string]string{}
	count := 0
	for _, u := range l.core.parking.keys.all() {
		h := parkHeld{at: u.state.at, attempts: u.state.attempts}
		if u.state.timer != nil {
			h.timer = u.state.timer.name
		}
		for _, at := range u.state.events.List(0, u.state.events.Count) {
			h.items = append(h.items, parkItem{offset: at})
			count++
		}
		got[u.key] = h.String()
	}
	for key, h := range want {
		if got[key] != h.String() {
			o.fail("%s/%d has parked of %s %q, want %q", l.task.stage.name, l.task.part, key, got[key], h)
		}
	}
	if len(got) != len(want) || count != l.core.parking.count {
		o.fail("%s/%d has parked %d keys, want %d; it counts %d events, and has %d", l.task.stage.name, l.task.part, len(got), len(want), l.core.parking.count, count)
	}
}

func values(log []eventlog.Record) (all []string) {
	for _, r := range log {
		all = append(all, string(r.Value))
	}
	return all
}

func (o *parkOracle) same(what string, got, want []string) {
	if slices.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	at := func(list []string) string { return fmt.Sprintf("%.300q", list[min(i, len(list)):min(i+1, len(list))]) }
	o.fail("%s: %d, want %d; the first that differs is number %d: %s, want %s", what, len(got), len(want), i, at(got), at(want))
}
