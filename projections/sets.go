package projections

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// sets is the shuffle that brings the entries of a set together.
const sets = "sets"

// setPartition returns where the set lies that a query asks for.
func setPartition(q framework.Query) (int32, bool) { return setRef(q).Partition, true }

func setRef(q framework.Query) view.Ref { return keyRef(q.Key, q.Partitions) }

// keyRef is where a set lies, or a document that is keyed by its events.
func keyRef(key string, partitions int) view.Ref {
	return view.Ref{Partition: eventlog.PartitionOf([]byte(key), partitions), Key: key}
}

// op is what is done to an entry. Its numbers are part of the shuffle's format.
type op byte

const (
	opPlace  op = 1 // it stands at the order from now on
	opAdd    op = 2 // its score, 0 if it is not there, grows by the amount
	opRemove op = 3
)

// placing is what an event does to one key of a set.
type placing struct {
	op     op
	set    string
	member string
	order  uint64 // of opPlace: what the set is ordered by
	amount float64
}

// placingFormat is the version of what appendPlacing writes. It begins with a zero,
// as no entry of a feed does that only takes entries in.
const placingFormat = 1

func appendPlacing(b []byte, p *placing) ([]byte, error) {
	b = append(b, 0, placingFormat, byte(p.op))
	b = packed.AppendBytes(b, p.set)
	b = packed.AppendBytes(b, p.member)
	switch p.op {
	case opPlace:
		b = binary.BigEndian.AppendUint64(b, p.order)
	case opAdd:
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.amount))
	}
	return b, nil
}

func decodePlacing(data []byte, p *placing) error {
	if len(data) < 3 || data[0] != 0 || data[1] != placingFormat {
		return fmt.Errorf("placing begins with % x, this program reads format %d; raise the Version of a feed that gets Places", data[:min(len(data), 2)], placingFormat)
	}
	r := packed.Read(data[3:])
	p.op, p.set, p.member = op(data[2]), string(r.Bytes()), string(r.Bytes())
	switch p.op {
	case opPlace:
		p.order = eight(r)
	case opAdd:
		p.amount = math.Float64frombits(eight(r))
	case opRemove:
	default:
		r.Spoil()
	}
	if r.Bad() || len(r.Rest()) > 0 {
		return errors.New("mangled placing")
	}
	return nil
}

func eight(r *packed.Reader) uint64 {
	if b := r.Take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// standing is how a map state keeps an entry's order.
var standing = stream.Codec[uint64]{
	Append: func(b []byte, v *uint64) ([]byte, error) { return binary.BigEndian.AppendUint64(b, *v), nil },
	Decode: func(data []byte, v *uint64) error {
		if len(data) != 8 {
			return errors.New("mangled order of an entry")
		}
		*v = binary.BigEndian.Uint64(data)
		return nil
	},
}

// move is an entry that has come, gone, or changed its place.
type move struct {
	set, member string
	was, is     place
}

// place is where an entry stands, if it is there.
type place struct {
	order uint64
	there bool
}

func standsAt(order uint64) place { return place{order, true} }

// entry is the entry in a store: its order in hexadecimal digits, which sort as it does.
func (p place) entry(set, member string) view.Entry {
	return view.Entry{Set: set, Sort: fmt.Sprintf("%016x", p.order), Member: member}
}

// arrange follows where entries stand. What leaves a place must be taken out of the
// store, which knows entries by their order, so the order of each is kept here.
func arrange(in *stream.Stream[placing]) *stream.Stream[move] {
	entries := stream.NewMapState("entries", standing)
	moves, _ := stream.Via(in, &stream.Process[struct{}, placing, move]{Name: "arrange", Maps: []stream.Entries{entries},
		OnEvent: func(c *stream.Context[struct{}, move], p placing) error {
			m := move{set: p.set, member: p.member}
			m.was.order, m.was.there = entries.Get(c, p.member)
			var err error
			if m.is, err = m.was.after(&p); err != nil || m.is == m.was {
				return err
			}
			if m.is.there {
				entries.Put(c, p.member, m.is.order)
			} else {
				entries.Delete(c, p.member)
			}
			c.Emit(m)
			return nil
		}})
	return moves
}

// after returns where an entry that stands at p stands after c.
func (p place) after(c *placing) (place, error) {
	switch c.op {
	case opRemove:
		return place{}, nil
	case opAdd:
		score := c.amount
		if p.there {
			score += scoreOf(p.order)
		}
		if math.IsInf(score, 0) {
			return p, fmt.Errorf("the score of %q in %q grows beyond %v: give it less", c.member, c.set, math.MaxFloat64)
		}
		return standsAt(orderOf(score)), nil
	}
	return standsAt(c.order), nil
}

// orderOf writes a score so that numbers order as scores do; 0 and -0 are one.
func orderOf(score float64) uint64 {
	bits := math.Float64bits(score + 0)
	if bits>>63 != 0 {
		return ^bits
	}
	return bits | 1<<63
}

// scoreOf undoes orderOf.
func scoreOf(order uint64) float64 {
	if order>>63 != 0 {
		return math.Float64frombits(order &^ (1 << 63))
	}
	return math.Float64frombits(^order)
}

// scoreAt returns the score of an entry of a store.
func scoreAt(sort string) (float64, error) {
	order, err := orderAt(sort)
	if err != nil {
		return 0, err
	}
	return scoreOf(order), nil
}

// orderAt returns the order of an entry of a store.
func orderAt(sort string) (uint64, error) {
	order, err := strconv.ParseUint(sort, 16, 64)
	if err != nil || len(sort) != 16 {
		return 0, fmt.Errorf("an entry sorted by %q, which no feed or ranking has written", sort)
	}
	return order, nil
}

// movesOf are the entries of one partition that have moved, as far as that is not
// written yet: of each where it stands in the store, and where it is to stand.
type movesOf struct {
	sink
	scored bool // a document for each entry says its score
	moves  []moved
	index  map[setMember]int
}

// moved is a move with the offset that made it.
type moved struct {
	move
	offset int64
}

type setMember struct{ set, member string }

// Open takes the part of the store.
func (p *movesOf) Open(ctx context.Context) (int64, error) {
	p.forget()
	return p.sink.Open(ctx)
}

func (p *movesOf) forget() {
	clear(p.index)
	p.moves = p.moves[:0]
}

// Put notes where an entry is to stand.
func (p *movesOf) Put(e *stream.Element, m move) error {
	at := setMember{m.set, m.member}
	i, known := p.index[at]
	if !known {
		i = len(p.moves)
		p.index[at] = i
		p.moves = append(p.moves, moved{move: m})
	}
	p.moves[i].is, p.moves[i].offset = m.is, e.Offset
	return nil
}

// Pending returns how many entries have moved.
func (p *movesOf) Pending() int { return len(p.moves) }

// mostMoves is how many entries are written at once: each may be one that is added,
// one that is removed, and a document.
const mostMoves = 2048

// Batch takes the moves.
func (p *movesOf) Batch(next int64) (func(context.Context) error, error) {
	b := &view.Batch{}
	for i := range p.moves {
		p.moves[i].add(b, p.number, p.scored)
	}
	p.forget()
	return func(ctx context.Context) error { return p.write(ctx, b, next) }, nil
}

func (m *moved) add(b *view.Batch, partition int32, scored bool) {
	if m.was == m.is {
		return
	}
	if m.was.there {
		b.Removes = append(b.Removes, m.was.entry(m.set, m.member))
	}
	if m.is.there {
		b.Adds = append(b.Adds, m.is.entry(m.set, m.member))
	}
	switch key := scoreKey(m.set, m.member); {
	case !scored:
	case m.is.there:
		b.Puts = append(b.Puts, view.Put{Key: key, Value: strconv.AppendFloat(nil, scoreOf(m.is.order), 'g', -1, 64), Offset: m.offset})
	default:
		b.Deletes = append(b.Deletes, view.Ref{Partition: partition, Key: key, Offset: m.offset})
	}
}

// scoreKey is the key of the document that says an entry's score. A set's name holds
// no zero byte.
func scoreKey(set, member string) string { return set + "\x00" + member }

// placingsBy returns what makes of an event all that it does to sets, as a user's
// function says, which is what in errors.
func placingsBy[E, T any](what string, from aggregates.Stream[E], list func(Event[E]) []T, one func(T) (placing, error)) func(*partition.Event, *[]placing) (bool, error) {
	return func(e *partition.Event, out *[]placing) (bool, error) {
		fact, ok, err := decode(from, e)
		if !ok {
			return false, err
		}
		var said []T
		if err := guard(func() { said = list(fact) }); err != nil {
			return false, err
		}
		if len(said) > MaxKeys {
			return false, fmt.Errorf("%s: %d of one event, at most %d", what, len(said), MaxKeys)
		}
		*out = make([]placing, len(said))
		for i, v := range said {
			if (*out)[i], err = one(v); err != nil {
				return false, fmt.Errorf("%s: %w", what, err)
			}
		}
		return len(said) > 0, nil
	}
}

// spread declares how what events do to sets comes to where the sets are, and what
// fills the store there.
func spread(at framework.Following, read func(e *partition.Event, p *[]placing) (bool, error), scored bool) *stream.Topology {
	t, events := topology(at, read)
	trace(at, events)
	each := stream.FlatMap(events, func(list []placing, yield func(placing)) {
		for _, one := range list {
			yield(one)
		}
	})
	arrived := stream.KeyBy(each, sets, func(p placing) string { return p.set }, stream.Codec[placing]{Append: appendPlacing, Decode: decodePlacing})
	stream.Fill(arrange(arrived), &stream.Store[move]{Name: "entries", Most: mostMoves, MarkEvery: at.MarkEvery,
		Part: func(n int32) stream.Part[move] {
			return &movesOf{sink: sink{store: at.Documents, generation: at.Generation, number: n}, scored: scored, index: make(map[setMember]int)}
		}})
	return t
}
