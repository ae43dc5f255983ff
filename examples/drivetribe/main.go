// Drivetribe is a small social network: people register, found tribes and join
// them, publish posts, comment on them and bump them. It is the example that
// shows Drivetrain whole, and nothing but Go is needed to run it:
//
//	go run ./examples/drivetribe
//
// Read it in this order: tribe (facts, state, decisions; user and post are made
// the same way), views (what is shown), effects (what other systems are told), and
// this file, which puts them together; outbox.go is the way to the others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/effects"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/post"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/tribe"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/user"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/views"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/servers"
	"github.com/drivetrain-go/drivetrain/projections"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal stops in order, a second one at once
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "drivetribe:", explain(err))
		os.Exit(1)
	}
}

// explain says in one line why Drivetribe could not run, and what to do.
func explain(err error) string {
	line := strings.ReplaceAll(err.Error(), "\n", "; ")
	if errors.Is(err, syscall.EADDRINUSE) {
		line += "; --listen and --admin name others"
	}
	return line
}

// run serves Drivetribe until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stdout, stderr)
	if err != nil {
		return err
	}
	cfg, opened := config(o, stderr)
	out, err := openOutbox(o.app, cfg.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	app := framework.New(cfg)
	register(app)
	projections.Register(app, effects.AnnounceTribes("//"+o.app, out.feed.Deliver))
	var background sync.WaitGroup
	defer background.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return api.Serve(ctx, app, o.listen, api.AdminAddr(o.admin), api.CallerHeader("User"), api.Title("Drivetribe"),
		api.Listening(func(public, admin net.Addr) {
			background.Go(func() {
				select {
				case <-ctx.Done():
				case <-opened:
					greet(stdout, public, admin, o)
					demonstrate(ctx, app, o, stdout, stderr)
				}
			})
		}))
}

// config is where Drivetribe runs: all of it in this process, or on the servers
// that the environment names. The channel is closed once these are open.
func config(o options, stderr io.Writer) (framework.Config, <-chan struct{}) {
	cfg, opened := servers.FromEnv(o.data), make(chan struct{})
	cfg.App, cfg.Advertise = o.app, o.advertise
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	open := cfg.Open
	cfg.Open = func(ctx context.Context) (framework.Resources, error) {
		r, err := open(ctx)
		if err == nil {
			close(opened)
		}
		return r, err
	}
	return cfg, opened
}

// register declares all that Drivetribe is, but for what it tells others.
func register(app *framework.App) {
	commands.Handle(app, user.Type, "register", user.User.Register)
	commands.Handle(app, tribe.Type, "found", tribe.Tribe.Found)
	commands.Handle(app, tribe.Type, "join", tribe.Tribe.Join)
	commands.Handle(app, tribe.Type, "leave", tribe.Tribe.Leave)
	commands.Handle(app, post.Type, "publish", post.Post.Publish)
	commands.Handle(app, post.Type, "comment", post.Post.Comment)
	commands.Handle(app, post.Type, "bump", post.Post.Bump)
	commands.Handle(app, post.Type, "unbump", post.Post.Unbump)
	projections.Register(app, views.TribeCards, views.PostCards, views.TribeFeed, views.PostReach, views.Memberships, views.TopTribes,
		views.Search, views.FindTribe, views.FindPost)
}

// greet says where Drivetribe is and what to do next.
func greet(w io.Writer, public, admin net.Addr, o options) {
	fmt.Fprintf(w, `Drivetribe  http://%[1]s        its API, described at http://%[1]s/docs
            http://%[2]s        for operators: /docs, /metrics, /readyz
            data in %[3]s

Try:  curl -H 'User: you' http://%[1]s/v1/post/hello/publish --json '{"tribe":"hikers","text":"Hello!"}'
      curl http://%[1]s/v1/views/tribe-feed/hikers
`, public, admin, o.data)
}

// demonstrate fills an empty log with the demo world, unless that is not wanted.
func demonstrate(ctx context.Context, app *framework.App, o options, stdout, stderr io.Writer) {
	if !o.demo {
		return
	}
	switch filled, err := fill(ctx, app); {
	case ctx.Err() != nil:
	case err != nil:
		fmt.Fprintf(stderr, "drivetribe: %v; the demo world is not whole, a restart goes on with it\n", err)
	case filled:
		fmt.Fprintf(stdout, "Filled with a demo world: %d people, %d tribes, %d posts.\n", len(people), len(tribes), len(posts)+1)
	}
}
