package stream

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// IntervalJoin pairs the elements of two streams that have the same key and lie
// close to each other in event time.
type IntervalJoin[A, B, Out any] struct {
	Name string // [a-z][a-z0-9-]*, for ever
	// An A at time t meets each B from t-Before to t+After, both included.
	Before, After time.Duration
	Join          func(key string, a A, b B) Out // pure
	A             Codec[A]                       // in snapshots; default JSON
	B             Codec[B]
}

// JoinInterval joins two streams that come out of one shuffle (see Into). The
// result's time is the later one's. late is what came behind the watermark, as
// either stream has it.
func JoinInterval[A, B, Out any](a *Stream[A], b *Stream[B], j *IntervalJoin[A, B, Out]) (joined *Stream[Out], lateA *Stream[A], lateB *Stream[B]) {
	switch {
	case j.Join == nil:
		panic(fmt.Errorf("join %q: set Join", j.Name))
	case j.Before < -j.After:
		panic(fmt.Errorf("join %q: Before is %v and After %v, so nothing ever meets", j.Name, j.Before, j.After))
	}
	p := &Process[sides[A, B], either[A, B], Out]{Name: j.Name, State: sidesCodec(j.A.orJSON(), j.B.orJSON()),
		OnEvent: j.onEvent, OnTimer: j.onTimer}
	joined, late := Via(eitherOf(j.Name, a, b), p)
	lateA, lateB = apart(late)
	return joined, lateA, lateB
}

// either is an element of one of two streams.
type either[A, B any] struct {
	a   A
	b   B
	isB bool
}

func eitherOf[A, B any](name string, a *Stream[A], b *Stream[B]) *Stream[either[A, B]] {
	if a.of != b.of {
		panic(fmt.Errorf("join %q: its streams lie in different logs, %s and %s; write both to one shuffle with stream.Into", name, a.of.name, b.of.name))
	}
	return Merge(Map(a, func(v A) either[A, B] { return either[A, B]{a: v} }),
		Map(b, func(v B) either[A, B] { return either[A, B]{b: v, isB: true} }))
}

func apart[A, B any](in *Stream[either[A, B]]) (*Stream[A], *Stream[B]) {
	return FlatMap(in, func(v either[A, B], yield func(A)) {
			if !v.isB {
				yield(v.a)
			}
		}), FlatMap(in, func(v either[A, B], yield func(B)) {
			if v.isB {
				yield(v.b)
			}
		})
}

// sides are what a key's elements wait as, by time and then by arrival.
type sides[A, B any] struct {
	a []timed[A]
	b []timed[B]
}

type timed[T any] struct {
	at int64
	v  T
}

const timerPrune = "p"

func (j *IntervalJoin[A, B, Out]) onEvent(c *Context[sides[A, B], Out], v either[A, B]) error {
	t := c.core.time
	if t < c.core.mark {
		c.Late()
		return nil
	}
	s, key := c.State(), c.Key()
	if v.isB {
		for _, a := range between(s.a, t-int64(j.After), t+int64(j.Before)) {
			j.emit(c, key, a, timed[B]{t, v.b})
		}
		s.b = insert(s.b, timed[B]{t, v.b})
	} else {
		for _, b := range between(s.b, t-int64(j.Before), t+int64(j.After)) {
			j.emit(c, key, timed[A]{t, v.a}, b)
		}
		s.a = insert(s.a, timed[A]{t, v.a})
	}
	j.schedule(c, s)
	return nil
}

func (j *IntervalJoin[A, B, Out]) emit(c *Context[sides[A, B], Out], key string, a timed[A], b timed[B]) {
	was := c.core.time
	c.core.time = max(a.at, b.at)
	c.Emit(j.Join(key, a.v, b.v))
	c.core.time = was
}

// between returns the elements from one time to another, both included.
func between[T any](all []timed[T], from, to int64) []timed[T] {
	first, _ := slices.BinarySearchFunc(all, from, func(e timed[T], t int64) int { return cmp.Compare(e.at, t) })
	n := first
	for n < len(all) && all[n].at <= to {
		n++
	}
	return all[first:n]
}

// insert puts an element behind all that are not later.
func insert[T any](all []timed[T], e timed[T]) []timed[T] {
	i := len(all)
	for i > 0 && all[i-1].at > e.at {
		i--
	}
	return slices.Insert(all, i, e)
}

// schedule sets the timer by which the next element is forgotten: once nothing
// that may still come can meet it.
func (j *IntervalJoin[A, B, Out]) schedule(c *Context[sides[A, B], Out], s *sides[A, B]) {
	next := int64(math.MaxInt64)
	if len(s.a) > 0 {
		next = s.a[0].at + max(int64(j.After), 0)
	}
	if len(s.b) > 0 {
		next = min(next, s.b[0].at+max(int64(j.Before), 0))
	}
	if next < math.MaxInt64 {
		c.setTimer(timerPrune, next+1)
	}
}

func (j *IntervalJoin[A, B, Out]) onTimer(c *Context[sides[A, B], Out], t Timer) error {
	s, at := c.State(), t.Time.UnixNano()
	s.a = forget(s.a, at-max(int64(j.After), 0))
	s.b = forget(s.b, at-max(int64(j.Before), 0))
	if len(s.a)+len(s.b) == 0 {
		c.Clear()
		return nil
	}
	j.schedule(c, s)
	return nil
}

// forget drops the elements before a time.
func forget[T any](all []timed[T], before int64) []timed[T] {
	n := 0
	for n < len(all) && all[n].at < before {
		n++
	}
	return slices.Delete(all, 0, n)
}

func sidesCodec[A, B any](a Codec[A], b Codec[B]) Codec[sides[A, B]] {
	return Codec[sides[A, B]]{
		Append: func(to []byte, v *sides[A, B]) (_ []byte, err error) {
			if to, err = appendTimed(to, v.a, a); err == nil {
				to, err = appendTimed(to, v.b, b)
			}
			return to, err
		},
		Decode: func(data []byte, v *sides[A, B]) (err error) {
			r := packed.Read(data)
			if v.a, err = readTimed(r, a); err == nil {
				v.b, err = readTimed(r, b)
			}
			if err == nil && r.Bad() {
				err = errMangled
			}
			return err
		},
	}
}

func appendTimed[T any](to []byte, all []timed[T], codec Codec[T]) (_ []byte, err error) {
	var one []byte
	to = binary.AppendUvarint(to, uint64(len(all)))
	for i := range all {
		to = binary.AppendVarint(to, all[i].at)
		if one, err = codec.Append(one[:0], &all[i].v); err != nil {
			return to, err
		}
		to = packed.AppendBytes(to, one)
	}
	return to, nil
}

func readTimed[T any](r *packed.Reader, codec Codec[T]) (all []timed[T], err error) {
	for range r.Count(2) {
		e := timed[T]{at: r.Signed()}
		if err := codec.Decode(r.Bytes(), &e.v); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// LatestJoin gives each element of a stream the latest one of another that has
// the same key: the one with the greatest event time that came before it in their
// shuffle.
type LatestJoin[A, B, Out any] struct {
	Name string // [a-z][a-z0-9-]*, for ever
	// Join makes an element of a, and of the latest B if one is known; pure.
	Join func(key string, a A, latest B, known bool) Out
	TTL  time.Duration // forgets a B that was not replaced for so long; default: never
	B    Codec[B]      // in snapshots; default JSON
}

// JoinLatest joins two streams that come out of one shuffle (see Into).
func JoinLatest[A, B, Out any](a *Stream[A], b *Stream[B], j *LatestJoin[A, B, Out]) *Stream[Out] {
	if j.Join == nil {
		panic(fmt.Errorf("join %q: set Join", j.Name))
	}
	codec := j.B.orJSON()
	p := &Process[timed[B], either[A, B], Out]{Name: j.Name, TTL: j.TTL,
		State: Codec[timed[B]]{
			Append: func(to []byte, v *timed[B]) ([]byte, error) {
				return codec.Append(binary.AppendVarint(to, v.at), &v.v)
			},
			Decode: func(data []byte, v *timed[B]) error {
				r := packed.Read(data)
				if v.at = r.Signed(); r.Bad() {
					return errMangled
				}
				return codec.Decode(r.Rest(), &v.v)
			},
		},
		OnEvent: func(c *Context[timed[B], Out], v either[A, B]) error {
			latest, known := c.Peek()
			switch {
			case !v.isB:
				c.Emit(j.Join(c.Key(), v.a, latest.v, known))
			case !known || c.core.time > latest.at, c.core.time == latest.at && c.core.planted != plantArrival:
				*c.State() = timed[B]{c.core.time, v.b}
			}
			return nil
		}}
	joined, _ := Via(eitherOf(j.Name, a, b), p)
	return joined
}
