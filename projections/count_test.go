package projections

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// unique returns a Unique of n texts from the first on.
func unique(first, n int) (u Unique) {
	for i := first; i < first+n; i++ {
		u.Add(fmt.Sprint("user-", i))
	}
	return u
}

func TestAUniqueCountsExactlyWhileTheyAreFewAndWellBeyond(t *testing.T) {
	var u Unique
	var squares float64
	measured := 0
	for i := range 200_000 {
		u.Add(fmt.Sprint("user-", i))
		n := uint64(i + 1)
		if i%3 == 0 {
			u.Add(fmt.Sprint("user-", i/2))
		}
		if n <= mostFew && u.Count() != n {
			t.Fatalf("%d of %d are counted", u.Count(), n)
		}
		if n <= mostFew || n%997 != 0 {
			continue
		}
		off := float64(u.Count())/float64(n) - 1
		squares, measured = squares+off*off, measured+1
		if math.Abs(off) > 0.04 {
			t.Errorf("%d of %d are counted", u.Count(), n)
		}
	}
	if deviation := math.Sqrt(squares / float64(measured)); deviation > 0.012 {
		t.Errorf("the counts are %.4f off in the mean of squares, want 0.0081 or so", deviation)
	}
}

// TestAUniquesStateIsOfWhatWasAddedAlone adds the same in other orders, in parts that
// are merged, and with a snapshot in between.
func TestAUniquesStateIsOfWhatWasAddedAlone(t *testing.T) {
	for _, n := range []int{0, 1, 700, mostFew, mostFew + 1, 5000, 60_000} {
		want := unique(0, n)
		ways := map[string]Unique{}
		var shuffled Unique
		for _, i := range rand.New(rand.NewSource(1)).Perm(n) {
			shuffled.Add(fmt.Sprint("user-", i))
			shuffled.Add(fmt.Sprint("user-", i))
		}
		ways["shuffled"] = shuffled
		half, rest := unique(0, n/2), unique(n/3, n-n/3)
		half.Merge(rest)
		ways["merged"] = half
		rest.Merge(unique(0, n/2))
		ways["merged the other way"] = rest
		restored := unique(0, n/2)
		if err := restored.restoreState(restored.appendState(nil)); err != nil {
			t.Fatal(err)
		}
		restored.Merge(unique(n/2, n-n/2))
		ways["restored"] = restored
		for way, u := range ways {
			if u.Count() != want.Count() || !bytes.Equal(u.appendState(nil), want.appendState(nil)) {
				t.Errorf("%s, %d are counted as %d, want %d; the states are the same: %v", way, n, u.Count(), want.Count(), bytes.Equal(u.appendState(nil), want.appendState(nil)))
			}
		}
	}
}

func TestACopyOfACounterCountsForItself(t *testing.T) {
	for _, n := range []int{3, mostFew, 20_000} {
		u := unique(0, n)
		before := u.appendState(nil)
		c := u
		for i := range 5000 {
			c.Add(fmt.Sprint("other-", i))
		}
		c.Merge(unique(1_000_000, 3000))
		if !bytes.Equal(u.appendState(nil), before) || c.Count() <= u.Count() {
			t.Errorf("of %d, additions to a copy change what was copied", n)
		}
	}
	top := NewTop(2, 3)
	for i := range 20 {
		top.AddN(fmt.Sprint(i%4), uint64(i))
	}
	before := top.appendState(nil)
	c := top
	c.Add("1")
	c.Add("new")
	if !bytes.Equal(top.appendState(nil), before) {
		t.Error("additions to a copy of a Top change what was copied")
	}
}

func TestATopFindsTheMostCounted(t *testing.T) {
	random := rand.New(rand.NewSource(2))
	zipf := rand.NewZipf(random, 1.3, 1, 5000)
	top := NewTop(5, 60)
	counts := make(map[string]uint64)
	total := uint64(0)
	for range 50_000 {
		key := fmt.Sprint("member-", zipf.Uint64())
		top.Add(key)
		counts[key]++
		total++
	}
	list := top.List()
	if len(list) != 5 {
		t.Fatalf("%d are shown, want 5", len(list))
	}
	for i, c := range list {
		if c.Key != fmt.Sprint("member-", i) || c.Count < counts[c.Key] || c.Count-c.Error > counts[c.Key] || c.Error > total/60 {
			t.Errorf("place %d: %+v, want member-%d, which was counted %d times", i, c, i, counts[c.Key])
		}
	}
	if !slices.IsSortedFunc(list, most) {
		t.Errorf("%+v is not the most first", list)
	}
	var few Top
	if few.Add(strings.Repeat("k", 300)); few.IsNew() || len(few.List()[0].Key) != MaxCountedKey {
		t.Errorf("a long text is kept with %d bytes", len(few.List()[0].Key))
	}
	if least, greatest := NewTop(0, 0), NewTop(5000, 5000); least.shown != 1 || least.counters != 1 || greatest.shown != MaxCounters || greatest.counters != MaxCounters {
		t.Errorf("bounds are not kept: %+v, %+v", least, greatest)
	}
}

// counted is a document with counters wherever they may be.
type counted struct {
	Name    string            `json:"name"`
	Seen    Unique            `json:"seen"`
	Active  Top               `json:"active"`
	Days    map[string]Unique `json:"days"`
	Each    []perTribe        `json:"each"`
	Perhaps *Unique           `json:"perhaps"`
	Never   *perTribe         `json:"never"`
	At      time.Time         `json:"at"`
}

type perTribe struct {
	Tribe string `json:"tribe"`
	Seen  Unique `json:"seen"`
	Most  [2]Top `json:"most"`
}

func someCounted(n int) counted {
	perhaps := unique(0, 3*n)
	c := counted{Name: "x", Seen: unique(0, n), Active: NewTop(3, 5), Days: map[string]Unique{"mon": unique(1, 5), "tue": unique(7, 2*n)}, Perhaps: &perhaps,
		Each: []perTribe{{Tribe: "a", Seen: unique(5, n/2)}, {Tribe: "b"}}, At: time.Unix(5, 0).UTC()}
	for i := range n {
		c.Active.Add(fmt.Sprint(i % 7))
		c.Each[0].Most[1].Add(fmt.Sprint(i))
	}
	return c
}

func TestASnapshotHoldsWhatADocumentCountsByAndReadersSeeCounts(t *testing.T) {
	if err := refolded[counted](); err != nil {
		t.Fatal(err)
	}
	codec := stateCodec[counted]()
	for _, n := range []int{0, 4, 900, 4000} {
		doc := someCounted(n)
		data, err := codec.Append([]byte("before"), &doc)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := codec.Append([]byte("before"), &doc); err != nil || !bytes.Equal(data, again) {
			t.Errorf("written twice, %d bytes and %d are not the same; %v", len(data), len(again), err)
		}
		data = bytes.TrimPrefix(data, []byte("before"))
		var got counted
		if err := codec.Decode(data, &got); err != nil || !reflect.DeepEqual(got, doc) {
			t.Fatalf("of %d: read back, %v, it is\n%+v, want\n%+v", n, err, got.Active, doc.Active)
		}
		for _, cut := range []int{0, 1, len(data) / 2, len(data) - 1} {
			if err := codec.Decode(data[:cut], new(counted)); err == nil {
				t.Errorf("%d of its %d bytes are read", cut, len(data))
			}
		}
		if err := codec.Decode(append(data, 0), new(counted)); err == nil {
			t.Error("more than it is read")
		}
	}
	shown, err := json.Marshal(someCounted(4))
	want := `{"name":"x","seen":4,"active":[{"key":"0","count":1,"error":0},{"key":"1","count":1,"error":0},{"key":"2","count":1,"error":0}],` +
		`"days":{"mon":5,"tue":8},"each":[{"tribe":"a","seen":2,"most":[[],[{"key":"0","count":1,"error":0},{"key":"1","count":1,"error":0},{"key":"2","count":1,"error":0},{"key":"3","count":1,"error":0}]]},` +
		`{"tribe":"b","seen":0,"most":[[],[]]}],"perhaps":12,"never":null,"at":"1970-01-01T00:00:05Z"}`
	if string(shown) != want || err != nil {
		t.Errorf("shown is\n%s, want\n%s", shown, want)
	}
	var back counted
	if err := json.Unmarshal(shown, &back); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(back); string(again) != want || err != nil {
		t.Errorf("read and shown again it is\n%s", again)
	}
	none := struct{ Name string }{"x"}
	if data, err := stateCodec[struct{ Name string }]().Append(nil, &none); err != nil || string(data) != `{"Name":"x"}` {
		t.Errorf("a document that counts nothing is written as %q, %v, want its JSON", data, err)
	}
}

func TestStatesOfCountersStayReadable(t *testing.T) {
	top := NewTop(2, 3)
	top.AddN("ann", 300)
	top.Add("bob")
	some := Unique{pages: &pages{}}
	for i, r := range map[int]byte{0: 1, 300: 7, registers - 1: 51} {
		some.pages = some.pages.raise(i, r)
	}
	few := Unique{}
	few.Add("ann")
	few.Add("bob")
	for name, c := range map[string]counter{"top": &top, "unique-few": &few, "unique-some": &some} {
		data := golden(t, name, c.appendState(nil))
		got := reflect.New(reflect.TypeOf(c).Elem()).Interface().(counter)
		if err := got.restoreState(data); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, bad := range map[string]string{"empty": "", "format": "\x04", "hashes": "\x01abc", "order": "\x01bbbbbbbbaaaaaaaa", "zero": "\x02\x01\x00",
		"beyond": "\x02\xff\x7f\x01\x02\x01", "register": "\x02\x01\x34", "cut": "\x02\x01"} {
		if err := new(Unique).restoreState([]byte(bad)); err == nil {
			t.Errorf("%s: it is read", name)
		}
	}
	for name, bad := range map[string]string{"empty": "", "format": "\x02", "bounds": "\x01\x05\x03\x00", "order": "\x01\x02\x03\x02\x01a\x01\x00\x01b\x02\x00", "more": "\x01\x02\x03\x00\x00"} {
		if err := new(Top).restoreState([]byte(bad)); err == nil {
			t.Errorf("top, %s: it is read", name)
		}
	}
}

func BenchmarkUnique(b *testing.B) {
	texts := make([]string, 1<<16)
	for i := range texts {
		texts[i] = fmt.Sprint("user-", i)
	}
	for _, n := range []int{500, 1 << 16} {
		b.Run(fmt.Sprint("add/of=", n), func(b *testing.B) {
			var u Unique
			for i := 0; b.Loop(); i++ {
				u.Add(texts[i%n])
			}
		})
	}
	u := unique(0, 50_000)
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			u.Count()
		}
	})
	b.Run("top", func(b *testing.B) {
		var t Top
		for i := 0; b.Loop(); i++ {
			t.Add(texts[i%300])
		}
	})
}
