// Command versions is Drivetribe with several versions of three of its views, as a
// program carries them while one is replaced by the next:
//
//	versions --carry 1|2|3|4 --listen ADDR --admin ADDR --data DIR --app NAME
//
// Version 1 is Drivetribe's own. Version 2 makes the same of the same events. What
// version 3 makes shows in each document, and in each score of the ranking, that it is
// by this version. Version 4 has a mistake. It carries those up to --carry.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
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
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "versions:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("versions", flag.ContinueOnError)
	carry, listen, admin := f.Int("carry", 1, ""), f.String("listen", "127.0.0.1:0", ""), f.String("admin", "127.0.0.1:0", "")
	data, name, _ := f.String("data", "", ""), f.String("app", "drivetribe", ""), f.Bool("demo", false, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *carry < 1 || *carry > 4 || f.NArg() > 0 {
		return errors.New("want --carry 1, 2, 3 or 4 and no arguments")
	}
	cfg := servers.FromEnv(*data)
	cfg.App, cfg.Logger = *name, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	app := framework.New(cfg)
	register(app)
	for v := 1; v <= *carry; v++ {
		projections.Register(app, cards(v), top(v), search(v))
	}
	return api.Serve(ctx, app, *listen, api.AdminAddr(*admin), api.CallerHeader("User"), api.Listening(func(public, admin net.Addr) {
		fmt.Printf("http://%s\nhttp://%s for operators\n", public, admin)
	}))
}

// register declares what there is one version of.
func register(app *framework.App) {
	commands.Handle(app, user.Type, "register", user.User.Register)
	commands.Handle(app, tribe.Type, "found", tribe.Tribe.Found)
	commands.Handle(app, tribe.Type, "join", tribe.Tribe.Join)
	commands.Handle(app, tribe.Type, "leave", tribe.Tribe.Leave)
	commands.Handle(app, post.Type, "publish", post.Post.Publish)
	commands.Handle(app, post.Type, "comment", post.Post.Comment)
	commands.Handle(app, post.Type, "bump", post.Post.Bump)
	commands.Handle(app, post.Type, "unbump", post.Post.Unbump)
	projections.Register(app, views.TribeCards, views.TribeFeed)
}

// The versions.
const (
	marked   = 3
	mistaken = 4
)

// mark begins each text that the marked version makes.
const mark = "§ "

// cards is the posts by id. The mistaken version forgets that somebody takes a bump back.
func cards(version int) *projections.View[views.PostCard, post.Event] {
	v, fold := *views.PostCards, views.PostCards.Fold
	v.Version = version
	v.Fold = func(c views.PostCard, e projections.Event[post.Event]) views.PostCard {
		if _, back := e.Fact.(post.Unbumped); back && version == mistaken {
			return c
		}
		if c = fold(c, e); version == marked {
			c.Text = mark + strings.TrimPrefix(c.Text, mark)
		}
		return c
	}
	return &v
}

// top ranks the tribes, which the marked version gives half a point more. The mistaken
// one forgets who leaves.
func top(version int) *projections.Ranking[any] {
	v, scores := *views.TopTribes, views.TopTribes.Scores
	v.Version = version
	v.Scores = func(e projections.Event[any]) []projections.Score {
		list := scores(e)
		switch e.Fact.(type) {
		case tribe.Founded:
			for i := range list {
				if version == marked {
					list[i].Score += 0.5
				}
			}
		case tribe.Left:
			if version == mistaken {
				return nil
			}
		}
		return list
	}
	return &v
}

// search is users, tribes and posts by their words. The mistaken version loses the last
// letter of a tribe's name.
func search(version int) *projections.View[views.Hit, any] {
	v, fold := *views.Search, views.Search.Fold
	v.Version = version
	v.Fold = func(h views.Hit, e projections.Event[any]) views.Hit {
		h = fold(h, e)
		_, founded := e.Fact.(tribe.Founded)
		switch {
		case version == marked:
			h.Text = mark + strings.TrimPrefix(h.Text, mark)
		case version == mistaken && founded:
			h.Text = h.Text[:len(h.Text)-1]
		}
		return h
	}
	return &v
}
