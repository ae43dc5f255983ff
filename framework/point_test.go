package framework_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/view"
)

// pointing is a store that notes what outside readers are told, in the order in which it
// was said.
type pointing struct {
	view.Documents
	mu   sync.Mutex
	fail bool
	said map[string][]string // "turn: generation", by view
}

func (p *pointing) Point(_ context.Context, g view.Generation, turn int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail {
		return errors.New("as asked")
	}
	if p.said == nil {
		p.said = make(map[string][]string)
	}
	list, now := p.said[g.View], fmt.Sprintf("%d: %d", turn, g.Number)
	if len(list) == 0 || list[len(list)-1] != now {
		p.said[g.View] = append(list, now)
	}
	return nil
}

func (p *pointing) of(view string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(p.said[view])
}

func (p *pointing) setFail(fail bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = fail
}

// Two processes: the one that serves partition 0 says what is read, after each switch and
// rollback, whoever asked for it; when it is gone, the other does. A store that fails is
// told later.
func TestTheStoresAreToldWhichGenerationIsRead(t *testing.T) {
	w := newWorld(t, 1, 2)
	store := &pointing{Documents: w.stores.Documents}
	w.stores.Documents = store
	a, _, endA := w.sharedUntil(0, 1)
	b, toB := w.shared(2, 3)
	eventually(t, func() bool { return len(a.Unready())+len(b.Unready()) == 0 })
	says := func(want string) {
		t.Helper()
		eventually(t, func() bool { return store.of("cards") == want })
	}
	says("[1: 2]")
	if got := store.of("latest"); got != "[1: 2]" {
		eventually(t, func() bool { return store.of("latest") == "[1: 2]" })
	}
	ctx := context.Background()
	number, err := b.Rebuild(ctx, "cards", framework.Rebuild{Version: 1})
	if err != nil || number != 3 {
		t.Fatal(number, err)
	}
	becomes(t, b, "cards", "2v2 read, 3v1 ready")
	store.setFail(true)
	if err := b.Switch(ctx, "cards", 3, framework.Switch{Force: true, Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	store.setFail(false)
	says("[1: 2 2: 3]")
	endA()
	toB.proposals <- []int32{0, 1, 2, 3}
	eventually(t, func() bool { _, err := b.Rollback(ctx, "cards", ""); return err == nil })
	says("[1: 2 2: 3 3: 2]")
	if got := store.of("found"); got != "[]" {
		t.Errorf("the document store was told of a search view: %s", got)
	}
}

func TestNoTwoQueryParametersHaveOneName(t *testing.T) {
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, nil }})
	for name, fields := range map[string]view.Fields{
		"sort":      {"sort": view.Keyword},
		"after":     {"after": view.Caseless},
		"size.from": {"size": view.Number, "size.from": view.Keyword},
	} {
		func() {
			defer func() {
				if said := fmt.Sprint(recover()); !strings.Contains(said, fmt.Sprintf("%q", name)) {
					t.Errorf("%v: %s", fields, said)
				}
			}()
			app.AddView(framework.View{Name: "find", Kind: framework.Search, Fields: fields})
		}()
	}
	app.AddView(framework.View{Name: "find", Kind: framework.Search, Fields: view.Fields{"sort": view.Text, "size": view.Number, "from": view.Keyword}})
	if got := fmt.Sprint(app.Views()[0].Fields.Of(view.FieldKind.Sorts)); got != "[from size]" {
		t.Errorf("it sorts by %s", got)
	}
}
