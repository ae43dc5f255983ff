// Package commands registers the commands of an application:
//
//	commands.Handle(app, Tribes, "found", Tribe.Found)
//
// makes POST /v1/tribe/{id}/found: its body is the struct that Tribe.Found takes,
// and what that returns is recorded, or the rejection shown.
package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

// Meta is what a command is given besides its body; see aggregates.Meta.
type Meta = aggregates.Meta

// Reject returns a rejection; see aggregates.Reject.
func Reject(format string, args ...any) error { return aggregates.Reject(format, args...) }

// Forbid returns a rejection of what this caller may not do; see
// aggregates.Forbid.
func Forbid(format string, args ...any) error { return aggregates.Forbid(format, args...) }

// Option adds to a command of type C.
type Option[C any] func(*handler[C])

// Prepare runs f on each command before its partition's turn, on any number of
// goroutines: it may check rights, look things up, and put what it finds into
// the command. It must end with ctx. A rejection it returns, or
// aggregates.Forbid, is shown; any other error is a 500.
func Prepare[C any](f func(ctx context.Context, c *C) error) Option[C] {
	return func(h *handler[C]) { h.prepare = append(h.prepare, f) }
}

type handler[C any] struct {
	prepare []func(context.Context, *C) error
}

// Handle registers decide as the command name of aggregate type t. C is a struct
// that embeds Meta; its other fields are the body. Handle panics, with the fix,
// on a declaration that cannot work.
func Handle[S, E, C any](app *framework.App, t *aggregates.Type[S, E], name string,
	decide func(S, C) ([]E, error), options ...Option[C]) {
	if err := t.Check(); err != nil {
		panic(err)
	}
	if err := checkBody(reflect.TypeFor[C]()); err != nil {
		panic(fmt.Errorf("command %s %s: %w", t.Name, name, err))
	}
	h := &handler[C]{}
	for _, o := range options {
		o(h)
	}
	app.AddCommand(framework.Command{
		Aggregate: t, Name: name, Body: reflect.TypeFor[C](), Prepares: len(h.prepare) > 0,
		Bind: func(ctx context.Context, body []byte, g cluster.Given) (cluster.Decide, error) {
			c, err := bind[C](ctx, body, g, h.prepare)
			if err != nil {
				return nil, err
			}
			run := func(state any, g cluster.Given) ([]cluster.Fact, error) {
				aggregates.Bind(c, aggregates.Given(g.Actor, g.At, g.ID, g.Command))
				facts, err := decide(*state.(*S), *c)
				if err != nil {
					return nil, err
				}
				return encode(t, facts)
			}
			if app.Config().CheckDecisions {
				return checked(t, name, run), nil
			}
			return run, nil
		},
	})
}

// checked refuses a decision that has changed its state.
func checked[S, E any](t *aggregates.Type[S, E], name string, decide cluster.Decide) cluster.Decide {
	return func(state any, g cluster.Given) ([]cluster.Fact, error) {
		before, err := t.StateJSON(state)
		if err != nil {
			return nil, err
		}
		facts, decided := decide(state, g)
		after, err := t.StateJSON(state)
		if err == nil && !bytes.Equal(before, after) {
			panic(fmt.Sprintf("%s %s has changed the state of %s: a decision returns events, only Evolve moves the state", name, t.Name, g.ID))
		}
		return facts, errors.Join(decided, err)
	}
}

func checkBody(c reflect.Type) error {
	if c.Kind() != reflect.Struct || !aggregates.Bind(reflect.New(c).Interface(), Meta{}) {
		return fmt.Errorf("%s must be a struct that embeds aggregates.Meta", c)
	}
	return wire.Check(c)
}

func bind[C any](ctx context.Context, body []byte, g cluster.Given, prepare []func(context.Context, *C) error) (*C, error) {
	c := new(C)
	if err := wire.Decode(body, c); err != nil {
		return nil, fmt.Errorf("%w: body: %w", framework.ErrInvalid, err)
	}
	if len(prepare) == 0 {
		return c, nil // the decision is given its Meta in its turn
	}
	aggregates.Bind(c, aggregates.Given(g.Actor, g.At, g.ID, g.Command.Derive(0, g.At))) // ids of its own, not the decision's
	for _, f := range prepare {
		if err := f(ctx, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func encode[S, E any](t *aggregates.Type[S, E], facts []E) ([]cluster.Fact, error) {
	out := make([]cluster.Fact, len(facts))
	for i, fact := range facts {
		name, data, err := t.Encode(fact)
		if err != nil {
			return nil, err
		}
		out[i] = cluster.Fact{Type: name, Data: data}
	}
	return out, nil
}
