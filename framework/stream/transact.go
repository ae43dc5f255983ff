package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// transactions are a task's transactional outputs: one transaction at a time holds
// all that the inputs below a position have made, and the position itself, as the
// offset of the source's group.
type transactions struct {
	producer  eventlog.Transactions
	underWay  bool
	last      time.Time // when the last one began
	committed int64     // the position of the last one
}

func (s *stage) transactional() bool {
	for _, o := range s.outs {
		if o.to == nil && o.mode == Transactional {
			return true
		}
	}
	return false
}

// openTransactions takes over the task's transactional name, which fences whoever
// had it, and finds what is published already.
func (a *attempt) openTransactions() error {
	if !a.stage.transactional() {
		return nil
	}
	a.txn = &transactions{}
	name := fmt.Sprintf("%s.%d", a.stage.publisher(), a.part)
	var err error
	if a.txn.producer, err = a.cfg.Log.(eventlog.Transactor).Transact(a.ctx, name); err != nil {
		return fmt.Errorf("take over the transactions of %s: %w", name, err)
	}
	settled, err := a.txn.producer.Committed(a.ctx, a.stage.publisher(), a.stage.input(), a.part)
	if err != nil {
		return fmt.Errorf("find what was published: %w", err)
	}
	a.core.settled, a.txn.committed = settled, settled
	a.txn.last = a.cfg.Clock.Now()
	return nil
}

// publisher is the group that carries a stage's position in its transactions, and
// what their names begin with. Another version has others: it publishes all anew,
// and neither ends the transactions of this one nor goes on from where it is.
func (s *stage) publisher() string {
	return fmt.Sprintf("%s.%s.%d.published", s.of.Name, s.name, s.of.version())
}

// transact begins a transaction when one is due: all that waits, and the position
// that it follows from.
func (a *attempt) transact() error {
	t := a.txn
	if t == nil || t.underWay || a.core.next <= t.committed {
		return nil
	}
	now := a.cfg.Clock.Now()
	outputs, boxes, idle := a.outputs(), a.boxes(), len(a.rest) == 0 && len(a.runs) == 0
	wait := a.cfg.TransactEvery
	if len(outputs) == 0 && !idle {
		wait = a.cfg.ProgressEvery
	}
	if now.Sub(t.last) < wait && !a.full() {
		return nil
	}
	for _, b := range boxes {
		b.flight = len(b.records)
	}
	next := a.core.next
	t.underWay, t.last = true, now
	a.beside(func(ctx context.Context) error {
		return t.producer.Commit(ctx, outputs, a.stage.publisher(), a.stage.input(), a.part, next)
	}, func(err error) error {
		if err != nil {
			return fmt.Errorf("publish up to %d@%d: %w", a.part, next, err)
		}
		t.underWay, t.committed = false, next
		for _, b := range boxes {
			b.done()
		}
		return nil
	})
	return nil
}

// boxes returns those of the transactional outputs.
func (a *attempt) boxes() (all []*box) {
	for _, g := range a.core.outs {
		if g.of.to == nil && g.of.mode == Transactional {
			all = append(all, g.boxes...)
		}
	}
	return all
}

func (a *attempt) outputs() (all []eventlog.Output) {
	for _, g := range a.core.outs {
		if g.of.to != nil || g.of.mode != Transactional {
			continue
		}
		for p, b := range g.boxes {
			if len(b.records) > 0 {
				all = append(all, eventlog.Output{Topic: g.of.topic, Partition: int32(p), Records: b.records[:len(b.records):len(b.records)]})
			}
		}
	}
	return all
}
