package tribe_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/tribe"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// given is the tribe hikers after these facts.
func given(facts ...tribe.Event) tribe.Tribe {
	var s tribe.Tribe
	for _, f := range facts {
		s = s.Evolve(f)
	}
	return s
}

func by(caller string) aggregates.Meta {
	return aggregates.Given(caller, time.Time{}, "hikers", event.ID{})
}

var (
	founded = tribe.Founded{Name: "Hikers"}
	maya    = tribe.Joined{Member: "maya"}
	noMaya  = tribe.Left{Member: "maya"}
)

func TestCommands(t *testing.T) {
	found := func(s tribe.Tribe) ([]tribe.Event, error) {
		return s.Found(tribe.Found{Name: "Hikers", Meta: by("maya")})
	}
	join := func(s tribe.Tribe) ([]tribe.Event, error) { return s.Join(tribe.Join{Meta: by("maya")}) }
	leave := func(s tribe.Tribe) ([]tribe.Event, error) { return s.Leave(tribe.Leave{Meta: by("maya")}) }
	type facts = []tribe.Event
	for _, c := range []struct {
		name     string
		given    facts
		when     func(tribe.Tribe) ([]tribe.Event, error)
		then     facts
		rejected bool
	}{
		{"a new tribe is founded, without a member", nil, found, facts{founded}, false},
		{"no tribe is founded twice", facts{founded}, found, nil, true},
		{"who joins becomes a member", facts{founded}, join, facts{maya}, false},
		{"to join again does nothing", facts{founded, maya}, join, nil, false},
		{"who has left may join again", facts{founded, maya, noMaya}, join, facts{maya}, false},
		{"nobody joins an unknown tribe", nil, join, nil, true},
		{"a member leaves", facts{founded, maya}, leave, facts{noMaya}, false},
		{"to leave as no member does nothing", facts{founded, tribe.Joined{Member: "tomasz"}}, leave, nil, false},
		{"to leave again does nothing", facts{founded, maya, noMaya}, leave, nil, false},
		{"to leave an unknown tribe does nothing", nil, leave, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.when(given(c.given...))
			var no *aggregates.Rejection
			if errors.As(err, &no) != c.rejected || err != nil && !c.rejected {
				t.Fatalf("error %v, want a rejection: %v", err, c.rejected)
			}
			if !reflect.DeepEqual(got, c.then) {
				t.Errorf("got %v, want %v", got, c.then)
			}
		})
	}
}

func TestATribeCreatedLongAgoIsFounded(t *testing.T) {
	state := tribe.Type.Zero()
	if err := tribe.Type.Fold(state, "tribe.created", []byte(`{"name":"Hikers"}`)); err != nil {
		t.Fatal(err)
	}
	if got := *state.(*tribe.Tribe); !reflect.DeepEqual(got, given(founded)) {
		t.Fatalf("got %+v, want %+v", got, given(founded))
	}
	if name, data, err := tribe.Type.Encode(founded); name != "tribe.founded" || string(data) != `{"name":"Hikers"}` || err != nil {
		t.Fatalf("written today as %s %s, %v", name, data, err)
	}
}
