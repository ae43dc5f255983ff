// Package view is what a projection writes and a query reads: stores of
// documents and of search indexes. A driver lies in a folder of its own
// (redisstore, esstore, blevestore) and passes the suite of its kind in
// viewtest.
//
// A view lives in generations, each a complete copy. Within a generation every
// partition of the log keeps its own part, written by the one task that follows
// that partition, together with a [Mark] that says how far. So a document and
// the progress that made it are never apart, and a store that comes back empty
// says so by its marks.
package view

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// Generation names one complete copy of a view.
type Generation struct {
	App    string
	View   string
	Number int // from 1
}

// String returns "app:view:number".
func (g Generation) String() string {
	return g.App + ":" + g.View + ":" + strconv.Itoa(g.Number)
}

// Mark says how far a partition's part of a generation goes, and who wrote it.
// The zero Mark is an empty part.
type Mark struct {
	Epoch uint64 // the writer's term: raised by each Open
	Next  int64  // offset of the first record that is not yet in it
}

// Batch is what a task writes at once: the last state of each key that a run of
// records changed, and the mark behind that run. An entry both added and removed
// stays. Search stores keep no sets, and refuse Adds and Removes.
type Batch struct {
	Partition int32
	Epoch     uint64 // from Open
	From      int64  // the part's Next before
	Next      int64  // and after; at least From
	Puts      []Put
	Deletes   []Ref // of documents; Offset as in Put
	Adds      []Entry
	Removes   []Entry
}

// Put is a document as it shall be. Value is JSON, opaque to document stores; a
// search store wants an object. A key occurs at most once in the puts and deletes
// of a batch.
//
// A search store leaves out a put or delete whose Offset is below that of the
// key's last change, for it comes late; at an equal Offset the put wins over what
// is there. A document store takes what a batch at the mark brings.
type Put struct {
	Key    string
	Value  []byte
	Offset int64 // of the record that last changed it, in the batch's partition; at least 0
}

// Ref names a document or a set in a partition's part.
type Ref struct {
	Partition int32
	Key       string
	Offset    int64 // of a delete: of the record that caused it
	// Least is, of a read of [Documents], the offset that the part's mark is known to
	// have reached; where it has not, as in a part that was lost and is being filled
	// again, the read fails with a *BehindError. Default 0: the mark is not looked at.
	Least int64
}

// Entry is a member of a sorted set. A set is ordered by Sort, then by Member,
// both as bytes, and holds an entry once.
type Entry struct {
	Set    string
	Sort   string // may be empty; must not hold a zero byte
	Member string
}

// Scanned is a page of what a part holds.
type Scanned struct {
	Mark      Mark  // of the part, no later than what follows was read
	Documents []Hit // all there are in the page, with their bytes
	Entries   []Entry
	Next      string // where the following page begins; empty: there is none
}

// CheckScan says when a page of n is outside the limits.
func CheckScan(n int) error {
	if n < 1 || n > MaxPage {
		return fmt.Errorf("page of %d documents; want 1 to %d", n, MaxPage)
	}
	return nil
}

// CheckRefs says when refs are more than one read may ask for.
func CheckRefs(refs []Ref) error {
	if len(refs) > MaxPage {
		return fmt.Errorf("%d refs in one read; at most %d", len(refs), MaxPage)
	}
	return nil
}

// Limits of a store. [Batch.Check] and [Query.Check] name what is beyond them.
const (
	MaxBatch = 10_000    // puts, deletes, adds and removes of a batch together
	MaxBytes = 256 << 20 // bytes of a batch's documents together
	MaxKey   = 512       // bytes of a key, a set's name, a member, which have one at least, and of a Sort
	MaxValue = 900 << 10 // bytes of a document
	MaxPage  = 1_000     // entries or hits of one answer
	MaxDepth = 10_000    // hits that Skip reaches, with Size; After goes beyond
	MaxText  = 16 << 10  // bytes of a query's text
	MaxWords = 100       // words of a query's text, repeated ones counted once
	MaxOrder = 256       // bytes of a keyword that count where hits are sorted by it
	MaxLead  = 20        // letters of a word that a Prefix field is found by
)

// Store is what both kinds have in common. It is safe for concurrent use; every
// method returns soon after its context ends.
type Store interface {
	// Open makes the caller the writer of a part: it raises the part's epoch,
	// so that the writes of any earlier writer fail with ErrFenced, and returns
	// the mark.
	Open(ctx context.Context, g Generation, partition int32) (Mark, error)
	// Write takes a batch whole, or nothing of it, and moves the mark from
	// b.From to b.Next; only a search store may show documents before their mark. Its errors are ErrFenced, a *BehindError when the mark is not at
	// b.From, or what the store said; after the last, whether the batch was
	// written is unknown, and the mark tells.
	Write(ctx context.Context, g Generation, b *Batch) error
	// Marks returns the marks of partitions, in their order.
	Marks(ctx context.Context, g Generation, partitions []int32) ([]Mark, error)
	// Get returns the documents' values as they were last written, nil where there is
	// none: one round trip, of at most MaxPage refs.
	Get(ctx context.Context, g Generation, at []Ref) ([][]byte, error)
	// Scan returns a page of all that a part holds: the one that begins at from,
	// empty for the first, with some n documents and entries, 1 to MaxPage. Pages in
	// turn bring each document and entry once if nobody writes to the part
	// meanwhile, for which their marks must be the same. Documents come first, in any
	// order; then entries, ascending by Set, Sort and Member.
	Scan(ctx context.Context, g Generation, partition int32, from string, n int) (Scanned, error)
	// Drop removes all that a generation has, marks too, for good. One that is not
	// there is no error. Its writers and readers must be gone: what is written
	// meanwhile may stay. A search store must prepare it again to use it again.
	Drop(ctx context.Context, g Generation) error
	// Ping says whether the store can be reached.
	Ping(ctx context.Context) error
}

// Documents keeps documents by key, and sorted sets. Each read is one round
// trip, however many refs it takes, at most MaxPage, the marks for [Ref].Least included.
type Documents interface {
	Store
	// Sizes returns the number of entries of each set, 0 where there is none.
	Sizes(ctx context.Context, g Generation, sets []Ref) ([]int64, error)
	// Page merges sets from their greatest entry down, from behind after (nil:
	// from the start), and returns at most n. Entries of several sets that agree
	// in Sort and Member follow one another by Set, from the greatest down; an
	// entry that a set has in several partitions comes once.
	Page(ctx context.Context, g Generation, sets []Ref, after *Entry, n int) ([]Entry, error)
	// Rank returns how many entries of a set are not below at, in the order of Page: the
	// place of at, from 1, if the set holds it. at's Set does not matter.
	Rank(ctx context.Context, g Generation, set Ref, at Entry) (int64, error)
}

// Pointer is an optional ability of a store: to tell outside readers, who do not follow
// the control log, which generation of a view is read. Nothing here goes by it.
type Pointer interface {
	// Point says that g is read since the view was switched for the turn-th time, from
	// 1. Of a turn before the one that was said last it does nothing, so that nobody who
	// is late moves it back; said again it mends what was lost. The generation must be
	// prepared where that is needed.
	Point(ctx context.Context, g Generation, turn int) error
}

// ErrFenced says that a later writer has opened the part.
var ErrFenced = errors.New("a later writer has taken over this part of the view")

// BehindError says that a part is not where its writer left it, or where a reader knew
// it to be: it was restored or emptied, or an earlier write did arrive.
type BehindError struct {
	Mark Mark // where it is
	From int64
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("the store is at offset %d of epoch %d, not at offset %d", e.Mark.Next, e.Mark.Epoch, e.From)
}
