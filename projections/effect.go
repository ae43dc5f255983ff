package projections

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// Effect acts on events: it tells another system of them, or sends mail. What it
// has done is kept in the log, as the offsets of the group "<app>.<Name>", so
// that neither a restart nor an emptied store lets it happen again.
//
//	var Announce = &projections.Effect[tribe.Event]{
//		Name: "announce",
//		From: tribe.Type.Stream(),
//		Do: func(ctx context.Context, e projections.Event[tribe.Event]) error {
//			return send(ctx, e.EventID, e.Fact)
//		},
//	}
type Effect[E any] struct {
	// Name is that of the effect for ever: under another one it has done nothing
	// yet. Views and effects have different names, [a-z][a-z0-9-]*.
	Name string
	From aggregates.Stream[E] // the events that it acts on
	// Since leaves out events of before, such as those that an application already
	// had when the effect was declared. Zero: none.
	Since time.Time
	// Do is called for each event that took effect, at least once. Whoever is told
	// twice, after a crash or a change of the process that serves the partition,
	// knows it by EventID. In a process it is called for the events of a partition
	// in order, one at a time, and for several partitions at once.
	//
	// Nil means done. An error, or a panic, lets it be called again with the same
	// event, after a pause that grows from 100 ms to 30 s; meanwhile this partition
	// waits, and no other, no command and no view. It must end soon after ctx,
	// which ends when the application stops or another process takes the
	// partition; how long it may take else is its own matter.
	Do func(ctx context.Context, e Event[E]) error
}

func (f *Effect[E]) check() error {
	if err := f.From.Check(); err != nil {
		return fmt.Errorf("effect %q: From: %w", f.Name, err)
	}
	if f.Do == nil {
		return fmt.Errorf("effect %q: set Do", f.Name)
	}
	return nil
}

func (f *Effect[E]) register(app *framework.App) error {
	if err := f.check(); err != nil {
		return err
	}
	app.AddEffect(framework.Effect{Name: f.Name, Takes: f.takes, Do: f.do})
	return nil
}

func (f *Effect[E]) takes(e *partition.Event) bool {
	kind, _, _ := bytes.Cut(e.Key, []byte{'/'})
	return f.From.Has(string(kind)) && !e.Time.Before(f.Since)
}

// do is called for the events that f takes. One that the program cannot read will
// be the same at the next attempt.
func (f *Effect[E]) do(ctx context.Context, e *partition.Event) error {
	fact, _, err := decode(f.From, e)
	if err != nil {
		return stream.Final(err)
	}
	return f.Do(ctx, fact)
}
