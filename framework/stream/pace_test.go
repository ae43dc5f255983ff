package stream

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// paceOf lets a paced task take records for some time. It returns how many
// it has taken, and when it began a slice.
func paceOf(t *testing.T, rate float64, d time.Duration) (taken int, at []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		a := &attempt{core: &core{}, Task: &Task{cfg: &Config{Rate: rate, Clock: clock.System}, stage: &stage{topic: "events"}, status: TaskStatus{Goal: 1}}}
		for began := time.Now(); time.Since(began) < d; {
			at = append(at, time.Since(began))
			n := a.slice()
			taken += n
			if a.pay(n); a.pace.rest != nil {
				<-a.pace.rest
				a.rested()
			}
		}
	})
	return taken, at
}

func TestAPacedTaskTakesASecondsRecordsAtOnceAndNoMoreThanItsRate(t *testing.T) {
	for rate, most := range map[float64]int{0.5: 31, 62.5: 61, 1280: 301} { // slices in a minute
		taken, at := paceOf(t, rate, time.Minute)
		if want := 60 * rate; float64(taken) > want+rate+1 || float64(taken) < 0.95*want-rate {
			t.Errorf("%d records in a minute at %v a second", taken, rate)
		}
		if len(at) > most {
			t.Errorf("at %v a second it took records %d times in a minute, want %d at most", rate, len(at), most)
		}
	}
}

func TestPhasesAreApart(t *testing.T) {
	for _, name := range []string{"events", "orders"} {
		var phases []float64
		for part := range int32(16) {
			phases = append(phases, phase(name, part))
		}
		slices.Sort(phases)
		for n, next := range phases[1:] {
			if apart := next - phases[n]; apart < 0.02 || apart > 0.12 || phases[0] < 0 || next >= 1 {
				t.Errorf("the phases of sixteen partitions of %s are %v", name, phases)
				break
			}
		}
	}
}

// paced returns the task of a process that keeps to ten records a second, with 100 events to
// come.
func (p *play) paced() *Task {
	for range 100 {
		p.commit("a", 1, "counted")
	}
	return p.task(p.count(time.Millisecond), Config{Log: p.log, Rate: 10})
}

// A task that has much to do begins at a moment of its own; one that is nearly done, or that
// nothing bounds, at once.
func TestAPacedTaskThatHasMuchToDoBeginsLater(t *testing.T) {
	script(t, func(p *play) {
		w := p.paced()
		late := time.Duration(phase("events", 0) * float64(startWithin))
		for _, c := range []struct {
			mark int64
			rate float64
			want time.Duration
		}{{0, 10, late}, {60, 10, late}, {61, 10, 0}, {101, 10, 0}, {0, 0, 0}, {0, 1000, 0}} {
			p.store.set(c.mark)
			w.cfg.Rate, w.caught, w.opened, w.status = c.rate, false, false, TaskStatus{Goal: -1}
			began := time.Now()
			if w.stagger(p.Context()); time.Since(began) != c.want || late < time.Millisecond {
				p.Errorf("at a rate of %v, with %d of 101 records done, it begins after %v, want %v", c.rate, c.mark, time.Since(began), c.want)
			}
		}
	})
}

// What has come since a task began is taken as it comes: a generation may be read by then.
func TestAPacedTaskThatHasReachedItsGoalTakesWhatComes(t *testing.T) {
	script(t, func(p *play) {
		w := p.paced()
		stop := p.run(w)
		time.Sleep(time.Second + startWithin)
		for range 100 {
			p.commit("a", 1, "counted")
		}
		began := time.Now()
		if err := w.Wait(p.Context(), 200); err != nil {
			p.Fatal(err)
		}
		stop()
		if took := time.Since(began); took < 4*time.Second || took > 12*time.Second {
			p.Errorf("at ten a second, 100 records and 100 that came meanwhile took %v, want some 10 s", took)
		}
	})
}

// A task that another process has brought to the end is not slow again here.
func TestATaskThatWasCaughtUpElsewhereKeepsToNoRate(t *testing.T) {
	script(t, func(p *play) {
		w := p.paced()
		watch := func() {
			ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
			defer cancel()
			w.Watch(ctx)
		}
		p.store.set(100)
		if watch(); !w.paced() {
			p.Error("nobody has caught up, and it keeps to no rate")
		}
		p.store.set(101)
		if watch(); w.paced() {
			p.Error("it has caught up elsewhere, and keeps to a rate")
		}
	})
}

// Tasks that begin together keep snapshots apart.
func TestSnapshotsAreBegunApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var firsts []time.Duration
		for part := range int32(16) {
			store, err := snapshot.Dir(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			s := newSaver(nil, store, snapshot.Identity{Operator: "counts", Partition: part}, 10*time.Second, clock.System, nil)
			began := time.Now()
			for !s.due(1) {
				time.Sleep(time.Millisecond)
			}
			firsts = append(firsts, time.Since(began))
			time.Sleep(10*time.Second - time.Since(began)) // where the next one begins
		}
		slices.Sort(firsts)
		for n, next := range firsts[1:] {
			if apart := next - firsts[n]; apart < 200*time.Millisecond || next > 10*time.Second {
				t.Errorf("sixteen folds begin their first snapshots after %v", firsts)
				break
			}
		}
	})
}
