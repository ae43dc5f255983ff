package cluster

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Decoder is an Aggregate that decodes events apart from folding them, as
// *aggregates.Type does. The payloads of a long history, which take nearly all of
// its time, are then decoded by several goroutines.
type Decoder interface {
	Aggregate
	// DecodeFact reads a recorded event for FoldFact; together they are Fold. Several
	// goroutines call it at once.
	DecodeFact(name string, data []byte) (fact any, err error)
	// FoldFact moves state, a pointer that Zero made.
	FoldFact(state, fact any) error
}

// How a history is decoded: so many events together, in pieces that a goroutine
// takes at a time, by at most so many goroutines.
const (
	decodeTogether = 1024
	decodePiece    = 64
	maxDecoders    = 4
)

// refold makes an aggregate's state anew from its events in the log. When the time
// for one attempt is over, the next goes on where it was.
func (o *Owner) refold(ctx context.Context, key []byte, a *aggregate) error {
	ctx, cancel := context.WithTimeout(ctx, o.cfg.AppendTimeout)
	defer cancel()
	if a.half == nil {
		a.half, a.done = a.kind.Zero(), 0
	}
	f := newFetcher(o.cfg.Log, o.cfg.Topic, o.cfg.Partition)
	defer f.Close()
	h := newPast(a.kind)
	for offsets := a.offsets.List(uint64(a.done), a.offsets.Count); len(offsets) > 0; {
		unread := h.fetch(ctx, f, offsets[:min(len(offsets), decodeTogether)])
		h.decode()
		for i := range h.events {
			if err := h.fold(a.half, &h.events[i]); err != nil {
				return o.breaks(key, a, offsets[i], err)
			}
			a.done++
		}
		if unread != nil {
			return fmt.Errorf("fold %s again: %w", key, unread)
		}
		offsets = offsets[len(h.events):]
	}
	o.versions.change(a) // so that the next snapshot has the state
	a.state, a.version, a.half = a.half, a.folded, nil
	return nil
}

// past is some events of an aggregate, on their way from the log to its state.
type past struct {
	kind    Aggregate
	decoder Decoder // nil: each is decoded as it is folded
	events  []pastEvent
}

type pastEvent struct {
	name string
	data []byte
	fact any   // once it is decoded
	err  error // of decoding
}

func newPast(kind Aggregate) *past {
	h := &past{kind: kind}
	if runtime.GOMAXPROCS(0) > 1 {
		h.decoder, _ = kind.(Decoder)
	}
	return h
}

// fetch takes the events at offsets in place of those before. After an error it has
// those that could be read.
func (h *past) fetch(ctx context.Context, f *fetcher, offsets []int64) error {
	h.events = h.events[:0]
	for _, offset := range offsets {
		name, data, err := f.fact(ctx, offset)
		if err != nil {
			return err
		}
		h.events = append(h.events, pastEvent{name: name, data: data})
	}
	return nil
}

// decode decodes all of them, in no order.
func (h *past) decode() {
	if h.decoder == nil {
		return
	}
	var next atomic.Int64
	work := func() {
		for {
			from := int(next.Add(decodePiece)) - decodePiece
			if from >= len(h.events) {
				return
			}
			for i := from; i < min(from+decodePiece, len(h.events)); i++ {
				e := &h.events[i]
				e.fact, e.err = decodeFact(h.decoder, e.name, e.data)
			}
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), maxDecoders, (len(h.events)+decodePiece-1)/decodePiece) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}

func (h *past) fold(state any, e *pastEvent) error {
	switch {
	case h.decoder == nil:
		return foldEvent(h.kind, state, e.name, e.data)
	case e.err != nil:
		return e.err
	}
	return foldFact(h.decoder, state, e)
}

// decodeFact calls DecodeFact; a panic of the user's code is an error.
func decodeFact(d Decoder, name string, data []byte) (fact any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode %s panicked: %v", name, p)
		}
	}()
	return d.DecodeFact(name, data)
}

// foldFact calls FoldFact; a panic of the user's code is an error.
func foldFact(d Decoder, state any, e *pastEvent) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("evolve %s panicked: %v", e.name, p)
		}
	}()
	return d.FoldFact(state, e.fact)
}
