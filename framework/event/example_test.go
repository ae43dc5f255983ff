package event_test

import (
	"fmt"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// What a tribe's history is made of.
type Event interface{ isTribeEvent() }

type Founded struct {
	Name string `json:"name"`
}

func (Founded) isTribeEvent() {}

func ExampleAs() {
	types, err := event.Types[Event]{
		"tribe.founded": event.As[Event, Founded](),
	}.Catalog()
	if err != nil {
		fmt.Println(err)
		return
	}
	name, _ := types.Name(Founded{Name: "hikers"})
	data, _ := event.JSON.Marshal(Founded{Name: "hikers"})
	fact, _ := types.Decode(event.JSON, name, data)
	fmt.Printf("%s %s is %#v\n", name, data, fact)
	// Output: tribe.founded {"name":"hikers"} is event_test.Founded{Name:"hikers"}
}

// A fact gets a better name; what was written under the old one is still read.
func ExampleWas() {
	types, err := event.Types[Event]{
		"tribe.founded": event.As[Event, Founded](),
		"tribe.created": event.Was[Event, Founded]("tribe.founded"),
	}.Catalog()
	if err != nil {
		fmt.Println(err)
		return
	}
	fact, _ := types.Decode(event.JSON, "tribe.created", []byte(`{"name":"hikers"}`))
	name, _ := types.Name(fact)
	fmt.Printf("%#v, today %s\n", fact, name)
	// Output: event_test.Founded{Name:"hikers"}, today tribe.founded
}

// A fact gets another shape; an upcaster makes it of the old one on reading.
func ExampleUp() {
	type foundedV0 struct {
		First, Last string
	}
	types, err := event.Types[Event]{
		"tribe.founded": event.As[Event, Founded](),
		"tribe.founded.v0": event.Up[Event](func(old foundedV0) Founded {
			return Founded{Name: old.First + " " + old.Last}
		}),
	}.Catalog()
	if err != nil {
		fmt.Println(err)
		return
	}
	fact, _ := types.Decode(event.JSON, "tribe.founded.v0", []byte(`{"First":"night","Last":"hikers"}`))
	fmt.Printf("%#v\n", fact)
	// Output: event_test.Founded{Name:"night hikers"}
}

// A name that nobody declared comes with what to do about it.
func ExampleUnknownTypeError() {
	types, _ := event.Types[Event]{"tribe.founded": event.As[Event, Founded]()}.Catalog()
	_, err := types.Decode(event.JSON, "tribe.created", []byte(`{"name":"hikers"}`))
	fmt.Println(err)
	// Output: unknown event type "tribe.created"; declared are tribe.founded: add it, or keep the old name as event.Was or event.Up
}

// The caller brings time and randomness, here none.
func ExampleNewID() {
	id := event.NewID(time.UnixMilli(1_700_000_000_123), [10]byte{})
	at, ok := id.Time()
	fmt.Println(id)
	fmt.Println(at, ok)
	// Output:
	// 018bcfe5-687b-7000-8000-000000000000
	// 2023-11-14 22:13:20.123 +0000 UTC true
}

// The same key of two callers stands for two commands; a UUIDv7 keeps its time.
func ExampleScoped() {
	const key = "018bcfe5-687b-7000-8000-000000000000"
	fmt.Println(event.Scoped(key, "alice", "post/1"))
	fmt.Println(event.Scoped(key, "bob", "post/1"))
	_, timed := event.Scoped("order 17", "alice", "post/1").Time()
	fmt.Println("order 17 has a time:", timed)
	// Output:
	// 018bcfe5-687b-7234-8fd9-503453994e35
	// 018bcfe5-687b-7d0a-873e-8d1108aab78f
	// order 17 has a time: false
}
