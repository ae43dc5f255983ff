package redisstore_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
)

// BenchmarkWrite writes documents of 300 bytes, over 20,000 keys.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			s := redisstore.New(client(b))
			g := generation(b, s)
			mark, err := s.Open(b.Context(), g, 0)
			if err != nil {
				b.Fatal(err)
			}
			value := []byte(`{"text":"` + strings.Repeat("x", 289) + `"}`)
			batch := &view.Batch{Epoch: mark.Epoch, Puts: make([]view.Put, size)}
			n := 0
			for b.Loop() {
				for i := range batch.Puts {
					batch.Puts[i] = view.Put{Key: fmt.Sprintf("post-%05d", n%20_000), Value: value}
					n++
				}
				batch.Next = batch.From + int64(size)
				if err := s.Write(b.Context(), g, batch); err != nil {
					b.Fatal(err)
				}
				batch.From = batch.Next
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "docs/s")
		})
	}
}

// BenchmarkPage reads the first 20 entries of a set that 16 partitions share.
func BenchmarkPage(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprint("entries=", 16*size), func(b *testing.B) {
			s := redisstore.New(client(b))
			g := generation(b, s)
			sets := make([]view.Ref, 16)
			for p := range sets {
				sets[p] = view.Ref{Partition: int32(p), Key: "all"}
				mark, err := s.Open(b.Context(), g, int32(p))
				if err != nil {
					b.Fatal(err)
				}
				batch := &view.Batch{Partition: int32(p), Epoch: mark.Epoch, Next: 1}
				for i := range size {
					batch.Adds = append(batch.Adds, view.Entry{Set: "all", Sort: fmt.Sprintf("%08d", i), Member: fmt.Sprint(p)})
				}
				if err := s.Write(b.Context(), g, batch); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := s.Page(b.Context(), g, sets, nil, 20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
