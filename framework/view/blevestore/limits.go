package blevestore

import (
	"errors"
	"fmt"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// MaxBytes is the most that the documents of one batch may have together,
// 256 MiB: they are held several times while they are indexed.
const MaxBytes = 256 << 20

// check says what in a batch is outside the limits of package view.
func check(b *view.Batch) error {
	if n := len(b.Puts) + len(b.Deletes) + len(b.Adds) + len(b.Removes); n > view.MaxBatch {
		return fmt.Errorf("batch of %d changes; at most %d: write it in several", n, view.MaxBatch)
	}
	if b.Epoch == 0 {
		return fmt.Errorf("batch of epoch 0, which no Open returns: %w", view.ErrFenced)
	}
	if b.From < 0 || b.Next < b.From {
		return fmt.Errorf("batch from offset %d to %d; want 0 <= From <= Next", b.From, b.Next)
	}
	if len(b.Adds)+len(b.Removes) > 0 {
		return errors.New("batch with entries of sets, which a search store does not keep")
	}
	return checkDocuments(b)
}

func checkDocuments(b *view.Batch) error {
	bytes := 0
	for i := range b.Puts {
		p := &b.Puts[i]
		if err := checkName("key", p.Key); err != nil {
			return err
		}
		if len(p.Value) > view.MaxValue {
			return fmt.Errorf("document %q has %d bytes; at most %d", p.Key, len(p.Value), view.MaxValue)
		}
		bytes += len(p.Value)
	}
	if bytes > MaxBytes {
		return fmt.Errorf("documents of %d bytes in one batch; at most %d: write it in several", bytes, MaxBytes)
	}
	for i := range b.Deletes {
		if err := checkName("key", b.Deletes[i].Key); err != nil {
			return err
		}
	}
	return nil
}

func checkName(kind, name string) error {
	if name == "" {
		return fmt.Errorf("empty %s; want 1 to %d bytes", kind, view.MaxKey)
	}
	if len(name) > view.MaxKey {
		return fmt.Errorf("%s %.40q… has %d bytes; at most %d", kind, name, len(name), view.MaxKey)
	}
	return nil
}
