package projections

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
)

// Unique is a field of a document that counts different texts: who has seen a post,
// say. The zero Unique has none. Up to 1,024 the count is exact; beyond it is an
// estimate by HyperLogLog, whose standard error is 0.81 %, and the field takes 16 KiB
// in the memory of the process that folds it, however many there are.
//
// In JSON, which is all that readers see, it is the count. What it counts by is kept
// in snapshots, beside the document. It is a value: a copy counts for itself. Its
// state depends on what was added alone, not on the order.
type Unique struct {
	few   []uint64 // hashes, sorted; never changed in place
	pages *pages   // registers, in their place once they are more; never changed in place
	read  uint64   // the count of one that was read as JSON
}

const (
	mostFew   = 1024
	precision = 14
	registers = 1 << precision
	pageSize  = 256
)

// pages are registers in pages, of which a change copies one.
type pages [registers / pageSize]*[pageSize]byte

// raise returns pages with a register that is at least r.
func (p *pages) raise(i int, r byte) *pages {
	page := p[i/pageSize]
	if page != nil && page[i%pageSize] >= r || r == 0 {
		return p
	}
	next, changed := *p, [pageSize]byte{}
	if page != nil {
		changed = *page
	}
	changed[i%pageSize] = r
	next[i/pageSize] = &changed
	return &next
}

// set sets a register of pages that are nobody else's yet.
func (p *pages) set(i int, r byte) {
	if p[i/pageSize] == nil {
		p[i/pageSize] = &[pageSize]byte{}
	}
	at := &p[i/pageSize][i%pageSize]
	*at = max(*at, r)
}

// all yields the registers that are not zero, in their order.
func (p *pages) all() iter.Seq2[int, byte] {
	return func(yield func(int, byte) bool) {
		for n, page := range p {
			if page == nil {
				continue
			}
			for i, r := range page {
				if r != 0 && !yield(n*pageSize+i, r) {
					return
				}
			}
		}
	}
}

// Add adds a text, which changes nothing if it was added before.
func (u *Unique) Add(text string) { u.add(hash(text)) }

// Merge adds all that was added to v.
func (u *Unique) Merge(v Unique) {
	for _, h := range v.few {
		u.add(h)
	}
	if v.pages == nil {
		return
	}
	u.spread()
	for i, r := range v.pages.all() {
		u.pages = u.pages.raise(i, r)
	}
}

func (u *Unique) add(h uint64) {
	u.read = 0
	if u.pages != nil {
		u.pages = u.pages.raise(register(h))
		return
	}
	at, there := slices.BinarySearch(u.few, h)
	if there {
		return
	}
	u.few = slices.Insert(slices.Clip(u.few), at, h) // clipped, it is copied
	if len(u.few) > mostFew {
		u.spread()
	}
}

// spread goes over to registers.
func (u *Unique) spread() {
	if u.pages != nil {
		return
	}
	u.pages = &pages{}
	for _, h := range u.few {
		u.pages.set(register(h))
	}
	u.few, u.read = nil, 0
}

// register returns which register a hash falls into, and what it says there: one more
// than the zeros that the rest of it begins with.
func register(h uint64) (i int, r byte) {
	return int(h >> (64 - precision)), byte(bits.LeadingZeros64(h<<precision|1<<(precision-1)) + 1)
}

// hash is the 64-bit hash of Fowler, Noll and Vo, its bits mixed as in MurmurHash3. It
// is part of what snapshots hold, for ever.
func hash(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Count returns how many different texts were added.
func (u Unique) Count() uint64 {
	switch {
	case u.pages != nil:
		return estimate(u.pages)
	case u.few != nil:
		return uint64(len(u.few))
	}
	return u.read
}

// estimate is Ertl's (New cardinality estimation algorithms for HyperLogLog sketches,
// 2017, algorithm 6), which needs neither tables nor ranges. Products are converted,
// so that no processor fuses them with a sum: the count is the same on all.
func estimate(p *pages) uint64 {
	const most, m = 64 - precision, float64(registers)
	var count [most + 2]float64
	for _, page := range p {
		if page == nil {
			count[0] += pageSize
			continue
		}
		for _, r := range page {
			count[r]++
		}
	}
	z := float64(m * tau(1-count[most+1]/m))
	for k := most; k >= 1; k-- {
		z = float64(0.5 * (z + count[k]))
	}
	z += float64(m * sigma(count[0]/m))
	return uint64(math.Round(float64(float64(m/(2*math.Ln2))*m) / z))
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for before := -1.0; z != before; {
		before = z
		x = float64(x * x)
		z += float64(x * y)
		y += y
	}
	return z
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for before := -1.0; z != before; {
		before = z
		x = math.Sqrt(x)
		y = float64(0.5 * y)
		d := 1 - x
		z -= float64(float64(d*d) * y)
	}
	return z / 3
}

// MarshalJSON writes the count.
func (u Unique) MarshalJSON() ([]byte, error) { return json.Marshal(u.Count()) }

// UnmarshalJSON reads a count, to be shown: what is added then counts from nothing.
func (u *Unique) UnmarshalJSON(data []byte) error {
	*u = Unique{}
	return json.Unmarshal(data, &u.read)
}

// Formats of a Unique's state.
const (
	uniqueFew  = 1 // hashes, 8 bytes each, sorted
	uniqueSome = 2 // registers that are not zero: each as uvarint, those left out before it, and its byte
)

// appendState writes what it counts by. Equal ones give equal bytes.
func (u *Unique) appendState(b []byte) []byte {
	if u.pages == nil {
		b = append(b, uniqueFew)
		for _, h := range u.few {
			b = binary.BigEndian.AppendUint64(b, h)
		}
		return b
	}
	b = append(b, uniqueSome)
	next := 0
	for i, r := range u.pages.all() {
		b = append(binary.AppendUvarint(b, uint64(i-next)), r)
		next = i + 1
	}
	return b
}

func (u *Unique) restoreState(data []byte) error {
	*u = Unique{}
	switch {
	case len(data) > 0 && data[0] == uniqueFew:
		return u.restoreFew(data[1:])
	case len(data) > 0 && data[0] == uniqueSome:
		return u.restoreSome(data[1:])
	}
	return fmt.Errorf("state of a Unique begins with % x, this program reads formats 1 and 2", data[:min(len(data), 1)])
}

func (u *Unique) restoreFew(data []byte) error {
	if len(data)%8 != 0 || len(data) > 8*mostFew {
		return fmt.Errorf("mangled state of a Unique: %d bytes of hashes", len(data))
	}
	for ; len(data) > 0; data = data[8:] {
		u.few = append(u.few, binary.BigEndian.Uint64(data))
	}
	for i := 1; i < len(u.few); i++ {
		if u.few[i-1] >= u.few[i] {
			return errors.New("mangled state of a Unique: its hashes are not sorted")
		}
	}
	return nil
}

func (u *Unique) restoreSome(data []byte) error {
	u.pages = &pages{}
	for at := uint64(0); len(data) > 0; at++ {
		zeros, n := binary.Uvarint(data)
		if n <= 0 || n == len(data) || zeros >= registers || at+zeros >= registers || data[n] == 0 || data[n] > 64-precision+1 {
			return errors.New("mangled state of a Unique: its registers are none")
		}
		at += zeros
		u.pages.set(int(at), data[n])
		data = data[n+1:]
	}
	return nil
}
