package projections_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

// batches notes how many documents each write brings, and whether it moves the mark.
type batches struct {
	view.Documents
	mu    sync.Mutex
	puts  []int
	moved []bool
}

func (w *batches) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	w.mu.Lock()
	w.puts, w.moved = append(w.puts, len(b.Puts)), append(w.moved, b.Next > b.From)
	w.mu.Unlock()
	return w.Documents.Write(ctx, g, b)
}

// TestARebuildWritesEachDocumentOnce folds a log of 5,000 shelves that are built
// twice, all of the first ones before the second.
func TestARebuildWritesEachDocumentOnce(t *testing.T) {
	const many = 5000
	log := memlog.New()
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "app.events", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	records := []eventlog.Record{{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.ID{1}})}}
	for n := range 2 * many {
		version, at := n/many+1, time.UnixMilli(int64(n+1))
		e := event.Envelope{ID: event.ID{2}, Command: event.NewID(at, [10]byte{byte(n), byte(n >> 8), byte(n >> 16)}), Type: "shelf.built",
			Version: uint64(version), Epoch: 1, Count: 1, Time: at}
		records = append(records, eventlog.Record{Key: partition.Key("shelf", fmt.Sprint(n%many)), Header: e.Append(nil), Value: fmt.Appendf(nil, `{"wood":"%d"}`, version)})
	}
	for len(records) > 0 {
		some := records[:min(1000, len(records))]
		if _, err := log.Append(t.Context(), "app.events", 0, some); err != nil {
			t.Fatal(err)
		}
		records = records[len(some):]
	}
	r, err := embedded.With(log)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	counted := &batches{Documents: r.Documents}
	r.Documents = counted
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) { return r, nil }})
	projections.Register(app, &projections.View[shelf, shelfFact]{Name: "shelf", From: shelves.Stream(), Fold: shelfCards.Fold})
	g := view.Generation{App: "app", View: "shelf", Number: 1}
	following := framework.Following{Resources: r, Generation: g, Topic: "app.events", Partitions: 1}
	runner, err := stream.NewRunner(app.Views()[0].Topology(following), stream.Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- runner.Run(ctx) }()
	for late := began.Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if s := runner.Status(); len(s) == 1 && s[0].Done > 2*many {
			break
		} else if time.Now().After(late) {
			t.Fatalf("not filled: %+v", s)
		}
	}
	took := time.Since(began)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	total := 0
	for i, n := range counted.puts {
		if total += n; n > 4096 || counted.moved[i] != (n < 4096) {
			t.Errorf("write %d of %d documents, which moves the mark: %v; want at most 4,096, and that only the last of them moves it", i, n, counted.moved[i])
		}
	}
	// What is folded after 5 s is written again.
	if total < many || total > many && took < 5*time.Second {
		t.Errorf("%d documents were written for %d: %v", total, many, counted.puts)
	}
	docs, err := r.Documents.Get(t.Context(), g, []view.Ref{{Key: "0"}, {Key: fmt.Sprint(many - 1)}})
	if want := `{"wood":"2","books":0}`; err != nil || string(docs[0]) != want || string(docs[1]) != want {
		t.Errorf("the documents are %q, %v", docs, err)
	}
}
