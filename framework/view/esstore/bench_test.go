package esstore_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

// filled returns a store on a real server with a generation and n documents of
// some 300 bytes.
func filled(b *testing.B, url string, n int) (*esstore.Store, view.Generation, *view.Batch) {
	s := open(b, esstore.Config{URLs: []string{url}})
	g := generation(b, s)
	if err := s.Prepare(b.Context(), g, postFields); err != nil {
		b.Fatal(err)
	}
	mark, err := s.Open(b.Context(), g, 0)
	if err != nil {
		b.Fatal(err)
	}
	batch := &view.Batch{Epoch: mark.Epoch}
	for at := 0; at < n; at += 1000 {
		fill(b, s, g, batch, at, 1000)
	}
	if err := s.Refresh(b.Context(), g); err != nil {
		b.Fatal(err)
	}
	return s, g, batch
}

// fill writes the next documents, over 20,000 keys.
func fill(b *testing.B, s *esstore.Store, g view.Generation, batch *view.Batch, at, n int) {
	batch.Puts = batch.Puts[:0]
	for i := at; i < at+n; i++ {
		text := strings.Repeat(fmt.Sprintf("word%d other%d ", i%5000, i%77), 12)
		value := fmt.Appendf(nil, `{"title":"post number %d","text":%q,"tribe":"tribe-%d"}`, i, text, i%50)
		batch.Puts = append(batch.Puts, view.Put{Key: fmt.Sprintf("post-%05d", i%20_000), Value: value, Offset: batch.From + int64(i-at)})
	}
	batch.Next = batch.From + int64(n)
	if err := s.Write(b.Context(), g, batch); err != nil {
		b.Fatal(err)
	}
	batch.From = batch.Next
}

func BenchmarkWrite(b *testing.B) {
	for name, url := range servers() {
		for _, size := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/batch=%d", name, size), func(b *testing.B) {
				s, g, batch := filled(b, url, 1000)
				n := 0
				for b.Loop() {
					fill(b, s, g, batch, n, size)
					n += size
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "docs/s")
			})
		}
	}
}

func BenchmarkFind(b *testing.B) {
	for name, url := range servers() {
		s, g, _ := filled(b, url, 20_000)
		for what, q := range map[string]view.Query{
			"word":    {Text: "77", Size: 20},
			"common":  {Text: "post number", Size: 20},
			"keyword": {Text: "post", Is: map[string]string{"tribe": "tribe-7"}, Size: 20},
			"deep":    {Text: "post", Skip: 9_000, Size: view.MaxPage},
		} {
			b.Run(name+"/"+what, func(b *testing.B) {
				for b.Loop() {
					if _, err := s.Find(b.Context(), g, q); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRefresh writes a batch and refreshes; the write is not measured.
func BenchmarkRefresh(b *testing.B) {
	for name, url := range servers() {
		for _, size := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/after=%d", name, size), func(b *testing.B) {
				s, g, batch := filled(b, url, 20_000)
				n := 0
				for b.Loop() {
					b.StopTimer()
					fill(b, s, g, batch, n, size)
					n += size
					b.StartTimer()
					if err := s.Refresh(b.Context(), g); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
