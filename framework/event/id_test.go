package event_test

import (
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

func TestIDCarriesItsTimeAndReadsBack(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	id := event.NewID(at, [10]byte{0xff, 1, 0xff, 3, 4, 5, 6, 7, 8, 9})
	if got, ok := id.Time(); !ok || !got.Equal(at) {
		t.Fatalf("time %v %v, want %v", got, ok, at)
	}
	back, err := event.ParseID(id.String())
	if err != nil || back != id {
		t.Fatalf("%v reads back as %v, %v", id, back, err)
	}
	for _, bad := range []string{"", "x", "018f3c2e-7b1a-7c3d-9e4f-0123456789ag", "018f3c2e7b1a7c3d9e4f0123456789ab"} {
		if _, err := event.ParseID(bad); err == nil {
			t.Errorf("%q was taken for an id", bad)
		}
	}
}

func TestScopedKeepsAUUIDv7sTimeAndTellsScopesApart(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	key := event.NewID(at, [10]byte{1}).String()
	a, b := event.Scoped(key, "alice", "post/1"), event.Scoped(key, "bob", "post/1")
	if a == b || a != event.Scoped(key, "alice", "post/1") {
		t.Fatalf("%v and %v: want one id for each scope", a, b)
	}
	if got, ok := a.Time(); !ok || !got.Equal(at) {
		t.Fatalf("time %v %v, want the key's %v", got, ok, at)
	}
	if _, ok := event.Scoped("order 17", "alice").Time(); ok {
		t.Fatal("a key that is no UUIDv7 got a time")
	}
	if event.Scoped("c", "ab") == event.Scoped("bc", "a") {
		t.Fatal("parts run into one another")
	}
}
