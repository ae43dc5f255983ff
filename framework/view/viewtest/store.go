package viewtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// storeTests hold for both kinds of store.
var storeTests = map[string]func(*subject){
	"each open raises the epoch and keeps the offset": opensRaiseTheEpoch,
	"an earlier writer is fenced":                     earlierWriterIsFenced,
	"an epoch that nobody opened is refused":          unopenedEpochIsRefused,
	"a batch from elsewhere learns the mark":          behindLearnsTheMark,
	"a batch is all or nothing":                       batchIsWhole,
	"a batch without changes moves the mark":          emptyBatchMovesTheMark,
	"offsets are exact up to the greatest":            offsetsAreExact,
	"marks come in the order asked":                   marksInOrder,
	"the last document wins":                          lastDocumentWins,
	"the greatest batch fits":                         greatestBatchFits,
	"a batch beyond the limits names them":            limitsAreNamed,
	"generations are apart":                           generationsAreApart,
	"partitions are written side by side":             partitionsSideBySide,
	"of racing writers one wins":                      oneOfRacingWritersWins,
	"a call ends with its context":                    callsEndWithTheirContext,
	"a store that lost its data says so":              lostStoreSaysSo,
	"ping answers":                                    pingAnswers,
	"get by key answers in order, nil for nothing":    getByKey,
	"a scan brings all of a part once":                scanBringsAll,
	"a scan of many documents has no gap":             scanOfMany,
	"a scan of nothing ends at once":                  scanOfNothing,
	"a scan beyond the limits names them":             scanLimitsAreNamed,
	"drop removes one generation whole":               dropRemovesOne,
}

func opensRaiseTheEpoch(s *subject) {
	a := s.writer(3)
	if a.mark.Epoch == 0 || a.mark.Next != 0 {
		s.Fatalf("an empty part opens at %+v, want an epoch and offset 0", a.mark)
	}
	a.must(a.batch(7))
	b := s.writer(3)
	if b.mark.Epoch <= a.mark.Epoch || b.mark.Next != 7 {
		s.Fatalf("opened at %+v after %+v, want a greater epoch and offset 7", b.mark, a.mark)
	}
	s.wantMark(3, b.mark)
}

func earlierWriterIsFenced(s *subject) {
	old := s.writer(0)
	old.put("a", document("a", 1))
	now := s.writer(0)
	for name, b := range map[string]*view.Batch{"at the mark": old.batch(1), "elsewhere": {Epoch: old.mark.Epoch, From: 40, Next: 41}} {
		b.Puts = []view.Put{{Key: "a", Value: []byte(document("a", 2)), Offset: b.From}}
		if err := old.Write(s.ctx, s.g, b); !errors.Is(err, view.ErrFenced) {
			s.Errorf("an earlier writer's batch %s: %v, want ErrFenced", name, err)
		}
	}
	s.wantDocument(0, "a", document("a", 1))
	s.wantMark(0, now.mark)
	now.put("a", document("a", 3))
	s.wantDocument(0, "a", document("a", 3))
}

func unopenedEpochIsRefused(s *subject) {
	w := s.writer(0)
	for _, epoch := range []uint64{w.mark.Epoch + 1, w.mark.Epoch + 1000, 0} {
		b := w.batch(1)
		b.Epoch = epoch
		if err := s.Write(s.ctx, s.g, b); !errors.Is(err, view.ErrFenced) {
			s.Errorf("epoch %d, where %d is open: %v, want ErrFenced", epoch, w.mark.Epoch, err)
		}
	}
	s.wantMark(0, w.mark)
	if err := s.Write(s.ctx, s.g, &view.Batch{Partition: 1, Epoch: 1, Next: 1}); !isFenced(err) && !isBehind(err) {
		s.Errorf("a part never opened took a batch: %v", err)
	}
	s.wantMark(1, view.Mark{})
}

func isFenced(err error) bool { return errors.Is(err, view.ErrFenced) }
func isBehind(err error) bool { return errors.As(err, new(*view.BehindError)) }

func behindLearnsTheMark(s *subject) {
	w := s.writer(2)
	b := w.batch(10)
	b.Puts = []view.Put{{Key: "a", Value: []byte(document("a", 1)), Offset: 4}}
	w.must(b)
	for _, from := range []int64{0, 9, 11, 1 << 60} {
		b := &view.Batch{Partition: 2, Epoch: w.mark.Epoch, From: from, Next: from + 10,
			Puts:    []view.Put{{Key: "b", Value: []byte(document("b", 1)), Offset: from}},
			Deletes: []view.Ref{{Partition: 2, Key: "a", Offset: from}}}
		var behind *view.BehindError
		if err := s.Write(s.ctx, s.g, b); !errors.As(err, &behind) || behind.Mark != w.mark || behind.From != from {
			s.Errorf("a batch from %d: %v (%+v), want a BehindError with mark %+v", from, err, behind, w.mark)
		}
	}
	s.wantMark(2, w.mark)
	s.wantDocument(2, "a", document("a", 1))
	s.wantDocument(2, "b", "")
}

func batchIsWhole(s *subject) {
	w := s.writer(0)
	w.put("a", document("a", 1))
	b := w.batch(1)
	b.Puts = []view.Put{
		{Key: "a", Value: []byte(document("a", 2)), Offset: 1},
		{Key: "b", Value: []byte(document("b", 1)), Offset: 1},
		{Key: "c", Value: []byte(document(strings.Repeat("x", view.MaxValue), 1)), Offset: 1},
		{Key: "d", Value: []byte(document("d", 1)), Offset: 1},
	}
	if err := w.try(b); err == nil {
		s.Fatal("a document above MaxValue was taken")
	}
	s.wantMark(0, w.mark)
	s.wantDocument(0, "a", document("a", 1))
	for _, key := range []string{"b", "c", "d"} {
		s.wantDocument(0, key, "")
	}
}

func emptyBatchMovesTheMark(s *subject) {
	w := s.writer(0)
	w.must(w.batch(0))
	s.wantMark(0, w.mark)
	w.must(w.batch(12))
	s.wantMark(0, view.Mark{Epoch: w.mark.Epoch, Next: 12})
	b := w.batch(0)
	b.Next--
	if err := w.Write(s.ctx, s.g, b); err == nil {
		s.Error("a batch moved the mark back")
	}
	s.wantMark(0, w.mark)
}

// offsetsAreExact uses offsets that a double cannot tell apart: as doubles,
// 2^53+1 and 2^53 are the same, and 2^53+3 and 2^53+4.
func offsetsAreExact(s *subject) {
	w := s.writer(0)
	for _, near := range []int64{-1, 1} {
		w.must(w.batch(1<<53 + 2 + near - w.mark.Next))
		s.wantMark(0, view.Mark{Epoch: w.mark.Epoch, Next: 1<<53 + 2 + near})
		b := w.batch(5)
		b.From += near
		if err := s.Write(s.ctx, s.g, b); !isBehind(err) {
			s.Errorf("a batch from %d, where the mark is %d: %v, want a BehindError", b.From, w.mark.Next, err)
		}
	}
	b := w.batch(0)
	b.Next = math.MaxInt64
	w.must(b)
	s.wantMark(0, w.mark)
	if again := s.writer(0); again.mark.Next != math.MaxInt64 {
		s.Errorf("opened at %+v, want offset %d", again.mark, int64(math.MaxInt64))
	}
}

func marksInOrder(s *subject) {
	for _, p := range []int32{5, 1, 1000} {
		w := s.writer(p)
		w.must(w.batch(int64(p) + 1))
	}
	asked := []int32{1000, 0, 5, 1, 5}
	got, err := s.Marks(s.ctx, s.g, asked)
	if err != nil || len(got) != len(asked) {
		s.Fatalf("marks: %v, %v", got, err)
	}
	for i, want := range []int64{1001, 0, 6, 2, 6} {
		if got[i].Next != want {
			s.Errorf("mark of partition %d is %+v, want offset %d", asked[i], got[i], want)
		}
	}
	if got[1] != (view.Mark{}) {
		s.Errorf("a part never opened is at %+v, want the zero mark", got[1])
	}
	if none, err := s.Marks(s.ctx, s.g, nil); err != nil || len(none) != 0 {
		s.Errorf("marks of no partition: %v, %v", none, err)
	}
}

func lastDocumentWins(s *subject) {
	w := s.writer(0)
	w.put("a", document("a", 1), "b", document("b", 1))
	w.put("a", document("a", 2))
	w.put("a", document("a", 2))
	s.wantDocument(0, "a", document("a", 2))
	w.remove("a", "never there")
	w.remove("a")
	s.wantDocument(0, "a", "")
	s.wantDocument(0, "b", document("b", 1))
	w.put("a", document("a", 3))
	s.wantDocument(0, "a", document("a", 3))
}

func greatestBatchFits(s *subject) {
	w := s.writer(0)
	w.put("gone", document("gone", 1))
	b := w.batch(1)
	for i := range view.MaxBatch - 1 {
		key := fmt.Sprintf("key-%05d", i)
		b.Puts = append(b.Puts, view.Put{Key: key, Value: []byte(document(key, i)), Offset: b.From})
	}
	b.Deletes = []view.Ref{{Key: "gone", Offset: b.From}}
	w.must(b)
	s.wantDocument(0, "gone", "")
	for _, i := range []int{0, 499, 500, 501, 999, 1000, 1001, view.MaxBatch - 2} {
		key := fmt.Sprintf("key-%05d", i)
		s.wantDocument(0, key, document(key, i))
	}
}

func limitsAreNamed(s *subject) {
	w := s.writer(0)
	long := strings.Repeat("k", view.MaxKey)
	w.put(long, document(long, 1))
	s.wantDocument(0, long, document(long, 1))
	over := "over-" + long
	small := []byte(document("a", 1))
	for _, c := range []struct {
		b    view.Batch
		want []string
	}{
		{view.Batch{Puts: make([]view.Put, view.MaxBatch+1)}, []string{"10000", "10001"}},
		{view.Batch{Puts: []view.Put{{Key: over, Value: small}}}, []string{"512", "over-"}},
		{view.Batch{Deletes: []view.Ref{{Key: over}}}, []string{"512", "over-"}},
		{view.Batch{Puts: []view.Put{{Key: "heavy", Value: make([]byte, view.MaxValue+1)}}}, []string{"921600", "heavy"}},
	} {
		b := w.batch(1)
		b.Puts, b.Deletes = c.b.Puts, c.b.Deletes
		wantNamed(s, w.try(b), c.want...)
	}
	s.wantMark(0, w.mark)
}

// wantNamed checks that a refusal names what the caller needs to mend it, and
// is no error that a caller would act on otherwise.
func wantNamed(s *subject, err error, names ...string) {
	s.Helper()
	if err == nil || isFenced(err) || isBehind(err) {
		s.Errorf("%v; want a refusal that names %q", err, names)
		return
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), n) {
			s.Errorf("%q does not name %q", err, n)
		}
	}
}

func generationsAreApart(s *subject) {
	base := s.g
	for i, g := range []view.Generation{
		{App: base.App, View: "card", Number: 2},
		{App: base.App, View: "card-2", Number: 1},
		{App: base.App + "-card", View: "card", Number: 1},
	} {
		w := s.writerOf(s.generation(g), 0)
		if w.mark.Next != 0 {
			s.Errorf("%v opens at %+v", g, w.mark)
		}
		w.put("a", document("a", i+1))
	}
	s.wantMark(0, view.Mark{})
	s.wantDocument(0, "a", "")
	w := s.writer(0)
	w.put("a", document("a", 0))
	s.wantDocument(0, "a", document("a", 0))
}

func partitionsSideBySide(s *subject) {
	const parts, batches = 6, 20
	var group sync.WaitGroup
	for p := range int32(parts) {
		w := s.writer(p)
		group.Go(func() {
			for i := range batches {
				key := fmt.Sprintf("p%d-%d", p, i)
				b := w.batch(1)
				b.Puts = []view.Put{{Key: key, Value: []byte(document(key, i)), Offset: b.From}}
				if err := w.try(b); err != nil {
					s.Errorf("partition %d: %v", p, err)
					return
				}
			}
		})
	}
	group.Wait()
	marks, err := s.Marks(s.ctx, s.g, []int32{0, 1, 2, 3, 4, 5})
	if err != nil {
		s.Fatal(err)
	}
	for p, m := range marks {
		key := fmt.Sprintf("p%d-%d", p, batches-1)
		s.wantDocument(int32(p), key, document(key, batches-1))
		if m.Next != batches {
			s.Errorf("partition %d is at %+v, want offset %d", p, m, batches)
		}
	}
}

// oneOfRacingWritersWins lets writers take a part from one another. Each batch
// puts the same number under all keys, so a mixed write shows.
func oneOfRacingWritersWins(s *subject) {
	const writers, rounds = 4, 15
	keys := []string{"a", "b", "c", "d"}
	var written atomic.Int64
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range rounds {
				mark, err := s.Open(s.ctx, s.g, 0)
				if err != nil {
					s.Errorf("open: %v", err)
					return
				}
				w := &writer{subject: s, g: s.g, mark: mark}
				for err == nil && w.mark.Next < mark.Next+3 {
					if err = w.try(stamped(w, keys)); err == nil {
						written.Add(1)
					}
				}
				if err != nil && !isFenced(err) {
					s.Errorf("a writer that was taken over: %v, want ErrFenced", err)
				}
			}
		})
	}
	group.Wait()
	last := s.writer(0)
	if last.mark.Next != written.Load() || last.mark.Next == 0 {
		s.Errorf("%d batches were written, the part is at %+v", written.Load(), last.mark)
	}
	for _, key := range keys {
		s.wantDocument(0, key, document(key, int(last.mark.Next-1)))
	}
}

func stamped(w *writer, keys []string) *view.Batch {
	b := w.batch(1)
	for _, key := range keys {
		b.Puts = append(b.Puts, view.Put{Key: key, Value: []byte(document(key, int(b.From))), Offset: b.From})
	}
	return b
}

func callsEndWithTheirContext(s *subject) {
	w := s.writer(0)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"open":  func() error { _, err := s.Open(ctx, s.g, 0); return err },
		"write": func() error { return s.Write(ctx, s.g, w.batch(1)) },
		"marks": func() error { _, err := s.Marks(ctx, s.g, []int32{0}); return err },
		"get":   func() error { _, err := s.Get(ctx, s.g, []view.Ref{{Key: "a"}}); return err },
		"scan":  func() error { _, err := s.Scan(ctx, s.g, 0, "", 10); return err },
		"drop":  func() error { return s.Drop(ctx, s.g) },
		"ping":  func() error { return s.Ping(ctx) },
	} {
		wantCanceled(s, name, call)
	}
}

func wantCanceled(s *subject, name string, call func() error) {
	s.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			s.Errorf("%s under an ended context: %v, want context.Canceled", name, err)
		}
	case <-time.After(soon):
		s.Errorf("%s under an ended context still runs after %v", name, soon)
	}
}

func lostStoreSaysSo(s *subject) {
	e, ok := s.Store.(Emptier)
	if !ok {
		return
	}
	w := s.writer(0)
	w.put("a", document("a", 1), "b", document("b", 1))
	e.Empty(s.T, s.g)
	if s.prepare != nil {
		s.prepare(s.g)
	}
	s.wantMark(0, view.Mark{})
	var behind *view.BehindError
	if err := w.try(w.batch(1)); !errors.As(err, &behind) || behind.Mark != (view.Mark{}) {
		s.Errorf("a batch on an emptied part: %v (%+v), want a BehindError with the zero mark", err, behind)
	}
	s.wantMark(0, view.Mark{})
	s.wantDocument(0, "a", "")
	again := s.writer(0)
	if again.mark.Next != 0 {
		s.Errorf("an emptied part opens at %+v", again.mark)
	}
	again.put("a", document("a", 2))
	s.wantDocument(0, "a", document("a", 2))
}

func pingAnswers(s *subject) {
	if err := s.Ping(s.ctx); err != nil {
		s.Errorf("ping: %v", err)
	}
}
