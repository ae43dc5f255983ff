package e2e

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// past is a world of many events that were recorded before a test begins. It is the
// same each time that it is told.
type past struct {
	seed          uint64
	events        int
	tribes, posts int
	began         time.Time
}

func newPast(events int, seed uint64) past {
	return past{seed, events, max(events/2000, 40), max(events/20, 100), time.Now().Add(-48 * time.Hour)}
}

func (p past) tribe(i int) string { return fmt.Sprintf("old-tribe-%d", i) }
func (p past) post(i int) string  { return fmt.Sprintf("old-post-%d", i) }

// teller tells a past event by event.
type teller struct {
	past
	r         *rand.Rand
	versions  map[string]uint64
	offsets   [oldPartitions]int64 // of the next record
	bumps     []int                // by post: how many users have bumped it, the first ones
	members   []int                // by tribe
	n         int
	published int
}

// tell calls f with each event: the partition, the record, and the command that was
// answered with it.
func (p past) tell(f func(n int32, r eventlog.Record, e entry)) {
	t := &teller{past: p, r: rand.New(rand.NewPCG(p.seed, 17)), versions: make(map[string]uint64), bumps: make([]int, p.posts), members: make([]int, p.tribes)}
	for i := range t.offsets {
		t.offsets[i] = 1 // behind the claim
	}
	for ; t.n < p.events; t.n++ {
		c := t.next()
		c.Seq, c.Key, c.Want = -1-t.n, fmt.Sprint("past-", t.n), 200
		f(t.record(c))
	}
}

// next is the command that comes next: first tribes, then posts among what is done
// with them.
func (t *teller) next() command {
	left := t.posts - t.published
	switch {
	case t.n < t.tribes:
		return command{Aggregate: "tribe", ID: t.tribe(t.n), Actor: userID(t.r.IntN(users)), Name: "found", Body: body("name", sentence(t.r, 3))}
	case t.published == 0 || left > 0 && t.r.IntN(t.events-t.n) < 2*left:
		t.published++
		return command{Aggregate: "post", ID: t.post(t.published - 1), Actor: userID(t.r.IntN(users)), Name: "publish",
			Body: body("tribe", t.tribe(t.r.IntN(t.tribes)), "text", sentence(t.r, 6))}
	}
	return t.done()
}

// done is a command on what there is. Who bumps a post or joins a tribe is the next user
// who has not; who takes that back is the last who has.
func (t *teller) done() command {
	c := command{Aggregate: "post"}
	i, tribe := t.r.IntN(t.published), t.r.IntN(t.tribes)
	switch p := t.r.IntN(100); {
	case p < 45:
		c.Name, c.Actor, c.Body = "comment", userID(t.r.IntN(users)), body("text", sentence(t.r, 4))
	case p < 50 && t.bumps[i] > 0:
		t.bumps[i]--
		c.Name, c.Actor = "unbump", userID(t.bumps[i])
	case p < 80:
		c.Name, c.Actor = "bump", userID(t.bumps[i])
		t.bumps[i]++
	case p < 85 && t.members[tribe] > 0:
		t.members[tribe]--
		c.Aggregate, c.Name, c.Actor = "tribe", "leave", userID(t.members[tribe])
	default:
		c.Aggregate, c.Name, c.Actor = "tribe", "join", userID(t.members[tribe])
		t.members[tribe]++
	}
	if c.ID = t.post(i); c.Aggregate == "tribe" {
		c.ID = t.tribe(tribe)
	}
	return c
}

// record makes the event that an owner of epoch 1 has recorded for a command.
func (t *teller) record(c command) (int32, eventlog.Record, entry) {
	name, fields := effect(c)
	data, err := json.Marshal(fields)
	if err != nil {
		panic(err) // of texts
	}
	key := partition.Key(c.Aggregate, c.ID)
	n := eventlog.PartitionOf(key, oldPartitions)
	t.versions[string(key)]++
	at := t.began.Add(time.Duration(t.n) * time.Millisecond)
	e := event.Envelope{ID: event.NewID(at, unique(2*t.n)), Command: event.NewID(at, unique(2*t.n+1)), Digest: uint64(t.n), Type: name,
		Version: t.versions[string(key)], Epoch: 1, Count: 1, Time: at, Actor: c.Actor}
	got := outcome{Status: 200, Version: e.Version, Position: fmt.Sprintf("%d@%d", n, t.offsets[n]), Events: []stored{{e.ID.String(), name, e.Version}}}
	t.offsets[n]++
	return n, eventlog.Record{Key: key, Header: e.Append(nil), Value: data}, entry{command: c, got: []outcome{got}}
}

func unique(n int) (e [10]byte) {
	binary.BigEndian.PutUint64(e[2:], uint64(n))
	return e
}

// entries returns all commands of the past with their answers.
func (p past) entries() []entry {
	all := make([]entry, 0, p.events)
	p.tell(func(_ int32, _ eventlog.Record, e entry) { all = append(all, e) })
	return all
}

// write records the past in an application's topic, which must not exist yet, as the
// owners of its partitions would have.
func (p past) write(t *testing.T, s *site) {
	t.Helper()
	began := time.Now()
	log, err := kafkalog.Open(t.Context(), kafkalog.Config{Brokers: strings.Split(s.kafka, ",")})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	topic := s.app + ".events"
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: topic, Partitions: oldPartitions}); err != nil {
		t.Fatal(err)
	}
	const batch = 1000
	var writers sync.WaitGroup
	var queues [oldPartitions]chan []eventlog.Record
	var errs [oldPartitions]error
	for n := range queues {
		queues[n] = make(chan []eventlog.Record, 4)
		writers.Go(func() {
			for records := range queues[n] {
				_, err := log.Append(t.Context(), topic, int32(n), records)
				errs[n] = errors.Join(errs[n], err)
			}
		})
	}
	var waiting [oldPartitions][]eventlog.Record
	for n := range waiting {
		waiting[n] = []eventlog.Record{{Header: partition.ClaimHeader(partition.Claim{Epoch: 1, Owner: event.NewID(p.began, [10]byte{1})})}}
	}
	p.tell(func(n int32, r eventlog.Record, _ entry) {
		if waiting[n] = append(waiting[n], r); len(waiting[n]) == batch {
			queues[n] <- waiting[n]
			waiting[n] = nil
		}
	})
	for n, queue := range queues {
		if len(waiting[n]) > 0 {
			queue <- waiting[n]
		}
		close(queue)
	}
	writers.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events of %d tribes and %d posts recorded in %v", p.events, p.tribes, p.posts, time.Since(began).Round(time.Millisecond))
}
