package stream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// bell is a timer, in a list of all.
type bell struct {
	at        int64
	key, name string
}

func firstBell(all []bell, mark int64) (first int) {
	first = -1
	for i, b := range all {
		if b.at > mark {
			continue
		}
		if first < 0 || b.at < all[first].at || b.at == all[first].at && (b.key < all[first].key || b.key == all[first].key && b.name < all[first].name) {
			first = i
		}
	}
	return first
}

func without(all []bell, key, name string) []bell {
	return slices.DeleteFunc(all, func(b bell) bool { return b.key == key && (b.name == name || name == "") })
}

func bellsText(all []bell, key string) (timers []string) {
	for _, b := range all {
		if b.key == key {
			timers = append(timers, fmt.Sprintf("%s@%d", b.name, b.at))
		}
	}
	return timers
}

// visitsOf does what the operator of the first stage does.
func visitsOf(feds []fed) (all []said, units unitsOf) {
	sums := map[string]int64{}
	var bells []bell
	for _, f := range feds {
		var c simClick
		if err := c.parse([]byte(f.value)); err != nil {
			panic(err)
		}
		sums[f.key] += c.n
		say := func(v simClick) {
			all = append(all, said{call: call{rec: f.rec}, partition: -1, key: v.page, port: 1, time: f.time, data: string(v.text(nil))})
		}
		switch c.op {
		case "many":
			for _, page := range []string{"p3", "p0", "p2"} {
				say(simClick{c.user, page, c.at, c.n, "one"})
			}
		case "cancel":
			bells = without(bells, f.key, "away")
		case "leave":
			bells = without(bells, f.key, "")
			delete(sums, f.key)
		default:
			bells = append(without(bells, f.key, "away"), bell{f.time + 4e9, f.key, "away"})
		}
		say(c)
		for i := firstBell(bells, f.after); i >= 0; i = firstBell(bells, f.after) {
			b := bells[i]
			bells = slices.Delete(bells, i, i+1)
			v := simClick{b.key, "p" + b.key[1:], b.at / 1e6, sums[b.key], b.name}
			all = append(all, said{call: call{f.rec, true, b.at, 0, b.key, b.name}, partition: -1, key: v.page, port: 1, time: b.at, data: string(v.text(nil))})
		}
	}
	units = unitsOf{}
	for key, sum := range sums {
		units[key] = unitOf(bellsText(bells, key), strconv.FormatInt(sum, 10))
	}
	return all, units
}

// keeper is the operator that has all kinds of states.
type keeper struct {
	keys  map[string]*keep
	bells []bell
	all   []said
}

type keep struct {
	page   string
	n      int64
	users  map[string]int64
	recent []numberedValue
	seen   int64
}

type numberedValue struct {
	number int
	value  int64
}

const keepOperator = 2

// touch returns a key's state, made if there is none.
func (k *keeper) touch(key string, time int64) *keep {
	s := k.keys[key]
	if s == nil {
		s = &keep{users: map[string]int64{}, seen: time}
		k.keys[key] = s
	}
	s.seen = max(s.seen, time)
	return s
}

func (k *keeper) clear(key string) {
	delete(k.keys, key)
	k.bells = without(k.bells, key, "")
}

func (k *keeper) tell(c call, why, key string, time int64) {
	s := k.keys[key]
	if s == nil {
		s = &keep{}
	}
	words := []string{why, key, fmt.Sprint(s.n)}
	for _, user := range sortedKeys(s.users) {
		words = append(words, fmt.Sprintf("%s=%d", user, s.users[user]))
	}
	for _, r := range s.recent {
		words = append(words, fmt.Sprint(r.value))
	}
	k.all = append(k.all, said{call: c, out: outKept, partition: -1, key: key, time: time, data: strconv.Quote(strings.Join(words, " "))})
}

func (s *keep) add(n int64) {
	next := 1
	if len(s.recent) > 0 {
		next = s.recent[len(s.recent)-1].number + 1
	}
	if s.recent = append(s.recent, numberedValue{next, n}); len(s.recent) > 4 {
		s.recent = s.recent[2:]
	}
}

func (k *keeper) event(e element) {
	n := e.n
	if n%11 == 0 {
		k.tell(call{rec: e.rec}, "clear", e.key, e.time)
		k.clear(e.key)
	}
	s := k.touch(e.key, e.time)
	if n%5 != 0 {
		s.page, s.n = simPageOf(e.fed.value), s.n+1
	}
	user, _, _ := strings.Cut(e.fed.value, " ")
	s.users[user] += n
	s.add(n)
	switch {
	case n%13 == 0:
		k.bells = append(without(k.bells, e.key, "past"), bell{e.time - 5e9, e.key, "past"})
	case n%7 == 0:
		k.bells = without(k.bells, e.key, "flush")
	case n%3 == 0:
		k.bells = append(without(k.bells, e.key, "flush"), bell{e.time + 3e9, e.key, "flush"})
	case n%4 == 0:
		delete(s.users, "u1")
		k.tell(call{rec: e.rec}, "now", e.key, e.time)
	}
}

func simPageOf(value string) string { return strings.Split(value, " ")[1] }

// ring rings the first bell that is due, of a timer or of a state's end.
func (k *keeper) ring(rec int, mark int64) bool {
	due := slices.Clone(k.bells)
	for _, key := range sortedKeys(k.keys) {
		due = append(due, bell{k.keys[key].seen + int64(simKeepTTL), key, "\x00"})
	}
	i := firstBell(due, mark)
	if i < 0 {
		return false
	}
	b := due[i]
	if b.name == "\x00" {
		k.clear(b.key)
		return true
	}
	k.bells = without(k.bells, b.key, b.name)
	k.tell(call{rec, true, b.at, keepOperator, b.key, b.name}, b.name, b.key, b.at)
	if b.name == "flush" && len(k.keys[b.key].recent) > 0 {
		k.touch(b.key, b.at).recent = nil
	}
	return true
}

// keepOf does what the operator with all kinds of states does. Its map and list
// are operators of their own in a snapshot.
func keepOf(priced []element, feds []fed) (all []said, units, users, recent unitsOf) {
	k := &keeper{keys: map[string]*keep{}}
	for _, f := range feds {
		for ; len(priced) > 0 && priced[0].rec == f.rec; priced = priced[1:] {
			k.event(priced[0])
		}
		for k.ring(f.rec, f.after) {
		}
	}
	units, users, recent = unitsOf{}, unitsOf{}, unitsOf{}
	for key, s := range k.keys {
		full := string(rune(len(key))) + key
		units[key] = unitOf(append(bellsText(k.bells, key), "ttl"), fmt.Sprintf("%s %d", s.page, s.n))
		for user, n := range s.users {
			users[full+user] = unitOf(nil, fmt.Sprint(n))
		}
		for _, r := range s.recent {
			recent[full+string([]byte{0, 0, 0, 0, 0, 0, byte(r.number >> 8), byte(r.number)})] = unitOf(nil, fmt.Sprint(r.value))
		}
	}
	return k.all, units, users, recent
}
