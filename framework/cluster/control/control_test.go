package control_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

func id(n int) event.ID { return event.ID{0: byte(n >> 8), 1: byte(n), 15: 1} }

func member(n int, instance string) control.Member {
	return control.Member{Process: id(n), Instance: instance, Address: fmt.Sprintf("http://node-%d:8080", n), Started: time.Unix(int64(n), 0).UTC()}
}

func owner(n int32, epoch uint64, process int) eventlog.Record {
	return control.Owner{Partition: n, Epoch: epoch, Process: id(process)}.Record()
}

// folded is the fold of records at the offsets 0, 1, 2, …
func folded(t *testing.T, records ...eventlog.Record) *control.Fold {
	t.Helper()
	f := control.New()
	for n, r := range records {
		r.Offset = int64(n)
		if err := f.Step(&r); err != nil {
			t.Fatalf("record %d: %v", n, err)
		}
	}
	if f.Next() != int64(len(records)) {
		t.Fatalf("next is %d after %d records", f.Next(), len(records))
	}
	return f
}

// The greatest epoch has the partition, in whatever order its owners say so.
func TestTheGreatestEpochOwnsAPartition(t *testing.T) {
	claims := []eventlog.Record{owner(3, 1, 1), owner(3, 2, 2), owner(3, 7, 1)}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1, 2}} {
		records := []eventlog.Record{member(1, "a").Record(), member(2, "b").Record(), owner(4, 9, 2)}
		for _, n := range order {
			records = append(records, claims[n])
		}
		f := folded(t, records...)
		if o, ok := f.Owner(3); !ok || o != (control.Owner{Partition: 3, Epoch: 7, Process: id(1)}) {
			t.Errorf("in the order %v: %+v, %v", order, o, ok)
		}
		if got := f.Owned(id(1)); !slices.Equal(got, []int32{3}) {
			t.Errorf("in the order %v it owns %v", order, got)
		}
	}
}

// Two processes cannot both have a valid claim of one epoch: who says so second
// changes nothing.
func TestAnEqualEpochChangesNothing(t *testing.T) {
	f := folded(t, owner(0, 5, 1), owner(0, 5, 2))
	if o, _ := f.Owner(0); o.Process != id(1) {
		t.Errorf("%+v", o)
	}
	if _, ok := f.Owner(1); ok {
		t.Error("a partition that nobody claimed has an owner")
	}
}

func TestAMemberIsThereUntilItLeavesOrItsInstanceStartsAnew(t *testing.T) {
	one, two, three := member(1, "a"), member(2, "b"), member(3, "a")
	f := folded(t, one.Record(), two.Record(), owner(0, 4, 1))
	if got := f.Members(); !reflect.DeepEqual(got, []control.Member{one, two}) {
		t.Errorf("members %+v", got)
	}
	f = folded(t, one.Record(), two.Record(), owner(0, 4, 1), two.Left(), three.Record())
	if got := f.Members(); !reflect.DeepEqual(got, []control.Member{three}) {
		t.Errorf("members %+v, want the third alone", got)
	}
	if _, ok := f.Member(id(1)); ok {
		t.Error("the earlier run of an instance is still there")
	}
	if o, ok := f.Owner(0); !ok || o.Epoch != 4 {
		t.Errorf("its epoch is forgotten: %+v, %v", o, ok)
	}
}

// Processes without a name over restarts are as many as they say.
func TestMembersWithoutInstanceStandBesideOneAnother(t *testing.T) {
	if got := folded(t, member(1, "").Record(), member(2, "").Record(), member(1, "").Record()).Members(); len(got) != 2 || got[0].Process != id(2) {
		t.Errorf("members %+v", got)
	}
}

func TestTheOldestOfTooManyMembersIsForgotten(t *testing.T) {
	var records []eventlog.Record
	for n := range control.MaxMembers + 2 {
		records = append(records, member(n, "").Record())
	}
	got := folded(t, records...).Members()
	if len(got) != control.MaxMembers || got[0].Process != id(2) {
		t.Errorf("%d members, the first %+v", len(got), got[0])
	}
}

// What no version of this format wrote has no effect, and neither has what is
// beyond the limits.
func TestForeignRecordsHaveNoEffect(t *testing.T) {
	long := member(1, strings.Repeat("x", control.MaxText+1))
	far, beyond := owner(control.MaxPartition, 1, 1), owner(-1, 1, 1)
	mangled, longer := member(1, "a").Record(), member(1, "a").Record()
	mangled.Value = mangled.Value[1:]
	longer.Header = append(slices.Clone(longer.Header), 0)
	f := folded(t, eventlog.Record{}, eventlog.Record{Header: []byte{1}}, eventlog.Record{Header: []byte{0, 65}}, long.Record(), far, beyond,
		mangled, longer, eventlog.Record{Header: []byte{1, byte(event.KindProbe)}, Value: mangled.Value}, control.Member{}.Record(), owner(2, 0, 1),
		control.Owner{Partition: 2, Epoch: 3}.Record(), eventlog.Record{Header: []byte{1, 66}, Value: []byte("null")})
	if got := f.Members(); len(got) > 0 {
		t.Errorf("members %+v", got)
	}
	for n := range int32(control.MaxPartition) {
		if o, ok := f.Owner(n); ok {
			t.Errorf("an owner %+v", o)
		}
	}
}

// An older reader stops at what it does not know: it might change what it knows.
func TestAReaderStopsAtALaterFormatOrKind(t *testing.T) {
	for _, header := range [][]byte{{control.Format + 1, 65}, {control.Format + 1, 1, 7, 7}, {control.Format, byte(control.KindShadow) + 1}, {control.Format, 255}} {
		f := folded(t, member(1, "a").Record())
		if err := f.Step(&eventlog.Record{Offset: 1, Header: header}); !errors.Is(err, event.ErrNewer) {
			t.Errorf("header %v: %v", header, err)
		}
		if f.Next() != 1 || len(f.Members()) != 1 {
			t.Errorf("header %v: the fold has moved to %d", header, f.Next())
		}
	}
}

// A field more does not make a record newer: what must not be ignored comes in a
// kind of its own.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	r := owner(2, 3, 1)
	r.Value = []byte(strings.Replace(string(r.Value), "{", `{"colour":"red",`, 1))
	if o, _ := folded(t, r).Owner(2); o.Epoch != 3 {
		t.Errorf("%+v", o)
	}
}

func TestARecordIsFoldedOnce(t *testing.T) {
	f := folded(t, member(1, "a").Record(), member(2, "b").Record())
	r := member(1, "a").Left()
	if err := f.Step(&r); err == nil || len(f.Members()) != 2 {
		t.Errorf("offset 0 was folded again: %v, %v", err, f.Members())
	}
}

// testdata/v1 is what format 1 wrote; it is read for ever. No test writes it.
func TestRecordsOfFormat1AreRead(t *testing.T) {
	text, err := os.ReadFile("testdata/v1/records.txt")
	if err != nil {
		t.Fatal(err)
	}
	one := control.Member{Process: event.ID{0: 1, 15: 0xfe}, Instance: "018f3c2e-7b1a-7c3d-9e4f-0123456789ab",
		Address: "https://node-3.internal:8443", Host: "node-3", Started: time.Date(2026, 7, 28, 12, 30, 15, 123456789, time.UTC)}
	two := control.Member{Process: event.ID{0: 2, 15: 0xfd}, Started: time.Date(2026, 7, 28, 12, 30, 16, 0, time.UTC)}
	own := control.Owner{Partition: 15, Epoch: 300, Process: one.Process}
	want := []eventlog.Record{one.Record(), two.Record(), own.Record(), two.Left()}
	f, n := control.New(), 0
	for line := range strings.Lines(string(text)) {
		header, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		r := eventlog.Record{Offset: int64(n), Value: []byte(value)}
		if r.Header, err = hex.DecodeString(header); err != nil {
			t.Fatal(err)
		}
		if err := f.Step(&r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if control.Format == 1 && (string(r.Header) != string(want[n].Header) || value != string(want[n].Value)) {
			t.Errorf("written is %x %s, was %s", want[n].Header, want[n].Value, line)
		}
		n++
	}
	if o, _ := f.Owner(15); n != len(want) || o != own || !reflect.DeepEqual(f.Members(), []control.Member{one}) {
		t.Errorf("%d records make %+v and %+v", n, o, f.Members())
	}
}

func TestAnAddressIsAURLWithoutWhatNoServerHas(t *testing.T) {
	for in, want := range map[string]string{"node-3:8080": "http://node-3:8080", "10.0.0.7:80": "http://10.0.0.7:80", "[::1]:8080": "http://[::1]:8080",
		"https://api.example.org": "https://api.example.org", "http://node-3:8080/": "http://node-3:8080", "https://x/app/": "https://x/app"} {
		if got, err := control.Address(in); err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "node-3", ":8080", "node-3:0", "ftp://x", "http://", "http://u:p@x", "http://x?a=b", "http://x#y", "http://x?", "a b:80",
		"http://" + strings.Repeat("x", 250)} {
		if got, err := control.Address(bad); err == nil || !strings.Contains(err.Error(), "host:port") {
			t.Errorf("%q is %q, %v", bad, got, err)
		}
	}
}

func TestALoopbackAddressLeadsNowhereFromAnotherMachine(t *testing.T) {
	for addr, near := range map[string]bool{"http://127.0.0.1:8080": true, "http://[::1]:1": true, "http://localhost:1": true, "http://[::ffff:127.0.0.1]:1": true,
		"http://a.localhost:1": true, "http://node-3:8080": false, "https://10.0.0.7": false} {
		m := control.Member{Address: addr, Host: "here"}
		if got := m.From("here"); got != addr {
			t.Errorf("%s from its own machine is %q", addr, got)
		}
		if got := m.From("there"); (got == "") != near {
			t.Errorf("%s from another machine is %q", addr, got)
		}
		if m.Host = ""; (m.From("") == "") != near {
			t.Errorf("%s between machines without names is %q", addr, m.From(""))
		}
	}
	if got := (control.Member{}).From("here"); got != "" {
		t.Errorf("no address is %q", got)
	}
}
