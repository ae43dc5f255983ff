package aggregates_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

func TestAStateComesBackFromASnapshotAsItWas(t *testing.T) {
	for name, codec := range map[string]event.Codec{"by default": nil, "by a codec": event.JSON} {
		tribe := tribes()
		tribe.StateCodec = codec
		s := tribe.Zero()
		for range 3 {
			if err := tribe.Fold(s, "tribe.joined", []byte(`{"member":"maya"}`)); err != nil {
				t.Fatal(err)
			}
		}
		b, err := tribe.AppendState([]byte("before"), s)
		if err != nil || string(b[:6]) != "before" {
			t.Fatalf("%s: %q, %v", name, b, err)
		}
		back, err := tribe.DecodeState(b[6:])
		if err != nil || !reflect.DeepEqual(back, s) {
			t.Errorf("%s: %+v, %v, want %+v", name, back, err, s)
		}
	}
}

func TestAStateThatJSONWouldSpoilIsNotKept(t *testing.T) {
	tribe := tribes()
	if _, err := tribe.AppendState(nil, &state{Name: "caf\xc3"}); !errors.Is(err, wire.ErrText) {
		t.Errorf("text that is no UTF-8: %v", err)
	}
	type hidden struct {
		Name string `json:"name"`
		seen map[string]bool
	}
	lost := &aggregates.Type[hidden, fact]{Name: "tribe", Events: tribes().Events, Evolve: func(h hidden, _ fact) hidden { h.seen = nil; return h }}
	if lost.StatesLost() == nil || lost.Shape() != "" {
		t.Errorf("a hidden field: %v, shape %q", lost.StatesLost(), lost.Shape())
	}
	told := &aggregates.Type[hidden, fact]{Name: "tribe", Events: lost.Events, Evolve: lost.Evolve, StateCodec: event.JSON}
	if told.StatesLost() != nil || told.Shape() == "" {
		t.Error("StateCodec does not say that the state is restored")
	}
}

func TestTheShapeIsAnotherWhenStatesMayBe(t *testing.T) {
	shape := func(change func(*tribeType)) string {
		x := tribes()
		change(x)
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		return x.Shape()
	}
	first := shape(func(*tribeType) {})
	if first == "" || first != shape(func(x *tribeType) { x.Version = 1 }) {
		t.Errorf("%q is not the shape of version 1", first)
	}
	for name, change := range map[string]func(*tribeType){
		"a higher version":    func(x *tribeType) { x.Version = 2 },
		"an event more":       func(x *tribeType) { x.Events["tribe.left"] = event.As[fact, left]() },
		"an old name more":    func(x *tribeType) { x.Events["tribe.made"] = event.Was[fact, founded]("tribe.founded") },
		"another state codec": func(x *tribeType) { x.StateCodec = event.JSON },
	} {
		if shape(change) == first {
			t.Errorf("%s does not show in the shape", name)
		}
	}
	other := &aggregates.Type[struct {
		Name string `json:"name"`
	}, fact]{Name: "tribe", Events: tribes().Events, Evolve: func(s struct {
		Name string `json:"name"`
	}, _ fact) struct {
		Name string `json:"name"`
	} {
		return s
	}}
	if got := other.Shape(); got == first || got == "" {
		t.Errorf("another state type has the shape %q", got)
	}
}

type left struct {
	Member string `json:"member"`
}

func (left) tribe() {}
