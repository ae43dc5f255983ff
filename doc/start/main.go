// Command start is the program of doc/start.md: a library that lends books.
//
//	go run ./doc/start
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/projections"

	"github.com/drivetrain-go/drivetrain/doc/start/book"
)

// Card is a book as readers see it.
type Card struct {
	ID        string `json:"id"`
	Title     string `json:"title"`
	Available bool   `json:"available"`
	Loans     int    `json:"loans"` // how often it was lent
}

// Cards is the books by id.
var Cards = &projections.View[Card, book.Event]{
	Name: "book-card",
	From: book.Type.Stream(),
	Fold: func(c Card, e projections.Event[book.Event]) Card {
		switch fact := e.Fact.(type) {
		case book.Added:
			c.ID, c.Title, c.Available = e.ID, fact.Title, true
		case book.Lent:
			c.Available, c.Loans = false, c.Loans+1
		case book.Returned:
			c.Available = true
		}
		return c
	},
}

func register(app *framework.App) {
	commands.Handle(app, book.Type, "add", book.Book.Add)
	commands.Handle(app, book.Type, "lend", book.Book.Lend)
	commands.Handle(app, book.Type, "return", book.Book.Return)
	projections.Register(app, Cards)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	app := framework.New(embedded.Config("./library-data"))
	register(app)
	if err := api.Serve(ctx, app, "127.0.0.1:8080", api.CallerHeader("User")); err != nil {
		log.Fatal(err)
	}
}
