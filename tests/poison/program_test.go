package poison

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/servers"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

// Variables by which the program is told its application's name, its folder, and the
// greatest version of its views that it carries.
const (
	envApp      = "POISON_APP"
	envDir      = "POISON_DIR"
	envVersions = "POISON_VERSIONS"
)

func TestMain(m *testing.M) {
	if os.Getenv(envApp) == "" {
		os.Exit(m.Run())
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// mended is the version of the views that folds what the first one cannot.
const mended = 2

// serve runs the program until it is killed.
func serve() error {
	versions, err := strconv.Atoi(os.Getenv(envVersions))
	if err != nil {
		return err
	}
	cfg := servers.FromEnv(os.Getenv(envDir))
	cfg.App, cfg.Partitions, cfg.SnapshotEvery, cfg.ReplaceViews = os.Getenv(envApp), 2, 200*time.Millisecond, false
	cfg.Logger = slog.New(slog.DiscardHandler)
	app := framework.New(cfg)
	commands.Handle(app, books, "put", func(_ book, c putTitle) ([]put, error) { return []put{{c.Title}}, nil })
	for v := 1; v <= versions; v++ {
		register(app, v)
	}
	return api.Serve(context.Background(), app, "127.0.0.1:0", api.AdminAddr("127.0.0.1:0"), api.CallerHeader("User"),
		api.Listening(func(public, admin net.Addr) { fmt.Println(public, admin) }))
}

type book struct{}

type put struct {
	Title string `json:"title"`
}

type putTitle struct {
	Title string `json:"title"`
	aggregates.Meta
}

var books = &aggregates.Type[book, put]{Name: "book", Evolve: func(b book, _ put) book { return b },
	Events: event.Types[put]{"book.put": event.As[put, put]()}}

// shown is what all views show of a book.
type shown struct {
	Name   string   `json:"name"`
	Titles []string `json:"titles"`
}

// fold fails in the first version once it has changed the document in place.
func fold(version int) func(shown, projections.Event[put]) shown {
	return func(d shown, e projections.Event[put]) shown {
		d.Name = e.Key
		if len(d.Titles) > 0 {
			d.Titles[0] += "!"
		}
		d.Titles = append(d.Titles, e.Fact.Title)
		if strings.HasPrefix(e.Fact.Title, "cursed") && version < mended {
			panic("the title is cursed")
		}
		return d
	}
}

func register(app *framework.App, version int) {
	projections.Register(app,
		&projections.View[shown, put]{Name: "titles", Version: version, From: books.Stream(), Fold: fold(version)},
		&projections.View[shown, put]{Name: "shelves", Version: version, From: books.Stream(), Fold: fold(version),
			Key: func(e projections.Event[put]) []string { return []string{"shelf" + e.ID} }},
		&projections.View[shown, put]{Name: "found", Version: version, From: books.Stream(), Fold: fold(version),
			Search: view.Fields{"name": view.Keyword, "titles": view.Text}})
}
