package viewtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

func (d *documents) page(sets []view.Ref, after *view.Entry, n int) []view.Entry {
	d.Helper()
	got, err := d.store.Page(d.ctx, d.g, sets, after, n)
	if err != nil {
		d.Fatalf("page: %v", err)
	}
	if len(got) > n {
		d.Fatalf("a page of at most %d has %d entries", n, len(got))
	}
	return got
}

// wantPage checks the one page that sets fill.
func (d *documents) wantPage(sets []view.Ref, n int, want ...view.Entry) {
	d.Helper()
	if got := d.page(sets, nil, n); !slices.Equal(got, want) {
		d.Errorf("page %q, want %q", got, want)
	}
}

// all pages through sets, n entries at a time, and gives up when more come than
// there are.
func (d *documents) all(sets []view.Ref, n, most int) []view.Entry {
	d.Helper()
	var all []view.Entry
	var after *view.Entry
	for len(all) <= most {
		got := d.page(sets, after, n)
		if len(got) == 0 {
			return all
		}
		all = append(all, got...)
		last := all[len(all)-1]
		after = &last
	}
	d.Fatalf("paging by %d does not end: %d entries of %d", n, len(all), most)
	return nil
}

// greatestFirst is the order of pages.
func greatestFirst(a, b view.Entry) int {
	return cmp.Or(strings.Compare(b.Sort, a.Sort), strings.Compare(b.Member, a.Member), strings.Compare(b.Set, a.Set))
}

// spread are sorts and members that are ordered differently by bytes than by
// length, number, letter or rune.
var spread = []string{"", "0", "1", "10", "2", "A", "a", "aa", "ab", "b", " ", "!", "~", "a\x01", "a\xff", "é", "z", "東", "🏎", "\x7f", "\xff", "\uffff"}

// fill puts entries of every pair of spread into two sets of three partitions,
// each entry into the one that its place among all names.
func (d *documents) fill() (refs []view.Ref, entries []view.Entry) {
	batches := make(map[int32]*view.Batch)
	writers := make(map[int32]*writer)
	for _, p := range []int32{0, 1, 12} {
		writers[p] = d.writer(p)
		batches[p] = writers[p].batch(1)
		refs = append(refs, view.Ref{Partition: p, Key: "s"}, view.Ref{Partition: p, Key: "t"})
	}
	for i, sort := range spread {
		for j, member := range append([]string{"x\x00y"}, spread[1:]...) {
			r := refs[(i*7+j*5)%len(refs)]
			e := view.Entry{Set: r.Key, Sort: sort, Member: member}
			batches[r.Partition].Adds = append(batches[r.Partition].Adds, e)
			entries = append(entries, e)
		}
	}
	for p, w := range writers {
		w.must(batches[p])
	}
	slices.SortFunc(entries, greatestFirst)
	return refs, entries
}

func pagesMerge(d *documents) {
	refs, want := d.fill()
	for _, n := range []int{1, 2, 7, 100, len(want) - 1, len(want), view.MaxPage} {
		if got := d.all(refs, n, len(want)); !slices.Equal(got, want) {
			i := 0
			for i < min(len(got), len(want)) && got[i] == want[i] {
				i++
			}
			d.Errorf("pages of %d: %d entries, want %d; from place %d on %.3q, want %.3q", n, len(got), len(want), i, got[i:], want[i:])
		}
	}
	s := slices.DeleteFunc(slices.Clone(want), func(e view.Entry) bool { return e.Set != "s" })
	if got := d.all([]view.Ref{refs[0], refs[2], refs[4]}, 5, len(want)); !slices.Equal(got, s) {
		d.Errorf("the parts of one set: %d entries, want %d", len(got), len(s))
	}
	if got := d.page(nil, nil, 10); len(got) != 0 {
		d.Errorf("a page of no set: %q", got)
	}
	if got := d.page([]view.Ref{{Key: "none"}}, &view.Entry{Set: "s", Sort: "5", Member: "m"}, 10); len(got) != 0 {
		d.Errorf("a page of an unknown set: %q", got)
	}
}

// pagesOfTies has the same sort and member in several sets, and one sort for
// many members.
func pagesOfTies(d *documents) {
	var want []view.Entry
	w := d.writer(0)
	b := w.batch(1)
	sets := []string{"s", "t", "u", "a", "sa"}
	var refs []view.Ref
	for _, set := range sets {
		refs = append(refs, view.Ref{Key: set})
		for i := range 6 {
			e := view.Entry{Set: set, Sort: fmt.Sprint(i / 3), Member: fmt.Sprint(i % 3)}
			b.Adds, want = append(b.Adds, e), append(want, e)
		}
	}
	w.must(b)
	slices.SortFunc(want, greatestFirst)
	for n := 1; n <= len(want)+1; n++ {
		if got := d.all(refs, n, len(want)); !slices.Equal(got, want) {
			d.Errorf("pages of %d: %q, want %q", n, got, want)
		}
	}
}

// pageGoesOnExactly adds above and below the place that a reader has reached.
func pageGoesOnExactly(d *documents) {
	a, b := d.writer(0), d.writer(1)
	refs := []view.Ref{{Key: "s"}, {Partition: 1, Key: "s"}}
	var want []view.Entry
	for i := range 20 {
		e := view.Entry{Set: "s", Sort: fmt.Sprintf("%03d", 100+i), Member: "m"}
		[]*writer{a, b}[i%2].add(e.Set, e.Sort, e.Member)
		want = append(want, e)
	}
	slices.SortFunc(want, greatestFirst)
	var got []view.Entry
	var after *view.Entry
	for i := 0; len(got) < len(want); i++ {
		next := d.page(refs, after, 3)
		if len(next) == 0 {
			break
		}
		got = append(got, next...)
		after = &got[len(got)-1]
		a.add("s", fmt.Sprintf("9%03d", i), "new")
		b.add("s", after.Sort, "n") // just above
	}
	if !slices.Equal(got, want) {
		d.Errorf("while entries came above: %q, want %q", got, want)
	}
	low := view.Entry{Set: "s", Sort: "000", Member: "m"}
	b.add(low.Set, low.Sort, low.Member)
	if next := d.page(refs, after, 3); !slices.Equal(next, []view.Entry{low}) {
		d.Errorf("behind the last: %q, want the entry added below", next)
	}
}

func pageGoesOnBehindRemoved(d *documents) {
	w := d.writer(0)
	for _, sort := range []string{"1", "2", "3"} {
		w.add("s", sort, "m")
	}
	refs := []view.Ref{{Key: "s"}}
	first := d.page(refs, nil, 2)
	b := w.batch(1)
	b.Removes = first
	w.must(b)
	after := first[len(first)-1]
	want := []view.Entry{{Set: "s", Sort: "1", Member: "m"}}
	if got := d.page(refs, &after, 2); !slices.Equal(got, want) {
		d.Errorf("behind an entry removed: %q, want %q", got, want)
	}
}

func greatestPageFits(d *documents) {
	w := d.writer(0)
	b := w.batch(1)
	for i := range 2*view.MaxPage + 1 {
		b.Adds = append(b.Adds, view.Entry{Set: "s", Sort: fmt.Sprintf("%06d", i), Member: "m"})
	}
	w.must(b)
	want := slices.Clone(b.Adds)
	slices.Reverse(want)
	if got := d.all([]view.Ref{{Key: "s"}}, view.MaxPage, len(want)); !slices.Equal(got, want) {
		d.Errorf("pages of %d: %d entries, want %d", view.MaxPage, len(got), len(want))
	}
}

// rankCounts asks for the place of each entry, of where some are not, and beyond.
func rankCounts(d *documents) {
	refs, entries := d.fill()
	of := refs[0]
	var mine []view.Entry
	for after := (*view.Entry)(nil); ; after = &mine[len(mine)-1] {
		page := d.page([]view.Ref{of}, after, 50)
		if mine = append(mine, page...); len(page) == 0 {
			break
		}
	}
	rank := func(of view.Ref, at view.Entry) int64 {
		d.Helper()
		n, err := d.store.Rank(d.ctx, d.g, of, at)
		if err != nil {
			d.Fatalf("rank of %q: %v", at, err)
		}
		return n
	}
	for _, e := range entries {
		want := int64(0)
		for _, m := range mine {
			if greatestFirst(m, view.Entry{Set: m.Set, Sort: e.Sort, Member: e.Member}) <= 0 {
				want++
			}
		}
		if got := rank(of, e); got != want {
			d.Errorf("%d entries are not below %q, want %d of %d", got, e, want, len(mine))
		}
	}
	if got := rank(of, view.Entry{Sort: "\xff\xff", Member: "m"}); got != 0 {
		d.Errorf("%d entries are not below the greatest", got)
	}
	if got := rank(view.Ref{Partition: 12, Key: "none"}, mine[0]); got != 0 {
		d.Errorf("%d entries in a set that is not there", got)
	}
	_, err := d.store.Rank(d.ctx, d.g, of, view.Entry{Sort: "a\x00b", Member: "m"})
	wantNamed(&d.subject, err, "zero byte")
}
