// Package snapshot keeps copies of a task's state, so that a task that starts
// need not fold its log from the beginning. A snapshot is bytes: what they mean
// is its owner's matter. It is kept in a [BlobStore], as a chain of blobs: a full
// one and the deltas after it, and a manifest that names them, with the position
// in the log that they lead to.
//
//	store, err := snapshot.Dir("./data/snapshots")
//	series := snapshot.NewSeries(store, snapshot.Identity{App: "shop", Operator: "orders", Topic: "shop.events"}, 0)
//	position, found, problems, err := series.Restore(ctx, nil, load)
//
//	w := series.Begin(ctx, series.NextFull())
//	w.Write(state) // the whole state if w.Full(), else what changed since the last one
//	err = w.Finish(ctx)
//	err = w.Commit(ctx, position, head)
//
// A snapshot is never the truth: one that is lost, damaged or of another program
// costs time, for the log is folded instead, unless the owner has let that forget what
// all that are kept (see [Series.Kept]) need no more. So whatever does not fit is refused,
// and said; nothing is repaired or guessed.
package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// BlobStore keeps blobs by name; [CheckName] says what a name is. It is safe for
// concurrent use, and several processes may share what is behind it. A name that
// does not fit is refused with [ErrName]. Whether a blob's name may be the first
// segments of another's ("a" and "a/b") is left open: don't.
//
// Every method returns soon after its context ends.
type BlobStore interface {
	// Put stores all that body yields, in the place of what had the name. When
	// it returns nil, it has read body to its end, and the blob is whole and
	// durable. Otherwise the blob is not there, or that of before is, or, if the
	// store's answer got lost, the new one is; never a part. A body's error is
	// returned, and nothing is stored.
	Put(ctx context.Context, name string, body io.Reader) error
	// Get returns a blob's content, to be closed by the caller, or ErrNotFound.
	// It goes on yielding one blob's bytes if that is replaced or deleted
	// meanwhile, or fails. The reads end with ctx.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the names that begin with prefix, sorted by bytes. A prefix
	// need not end with a segment; the empty one lists everything.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete removes a blob. That there is none is no error.
	Delete(ctx context.Context, name string) error
}

// Limits. What is beyond them is refused by name.
const (
	MaxName  = 400      // bytes of a blob's name
	MaxHead  = 64 << 20 // bytes of a snapshot's head
	MaxChain = 1000     // blobs of one snapshot; the next one is full
)

// What is wrong with a call, or with a snapshot that Restore does not use.
var (
	ErrNotFound = errors.New("no such blob")
	ErrName     = errors.New("not a blob's name: segments of a-z, 0-9, '.', '_' and '-', joined by '/', at most 400 bytes, none of them '.' or '..'")
	ErrDamaged  = errors.New("damaged")
	ErrFormat   = errors.New("a format that this program does not read")
	ErrForeign  = errors.New("of another task")
	ErrRefused  = errors.New("refused")                                                    // by load
	ErrChain    = errors.New("what it consists of is not kept any more; the next is full") // from Commit
	ErrBusy     = errors.New("another snapshot of the series is being written")
	ErrEnded    = errors.New("the snapshot was committed or aborted")
)

// CheckName returns ErrName, with the name, for one that no store takes.
func CheckName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("%.60q…: %w", name, ErrName)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.Trim(segment, alphabet) != "" {
			return fmt.Errorf("%q: %w", name, ErrName)
		}
	}
	return nil
}

// CheckPrefix returns ErrName for a prefix that no name begins with.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if err := CheckName(prefix + "x"); err != nil && CheckName(prefix) != nil {
		return fmt.Errorf("prefix %.60q: %w", prefix, ErrName)
	}
	return nil
}

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789._-"

// Identity says whose snapshot it is. One of another identity is refused, with
// the field that differs.
type Identity struct {
	App       string // the application's name
	Operator  string // the operator's
	Topic     string // what it folds
	Partition int32
	Version   int    // of the fold: raised when it makes something else of the same events
	State     string // digest or description of the types that the state is made of
}

// Prefix returns what the names of all blobs of an identity begin with:
//
//	app/operator/v1/topic/3/
//
// No other identity has it, but for those that differ in State alone. What no
// name may hold is escaped as '_' and two hexadecimal digits; a part that is
// longer than 80 bytes then has its SHA-256 in the place of its end.
func (id Identity) Prefix() string {
	return id.Fold() + escape(id.Topic) + "/" + strconv.Itoa(int(id.Partition)) + "/"
}

// Fold returns what the names of all blobs of one version of an operator's fold begin
// with, whatever topic and partition it folds:
//
//	app/operator/v1/
func (id Identity) Fold() string {
	return escape(id.App) + "/" + escape(id.Operator) + "/v" + strconv.Itoa(id.Version) + "/"
}

// escape makes a segment of s. Only a shortened one holds "..".
func escape(s string) string {
	const plain, most, kept = "abcdefghijklmnopqrstuvwxyz0123456789-", 80, 46
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte(plain, c) >= 0:
			b.WriteByte(c)
		case c == '.' && i > 0 && s[i-1] != '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	switch {
	case b.Len() == 0:
		return "_"
	case b.Len() > most:
		sum := sha256.Sum256([]byte(s))
		return b.String()[:kept] + ".." + hex.EncodeToString(sum[:16])
	}
	return b.String()
}

// differs returns ErrForeign with the first field in which a snapshot's identity
// is not the one wanted.
func (id Identity) differs(found Identity) error {
	for _, f := range []struct{ name, found, want string }{
		{"app", found.App, id.App},
		{"operator", found.Operator, id.Operator},
		{"topic", found.Topic, id.Topic},
		{"partition", strconv.Itoa(int(found.Partition)), strconv.Itoa(int(id.Partition))},
		{"version", strconv.Itoa(found.Version), strconv.Itoa(id.Version)},
		{"state", found.State, id.State},
	} {
		if f.found != f.want {
			return fmt.Errorf("%w: its %s is %.1000q, not %.1000q", ErrForeign, f.name, f.found, f.want)
		}
	}
	return nil
}
