package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/examples/drivetribe/effects"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/post"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/tribe"
	"github.com/drivetrain-go/drivetrain/examples/drivetribe/user"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/projections"
)

var update = flag.Bool("update", false, "add new names to testdata/wire-names.txt; none is ever taken out")

const golden = "testdata/wire-names.txt"

// TestWireNamesStay compares what is declared with the golden file: a name on the
// wire or in the log, once there, is there for ever.
func TestWireNamesStay(t *testing.T) {
	file, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	kept := strings.FieldsFunc(string(file), func(r rune) bool { return r == '\n' })
	gone, added := compare(kept, wireNames())
	for _, name := range gone {
		t.Errorf("%q is gone: logs and clients still use it; bring it back, an event as event.Was or event.Up", name)
	}
	if *update {
		all := slices.Sorted(slices.Values(append(kept, added...)))
		if err := os.WriteFile(golden, []byte(strings.Join(all, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range added {
		t.Errorf("%q is not in %s yet: if it shall stay for ever, run this test with -update", name, golden)
	}
}

func TestADisappearedWireNameIsNoticed(t *testing.T) {
	names := wireNames()
	for _, name := range []string{"aggregate post", "command tribe join", "event tribe.created", "view search", "view post-card .bumps", "view top-tribes", "view membership .tribes", "effect announce-tribes",
		"command post publish .tribe", "event post.published .author"} {
		rest := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
		if gone, added := compare(names, rest); !slices.Equal(gone, []string{name}) || added != nil {
			t.Errorf("without %q: gone %q, added %q", name, gone, added)
		}
	}
}

// compare returns what is kept but not declared, and the other way round.
func compare(kept, declared []string) (gone, added []string) {
	for _, n := range kept {
		if !slices.Contains(declared, n) {
			gone = append(gone, n)
		}
	}
	for _, n := range declared {
		if !slices.Contains(kept, n) {
			added = append(added, n)
		}
	}
	return gone, added
}

// wireNames lists every name that Drivetribe puts on the wire or in the log.
func wireNames() []string {
	app := framework.New(framework.Config{App: "drivetribe",
		Open: func(context.Context) (framework.Resources, error) {
			return framework.Resources{}, errors.New("not to be opened")
		}})
	register(app)
	projections.Register(app, effects.AnnounceTribes("//drivetribe", nil))
	names := slices.Concat(user.Type.Events.Names(), tribe.Type.Events.Names(), post.Type.Events.Names())
	for i, n := range names {
		names[i] = "event " + n
	}
	for _, a := range app.Aggregates() {
		names = append(names, "aggregate "+a.TypeName())
		names = append(names, fields("aggregate "+a.TypeName(), a.StateType())...)
		written := a.Written()
		for _, event := range slices.Sorted(maps.Keys(written)) {
			names = append(names, fields("event "+event, written[event])...)
		}
	}
	for _, c := range app.Commands() {
		name := fmt.Sprintf("command %s %s", c.Aggregate.TypeName(), c.Name)
		names = append(append(names, name), fields(name, c.Body)...)
	}
	for _, v := range app.Views() {
		names = append(append(names, "view "+v.Name), fields("view "+v.Name, v.Item)...)
	}
	for _, e := range app.Effects() {
		names = append(names, "effect "+e.Name)
	}
	return names
}

func fields(of string, t reflect.Type) (names []string) {
	for _, f := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" && tag != "-" {
			names = append(names, of+" ."+tag)
		}
	}
	return names
}
