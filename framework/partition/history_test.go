package partition_test

import (
	"slices"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"pgregory.net/rapid"
)

// memory is small, so that short histories forget.
var memory = partition.Memory{Age: 5 * time.Hour, Number: 4}

// histories makes logs as owners and a faulty network write them: claims, whole
// commits in batches, batches late, twice, torn or between one another's
// records, deposed owners, owners that act too early, other programs' bytes.
var histories = rapid.Custom(func(t *rapid.T) []fact {
	w := &world{T: t, now: base}
	w.claim()
	for range 1 + w.upTo("acts", 31) {
		w.now = w.now.Add(time.Duration(w.upTo("minutes", 90)) * time.Minute)
		w.act()
	}
	return w.log
})

// world is a log and what is still under way to it.
type world struct {
	*rapid.T
	log      []fact
	now      time.Time
	sent     [][]fact // batches that may land again
	held     [][]fact // batches that have not landed yet
	commands []event.ID
}

// upTo draws a number from 0 to most by flipping coins: rapid's own ranges
// prefer small numbers, and then much of what can happen is rare.
func (w *world) upTo(label string, most int) (n int) {
	for reach := 1; reach <= most; reach *= 2 {
		n *= 2
		if rapid.Bool().Draw(w.T, label) {
			n++
		}
	}
	return n % (most + 1)
}

// one reports true once in n times.
func (w *world) one(label string, n int) bool { return w.upTo(label, n-1) == n-1 }

func (w *world) act() {
	switch n := w.upTo("act", 19); {
	case n < 9:
		w.send(w.batch())
	case n < 11 && len(w.held) > 0:
		i := w.upTo("held", len(w.held)-1)
		w.land(w.held[i])
		w.held = slices.Delete(w.held, i, i+1)
	case n < 13 && len(w.sent) > 0:
		w.land(w.sent[w.upTo("again", len(w.sent)-1)])
	case n < 16:
		w.claim()
	default:
		w.log = append(w.log, w.noise())
	}
}

// claim claims for one of three owners, mostly the epoch above the current one.
func (w *world) claim() {
	epoch := epochBefore(w.log, len(w.log)) + 1
	if w.one("claim late", 4) {
		epoch -= min(epoch, uint64(w.upTo("behind", 2)))
	}
	if w.one("claim with a gap", 8) {
		epoch += 2
	}
	w.log = append(w.log, fact{kind: 'c', epoch: epoch, owner: ownerID(string(rune('a' + w.upTo("owner", 2))))})
}

// noise is a record that may lie anywhere.
func (w *world) noise() fact {
	epoch := epochBefore(w.log, len(w.log))
	switch w.upTo("noise", 6) {
	case 0:
		return fact{kind: 'p', epoch: max(epoch, 1), owner: ownerID("a")}
	case 4: // of today's owner or of another, early or late
		return fact{kind: 'h', epoch: epoch + uint64(w.upTo("ahead", 1)), owner: ownerBefore(w.log, len(w.log)), at: w.now}
	case 5:
		return fact{kind: 'h', epoch: max(epoch, 1) - uint64(w.upTo("behind", 1)), owner: ownerID("late"), at: w.now}
	case 1:
		return fact{kind: 'c', epoch: epoch, owner: ownerID("late")}
	case 2:
		return fact{kind: 'e', epoch: epoch + 1, key: "tribe/a", command: w.command(), version: 1, count: 1, at: w.now}
	case 3:
		return fact{kind: 'e', epoch: epoch - min(epoch, 1), key: "tribe/a", command: w.command(), version: 1, count: 1, at: w.now}
	}
	raw := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(w.T, "raw")
	if len(raw) > 0 {
		raw[0] = 0
	}
	return fact{kind: 'f', raw: raw}
}

// batch is what an owner decides on the log as it is now: whole commits, each
// following its aggregate's version, mostly in the current epoch.
func (w *world) batch() (batch []fact) {
	epoch := epochBefore(w.log, len(w.log))
	if w.one("deposed or early", 6) {
		epoch = uint64(w.upTo("epoch", int(epoch)+1))
	}
	judged := judge(w.log)
	versions := make(map[string]uint64)
	for range 1 + w.upTo("commits", 2) {
		key := []string{"tribe/a", "tribe/b", "post/a"}[w.upTo("key", 2)]
		if _, ok := versions[key]; !ok {
			versions[key] = versionOf(w.log, judged, key)
		}
		f := fact{kind: 'e', epoch: epoch, key: key, command: w.command(), count: 1 + w.upTo("more", 2), at: w.now, digest: uint64(w.upTo("digest", 9))}
		if w.one("clock behind", 5) {
			f.at = w.now.Add(-time.Duration(w.upTo("hours", 8)) * time.Hour)
		}
		if w.one("wrong version", 10) {
			versions[key] += uint64(1 + w.upTo("ahead", 1))
		}
		for f.index = range f.count {
			versions[key]++
			f.version = versions[key]
			batch = append(batch, f)
		}
	}
	return batch
}

// command is mostly a new id of about now, sometimes an old one or one without
// a time.
func (w *world) command() event.ID {
	if len(w.commands) > 0 && w.one("retry", 10) {
		return w.commands[w.upTo("which", len(w.commands)-1)]
	}
	id := event.NewID(w.now.Add(-time.Duration(w.upTo("id age", 300))*time.Minute), [10]byte{byte(len(w.commands)), 1})
	if w.one("no UUIDv7", 6) {
		id = event.Scoped(id.String()[:8], string(rune(len(w.commands))))
	}
	w.commands = append(w.commands, id)
	return id
}

// send lets a batch land: mostly at once and whole.
func (w *world) send(batch []fact) {
	w.sent = append(w.sent, batch)
	cut := w.cut(batch)
	switch w.upTo("how", 10) {
	case 0:
		w.held = append(w.held, batch)
	case 1: // torn, the rest never comes
		w.land(batch[:cut])
	case 2: // torn, the rest comes late
		w.land(batch[:cut])
		w.held = append(w.held, batch[cut:])
	case 3: // torn, then sent again
		w.land(batch[:cut])
		w.land(batch)
	case 4:
		w.land(batch)
		w.land(batch)
	case 5: // torn, its end alone
		w.land(batch[cut:])
	case 6: // other records between
		for _, f := range batch {
			w.land([]fact{f})
			w.log = append(w.log, w.noise())
		}
	default:
		w.land(batch)
	}
}

// cut is where a batch is torn, mostly within a commit.
func (w *world) cut(batch []fact) int {
	n := w.upTo("cut", len(batch))
	if n < len(batch) && batch[n].index == 0 && batch[n].count > 1 {
		n++
	}
	return n
}

func (w *world) land(batch []fact) { w.log = append(w.log, batch...) }
