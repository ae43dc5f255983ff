package projections

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Top is a field of a document that counts texts and shows those that were counted
// most: a tribe's most active members, say. It has a bounded number of counters, by
// the space-saving method: a text that finds none free takes over the least one, with
// its count, and says so by an Error. A text that was counted more often than all
// counts together divided by the counters is surely among them.
//
// The zero Top shows 10 of 100 counters; see [NewTop]. In JSON, which is all that readers
// see, it is a list of [Counted], the most first and equal ones by key. Its other
// counters are kept in snapshots, beside the document. It is a value: a copy counts for
// itself. An addition costs as much as there are counters.
type Top struct {
	shown, counters int       // 0: the defaults
	list            []Counted // sorted as it is shown; never changed in place
}

// Counted is a text with its count.
type Counted struct {
	Key   string `json:"key"`
	Count uint64 `json:"count"` // at most Error more than it was
	Error uint64 `json:"error"`
}

// Limits of a Top.
const (
	MaxCounters   = 1000
	MaxCountedKey = 256 // bytes of a text; of a longer one, these count

	shownByDefault    = 10
	countersByDefault = 100
)

// NewTop returns a Top that shows so many of so many counters: 1 to MaxCounters, of
// which it shows all or fewer. Other numbers are brought within these bounds.
func NewTop(shown, counters int) Top {
	counters = min(max(counters, 1), MaxCounters)
	return Top{shown: min(max(shown, 1), counters), counters: counters}
}

// IsNew reports whether nothing was counted and t is none that NewTop has returned.
func (t Top) IsNew() bool { return t.list == nil && t.counters == 0 }

func (t Top) bounds() (shown, counters int) {
	return cmp.Or(t.shown, shownByDefault), cmp.Or(t.counters, countersByDefault)
}

// Add counts a text once more.
func (t *Top) Add(text string) { t.AddN(text, 1) }

// AddN counts a text n times more.
func (t *Top) AddN(text string, n uint64) {
	if n == 0 {
		return
	}
	if len(text) > MaxCountedKey {
		text = text[:MaxCountedKey]
	}
	one := Counted{Key: text, Count: n}
	list := slices.Clone(t.list)
	_, counters := t.bounds()
	switch at := slices.IndexFunc(list, func(c Counted) bool { return c.Key == text }); {
	case at >= 0:
		one = list[at]
		one.Count += n
		list = slices.Delete(list, at, at+1)
	case len(list) >= counters:
		least := list[len(list)-1]
		one.Count, one.Error = least.Count+n, least.Count
		list = list[:len(list)-1]
	}
	at, _ := slices.BinarySearchFunc(list, one, most)
	t.list = slices.Insert(list, at, one)
}

// most is the order of a Top.
func most(a, b Counted) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Key, b.Key))
}

// List returns what is shown, the most first.
func (t Top) List() []Counted {
	shown, _ := t.bounds()
	return slices.Clone(t.list[:min(shown, len(t.list))])
}

// MarshalJSON writes what is shown.
func (t Top) MarshalJSON() ([]byte, error) {
	list := t.List()
	if list == nil {
		list = []Counted{}
	}
	return json.Marshal(list)
}

// UnmarshalJSON reads what was shown, to be shown again.
func (t *Top) UnmarshalJSON(data []byte) error {
	*t = Top{}
	if err := json.Unmarshal(data, &t.list); err != nil {
		return err
	}
	if n := len(t.list); n > MaxCounters {
		return fmt.Errorf("a Top of %d, at most %d", n, MaxCounters)
	}
	if t.shown = len(t.list); t.shown > 0 {
		t.counters = max(t.shown, countersByDefault)
	}
	return nil
}

// topFormat is the version of what appendState writes.
const topFormat = 1

// appendState writes all counters. Equal ones give equal bytes.
func (t *Top) appendState(b []byte) []byte {
	b = append(b, topFormat)
	b = binary.AppendUvarint(b, uint64(t.shown))
	b = binary.AppendUvarint(b, uint64(t.counters))
	b = binary.AppendUvarint(b, uint64(len(t.list)))
	for _, c := range t.list {
		b = packed.AppendBytes(b, c.Key)
		b = binary.AppendUvarint(b, c.Count)
		b = binary.AppendUvarint(b, c.Error)
	}
	return b
}

func (t *Top) restoreState(data []byte) error {
	*t = Top{}
	if len(data) == 0 || data[0] != topFormat {
		return fmt.Errorf("state of a Top begins with % x, this program reads format %d", data[:min(len(data), 1)], topFormat)
	}
	r := packed.Read(data[1:])
	shown, counters, n := r.Number(), r.Number(), r.Count(3)
	if counters > MaxCounters || shown > counters || n > MaxCounters {
		return fmt.Errorf("mangled state of a Top: %d of %d counters, %d in use", shown, counters, n)
	}
	t.shown, t.counters = int(shown), int(counters)
	for range n {
		c := Counted{Key: string(r.Bytes()), Count: r.Number(), Error: r.Number()}
		if len(t.list) > 0 && most(t.list[len(t.list)-1], c) >= 0 {
			r.Spoil()
		}
		t.list = append(t.list, c)
	}
	if r.Bad() || len(r.Rest()) > 0 {
		return errors.New("mangled state of a Top")
	}
	return nil
}
