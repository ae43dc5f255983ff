package event_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

type tribeEvent interface{ tribe() }

type founded struct {
	Name string `json:"name"`
}
type joined struct {
	Member string `json:"member"`
}
type left struct {
	Member string `json:"member"`
}
type foundedV0 struct {
	First string `json:"first"`
	Last  string `json:"last"`
}
type stranger struct{}

func (founded) tribe() {}
func (joined) tribe()  {}
func (*left) tribe()   {}

func fromV0(o foundedV0) founded { return founded{o.First + " " + o.Last} }

func declared() event.Types[tribeEvent] {
	return event.Types[tribeEvent]{
		"tribe.founded":    event.As[tribeEvent, founded](),
		"tribe.created":    event.Was[tribeEvent, founded]("tribe.founded"),
		"tribe.founded.v0": event.Up[tribeEvent](fromV0),
		"tribe.joined":     event.As[tribeEvent, joined](),
		"tribe.left":       event.As[tribeEvent, *left](),
	}
}

func catalog(t *testing.T) *event.Catalog[tribeEvent] {
	t.Helper()
	c, err := declared().Catalog()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAFactIsReadUnderEveryNameItHad(t *testing.T) {
	c := catalog(t)
	for _, tt := range []struct {
		name, data string
		want       tribeEvent
	}{
		{"tribe.founded", `{"name":"hikers"}`, founded{"hikers"}},
		{"tribe.created", `{"name":"hikers"}`, founded{"hikers"}},
		{"tribe.founded.v0", `{"first":"night","last":"hikers"}`, founded{"night hikers"}},
		{"tribe.joined", `{"member":"bob"}`, joined{"bob"}},
		{"tribe.left", `{"member":"bob"}`, &left{"bob"}},
	} {
		got, err := c.Decode(event.JSON, tt.name, []byte(tt.data))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %#v, %v; want %#v", tt.name, got, err, tt.want)
		}
	}
}

func TestAFactIsWrittenUnderOneName(t *testing.T) {
	c := catalog(t)
	for want, fact := range map[string]tribeEvent{"tribe.founded": founded{}, "tribe.joined": joined{}, "tribe.left": &left{}} {
		got, err := c.Name(fact)
		if err != nil || got != want {
			t.Errorf("%T: name %q, %v; want %q", fact, got, err, want)
		}
		data, err := event.JSON.Marshal(fact)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := c.Decode(event.JSON, got, data); err != nil || !reflect.DeepEqual(back, fact) {
			t.Errorf("%T reads back as %#v, %v", fact, back, err)
		}
	}
	for old, want := range map[string]string{"tribe.created": "tribe.founded", "tribe.founded.v0": "tribe.founded", "tribe.joined": "tribe.joined", "tribe.unknown": "tribe.unknown"} {
		if got := c.Current(old); got != want {
			t.Errorf("%s is written as %q today, want %q", old, got, want)
		}
	}
	written := map[string]reflect.Type{"tribe.founded": reflect.TypeFor[founded](), "tribe.joined": reflect.TypeFor[joined](), "tribe.left": reflect.TypeFor[*left]()}
	if got := c.Written(); !reflect.DeepEqual(got, written) {
		t.Errorf("written are %v, want %v", got, written)
	}
	names := []string{"tribe.created", "tribe.founded", "tribe.founded.v0", "tribe.joined", "tribe.left"}
	if got := c.Names(); !slices.Equal(got, names) || !slices.Equal(declared().Names(), names) {
		t.Errorf("names %q, want %q", got, names)
	}
}

func TestAMistakeInTypesNamesTheEntryAndTheRemedy(t *testing.T) {
	as := event.As[tribeEvent, founded]
	for name, c := range map[string]struct {
		types event.Types[tribeEvent]
		want  []string
	}{
		"an empty entry":           {event.Types[tribeEvent]{"a": {}}, []string{`"a"`, "make its entry with event.As"}},
		"a type outside":           {event.Types[tribeEvent]{"a": event.As[tribeEvent, stranger]()}, []string{`"a"`, "event_test.stranger does not implement event_test.tribeEvent", "give it the methods"}},
		"a value for a pointer":    {event.Types[tribeEvent]{"a": event.As[tribeEvent, left]()}, []string{`"a"`, "event_test.left does not implement", "name the type that has them"}},
		"the interface itself":     {event.Types[tribeEvent]{"a": event.As[tribeEvent, tribeEvent]()}, []string{`"a"`, "is an interface", "name the type of one fact"}},
		"no name":                  {event.Types[tribeEvent]{"": as()}, []string{`""`, "1 to 256 bytes"}},
		"a name too long":          {event.Types[tribeEvent]{strings.Repeat("n", 257): as()}, []string{"nnn", "1 to 256 bytes"}},
		"two names for one type":   {event.Types[tribeEvent]{"a": as(), "b": as()}, []string{`"b"`, `written as "a" already`, "make the other event.Was"}},
		"read but never written":   {event.Types[tribeEvent]{"a": event.Was[tribeEvent, founded]("b")}, []string{`"a"`, "founded has no event.As"}},
		"upcast but never written": {event.Types[tribeEvent]{"a": event.Up[tribeEvent](fromV0)}, []string{`"a"`, "founded has no event.As"}},
		"a rename to another name": {event.Types[tribeEvent]{"a": as(), "b": event.Was[tribeEvent, founded]("c")}, []string{`"b"`, `says "c"`, `written as "a"`}},
		"a rename to another's":    {event.Types[tribeEvent]{"a": as(), "b": event.Was[tribeEvent, founded]("j"), "j": event.As[tribeEvent, joined]()}, []string{`"b"`, `says "j"`, `written as "a"`}},
		"a rename to nothing":      {event.Types[tribeEvent]{"a": as(), "b": event.Was[tribeEvent, founded]("")}, []string{`"b"`, "needs the name that is written today"}},
		"an upcaster to outside":   {event.Types[tribeEvent]{"a": event.Up[tribeEvent](func(foundedV0) stranger { return stranger{} })}, []string{`"a"`, "stranger does not implement"}},
		"no upcaster":              {event.Types[tribeEvent]{"a": as(), "b": event.Up[tribeEvent, foundedV0, founded](nil)}, []string{`"b"`, "event.Up needs a function"}},
	} {
		_, err := c.types.Catalog()
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
}

func TestACatalogStaysAsItWasChecked(t *testing.T) {
	types := declared()
	c, err := types.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	delete(types, "tribe.created")
	types["tribe.wrong"] = event.As[tribeEvent, stranger]()
	if _, err := c.Decode(event.JSON, "tribe.created", []byte(`{}`)); err != nil {
		t.Error(err)
	}
	if got := len(c.Names()); got != 5 {
		t.Errorf("%d names, want 5", got)
	}
}

func TestAnUnknownTypeIsNamedWithTheKnown(t *testing.T) {
	_, err := catalog(t).Decode(event.JSON, "tribe.sold", []byte(`{}`))
	var unknown *event.UnknownTypeError
	if !errors.As(err, &unknown) || unknown.Name != "tribe.sold" || len(unknown.Known) != 5 || !slices.IsSorted(unknown.Known) {
		t.Fatalf("got %#v", err)
	}
	for _, want := range []string{`"tribe.sold"`, "tribe.created, tribe.founded", "event.Was or event.Up"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestACodecsErrorNamesTheType(t *testing.T) {
	c := catalog(t)
	for _, name := range []string{"tribe.founded", "tribe.created", "tribe.founded.v0"} {
		_, err := c.Decode(event.JSON, name, []byte(`{"name":`))
		var syntax *json.SyntaxError
		if !errors.As(err, &syntax) || !strings.HasPrefix(err.Error(), "decode "+name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	failure := errors.New("no")
	if _, err := c.Decode(failing{failure}, "tribe.joined", nil); !errors.Is(err, failure) || !strings.Contains(err.Error(), "tribe.joined") {
		t.Errorf("a codec of one's own: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Marshal(any) ([]byte, error) { return nil, f.err }
func (f failing) Unmarshal([]byte, any) error { return f.err }

func TestAFactOutsideTypesHasNoName(t *testing.T) {
	c := catalog(t)
	for want, fact := range map[string]tribeEvent{"*event_test.founded": &founded{}, "nil": nil} {
		if name, err := c.Name(fact); err == nil || name != "" || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "add event.As") {
			t.Errorf("%T: %q, %v", fact, name, err)
		}
	}
}
