//go:build !race

// That a bug is found needs no race detector, which would make it take ten times as long.

package stream

import "testing"

// bugs are what planted.go can plant, and within how many seeds the simulation must
// find each.
var bugs = []struct {
	name   string
	bug    planted
	within uint64
}{
	{"duplicates", plantDuplicates, 5},
	{"gaps", plantGaps, 5},
	{"other-fold", plantOtherFold, 20},
	{"marks", plantMarks, 5},
	{"counters", plantCounters, 5},
	{"unacknowledged", plantUnacked, 20},
	{"in-flight", plantInFlight, 20},
	{"order", plantOrder, 5},
	{"timers", plantTimers, 5},
	{"off-by-one", plantOffByOne, 5},
	{"no-save", plantNoSave, 20},
	{"no-bury", plantNoBury, 20},
	{"settled", plantSettled, 5},
	{"greatest-watermark", plantLate, 5},
	{"eager", plantEager, 5},
	{"due", plantDue, 5},
	{"touch", plantTouch, 5},
	{"time-to-live", plantTTL, 20},
	{"lateness", plantLateness, 5},
	{"greatest-time", plantMaxTime, 5},
	{"told", plantTold, 20},
	{"head", plantHead, 5},
	{"again", plantAgain, 5},
	{"position", plantPosition, 20},
	{"ahead", plantAhead, 100},
	{"graves", plantGraves, 20},
	{"arrival", plantArrival, 20},
	{"former-writer", plantLax, 20},
	{"ahead-of-store", plantAheadOfStore, 20},
	{"trimmed-behind-the-newest", plantTrimNewest, 20},
}

// TestPlanted plants one bug at a time and prints at which seed the simulation
// finds it, and how.
func TestPlanted(t *testing.T) {
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= b.within; seed++ {
				r := simulateSeed(seed, b.bug)
				if len(r.Failures) > 0 {
					t.Logf("%s: %.200s", b.name, r.Failures[0])
					return
				}
			}
			t.Errorf("not found in %d seeds", b.within)
		})
	}
}
