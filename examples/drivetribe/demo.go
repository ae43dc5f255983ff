package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/drivetrain-go/drivetrain/examples/drivetribe/post"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/tribe"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/user"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// executor is what fill needs of a *framework.App.
type executor interface {
	Execute(ctx context.Context, c framework.Call) (cluster.Result, error)
	State(ctx context.Context, aggregate, id string, min eventlog.Positions) (cluster.State, error)
}

// fillers is how many aggregates fill makes at a time.
const fillers = 16

// fill sends the demo world, unless the log holds it, and reports whether it
// did. Cut off at any place it may be called again, in whatever time: each
// command says which version its aggregate must have, and so takes effect once
// even when its key is long forgotten.
func fill(ctx context.Context, app executor) (bool, error) {
	last := welcome.script()
	if _, err := retry(ctx, func() (cluster.State, error) {
		return app.State(ctx, "post", welcome.id, eventlog.NewPositions())
	}); !errors.Is(err, framework.ErrNotFound) {
		return false, err
	}
	if err := fillAll(ctx, app, world()); err != nil {
		return false, err
	}
	return true, play(ctx, app, last)
}

// fillAll plays scripts, one beside the other, and returns the first error.
func fillAll(ctx context.Context, app executor, scripts [][]framework.Call) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan []framework.Call, len(scripts))
	for _, s := range scripts {
		todo <- s
	}
	close(todo)
	var wg sync.WaitGroup
	for range fillers {
		wg.Go(func() {
			for s := range todo {
				if err := play(ctx, app, s); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// play sends the commands of one aggregate in order. What it finds done, by an
// earlier run or by somebody who was quicker, it leaves alone.
func play(ctx context.Context, app executor, script []framework.Call) error {
	for _, call := range script {
		_, err := retry(ctx, func() (cluster.Result, error) { return app.Execute(ctx, call) })
		var conflict *cluster.ConflictError
		var no cluster.Rejecter
		if err != nil && !errors.As(err, &conflict) && !errors.As(err, &no) {
			return fmt.Errorf("demo: %s %s of %s: %w", call.Aggregate, call.Command, call.ID, err)
		}
	}
	return nil
}

// retry calls f until its answer is definite or ctx ends.
func retry[T any](ctx context.Context, f func() (T, error)) (T, error) {
	for {
		got, err := f()
		var wait *cluster.UnavailableError
		if !errors.As(err, &wait) {
			return got, err
		}
		select {
		case <-ctx.Done():
			return got, context.Cause(ctx)
		case <-time.After(max(wait.RetryAfter, 50*time.Millisecond)):
		}
	}
}

// world returns the script of every aggregate but the welcome.
func world() [][]framework.Call {
	var out [][]framework.Call
	for _, p := range people {
		out = append(out, p.script())
	}
	for _, t := range tribes {
		out = append(out, t.script())
	}
	for _, p := range posts {
		out = append(out, p.script())
	}
	return out
}

func (p person) script() []framework.Call {
	s := scriptOf{aggregate: "user", id: p.id}
	s.add(p.id, "register", user.Register{Name: p.name})
	return s.calls
}

func (t tribeOf) script() []framework.Call {
	s := scriptOf{aggregate: "tribe", id: t.id}
	s.add(t.founder, "found", tribe.Found{Name: t.name})
	for _, m := range t.members {
		s.add(m, "join", tribe.Join{})
	}
	return s.calls
}

func (p postOf) script() []framework.Call {
	s := scriptOf{aggregate: "post", id: p.id}
	s.add(p.author, "publish", post.Publish{Tribe: p.tribe, Text: p.text})
	for _, c := range p.comments {
		s.add(c.author, "comment", post.Comment{Text: c.text})
	}
	for _, by := range p.bumpers() {
		s.add(by, "bump", post.Bump{})
	}
	return s.calls
}

// bumpers returns who bumps a post: people in turn, from behind its author on.
func (p postOf) bumpers() []string {
	from := slices.IndexFunc(people, func(x person) bool { return x.id == p.author }) + 1 + len(p.text)
	out := make([]string, p.bumps)
	for i := range out {
		out[i] = people[(from+i)%len(people)].id
	}
	return out
}

// scriptOf is the commands of one aggregate. Each causes one event, so the n-th
// expects version n.
type scriptOf struct {
	aggregate, id string
	calls         []framework.Call
}

func (s *scriptOf) add(actor, command string, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Errorf("demo: %w", err)) // a struct of texts
	}
	n := uint64(len(s.calls))
	s.calls = append(s.calls, framework.Call{Aggregate: s.aggregate, ID: s.id, Command: command, Body: data, Actor: actor,
		Key: fmt.Sprintf("demo-1-%d", n), Expected: &n})
}
