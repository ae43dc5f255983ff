package viewtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// pagingTests hold for pages of search stores.
var pagingTests = map[string]func(*index){
	"queries equal a naive oracle":           queriesEqualTheOracle,
	"pages go on while documents come":       pagesGoOn,
	"pages go beyond what Skip reaches":      pagesGoBeyond,
	"the best come once while nobody writes": bestComeOnce,
}

// pages asks for page after page, calling between before each but the first.
func (x *index) pages(q view.Query, size int, between func()) (keys []string) {
	x.Helper()
	q.Size = size
	for page := 0; ; page++ {
		if page > 0 && between != nil {
			between()
		}
		find := x.find
		if page > 0 && between == nil {
			find = x.findAsIs
		}
		hits := find(q)
		keys = append(keys, keysOf(hits)...)
		if hits.Next == nil {
			return keys
		}
		if len(hits.Items) < size || page > 20_000 {
			x.Fatalf("page %d has %d hits, and there are more", page, len(hits.Items))
		}
		q.After = hits.Next
	}
}

// card is a document of the oracle, as the stores get it.
type card struct {
	ID      string   `json:"id"`
	Text    string   `json:"text"`
	Name    string   `json:"name"`
	Tag     []string `json:"tag,omitempty"`
	Handle  string   `json:"handle,omitempty"`
	Members any      `json:"members,omitempty"`
	Founded *string  `json:"founded,omitempty"`
	part    int32
}

// queriesEqualTheOracle asks random queries of random documents, whose words no analysis
// changes. SEED repeats a run.
func queriesEqualTheOracle(x *index) {
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if err != nil {
		seed = maphash.String(maphash.MakeSeed(), x.Name())
	}
	x.Logf("SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	x = x.kinds()
	all := make(map[string]card)
	writers := []*writer{x.writer(0), x.writer(1)}
	for round := range 3 {
		x.change(r, all, writers, round)
		for range 40 {
			q := randomQuery(r)
			want := oracle(all, q)
			size := 1 + r.IntN(20)
			got := x.pages(q, size, nil)
			if q.Scored() {
				slices.Sort(got)
				slices.Sort(want)
			}
			if !slices.Equal(got, want) {
				x.Fatalf("%+v in pages of %d:\n got %q\nwant %q", q, size, got, want)
			}
			if q.Size = 5; q.Skip < len(want) {
				q.Skip = r.IntN(len(want) + 1)
			}
			if hits := x.find(q); hits.Total != int64(len(want)) || len(hits.Items) != min(5, len(want)-q.Skip) {
				x.Fatalf("%+v: %d hits of %d, want %d of %d", q, len(hits.Items), hits.Total, min(5, len(want)-q.Skip), len(want))
			}
		}
	}
}

// change puts and deletes documents.
func (x *index) change(r *rand.Rand, all map[string]card, writers []*writer, round int) {
	x.Helper()
	for _, w := range writers {
		b := w.batch(1)
		for i := range 40 {
			key := fmt.Sprintf("%c%d", 'a'+r.IntN(3), i)
			if w.partition == 1 {
				key = "p" + key
			}
			if slices.ContainsFunc(b.Puts, func(p view.Put) bool { return p.Key == key }) {
				continue
			}
			if _, there := all[key]; there && r.IntN(3) == 0 {
				b.Deletes = append(b.Deletes, view.Ref{Partition: w.partition, Key: key, Offset: b.From})
				delete(all, key)
				continue
			}
			c := randomCard(r, key, w.partition)
			value, err := json.Marshal(c)
			if err != nil {
				x.Fatal(err)
			}
			b.Puts = append(b.Puts, view.Put{Key: key, Value: value, Offset: b.From})
			all[key] = c
		}
		w.must(b)
	}
}

var (
	oracleWords = []string{"ash", "elm", "oak", "oaken", "yew"}
	oracleTags  = []string{"", "A", "a", "b", "é", "zz"}
)

func some[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func randomCard(r *rand.Rand, key string, part int32) card {
	c := card{ID: key, Text: some(r, oracleWords) + " " + some(r, oracleWords), Name: some(r, oracleWords), part: part}
	for range r.IntN(3) {
		c.Tag = append(c.Tag, some(r, oracleTags))
	}
	c.Handle = some(r, []string{"", "Maya", "MAYA", "ines"})
	switch r.IntN(5) {
	case 0:
	case 1:
		c.Members = []float64{float64(r.IntN(9) - 4), r.NormFloat64()}
	case 2:
		c.Members = "many"
	default:
		c.Members = float64(r.IntN(9) - 4)
	}
	if r.IntN(4) > 0 {
		at := time.UnixMilli(r.Int64N(5) - 2).UTC().Format(time.RFC3339Nano)
		c.Founded = &at
	}
	return c
}

func randomQuery(r *rand.Rand) (q view.Query) {
	for range r.IntN(3) {
		q.Text += some(r, append([]string{"oa", "y", "elmo"}, oracleWords...)) + " "
	}
	if r.IntN(4) == 0 {
		q.Is = map[string]string{some(r, []string{"tag", "handle"}): some(r, append([]string{"maya", "iNes"}, oracleTags...))}
	}
	q.Ranges = make(map[string]view.Range)
	if r.IntN(3) == 0 {
		from := r.IntN(9) - 4
		q.Ranges["members"] = view.Range{From: strconv.Itoa(from), To: some(r, []string{"", strconv.Itoa(from + r.IntN(3))})}
	}
	if r.IntN(3) == 0 {
		q.Ranges["founded"] = view.Range{To: time.UnixMilli(r.Int64N(5) - 2).UTC().Format(time.RFC3339Nano)}
	}
	if q.Sort = some(r, []string{"", "id", "tag", "handle", "members", "founded"}); q.Sort != "" {
		q.Desc = r.IntN(2) == 0
	}
	return q
}

// oracle answers a query by looking at every document.
func oracle(all map[string]card, q view.Query) (keys []string) {
	for key, c := range all {
		if c.matches(q) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		if q.Sort == "" {
			return cmp.Compare(a, b)
		}
		return cmp.Or(compareBy(all[a].values(q.Sort), all[b].values(q.Sort), q.Desc), cmp.Compare(a, b))
	})
	return keys
}

func (c card) matches(q view.Query) bool {
	for word := range strings.FieldsSeq(q.Text) {
		if !slices.Contains(strings.Fields(c.Text), word) && !strings.HasPrefix(c.Name, word) {
			return false
		}
	}
	for field, want := range q.Is {
		if field == "handle" {
			want = strings.ToLower(want)
		}
		if !slices.Contains(c.values(field), any(want)) {
			return false
		}
	}
	for field, within := range q.Ranges {
		if !slices.ContainsFunc(c.values(field), func(v any) bool {
			return (within.From == "" || v.(float64) >= measure(field, within.From)) && (within.To == "" || v.(float64) <= measure(field, within.To))
		}) {
			return false
		}
	}
	return true
}

func measure(field, text string) float64 {
	if field == "founded" {
		at, _ := time.Parse(time.RFC3339Nano, text)
		return float64(at.UnixMilli())
	}
	n, _ := strconv.ParseFloat(text, 64)
	return n
}

// values are a card's of a field, numbers or texts.
func (c card) values(field string) (list []any) {
	switch field {
	case "id":
		list = append(list, c.ID)
	case "tag":
		for _, t := range c.Tag {
			list = append(list, t)
		}
	case "handle":
		if c.Handle != "" {
			list = append(list, strings.ToLower(c.Handle))
		}
	case "members":
		if n, ok := c.Members.(float64); ok {
			list = append(list, n)
		} else if many, ok := c.Members.([]float64); ok {
			list = append(list, many[0], many[1])
		}
	case "founded":
		if c.Founded != nil {
			list = append(list, measure(field, *c.Founded))
		}
	}
	return list
}

// compareBy compares the least values, or the greatest from the greatest down; none is last.
func compareBy(a, b []any, desc bool) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(b), len(a)) // which has values comes first
	}
	less := func(x, y any) int {
		if n, ok := x.(float64); ok {
			return cmp.Compare(n, y.(float64))
		}
		return cmp.Compare(x.(string), y.(string))
	}
	if desc {
		return -less(slices.MaxFunc(a, less), slices.MaxFunc(b, less))
	}
	return less(slices.MinFunc(a, less), slices.MinFunc(b, less))
}

// pagesGoOn pages while other documents come, change and go: those that stay as they are
// come once each, in their order.
func pagesGoOn(x *index) {
	x = x.kinds()
	w := x.writer(0)
	steady := make(map[string]int)
	b := w.batch(1)
	for i := range 60 {
		key := fmt.Sprintf("steady-%02d", i)
		steady[key] = (i * 7) % 13
		members := fmt.Sprintf(`,"members":%d`, steady[key])
		if steady[key] == 12 {
			members = ""
		}
		b.Puts = append(b.Puts, view.Put{Key: key, Value: fmt.Appendf(nil, `{"id":%q,"text":"oak"%s}`, key, members)})
	}
	w.must(b)
	for _, q := range []view.Query{{}, {Sort: "members"}, {Sort: "members", Desc: true}, {Sort: "id", Desc: true, Text: "oak"}} {
		n := 0
		got := x.pages(q, 11, func() {
			n++
			w.put(fmt.Sprintf("a-%d", n), fmt.Sprintf(`{"text":"oak","members":%d}`, n%14-1), fmt.Sprintf("steady-%02d-%d", n, n), `{"text":"oak"}`, "z", `{"text":"oak","members":5}`)
			if n > 1 {
				w.remove(fmt.Sprintf("a-%d", n-1))
			}
		})
		got = slices.DeleteFunc(got, func(key string) bool { _, ok := steady[key]; return !ok })
		want := slices.SortedFunc(maps.Keys(steady), func(a, b string) int {
			switch missing := cmp.Compare(steady[a]/12, steady[b]/12); {
			case q.Sort == "members" && missing != 0:
				return missing
			case q.Sort == "members" && q.Desc:
				return cmp.Or(cmp.Compare(steady[b], steady[a]), cmp.Compare(a, b))
			case q.Sort == "members":
				return cmp.Or(cmp.Compare(steady[a], steady[b]), cmp.Compare(a, b))
			case q.Desc:
				return cmp.Compare(b, a)
			}
			return cmp.Compare(a, b)
		})
		if !slices.Equal(got, want) {
			x.Errorf("%+v while documents come:\n got %q\nwant %q", q, got, want)
		}
	}
}

// pagesGoBeyond pages through more documents than Skip reaches.
func pagesGoBeyond(x *index) {
	const count, batch = view.MaxDepth + 500, 3500
	x = x.kinds()
	w := x.writer(0)
	for from := 0; from < count; from += batch {
		b := w.batch(batch)
		for i := from; i < from+batch; i++ {
			b.Puts = append(b.Puts, view.Put{Key: fmt.Sprintf("key-%05d", i), Value: fmt.Appendf(nil, `{"members":%d}`, i%3), Offset: int64(i)})
		}
		w.must(b)
	}
	got := x.pages(view.Query{Sort: "members", Desc: true}, view.MaxPage, nil)
	if len(got) != count || got[0] != "key-00002" || got[count-1] != fmt.Sprintf("key-%05d", (count-1)/3*3) {
		x.Errorf("%d documents from %s to %s, want %d", len(got), got[0], got[len(got)-1], count)
	}
	if slices.Sort(got); len(slices.Compact(got)) != count {
		x.Error("some came twice")
	}
	last := x.find(view.Query{Sort: "members", Skip: view.MaxDepth - 1, Size: 1})
	if last.Next == nil || len(last.Items) != 1 {
		x.Fatalf("the last page that Skip reaches: %d hits, and no more after it", len(last.Items))
	}
	if hits := x.find(view.Query{Sort: "members", After: last.Next, Size: view.MaxPage}); len(hits.Items) != 500 || hits.Next != nil || hits.Total != count {
		x.Errorf("behind the last page that Skip reaches: %d hits of %d, want 500 of %d", len(hits.Items), hits.Total, count)
	}
}

// bestComeOnce pages by how good hits are.
func bestComeOnce(x *index) {
	x = x.kinds()
	w := x.writer(0)
	for i := range 50 {
		w.put(fmt.Sprintf("key-%02d", i), fmt.Sprintf(`{"text":"oak%s","en":"%s"}`, strings.Repeat(" filler", i%5), strings.Repeat("oak ", i%3)))
	}
	whole := keysOf(x.find(view.Query{Text: "oak", Size: 100}))
	for _, size := range []int{1, 7, 49, 50, 51} {
		if got := x.pages(view.Query{Text: "oak"}, size, nil); !slices.Equal(got, whole) || len(got) != 50 {
			x.Errorf("pages of %d: %q, want %q", size, got, whole)
		}
	}
}
