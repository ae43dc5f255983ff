package event_test

import (
	"bytes"
	"encoding/json"
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

func TestScopedLeavesItsArgumentsAlone(t *testing.T) {
	parts := []string{"alice", "post/1"}
	event.Scoped("key", parts[:1]...)
	if parts[1] != "post/1" {
		t.Fatalf("the caller's list is now %q", parts)
	}
}

func TestDerivedIDsAreTheSameEachTimeAndDiffer(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	seven, other := event.NewID(at, [10]byte{1}), event.Scoped("order 17")
	seen := make(map[event.ID]bool)
	for _, id := range []event.ID{seven, other, {}} {
		for n := range 100 {
			d := id.Derive(n, at.Add(time.Hour))
			if d != id.Derive(n, at.Add(time.Hour)) || seen[d] {
				t.Fatalf("%v.Derive(%d) is %v: not one id each", id, n, d)
			}
			seen[d] = true
		}
	}
	for _, id := range []event.ID{seven, other} {
		if got, ok := id.Derive(1, at.Add(time.Hour)).Time(); !ok || !got.Equal(at.Add(time.Hour)) {
			t.Errorf("derived from %v: time %v %v, want the given %v", id, got, ok, at.Add(time.Hour))
		}
	}
}

func TestIDsSortByTheirTime(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	early, late := event.NewID(at, [10]byte{0: 255, 9: 255}), event.NewID(at.Add(time.Millisecond), [10]byte{})
	if bytes.Compare(early[:], late[:]) >= 0 || early.String() >= late.String() {
		t.Fatalf("%v does not come before %v", early, late)
	}
}

func TestNewIDTakesTimesBefore1970As1970(t *testing.T) {
	if got, ok := event.NewID(time.Unix(-1, 0), [10]byte{}).Time(); !ok || got.UnixMilli() != 0 {
		t.Fatalf("time %v %v", got, ok)
	}
}

func TestOnlyAUUIDv7HasATime(t *testing.T) {
	for _, s := range []string{
		"018bcfe5-687b-4000-8000-000000000000", // version 4
		"018bcfe5-687b-8000-8000-000000000000", // version 8
		"018bcfe5-687b-7000-0000-000000000000", // not of RFC 9562
		"018bcfe5-687b-7000-c000-000000000000",
		"00000000-0000-0000-0000-000000000000",
	} {
		id, err := event.ParseID(s)
		if err != nil {
			t.Fatal(err)
		}
		if at, ok := id.Time(); ok {
			t.Errorf("%s has the time %v", s, at)
		}
	}
}

func TestAnIDIsTextInJSON(t *testing.T) {
	type doc struct {
		ID   event.ID            `json:"id"`
		Next event.ID            `json:"next,omitzero"`
		By   map[event.ID]string `json:"by"`
	}
	id := event.NewID(time.UnixMilli(1_700_000_000_123), [10]byte{})
	data, err := json.Marshal(doc{ID: id, By: map[event.ID]string{id: "x"}})
	const want = `{"id":"018bcfe5-687b-7000-8000-000000000000","by":{"018bcfe5-687b-7000-8000-000000000000":"x"}}`
	if err != nil || string(data) != want {
		t.Fatalf("got %s, %v\nwant %s", data, err, want)
	}
	var back doc
	if err := json.Unmarshal(data, &back); err != nil || back.ID != id || !back.Next.IsZero() || back.By[id] != "x" {
		t.Fatalf("read back as %+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"id":"018BCFE5-687B-7000-8000-000000000000"}`), &back); err != nil || back.ID != id {
		t.Errorf("in upper case: %v, %v", back.ID, err)
	}
	for _, bad := range []string{`""`, `"018bcfe5"`, `17`, `"018bcfe5-687b-7000-8000-00000000000x"`} {
		if err := json.Unmarshal([]byte(`{"id":`+bad+`}`), &back); err == nil || back.ID != id {
			t.Errorf("%s: taken, or the id changed to %v", bad, back.ID)
		}
	}
}
