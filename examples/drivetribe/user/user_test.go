package user_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/user"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// given is the user maya after these facts.
func given(facts ...user.Event) user.User {
	var u user.User
	for _, f := range facts {
		u = u.Evolve(f)
	}
	return u
}

func by(caller string) aggregates.Meta {
	return aggregates.Given(caller, time.Time{}, "maya", event.ID{})
}

func TestEveryoneRegistersOnce(t *testing.T) {
	got, err := given().Register(user.Register{Name: "Maya", Meta: by("maya")})
	if want := []user.Event{user.Registered{Name: "Maya"}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, %v, want %v", got, err, want)
	}
	got, err = given(user.Registered{Name: "Maya"}).Register(user.Register{Name: "Maya again", Meta: by("maya")})
	var no *aggregates.Rejection
	if !errors.As(err, &no) || no.Forbidden || got != nil {
		t.Fatalf("registered again: %v, %v, want a rejection", got, err)
	}
}

func TestNobodyRegistersAnother(t *testing.T) {
	for _, history := range [][]user.Event{nil, {user.Registered{Name: "Maya"}}} {
		got, err := given(history...).Register(user.Register{Name: "Not Maya", Meta: by("tomasz")})
		var no *aggregates.Rejection
		if !errors.As(err, &no) || !no.Forbidden || got != nil {
			t.Errorf("after %v: %v, %v, want it forbidden", history, got, err)
		}
	}
}
