// Package eventlogtest is the suite that every driver of [eventlog.Log] passes.
// A driver's own test is one call:
//
//	func TestConformance(t *testing.T) {
//		eventlogtest.Run(t, func(t *testing.T) eventlog.Log { return memlog.New() })
//	}
//
// A driver that shares partitions among processes passes Assign too, one that
// keeps how far groups have got Offsets, one that keeps all over a restart Reopen,
// one that can say what it holds List.
//
// Each test asks for a log of its own and makes topics whose names no other
// test or run uses, so that all of them may lie on one server.
package eventlogtest

import (
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Bounds that the suite holds drivers to.
const (
	patience = 30 * time.Second // for anything that must happen; servers may be slow
	soon     = time.Second      // for returning once a context has ended

	maxRun      = 10_000  // records that one Next may return
	maxRunBytes = 2 << 20 // and bytes, unless it returns a single record: about 1 MiB and the batch that crosses it
)

// Run tests the logs that open returns against the contract. Open is called
// once for each test with that test's own t; the suite closes the log. What
// else open starts it must end by t.Cleanup, since the last test looks for
// goroutines left behind; so t must not run in parallel with other tests.
func Run(t *testing.T, open func(t *testing.T) eventlog.Log) {
	for _, c := range []struct {
		name string
		test func(*fixture)
	}{
		{"offsets count from 0 in each partition", offsetsCountFromZero},
		{"what is appended is read back byte for byte", bytesSurvive},
		{"append leaves its batch alone", batchIsLeftAlone},
		{"appenders to one partition keep their batches whole", appendersToOne},
		{"appenders to many partitions keep their batches whole", appendersToMany},
		{"a batch of the greatest size fits", greatestBatchFits},
		{"a refused batch leaves nothing", refusedBatchLeavesNothing},
		{"unknown topics and partitions are named so", unknownTopics},
		{"topics and partitions are apart", topicsAreApart},
		{"end is behind everything appended", endIsBehindAll},
		{"next waits and wakes", nextWaitsAndWakes},
		{"next ends with its context and goes on after", nextEndsWithContext},
		{"an ended context ends every call soon", endedContext},
		{"a reader starts at any offset", startsAnywhere},
		{"an offset outside the partition is refused for good", outsideOffsets},
		{"many readers follow at their own pace", manyReaders},
		{"a long partition is read in bounded runs", boundedRuns},
		{"large records are read in bounded runs", boundedBytes},
		{"records handed over never change", recordsStay},
		{"a closed reader ends, others go on", closedReader},
		{"close ends what waits", closeEndsWaiting},
		{"close answers appends truthfully", closeDuringAppends},
		{"ensure creates once and checks after", ensureChecks},
		{"ensure may be called by many at once", ensureByMany},
		{"ensure refuses what cannot be a topic", ensureRefuses},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newFixture(t, open(t))) })
	}
	t.Run("nothing runs on after close", func(t *testing.T) { nothingRunsOn(t, open) })
}

// Reopen tests that a persistent log keeps everything over Close, committed
// offsets too if it is an [eventlog.Offsets]. Open is called several times for
// the same folder, each time after the log before was closed.
func Reopen(t *testing.T, open func(t *testing.T, dir string) eventlog.Log) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func(*testing.T, string) eventlog.Log)
	}{
		{"records, ends and topics are found again", reopenFindsAll},
		{"appends go on where they ended", reopenGoesOn},
		{"a log closed at once is a log", reopenEmpty},
		{"what groups committed is found again", reopenFindsOffsets},
		{"a topic is the same one, and none of another log", reopenFindsIDs},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}
