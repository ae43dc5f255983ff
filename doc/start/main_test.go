package main

import (
	"testing"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
)

func TestACardFollowsItsBook(t *testing.T) {
	app, _ := frameworktest.Start(t, register)
	send := func(command, caller, body string) framework.Query {
		t.Helper()
		res, err := app.Execute(t.Context(), framework.Call{Aggregate: "book", ID: "emma", Command: command,
			Actor: caller, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		return framework.Query{Key: "emma", Min: frameworktest.After(res)}
	}
	send("add", "maya", `{"title":"Emma"}`)
	lent := send("lend", "tomasz", "")
	if got, want := frameworktest.Ask(t, app, "book-card", lent), `{"id":"emma","title":"Emma","available":false,"loans":1}`; got != want {
		t.Errorf("lent: %s, want %s", got, want)
	}
	back := send("return", "tomasz", "")
	if got, want := frameworktest.Ask(t, app, "book-card", back), `{"id":"emma","title":"Emma","available":true,"loans":1}`; got != want {
		t.Errorf("returned: %s, want %s", got, want)
	}
}
