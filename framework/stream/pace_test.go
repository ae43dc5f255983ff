package stream

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// paceOf lets a paced task of a partition take records for some time. It returns how many
// it has taken, and when it began a slice.
func paceOf(t *testing.T, rate float64, part int32, d time.Duration) (taken int, at []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		a := &attempt{Task: &Task{cfg: &Config{Rate: rate, Clock: clock.System}, stage: &stage{topic: "events"}, part: part}}
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
		taken, at := paceOf(t, rate, 3, time.Minute)
		if want := 60 * rate; float64(taken) > want+rate+1 || float64(taken) < 0.95*want-rate {
			t.Errorf("%d records in a minute at %v a second", taken, rate)
		}
		if len(at) > most {
			t.Errorf("at %v a second it took records %d times in a minute, want %d at most", rate, len(at), most)
		}
	}
}

func TestPacedTasksThatBeginTogetherDoNotGoOnTogether(t *testing.T) {
	var second []time.Duration
	for part := range int32(16) {
		_, at := paceOf(t, 50, part, 3*time.Second)
		second = append(second, at[1])
	}
	slices.Sort(second)
	for n, at := range second[1:] {
		if apart := at - second[n]; apart < 20*time.Millisecond || apart > 120*time.Millisecond {
			t.Errorf("sixteen tasks that rest a second go on after %v", second)
			break
		}
	}
}
