package stream

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// element is what an operator is given.
type element struct {
	fed
	n     int64  // what is folded
	value string // as it is published
}

// unitsOf is an operator's final states, by key.
type unitsOf map[string]string

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func byKey(all []element) map[string][]element {
	m := map[string][]element{}
	for _, e := range all {
		m[e.key] = append(m[e.key], e)
	}
	return m
}

// window is a result, and what made it.
type window struct {
	call
	of         string // key
	start, end int64
	acc        int64
}

// firstAfter returns the first record, from one on, after which the watermark has
// reached a time; -1: none.
func firstAfter(feds []fed, from int, at int64) int {
	for _, f := range feds[from:] {
		if f.after >= at {
			return f.rec
		}
	}
	return -1
}

func lastMark(feds []fed) int64 {
	if len(feds) == 0 {
		return oracleNoMark
	}
	return feds[len(feds)-1].after
}

// windowsOf folds fixed windows: each from the whole list of what it took.
func windowsOf(all []element, feds []fed, operator int, size, slide, lateness int64) (results []window, late []element, units unitsOf) {
	units = unitsOf{}
	for _, e := range all {
		taken := false
		for start := e.time - size + 1; start <= e.time; start++ {
			start += (slide - start%slide) % slide
			taken = taken || start <= e.time && start+size+lateness > e.before
		}
		if !taken {
			late = append(late, e)
		}
	}
	groups := byKey(all)
	for _, key := range sortedKeys(groups) {
		took := map[int64][]element{}
		for _, e := range groups[key] {
			for start := e.time - size + 1; start <= e.time; start++ {
				if start += (slide - start%slide) % slide; start <= e.time && start+size+lateness > e.before {
					took[start] = append(took[start], e)
				}
			}
		}
		var panes, timers []string
		for _, start := range slices.Sorted(maps.Keys(took)) {
			in, end := took[start], start+size
			results = append(results, fixedResults(in, feds, operator, key, start, end)...)
			if w := lastMark(feds); w < end+lateness {
				panes = append(panes, fmt.Sprintf("%d-%d=%d", start, end, chained(in)))
				if w < end {
					timers = append(timers, timerText("e", start, end))
				}
				if lateness > 0 {
					timers = append(timers, timerText("g", start, end+lateness))
				}
			}
		}
		if len(panes) > 0 {
			units[key] = unitOf(timers, strings.Join(panes, ";"))
		}
	}
	return results, late, units
}

func chained(in []element) (acc int64) {
	for _, e := range in {
		acc = (acc*31 + e.n) % 1_000_003
	}
	return acc
}

func fixedResults(in []element, feds []fed, operator int, key string, start, end int64) (results []window) {
	if in[0].before < end {
		if r := firstAfter(feds, in[0].rec, end); r >= 0 {
			n := 0
			for n < len(in) && in[n].rec <= r {
				n++
			}
			results = append(results, window{call{r, true, end, operator, key, "e" + strconv.FormatInt(start, 10)}, key, start, end, chained(in[:n])})
		}
	}
	for i, e := range in {
		if e.before >= end {
			results = append(results, window{call{rec: e.rec}, key, start, end, chained(in[:i+1])})
		}
	}
	return results
}

// sitting is a session.
type sitting struct {
	start, end int64
	acc        int64
	told       bool
}

// sessionsOf folds sessions, element by element, each key's on its own.
func sessionsOf(all []element, feds []fed, operator int, gap, lateness int64) (results []window, late []element, units unitsOf) {
	units = unitsOf{}
	groups := byKey(all)
	for _, key := range sortedKeys(groups) {
		var open []*sitting
		in := groups[key]
		for _, f := range feds[in[0].rec:] {
			for ; len(in) > 0 && in[0].rec == f.rec; in = in[1:] {
				e := in[0]
				s := &sitting{start: e.time, end: e.time + gap}
				var apart []*sitting
				for _, o := range open {
					if o.end <= e.time || o.start >= e.time+gap {
						apart = append(apart, o)
						continue
					}
					s.start, s.end, s.acc = min(s.start, o.start), max(s.end, o.end), s.acc+o.acc
				}
				if s.end+lateness <= f.before {
					late = append(late, e)
					continue
				}
				s.acc += e.n
				if open = append(apart, s); s.end <= f.before {
					s.told = true
					results = append(results, window{call{rec: f.rec}, key, s.start, s.end, s.acc})
				}
			}
			for _, s := range open {
				if !s.told && s.end <= f.after {
					s.told = true
					results = append(results, window{call{f.rec, true, s.end, operator, key, ""}, key, s.start, s.end, s.acc})
				}
			}
			open = slices.DeleteFunc(open, func(s *sitting) bool { return s.end+lateness <= f.after })
		}
		slices.SortFunc(open, func(a, b *sitting) int { return cmp.Compare(a.start, b.start) })
		var panes, timers []string
		for _, s := range open {
			panes = append(panes, fmt.Sprintf("%d-%d=%d", s.start, s.end, s.acc))
			if timers = append(timers, timerText("g", s.start, s.end+lateness)); !s.told {
				timers = append(timers, timerText("e", s.start, s.end))
			}
		}
		if len(panes) > 0 {
			units[key] = unitOf(timers, strings.Join(panes, ";"))
		}
	}
	return results, late, units
}

// couple is a pair of elements that meet.
type couple struct {
	rec   int
	key   string
	time  int64
	a, b  element
	order [2]int64 // of the one that waited: its time and record
}

// joinOf pairs what lies close enough: each with all that came before it.
func joinOf(as, bs []element, feds []fed, before, after int64) (pairs []couple, lateA, lateB []element, units unitsOf) {
	inTime := func(all []element) (in, late []element) {
		for _, e := range all {
			if e.time < e.before {
				late = append(late, e)
			} else {
				in = append(in, e)
			}
		}
		return in, late
	}
	as, lateA = inTime(as)
	bs, lateB = inTime(bs)
	bsOf := byKey(bs)
	for _, a := range as {
		for _, b := range bsOf[a.key] {
			if b.time < a.time-before || b.time > a.time+after {
				continue
			}
			c := couple{max(a.rec, b.rec), a.key, max(a.time, b.time), a, b, [2]int64{a.time, int64(a.rec)}}
			if a.rec > b.rec {
				c.order = [2]int64{b.time, int64(b.rec)}
			}
			pairs = append(pairs, c)
		}
	}
	slices.SortFunc(pairs, func(a, b couple) int {
		return slices.Compare([]int64{int64(a.rec), a.order[0], a.order[1]}, []int64{int64(b.rec), b.order[0], b.order[1]})
	})
	return pairs, lateA, lateB, waiting(as, bs, lastMark(feds), before, after)
}

// waiting says what is kept to be joined, and until when.
func waiting(as, bs []element, mark, before, after int64) unitsOf {
	kept := func(all []element, more int64) map[string][]element {
		all = slices.DeleteFunc(slices.Clone(all), func(e element) bool { return e.time+more+1 <= mark })
		slices.SortStableFunc(all, func(a, b element) int { return cmp.Compare(a.time, b.time) })
		return byKey(all)
	}
	a, b := kept(as, after), kept(bs, before)
	units := unitsOf{}
	for _, key := range append(sortedKeys(a), sortedKeys(b)...) {
		text := func(all []element) string {
			var s []string
			for _, e := range all {
				s = append(s, fmt.Sprintf("%d=%s", e.time, e.value))
			}
			return strings.Join(s, ";")
		}
		least := int64(1 << 62)
		for _, e := range a[key] {
			least = min(least, e.time+after+1)
		}
		for _, e := range b[key] {
			least = min(least, e.time+before+1)
		}
		units[key] = unitOf([]string{fmt.Sprintf("p@%d", least)}, text(a[key])+"|"+text(b[key]))
	}
	return units
}

// latestOf gives each a the latest b, as of its own place in the log.
func latestOf(as, bs []element, feds []fed, ttl int64) (prices []string, units unitsOf) {
	find := func(key string, rec int, mark int64) (latest *element) {
		seen := int64(0)
		for i := range bs {
			b := &bs[i]
			if b.key != key || b.rec >= rec {
				continue
			}
			if latest != nil && seen+ttl <= b.before {
				latest = nil
			}
			if latest == nil || b.time >= latest.time {
				latest, seen = b, b.time
			}
		}
		if latest != nil && seen+ttl <= mark {
			return nil
		}
		return latest
	}
	for _, a := range as {
		if b := find(a.key, a.rec, a.before); b != nil {
			prices = append(prices, strconv.FormatInt(b.n, 10))
		} else {
			prices = append(prices, "-1")
		}
	}
	units = unitsOf{}
	for key := range byKey(bs) {
		if b := find(key, len(feds), lastMark(feds)); b != nil {
			units[key] = unitOf([]string{"ttl"}, fmt.Sprintf("%d=%s", b.time, b.value))
		}
	}
	return prices, units
}
