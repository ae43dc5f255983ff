package blevestore_test

import (
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/blevestore"
)

// corpus are texts of 30 words, some frequent and most rare.
type corpus struct{ zipf *rand.Zipf }

func newCorpus() corpus {
	return corpus{rand.NewZipf(rand.New(rand.NewSource(1)), 1.1, 5, 5000)}
}

func (c corpus) put(n int) view.Put {
	words := make([]string, 30)
	for i := range words {
		words[i] = fmt.Sprint("word", c.zipf.Uint64())
	}
	value := fmt.Sprintf(`{"text":%q,"tribe":"tribe-%d"}`, strings.Join(words, " "), n%50)
	return view.Put{Key: fmt.Sprintf("post-%06d", n), Value: []byte(value), Offset: int64(n)}
}

// load writes documents from number from to number to, in batches.
func load(b *testing.B, s *blevestore.Store, g view.Generation, c corpus, from, to, batch int) {
	mark, err := s.Open(b.Context(), g, 0)
	if err != nil {
		b.Fatal(err)
	}
	for ; from < to; from += batch {
		w := &view.Batch{Epoch: mark.Epoch, From: mark.Next, Next: mark.Next + int64(batch)}
		for i := from; i < from+batch; i++ {
			put := c.put(i % 20_000)
			put.Offset = w.From
			w.Puts = append(w.Puts, put)
		}
		if err := s.Write(b.Context(), g, w); err != nil {
			b.Fatal(err)
		}
		mark.Next = w.Next
	}
}

func prepared(b *testing.B) (*blevestore.Store, view.Generation) {
	s := open(b)
	g := view.Generation{App: "bench", View: "posts", Number: 1}
	if err := s.Prepare(b.Context(), g, view.Fields{"text": view.Text, "tribe": view.Keyword}); err != nil {
		b.Fatal(err)
	}
	return s, g
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

// BenchmarkWrite loads 20,000 documents in batches of 100, and then goes on
// with updates one by one.
func BenchmarkWrite(b *testing.B) {
	b.Run("batch=100", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			before := heap()
			s, g := prepared(b)
			b.StartTimer()
			load(b, s, g, newCorpus(), 0, 20_000, 100)
			b.StopTimer()
			b.ReportMetric(heap()-before, "MB")
			runtime.KeepAlive(s)
			b.StartTimer()
		}
		b.ReportMetric(20_000*float64(b.N)/b.Elapsed().Seconds(), "docs/s")
	})
	b.Run("batch=1", func(b *testing.B) {
		s, g := prepared(b)
		c := newCorpus()
		load(b, s, g, c, 0, 20_000, 1000)
		b.ResetTimer()
		load(b, s, g, c, 0, b.N, 1)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "docs/s")
	})
}

// BenchmarkFind asks 20,000 documents for two words, a rare one and a frequent
// one, a frequent pair, and for a tribe.
func BenchmarkFind(b *testing.B) {
	s, g := prepared(b)
	load(b, s, g, newCorpus(), 0, 20_000, 1000)
	for name, q := range map[string]view.Query{
		"rare":     {Text: "word1 word999", Size: 20},
		"frequent": {Text: "word3 word4", Size: 20},
		"tribe":    {Is: map[string]string{"tribe": "tribe-7"}, Size: 20},
		"all":      {Size: 20},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Find(b.Context(), g, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
