package framework

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// differ finds what two parts do not agree on, until enough is found: documents by
// asking the other for each, entries by walking both, which come in order.
func (h *holding) differ(ctx context.Context, n int32, marks []int64) error {
	for i := range h.sides {
		err := h.walk(ctx, &h.sides[i], n, marks[i], func(page *view.Scanned) (bool, error) {
			return !h.full() && len(page.Entries) == 0, h.lookUp(ctx, n, i, page.Documents)
		})
		if err != nil {
			return err
		}
	}
	return h.merge(ctx, n, marks)
}

func (h *holding) full() bool { return len(h.found) >= h.room }

func (h *holding) note(d Difference) {
	if !h.full() {
		h.found = append(h.found, d)
	}
}

// lookUp compares documents of side i with the other's. Of those of the second side
// only such as the first has not are new.
func (h *holding) lookUp(ctx context.Context, n int32, i int, documents []view.Hit) error {
	for some := range slices.Chunk(documents, view.MaxPage) {
		refs := make([]view.Ref, len(some))
		for j := range some {
			refs[j] = view.Ref{Partition: n, Key: some[j].Key}
		}
		other := &h.sides[1-i]
		values, err := other.store.Get(ctx, other.g, refs)
		if err != nil {
			return err
		}
		for j := range some {
			switch {
			case i == 0 && !bytes.Equal(values[j], some[j].Value):
				h.note(Difference{Key: some[j].Key, Read: shown(some[j].Value), Other: shown(values[j])})
			case i == 1 && values[j] == nil:
				h.note(Difference{Key: some[j].Key, Other: shown(some[j].Value)})
			}
		}
	}
	return nil
}

// shown returns a document as JSON, whatever it is; nil where there is none.
func shown(value []byte) json.RawMessage {
	if value == nil || json.Valid(value) {
		return value
	}
	text, _ := json.Marshal(string(value)) // a string can always be
	return text
}

// entries reads the entries of a part one by one.
type entries struct {
	walker
	page []view.Entry
}

// peek returns the entry that is next, nil behind the last.
func (e *entries) peek(ctx context.Context) (*view.Entry, error) {
	for len(e.page) == 0 {
		page, err := e.next(ctx)
		if err != nil || page == nil {
			return nil, err
		}
		e.page = page.Entries
	}
	return &e.page[0], nil
}

// merge walks the entries of both sides.
func (h *holding) merge(ctx context.Context, n int32, marks []int64) error {
	var both [2]entries
	for i := range both {
		both[i].walker = walker{h: h, s: &h.sides[i], n: n, mark: marks[i], size: firstPage}
	}
	for !h.full() {
		read, err := both[0].peek(ctx)
		if err != nil {
			return err
		}
		other, err := both[1].peek(ctx)
		if err != nil || read == nil && other == nil {
			return err
		}
		order := compareEntries(read, other)
		if order <= 0 {
			both[0].page = both[0].page[1:]
		}
		if order >= 0 {
			both[1].page = both[1].page[1:]
		}
		switch {
		case order < 0:
			h.note(Difference{Key: read.Set, Read: shownEntry(read)})
		case order > 0:
			h.note(Difference{Key: other.Set, Other: shownEntry(other)})
		}
	}
	return nil
}

// compareEntries orders entries as a scan does; nil is behind all.
func compareEntries(a, b *view.Entry) int {
	switch {
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Or(strings.Compare(a.Set, b.Set), strings.Compare(a.Sort, b.Sort), strings.Compare(a.Member, b.Member))
}

func shownEntry(e *view.Entry) json.RawMessage {
	text, _ := json.Marshal(struct { // of texts alone
		Sort   string `json:"sort"`
		Member string `json:"member"`
	}{e.Sort, e.Member})
	return text
}
