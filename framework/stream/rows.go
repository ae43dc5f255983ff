package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// tables are the tables of a process. Nobody follows their topics: a task that needs
// one further than it is reads on, for all.
type tables struct {
	ctx  context.Context // of the process's run
	read func(ctx context.Context, topic string, part int32) (eventlog.Reader, error)

	mu  sync.Mutex
	all map[any]interface{ close() } // *rows by *Table
}

func newTables(ctx context.Context, read func(context.Context, string, int32) (eventlog.Reader, error)) *tables {
	return &tables{ctx: ctx, read: read, all: make(map[any]interface{ close() })}
}

// outsideTables reads the tables from a log.
func outsideTables(ctx context.Context, of eventlog.Log) *tables {
	return newTables(ctx, func(ctx context.Context, topic string, part int32) (eventlog.Reader, error) {
		log := of.(eventlog.Outside) // a table's topic is one of others
		start, err := log.Start(ctx, topic, part)
		if err != nil {
			return nil, err
		}
		return log.ReadOutside(topic, part, start, true)
	})
}

func rowsOf[V any](t *tables, table *Table[V]) *rows[V] {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, ok := t.all[table]; ok {
		return r.(*rows[V])
	}
	r := &rows[V]{of: t, table: table, users: make(map[*view[V]]map[int32]int64)}
	r.reset()
	t.all[table] = r
	return r
}

// close closes the readers; no task runs any more.
func (t *tables) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.all {
		r.close()
	}
}

// readTimeout bounds the reading that one look into a table waits for.
const readTimeout = time.Minute

// passingError is an error of a fold that may be gone when the task starts anew.
type passingError struct{ error }

func (e passingError) Unwrap() error { return e.error }

// rows are a table's fold, shared by the tasks of a process. Its lock is held while
// it reads: all who wait for it need what is read.
type rows[V any] struct {
	of    *tables
	table *Table[V]

	mu    sync.Mutex
	byKey map[string][]version[V] // each in the order of partition and offset
	parts map[int32]*rowsPart
	users map[*view[V]]map[int32]int64 // their pins
}

// rowsPart is a partition of the table's topic.
type rowsPart struct {
	reader eventlog.Reader
	next   int64        // all below it is folded
	floor  int64        // what only a pin below it sees may be gone
	old    []superseded // in order: what can be pruned once all pins have passed it
}

type superseded struct {
	offset int64 // by which
	key    string
}

// reset forgets everything, to fold it again.
func (r *rows[V]) reset() {
	for _, p := range r.parts {
		p.reader.Close()
	}
	r.byKey, r.parts = make(map[string][]version[V]), make(map[int32]*rowsPart)
}

func (r *rows[V]) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reset()
}

// enter makes a view one of those whose pins count. If it stands before what is
// kept, the table is folded again.
func (r *rows[V]) enter(v *view[V]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[v] = maps.Clone(v.at)
	for n, p := range r.parts {
		if v.at[n] < p.floor {
			r.reset()
			return
		}
	}
}

func (r *rows[V]) leave(v *view[V]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.users, v)
}

// moved takes a view's new pins, and prunes what nobody sees any more.
func (r *rows[V]) moved(v *view[V]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.users[v]
	for n, next := range v.at {
		if at[n] == next {
			continue
		}
		at[n] = next
		if p := r.parts[n]; p != nil {
			r.prune(n, p)
		}
	}
}

func (r *rows[V]) prune(n int32, p *rowsPart) {
	if len(p.old) == 0 {
		return
	}
	least := leastPin(r.users, n)
	for len(p.old) > 0 && p.old[0].offset < least {
		key := p.old[0].key
		p.floor = max(p.floor, p.old[0].offset+1)
		p.old = p.old[1:]
		if all := prune(r.byKey[key], n, least); len(all) > 0 {
			r.byKey[key] = all
		} else {
			delete(r.byKey, key)
		}
	}
}

func (r *rows[V]) get(v *view[V], key string) (value V, known bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, next := range v.at {
		if err := r.reach(n, next); err != nil {
			return value, false, err
		}
	}
	if p := seen(r.byKey[key], v.at); p != nil {
		return *p, true, nil
	}
	return value, false, nil
}

// reach folds a partition up to an offset, which the topic has passed: there is a
// pin that says so.
func (r *rows[V]) reach(n int32, next int64) error {
	p := r.parts[n]
	if p != nil && p.next >= next {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.of.ctx, readTimeout)
	defer cancel()
	if p == nil {
		reader, err := r.of.read(ctx, r.table.Topic, n)
		if err != nil {
			return r.passing(n, next, err)
		}
		p = &rowsPart{reader: reader}
		r.parts[n] = p
	}
	for p.next < next {
		records, err := p.reader.Next(ctx)
		if err != nil {
			p.reader.Close()
			r.reset() // a reader may be done for good
			return r.passing(n, next, err)
		}
		for i := range records {
			if err := r.fold(n, p, &records[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rows[V]) passing(n int32, next int64, err error) error {
	return passingError{fmt.Errorf("read table %s from %s up to %d@%d: %w", r.table.Name, r.table.Topic, n, next, err)}
}

func (r *rows[V]) fold(n int32, p *rowsPart, record *eventlog.Record) error {
	if record.Offset < p.next {
		return nil
	}
	value, err := r.table.decode(n, record)
	if err != nil {
		return fmt.Errorf("%d@%d of %s: %w", n, record.Offset, r.table.Topic, err)
	}
	key := string(record.Key)
	v := version[V]{n, record.Offset, value}
	all := r.byKey[key]
	i, _ := slices.BinarySearchFunc(all, v, compareVersions)
	if value == nil || i > 0 && all[i-1].part == n {
		p.old = append(p.old, superseded{record.Offset, key})
	}
	r.byKey[key] = slices.Insert(all, i, v)
	p.next = record.Offset + 1
	if len(p.old)%pruneEach == 0 {
		r.prune(n, p)
	}
	return nil
}

// pruneEach is after how many superseded records a fold prunes meanwhile.
const pruneEach = 1024

// passes reports whether an error of a fold may be gone next time.
func passes(err error) bool {
	var p passingError
	return errors.As(err, &p)
}
