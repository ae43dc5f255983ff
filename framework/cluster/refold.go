package cluster

import (
	"context"
	"fmt"
	"runtime"
	"sync"
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

// How a history is decoded: in pieces of so many events, by at most so many goroutines,
// while no more pieces than these are read ahead of what is folded.
const (
	decodePiece = 64
	decodeAhead = 16
	maxDecoders = 4
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
	offsets := a.offsets.List(uint64(a.done), a.offsets.Count)
	h := newPast(a.kind, len(offsets))
	defer h.end()
	var unread error
	for rest := offsets; ; {
		if unread == nil && len(rest) > 0 && h.room() {
			var n int
			n, unread = h.fetch(ctx, f, rest[:min(len(rest), decodePiece)])
			rest = rest[n:]
			continue
		}
		p := h.next()
		if p == nil {
			break
		}
		for i := range p.events {
			if err := h.fold(a.half, &p.events[i]); err != nil {
				return o.breaks(key, a, offsets[0], err)
			}
			a.done++
			offsets = offsets[1:]
		}
		h.folded(p)
	}
	if unread != nil {
		return fmt.Errorf("fold %s again: %w", key, unread)
	}
	o.versions.change(a) // so that the next snapshot has the state
	a.state, a.version, a.half = a.half, a.folded, nil
	return nil
}

// past is the events of an aggregate, on their way from the log to its state: a piece
// is decoded by whoever has time while the next ones are read and those before it folded.
type past struct {
	kind    Aggregate
	decoder Decoder     // nil: each is decoded as it is folded
	pieces  []*piece    // that were read and not taken yet, in order
	spare   []*piece    // that were folded
	begun   chan *piece // those that nobody decodes yet
	helpers sync.WaitGroup
}

// piece is some events that are decoded together.
type piece struct {
	events  []pastEvent
	decoded chan struct{} // holds one once they are
}

type pastEvent struct {
	name string
	data []byte
	fact any   // once it is decoded
	err  error // of decoding
}

// newPast begins with so many events. A history of one piece needs no help.
func newPast(kind Aggregate, events int) *past {
	h := &past{kind: kind, begun: make(chan *piece, decodeAhead)}
	processors := runtime.GOMAXPROCS(0)
	if processors > 1 {
		h.decoder, _ = kind.(Decoder)
	}
	if h.decoder == nil {
		return h
	}
	for range min(processors, maxDecoders, (events+decodePiece-1)/decodePiece) - 1 {
		h.helpers.Go(func() {
			for p := range h.begun {
				h.decode(p)
			}
		})
	}
	return h
}

// end ends the helpers.
func (h *past) end() {
	close(h.begun)
	h.helpers.Wait()
}

// room reports whether another piece may be read.
func (h *past) room() bool { return len(h.pieces) < decodeAhead }

// fetch reads the events at offsets as the next piece, and returns how many of them it
// could read.
func (h *past) fetch(ctx context.Context, f *fetcher, offsets []int64) (n int, err error) {
	p := h.empty()
	for _, offset := range offsets {
		e := pastEvent{}
		if e.name, e.data, err = f.fact(ctx, offset); err != nil {
			break
		}
		p.events = append(p.events, e)
	}
	if len(p.events) > 0 {
		h.pieces = append(h.pieces, p)
		h.begun <- p
	}
	return len(p.events), err
}

// empty returns a piece to be filled.
func (h *past) empty() *piece {
	n := len(h.spare)
	if n == 0 {
		return &piece{decoded: make(chan struct{}, 1)}
	}
	p := h.spare[n-1]
	h.spare, p.events = h.spare[:n-1], p.events[:0]
	return p
}

// folded takes a piece back.
func (h *past) folded(p *piece) { h.spare = append(h.spare, p) }

// next takes the next piece, once it is decoded; nil: there is none.
func (h *past) next() *piece {
	if len(h.pieces) == 0 {
		return nil
	}
	p := h.pieces[0]
	h.pieces = h.pieces[1:]
	for {
		select {
		case <-p.decoded:
			return p
		case other := <-h.begun: // an earlier one, or this
			h.decode(other)
		}
	}
}

// decode decodes a piece.
func (h *past) decode(p *piece) {
	defer func() { p.decoded <- struct{}{} }()
	if h.decoder == nil {
		return
	}
	for i := range p.events {
		e := &p.events[i]
		e.fact, e.err = decodeFact(h.decoder, e.name, e.data)
	}
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
