package streamtest

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// commits makes commits as the owner of an events topic would.
type commits struct {
	claimed  map[string]bool   // by topic and partition
	versions map[string]uint64 // by topic and key
	commands uint64
}

func newCommits() commits {
	return commits{claimed: make(map[string]bool), versions: make(map[string]uint64)}
}

// Fact is an event that Commit appends.
type Fact struct {
	Type string // "post.bumped"
	Data any    // as JSON
}

// Commit appends facts of one aggregate to an events topic, as one valid commit of an
// owner: what stream.FromEvents reads.
func (r *Run) Commit(topic, aggregate, id string, at time.Time, facts ...Fact) {
	r.t.Helper()
	key := partition.Key(aggregate, id)
	part := eventlog.PartitionOf(key, max(r.topics[topic], 1))
	r.claim(topic, part)
	r.commits.commands++
	for i, f := range facts {
		data, err := json.Marshal(f.Data)
		if err != nil {
			r.t.Fatalf("%s of %s: %v", f.Type, key, err)
		}
		of := topic + "\x00" + string(key)
		r.commits.versions[of]++
		var entropy [10]byte
		binary.BigEndian.PutUint64(entropy[:], r.commits.commands)
		e := event.Envelope{ID: event.NewID(at, entropy).Derive(i, at), Command: event.NewID(at, entropy), Type: f.Type,
			Version: r.commits.versions[of], Epoch: 1, Index: i, Count: len(facts), Time: at}
		r.sim.SendTo(topic, part, eventlog.Record{Key: key, Header: e.Append(nil), Value: data, At: at.UnixMilli()})
	}
}

// Heartbeat appends a heartbeat of the owner to each partition of an events topic: at
// that time nothing older is expected. So the watermark of its source gets to at less
// stream.Events.Late.
func (r *Run) Heartbeat(topic string, at time.Time) {
	r.t.Helper()
	for part := range int32(r.topics[topic]) {
		r.claim(topic, part)
		r.sim.SendTo(topic, part, eventlog.Record{Header: partition.HeartbeatHeader(term, at.UnixNano())})
	}
}

// term is that of the run as an owner.
var term = partition.Claim{Epoch: 1, Owner: event.ID{1}}

// claim makes the run the owner of a partition.
func (r *Run) claim(topic string, part int32) {
	at := topic + "\x00" + string(rune(part))
	if !r.commits.claimed[at] {
		r.commits.claimed[at] = true
		r.sim.SendTo(topic, part, eventlog.Record{Header: partition.ClaimHeader(term)})
	}
}

// Take appends to the copy of an intake what that would have copied of a record: with
// these the run of a topology that reads the copy begins where the intake's ends. The
// run's Topics name stream.Intake.CopyTopic. The rest is as of Send.
func (r *Run) Take(in *stream.Intake, key string, v any, at time.Time) {
	r.t.Helper()
	topic, rec := in.CopyTopic(), r.record(key, v, at)
	part := eventlog.PartitionOf(rec.Key, max(r.topics[topic], 1))
	of := topic + "\x00" + string(rune(part))
	rec.Offset = r.taken[of]
	r.taken[of]++
	copied, err := in.Copy(part, rec)
	if err != nil {
		r.t.Fatalf("take in what is under key %q: %v", key, err)
	}
	r.sim.SendTo(topic, part, copied)
}
