package book_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/event"

	"github.com/drivetrain-go/drivetrain/doc/start/book"
)

func given(facts ...book.Event) book.Book {
	var b book.Book
	for _, f := range facts {
		b = b.Evolve(f)
	}
	return b
}

func by(caller string) aggregates.Meta {
	return aggregates.Given(caller, time.Time{}, "emma", event.ID{})
}

func TestABookIsLentToOneReaderAtATime(t *testing.T) {
	shelf := given(book.Added{Title: "Emma"})
	got, err := shelf.Lend(book.Lend{Meta: by("maya")})
	if want := []book.Event{book.Lent{Reader: "maya"}}; err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %v, %v, want %v", got, err, want)
	}
	lent := given(book.Added{Title: "Emma"}, book.Lent{Reader: "maya"})
	var no *aggregates.Rejection
	if _, err := lent.Lend(book.Lend{Meta: by("tomasz")}); !errors.As(err, &no) {
		t.Errorf("lent twice: %v", err)
	}
}

func TestWhoHasABookMayAskAgainAndReturnIt(t *testing.T) {
	lent := given(book.Added{Title: "Emma"}, book.Lent{Reader: "maya"})
	if got, err := lent.Lend(book.Lend{Meta: by("maya")}); len(got) != 0 || err != nil {
		t.Errorf("asked again: %v, %v", got, err)
	}
	if got, err := lent.Return(book.Return{Meta: by("maya")}); err != nil || !slices.Equal(got, []book.Event{book.Returned{}}) {
		t.Errorf("returned: %v, %v", got, err)
	}
	var no *aggregates.Rejection
	if _, err := lent.Return(book.Return{Meta: by("tomasz")}); !errors.As(err, &no) || !no.Forbidden {
		t.Errorf("returned by another: %v", err)
	}
}

func TestABookIsAddedOnce(t *testing.T) {
	if got, err := given().Add(book.Add{Title: "Emma", Meta: by("maya")}); err != nil || !slices.Equal(got, []book.Event{book.Added{Title: "Emma"}}) {
		t.Errorf("added: %v, %v", got, err)
	}
	var no *aggregates.Rejection
	if _, err := given(book.Added{Title: "Emma"}).Add(book.Add{Title: "Emma", Meta: by("maya")}); !errors.As(err, &no) {
		t.Errorf("added twice: %v", err)
	}
	if _, err := given().Lend(book.Lend{Meta: by("maya")}); !errors.As(err, &no) {
		t.Errorf("an unknown book was lent: %v", err)
	}
}
