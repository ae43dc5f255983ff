package view

import (
	"errors"
	"fmt"
	"strings"
)

// Check says what in a batch is outside the limits, naming it and the limit.
// Stores call it before they touch anything. A batch of epoch 0, which no Open
// returns, is ErrFenced.
func (b *Batch) Check() error {
	if n := len(b.Puts) + len(b.Deletes) + len(b.Adds) + len(b.Removes); n > MaxBatch {
		return fmt.Errorf("batch of %d changes; at most %d: write it in several", n, MaxBatch)
	}
	if b.Epoch == 0 {
		return fmt.Errorf("batch of epoch 0, which no Open returns: %w", ErrFenced)
	}
	if b.From < 0 || b.Next < b.From {
		return fmt.Errorf("batch from offset %d to %d; want 0 <= From <= Next", b.From, b.Next)
	}
	if err := b.checkDocuments(); err != nil {
		return err
	}
	for _, list := range [2][]Entry{b.Adds, b.Removes} {
		for i := range list {
			if err := list[i].check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckSearch is Check for search stores, which refuse entries of sets.
func (b *Batch) CheckSearch() error {
	if len(b.Adds)+len(b.Removes) > 0 {
		return errors.New("batch with entries of sets, which a search store does not keep")
	}
	return b.Check()
}

// Follows says whether a batch goes on where a part is: nil if it does, else
// ErrFenced or a *BehindError. Epochs only rise, so a part that is at a lower one
// than its writer has lost that writer's Open.
func (b *Batch) Follows(at Mark) error {
	lost := at.Epoch < b.Epoch && (at.Epoch == 0 || at.Next != b.From)
	switch {
	case lost, at.Epoch == b.Epoch && at.Next != b.From:
		return &BehindError{Mark: at, From: b.From}
	case at.Epoch != b.Epoch:
		return ErrFenced
	}
	return nil
}

func (b *Batch) checkDocuments() error {
	bytes := 0
	for i := range b.Puts {
		p := &b.Puts[i]
		if err := checkChange(p.Key, p.Offset); err != nil {
			return err
		}
		if len(p.Value) > MaxValue {
			return fmt.Errorf("document %q has %d bytes; at most %d", p.Key, len(p.Value), MaxValue)
		}
		bytes += len(p.Value)
	}
	if bytes > MaxBytes {
		return fmt.Errorf("documents of %d bytes in one batch; at most %d: write it in several", bytes, MaxBytes)
	}
	for i := range b.Deletes {
		if err := checkChange(b.Deletes[i].Key, b.Deletes[i].Offset); err != nil {
			return err
		}
	}
	return nil
}

func checkChange(key string, offset int64) error {
	if err := checkName("key", key); err != nil {
		return err
	}
	if offset < 0 {
		return fmt.Errorf("change of %q by offset %d; want at least 0", key, offset)
	}
	return nil
}

func (e *Entry) check() error {
	if err := checkName("set", e.Set); err != nil {
		return err
	}
	if err := checkName("member", e.Member); err != nil {
		return err
	}
	if len(e.Sort) > MaxKey {
		return fmt.Errorf("sort %.40q… of set %q has %d bytes; at most %d", e.Sort, e.Set, len(e.Sort), MaxKey)
	}
	if strings.IndexByte(e.Sort, 0) >= 0 {
		return fmt.Errorf("sort %q of set %q holds a zero byte", e.Sort, e.Set)
	}
	return nil
}

func checkName(kind, name string) error {
	if name == "" {
		return fmt.Errorf("empty %s; want 1 to %d bytes", kind, MaxKey)
	}
	if len(name) > MaxKey {
		return fmt.Errorf("%s %.40q… has %d bytes; at most %d", kind, name, len(name), MaxKey)
	}
	return nil
}
