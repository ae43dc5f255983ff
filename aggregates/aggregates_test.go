package aggregates_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

type fact interface{ tribe() }

type founded struct {
	Name string `json:"name"`
}

type joined struct {
	Member string `json:"member"`
}

func (founded) tribe() {}
func (joined) tribe()  {}

type state struct {
	Name    string `json:"name"`
	Members int    `json:"members"`
}

func evolve(s state, f fact) state {
	switch f := f.(type) {
	case founded:
		s.Name = f.Name
	case joined:
		s.Members++
	}
	return s
}

type tribeType = aggregates.Type[state, fact]

func tribes() *tribeType {
	return &tribeType{Name: "tribe", Evolve: evolve, Events: event.Types[fact]{
		"tribe.founded":    event.As[fact, founded](),
		"tribe.created":    event.Was[fact, founded]("tribe.founded"),
		"tribe.founded.v0": event.Up[fact](func(old struct{ Title string }) founded { return founded{old.Title} }),
		"tribe.joined":     event.As[fact, joined](),
	}}
}

func TestAStateIsFoldedFromWhateverNameAFactWasWrittenUnder(t *testing.T) {
	for name, data := range map[string]string{
		"tribe.founded": `{"name":"hikers"}`, "tribe.created": `{"name":"hikers"}`, "tribe.founded.v0": `{"Title":"hikers"}`,
	} {
		tribe := tribes()
		s := tribe.Zero()
		for range 2 {
			if err := tribe.Fold(s, "tribe.joined", []byte(`{"member":"maya"}`)); err != nil {
				t.Fatal(err)
			}
		}
		if err := tribe.Fold(s, name, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if got, err := tribe.StateJSON(s); err != nil || string(got) != `{"name":"hikers","members":2}` {
			t.Errorf("%s gives %s, %v", name, got, err)
		}
		apart := tribe.Zero()
		fact, err := tribe.DecodeFact(name, []byte(data))
		if err == nil {
			err = tribe.FoldFact(apart, fact)
		}
		if got, failed := tribe.StateJSON(apart); err != nil || failed != nil || string(got) != `{"name":"hikers","members":0}` {
			t.Errorf("%s, decoded apart, gives %s, %v, %v", name, got, err, failed)
		}
		if now, shape, err := tribe.Upcast(name, []byte(data)); err != nil || now != "tribe.founded" || string(shape) != `{"name":"hikers"}` {
			t.Errorf("%s is %s %s today, %v", name, now, shape, err)
		}
	}
}

func TestAFactIsWrittenUnderItsPresentName(t *testing.T) {
	name, data, err := tribes().Encode(founded{"hikers"})
	if err != nil || name != "tribe.founded" || string(data) != `{"name":"hikers"}` {
		t.Fatalf("%s %s, %v", name, data, err)
	}
	want := map[string]reflect.Type{"tribe.founded": reflect.TypeFor[founded](), "tribe.joined": reflect.TypeFor[joined]()}
	if got := tribes().Written(); !reflect.DeepEqual(got, want) {
		t.Fatalf("written are %v, want %v", got, want)
	}
}

func TestADeclarationThatCannotWorkSaysWhatToDo(t *testing.T) {
	for want, broken := range map[string]func(*tribeType){
		"Name must match":    func(x *tribeType) { x.Name = "Tribe" },
		`not be "views"`:     func(x *tribeType) { x.Name = "views" },
		"set Evolve":         func(x *tribeType) { x.Evolve = nil },
		"set Events":         func(x *tribeType) { x.Events = nil },
		"event.Was says":     func(x *tribeType) { x.Events["tribe.old"] = event.Was[fact, joined]("tribe.founded") },
		"make its entry":     func(x *tribeType) { x.Events["tribe.old"] = event.Entry[fact]{} },
		"is written as":      func(x *tribeType) { x.Events["tribe.twin"] = event.As[fact, joined]() },
		"does not implement": func(x *tribeType) { x.Events["tribe.alien"] = event.As[fact, time.Time]() },
	} {
		x := tribes()
		broken(x)
		if err := x.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	type untagged struct{ Name string }
	x := &aggregates.Type[untagged, fact]{Name: "tribe", Events: tribes().Events, Evolve: func(u untagged, _ fact) untagged { return u }}
	if err := x.Check(); err == nil || !strings.Contains(err.Error(), "field Name") {
		t.Errorf("got %v, want an error that names the field without a tag", err)
	}
}

type join struct {
	Note string `json:"note"`
	aggregates.Meta
}

func TestMetaIsWhatWasGivenAndNothingElse(t *testing.T) {
	at := time.Date(2017, 1, 1, 12, 0, 0, 0, time.UTC)
	command := event.NewID(at, [10]byte{1})
	var c join
	if !aggregates.Bind(&c, aggregates.Given("maya", at, "hikers", command)) {
		t.Fatal("a command with Meta was not bound")
	}
	if c.By() != "maya" || !c.At().Equal(at) || c.ID() != "hikers" {
		t.Fatalf("by %q at %v for %q", c.By(), c.At(), c.ID())
	}
	first, second := c.NewID(), c.NewID()
	aggregates.Bind(&c, aggregates.Given("maya", at, "hikers", command))
	if first == second || c.NewID() != first || c.NewID() != second {
		t.Fatal("ids must differ within a decision and be the same when it is made anew")
	}
	if aggregates.Bind(new(founded), aggregates.Meta{}) {
		t.Fatal("a struct without Meta was bound")
	}
	var none join
	if none.By() != "" || !none.At().IsZero() || none.ID() != "" {
		t.Fatal("the zero Meta says something")
	}
}

func TestARejectionIsToldFromAnyOtherError(t *testing.T) {
	if err := aggregates.Reject("no tribe %q", "x"); !aggregates.IsRejection(err) || err.Error() != `no tribe "x"` {
		t.Errorf("%v is no rejection", err)
	}
	if aggregates.IsRejection(nil) || aggregates.IsRejection(event.ErrForeign) {
		t.Error("something else is a rejection")
	}
	_, forbidden := aggregates.Forbid("not yours").(*aggregates.Rejection).Rejected()
	if !forbidden {
		t.Error("Forbid does not forbid")
	}
}

func TestMergedStreamsHaveTheEventsOfAll(t *testing.T) {
	other := &aggregates.Type[state, fact]{Name: "club", Evolve: evolve, Events: event.Types[fact]{"club.joined": event.As[fact, joined]()}}
	s := aggregates.Merge(tribes().Stream().Any(), other.Stream().Any())
	if got := s.Types(); !reflect.DeepEqual(got, []string{"club", "tribe"}) || s.Check() != nil {
		t.Fatalf("types %v, %v", got, s.Check())
	}
	got, err := s.Decode("club", "club.joined", []byte(`{"member":"maya"}`))
	if err != nil || got != any(joined{"maya"}) {
		t.Fatalf("decoded %v, %v", got, err)
	}
	if s.Has("user") {
		t.Error("it has a type that it was not given")
	}
	if aggregates.Merge().Check() == nil {
		t.Error("a stream of nothing passes its check")
	}
}
