// Package viewtest is the conformance suite of view stores: what package view
// promises, as tests. Each kind of store has one function, which the driver's
// own test calls:
//
//	func TestStore(t *testing.T) {
//		viewtest.Documents(t, func(t *testing.T) view.Documents {
//			return redisstore.New(redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()}))
//		})
//	}
//
// Every test works in an application of its own, whose name no run repeats, so
// that stores on a shared server can be tested, and is dropped behind it.
//
// Where package view leaves room, the suite decides as follows. A batch on a part
// that has lost its marks is a BehindError, not ErrFenced, since nobody has taken
// over. Whether documents of one key in two partitions of a search index are one
// is left open.
package viewtest

import (
	"context"
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Emptier is an optional ability of a store under test: to lose all that it
// holds of a generation, documents, sets and marks, as a server does that comes
// back without its data. Without it the tests of a lost store are left out.
type Emptier interface {
	Empty(t *testing.T, g view.Generation)
}

// Documents runs the suite for document stores. open returns the store to
// test, a new one or the same each time, and registers its end with t.
func Documents(t *testing.T, open func(t *testing.T) view.Documents) {
	start := func(t *testing.T) *documents {
		d := &documents{store: open(t)}
		d.subject = subject{T: t, Store: d.store, read: func(p int32, key string) []byte {
			return d.get(view.Ref{Partition: p, Key: key})[0]
		}}
		d.begin()
		return d
	}
	for name, f := range storeTests {
		t.Run(name, func(t *testing.T) { f(&start(t).subject) })
	}
	for name, f := range documentTests {
		t.Run(name, func(t *testing.T) { f(start(t)) })
	}
}

// Search runs the suite for search stores; open is as in [Documents].
func Search(t *testing.T, open func(t *testing.T) view.Search) {
	start := func(t *testing.T) *index {
		x := &index{store: open(t)}
		x.subject = subject{T: t, Store: x.store, prepare: x.prepareFields, read: x.readByID}
		x.begin()
		return x
	}
	for name, f := range storeTests {
		t.Run(name, func(t *testing.T) { f(&start(t).subject) })
	}
	for _, tests := range []map[string]func(*index){searchTests, fieldTests, pagingTests} {
		for name, f := range tests {
			t.Run(name, func(t *testing.T) { f(start(t)) })
		}
	}
}

// limit bounds one test, on a slow server too.
const limit = 2 * time.Minute

// soon is what a call may take once its context has ended.
const soon = 2 * time.Second

// subject is a store under test with a generation to work in.
type subject struct {
	*testing.T
	view.Store
	ctx     context.Context
	g       view.Generation
	prepare func(view.Generation)                    // nil where there is nothing to prepare
	read    func(partition int32, key string) []byte // the document, nil if there is none
}

func (s *subject) begin() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	s.Cleanup(cancel)
	s.ctx = ctx
	app := fmt.Sprintf("test-%016x", maphash.String(maphash.MakeSeed(), s.Name()))
	s.g = s.generation(view.Generation{App: app, View: "card", Number: 1})
}

// generation prepares g for use, to be dropped behind the test.
func (s *subject) generation(g view.Generation) view.Generation {
	s.Helper()
	if s.prepare != nil {
		s.prepare(g)
	}
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.Drop(ctx, g); err != nil {
			s.Errorf("drop %v: %v", g, err)
		}
	})
	return g
}

// writer writes one part, batch after batch.
type writer struct {
	*subject
	g         view.Generation
	partition int32
	mark      view.Mark
}

// writer opens a part of the subject's own generation.
func (s *subject) writer(partition int32) *writer {
	s.Helper()
	return s.writerOf(s.g, partition)
}

func (s *subject) writerOf(g view.Generation, partition int32) *writer {
	s.Helper()
	mark, err := s.Open(s.ctx, g, partition)
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	return &writer{subject: s, g: g, partition: partition, mark: mark}
}

// batch returns an empty batch that moves the mark by n.
func (w *writer) batch(n int64) *view.Batch {
	return &view.Batch{Partition: w.partition, Epoch: w.mark.Epoch, From: w.mark.Next, Next: w.mark.Next + n}
}

// try writes b, and follows the mark if that went well.
func (w *writer) try(b *view.Batch) error {
	err := w.Write(w.ctx, w.g, b)
	if err == nil {
		w.mark.Next = b.Next
	}
	return err
}

func (w *writer) must(b *view.Batch) {
	w.Helper()
	if err := w.try(b); err != nil {
		w.Fatalf("write: %v", err)
	}
}

// put writes documents, given as key, value, key, value …, in a batch.
func (w *writer) put(keysAndValues ...string) {
	w.Helper()
	b := w.batch(1)
	for i := 0; i < len(keysAndValues); i += 2 {
		b.Puts = append(b.Puts, view.Put{Key: keysAndValues[i], Value: []byte(keysAndValues[i+1]), Offset: b.From})
	}
	w.must(b)
}

// remove deletes documents in a batch.
func (w *writer) remove(keys ...string) {
	w.Helper()
	b := w.batch(1)
	for _, k := range keys {
		b.Deletes = append(b.Deletes, view.Ref{Partition: w.partition, Key: k, Offset: b.From})
	}
	w.must(b)
}

// document is the value that the tests of all stores write under key.
func document(key string, n int) string { return fmt.Sprintf(`{"id":%q,"n":%d}`, key, n) }

// wantDocument checks what the store has under key; want "" is nothing.
func (s *subject) wantDocument(partition int32, key, want string) {
	s.Helper()
	got := s.read(partition, key)
	if string(got) != want || (got == nil) != (want == "") {
		s.Errorf("partition %d has %.200q under %.80q, want %.200q", partition, got, key, want)
	}
}

// wantMark checks a part's mark.
func (s *subject) wantMark(partition int32, want view.Mark) {
	s.Helper()
	got, err := s.Marks(s.ctx, s.g, []int32{partition})
	if err != nil || len(got) != 1 {
		s.Fatalf("marks: %v, %v", got, err)
	}
	if got[0] != want {
		s.Errorf("partition %d is at %+v, want %+v", partition, got[0], want)
	}
}
