package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Simulation runs a topology in memory, on one goroutine, as several processes on
// a bad day would: appends are lost, late, doubled and unanswered, processes are
// killed, paused and woken, tasks move, snapshots are missing. A seed decides all
// of it, so that a failure can be repeated:
//
//	s := stream.Simulate(topology, stream.SimulationConfig{Seed: 7, Topics: map[string]int{"clicks": 4}})
//	for !s.Done() {
//		s.Step() // send inputs between
//	}
//	err := s.Settle()
//	got := s.Records("clicks-by-page")
//
// With no faults it drives a topology in a test; see package streamtest. Stores are
// filled, and must take over and refuse as Part says; what a Delivery would do is
// left undone.
type Simulation struct {
	topology *Topology
	cfg      SimulationConfig
	rng      *rand.Rand
	counts   map[string]int
	logs     map[string][][]eventlog.Record
	order    []string // of logs
	inputs   []input
	nodes    []node
	tasks    []*simTask
	lives    []*life
	late     []flight // batches that will land
	tables   *tables
	planted  planted
	err      error
}

// SimulationConfig says what is simulated. Topics is required; a zero field is its
// default.
type SimulationConfig struct {
	Seed   uint64
	Topics map[string]int // of others: their partitions
	Nodes  int            // processes; default 3
	// Faults is how often something goes wrong: 0 never, 1 often.
	Faults float64
	// KeepShuffles is as of Config.
	KeepShuffles bool
}

type input struct {
	topic string
	part  int32
	r     eventlog.Record
}

type node struct{ paused bool }

// simTask is one task: the process that should run it, what it has stored, and
// the state of its transactional name.
type simTask struct {
	stage  *stage
	part   int32
	around shape
	node   int
	now    *life    // that does not know of another; nil: none
	stored []stored // snapshots, oldest first
	epoch  int      // of its transactional name
	offset int64    // committed in transactions; -1: none
	begins int64    // its shuffle, as it was trimmed
}

// stored is a snapshot that can be restored.
type stored struct {
	next    int64 // its position
	floor   int64 // from where on it needs the input
	head    []byte
	blobs   [][]byte
	damaged bool // its checksum will say so
}

// life is one task's run in one process, from its restore to its end.
type life struct {
	task    *simTask
	node    int
	core    *core
	stray   bool // the task runs elsewhere too, or will: it does not know
	left    int  // steps that a stray goes on for
	epoch   int
	flights []flight
	txn     *simTxn
	cut     *simCut
	base    [][]byte // the blobs that its next delta builds on
	ended   bool
}

type flight struct {
	of    *life     // nil: nobody waits for it
	store *simWrite // in the place of what follows
	box   *box
	topic string
	part  int32
	batch []eventlog.Record
	fails bool // its sender will not hear of it
	lands bool // it is not in the log yet
}

type simTxn struct {
	outputs []eventlog.Output
	boxes   []*box
	next    int64
}

type simCut struct {
	frames  *frames
	buf     *bytes.Buffer
	full    bool
	next    int64 // its position
	floor   int64
	head    []byte
	ticket  ticket
	encoded bool
	slow    int // calls that the blob store takes
}

// Simulate returns a simulation at its beginning. It panics on a topology or
// configuration that cannot run.
func Simulate(t *Topology, cfg SimulationConfig) *Simulation {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if err := t.Park.check(); err != nil {
		panic(fmt.Errorf("simulate %s: %w", t.Name, err))
	}
	s := &Simulation{topology: t, cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), counts: make(map[string]int),
		logs: make(map[string][][]eventlog.Record), nodes: make([]node, cfg.Nodes)}
	for topic, n := range cfg.Topics {
		s.logs[topic] = make([][]eventlog.Record, n)
	}
	for _, st := range t.stages {
		if st.topic == "" {
			s.logs[st.shuffleTopic()] = make([][]eventlog.Record, t.partitions())
		}
	}
	s.order = slices.Sorted(maps.Keys(s.logs))
	s.tables = newTables(context.Background(), s.readTable)
	for _, st := range t.stages {
		s.need(st.input())
		for _, o := range st.outs {
			if o.to == nil {
				s.need(o.topic)
			}
		}
		if st.unread() {
			continue
		}
		around := st.around(s.partitions())
		for p := range int32(len(s.logs[st.input()])) {
			s.tasks = append(s.tasks, &simTask{stage: st, part: p, around: around, node: s.rng.IntN(cfg.Nodes), offset: -1})
		}
	}
	return s
}

// partitions returns how many each topic has.
func (s *Simulation) partitions() map[string]int {
	counts := make(map[string]int)
	for topic, parts := range s.logs {
		counts[topic] = len(parts)
	}
	return counts
}

func (s *Simulation) need(topic string) {
	if s.logs[topic] == nil {
		panic(fmt.Errorf("simulate %s: name topic %s in SimulationConfig.Topics", s.topology.Name, topic))
	}
}

// Send queues a record for a topic of others, at the partition of its key. It is
// appended behind those sent before.
func (s *Simulation) Send(topic string, r eventlog.Record) {
	s.need(topic)
	s.inputs = append(s.inputs, input{topic, eventlog.PartitionOf(r.Key, len(s.logs[topic])), r})
}

// Done reports whether all that was sent has been appended.
func (s *Simulation) Done() bool { return len(s.inputs) == 0 || s.err != nil }

// Counts returns how often each fault and event occurred, by name.
func (s *Simulation) Counts() map[string]int { return maps.Clone(s.counts) }

// Records returns what a topic holds, by partition.
func (s *Simulation) Records(topic string) [][]eventlog.Record { return s.logs[topic] }

func (s *Simulation) append(topic string, part int32, batch []eventlog.Record) {
	p := s.logs[topic][part]
	for _, r := range batch {
		r.Offset = int64(len(p))
		p = append(p, r)
	}
	s.logs[topic][part] = p
}

func (s *Simulation) chance(p float64) bool { return s.rng.Float64() < p }

// Step lets one thing happen.
func (s *Simulation) Step() {
	if s.err != nil {
		return
	}
	if s.cfg.Faults > 0 && s.chance(0.01*s.cfg.Faults) {
		s.misfortune()
	}
	s.bury()
	s.revive()
	switch n := s.rng.IntN(10); {
	case n < 2:
		s.input()
	case n < 3 && len(s.late) > 0:
		s.land(s.rng.IntN(len(s.late)))
	default:
		if l := s.awake(); l != nil {
			s.act(l)
		}
	}
}

// revive starts the tasks that run nowhere, if their process is awake.
func (s *Simulation) revive() {
	for _, t := range s.tasks {
		if t.now == nil && !s.nodes[t.node].paused {
			s.start(t)
		}
	}
}

// bury forgets the lives that have ended.
func (s *Simulation) bury() {
	s.lives = slices.DeleteFunc(s.lives, func(l *life) bool { return l.ended })
}

// awake returns a life that can do something; nil if none can.
func (s *Simulation) awake() *life {
	n := 0
	for _, l := range s.lives {
		if !s.nodes[l.node].paused && !l.ended {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	n = s.rng.IntN(n)
	for _, l := range s.lives {
		if s.nodes[l.node].paused || l.ended {
			continue
		}
		if n == 0 {
			return l
		}
		n--
	}
	return nil
}

func (s *Simulation) input() {
	if len(s.inputs) > 0 {
		in := s.inputs[0]
		s.inputs = s.inputs[1:]
		s.append(in.topic, in.part, []eventlog.Record{in.r})
		s.counts["input"]++
	}
}

// start restores a task in its process from its newest snapshot, or, by chance,
// from an older one or none.
func (s *Simulation) start(t *simTask) {
	l := &life{task: t, node: t.node, core: s.core(t)}
	if !s.openStores(l) {
		return
	}
	l.guard()
	stored := s.left(t, l.core.written())
	if len(stored) > 0 {
		from := stored[len(stored)-1]
		if err := l.restore(from); err != nil {
			s.fail(fmt.Errorf("restore %s/%d: %w", t.stage.name, t.part, err))
			return
		}
		l.base = from.blobs
		s.counts["restore"]++
	} else {
		s.lost(t)
	}
	if t.stage.transactional() {
		t.epoch++
		l.epoch, l.core.settled = t.epoch, t.offset
		if s.planted == plantSettled {
			l.core.settled = -1
		}
	}
	s.counts["start"]++
	t.now = l
	s.lives = append(s.lives, l)
}

// left returns the snapshots of a task that can be found and read, behind which
// nothing is missing from its stores.
func (s *Simulation) left(t *simTask, written int64) []stored {
	all := t.stored
	for len(all) > 0 {
		switch last := all[len(all)-1]; {
		case last.floor < t.begins:
			s.counts["snapshot below the start"]++
		case written >= 0 && last.next > written && s.planted != plantAheadOfStore:
			s.counts["snapshot ahead of a store"]++
		case last.damaged:
			s.counts["snapshot damaged"]++
		case s.cfg.Faults > 0 && t.spare(all) && s.chance(0.2):
			s.counts["snapshot missing"]++
		default:
			return all
		}
		all = all[:len(all)-1]
	}
	return nil
}

func (s *Simulation) core(t *simTask) *core {
	around := t.around
	around.tables = s.tables
	c := newCore(t.stage, t.part, around)
	c.planted, c.rng = s.planted, s.rng
	if c.parking != nil {
		at := func(offset int64) (*eventlog.Record, error) { return &s.logs[t.stage.input()][t.part][offset], nil }
		c.parking.records = func() (func(int64) (*eventlog.Record, error), func()) { return at, func() {} }
		c.parking.told = func(parkedEvent) { s.counts["event parked"]++ }
	}
	return c
}

func (l *life) restore(from stored) error {
	if err := l.core.restoreHead(from.head); err != nil {
		return err
	}
	for _, b := range from.blobs {
		if err := l.core.load(bytes.NewReader(b)); err != nil {
			return err
		}
	}
	l.core.wake()
	return nil
}

func (s *Simulation) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// act lets a life do one of the things that it may do.
func (s *Simulation) act(l *life) {
	if l.stray {
		if l.left--; l.left < 0 {
			s.end(l)
			return
		}
	}
	switch n := s.rng.IntN(12); {
	case len(l.core.shelves) > 0 && s.chance(0.2):
		s.fill(l)
	case n < 4:
		s.feed(l, 1+s.rng.IntN(8))
	case n < 6:
		s.pump(l)
	case n < 8 && len(l.flights) > 0:
		s.answer(l, s.rng.IntN(len(l.flights)))
	case n < 9:
		s.transact(l)
	default:
		s.snapshot(l)
	}
}

func (s *Simulation) feed(l *life, n int) bool {
	if l.core.next < l.task.begins {
		s.overtaken(l)
		return true
	}
	log := s.logs[l.task.stage.input()][l.task.part]
	from := min(l.core.next, int64(len(log)))
	run := log[from:min(from+int64(n), int64(len(log)))]
	if len(run) == 0 {
		s.beat(l)
		return false
	}
	if err := l.core.feed(run); err != nil {
		s.failed(l, err)
	}
	return true
}

// failed takes in that a life cannot go on: it may be that it has only to be careful
// from now on.
func (s *Simulation) failed(l *life, err error) {
	if errors.Is(err, errOvertaken) {
		s.overtaken(l)
		return
	}
	var unsure *unsureError
	if !errors.As(err, &unsure) {
		s.fail(err)
		return
	}
	s.counts["task careful"]++
	l.task.around.heed(unsure, l.task.stage.of.Park)
	s.end(l)
}

// pump sends a batch of each box that has one.
func (s *Simulation) pump(l *life) bool {
	sent := false
	for _, g := range l.core.outs {
		if g.of.to == nil && g.of.mode == Transactional {
			continue
		}
		topic := g.of.topic
		if g.of.to != nil {
			topic = g.of.to.shuffleTopic()
		}
		for p, b := range g.boxes {
			if s.planted == plantInFlight && b.flight > 0 && len(b.records) > b.flight {
				s.send(l, flight{of: l, topic: topic, part: int32(p), batch: slices.Clone(b.records[b.flight:])})
				b.flight = len(b.records)
				continue
			}
			if batch := b.take(); batch != nil {
				s.send(l, flight{of: l, box: b, topic: topic, part: int32(p), batch: slices.Clone(batch)})
				sent = true
			}
		}
	}
	return sent
}

// send draws what becomes of a batch.
func (s *Simulation) send(l *life, f flight) {
	copied := f
	copied.of = nil
	switch n := s.draw(); {
	case n < 0.05:
		f.fails = true
		s.counts["append lost"]++
	case n < 0.10:
		f.fails = true
		s.append(f.topic, f.part, f.batch)
		s.counts["append unanswered"]++
	case n < 0.15:
		f.fails = true
		s.late = append(s.late, copied)
		s.counts["append late"]++
	case n < 0.20:
		s.append(f.topic, f.part, f.batch)
		s.late = append(s.late, copied)
		s.counts["append doubled"]++
	case n < 0.30:
		f.lands = true
		s.counts["append slow"]++
	default:
		s.append(f.topic, f.part, f.batch)
		s.counts["append"]++
	}
	l.flights = append(l.flights, f)
}

// draw returns a number from 0 to 1: below 0.3 something is wrong.
func (s *Simulation) draw() float64 {
	if s.cfg.Faults <= 0 {
		return 1
	}
	return s.rng.Float64() / s.cfg.Faults
}

// answer tells a life what became of one of its batches.
func (s *Simulation) answer(l *life, i int) {
	f := l.flights[i]
	l.flights = slices.Delete(l.flights, i, i+1)
	if f.store != nil {
		s.wrote(l, f)
		return
	}
	if f.lands {
		s.append(f.topic, f.part, f.batch)
	}
	if f.fails {
		s.end(l)
		return
	}
	if f.box != nil {
		f.box.done()
	}
}

func (s *Simulation) land(i int) {
	f := s.late[i]
	s.late = slices.Delete(s.late, i, i+1)
	if f.store != nil {
		_ = f.store.write() // of a dead task: nobody hears of it
		return
	}
	s.append(f.topic, f.part, f.batch)
}

// end ends a life. What it has sent may land yet.
func (s *Simulation) end(l *life) {
	for _, f := range l.flights {
		if f.lands && f.store != nil {
			s.late = append(s.late, flight{store: f.store})
		} else if f.lands {
			f.of = nil
			s.late = append(s.late, f)
		}
	}
	if l.cut != nil {
		s.counts["ended within a cut"]++
	}
	l.ended = true
	l.core.leave()
	if l.task.now == l {
		l.task.now = nil
	}
}

// transact begins or ends a transaction.
func (s *Simulation) transact(l *life) bool {
	if !l.task.stage.transactional() {
		return false
	}
	if l.txn == nil {
		a := &attempt{core: l.core}
		if l.core.next <= l.task.offset && len(a.outputs()) == 0 {
			return false
		}
		l.txn = &simTxn{outputs: a.outputs(), boxes: a.boxes(), next: l.core.next}
		for _, b := range l.txn.boxes {
			b.flight = len(b.records)
		}
		return true
	}
	t := l.txn
	l.txn = nil
	if l.epoch != l.task.epoch {
		s.counts["transaction fenced"]++
		s.end(l)
		return true
	}
	n := s.draw()
	if n < 0.1 {
		s.counts["transaction lost"]++
		s.end(l)
		return true
	}
	for _, o := range t.outputs {
		s.append(o.Topic, o.Partition, o.Records)
	}
	if s.planted != plantPosition || n >= 0.2 {
		l.task.offset = t.next
	}
	s.counts["transaction"]++
	if n < 0.2 {
		s.counts["transaction unanswered"]++
		s.end(l)
		return true
	}
	for _, b := range t.boxes {
		b.done()
	}
	return true
}

// snapshot begins a snapshot, or goes on with the one under way.
func (s *Simulation) snapshot(l *life) {
	c := l.cut
	if c == nil {
		c = &simCut{full: len(l.base) == 0 || len(l.base) > 3, buf: &bytes.Buffer{}, ticket: l.core.ticket(), next: l.core.next, floor: l.core.floor()}
		c.frames = &frames{to: c.buf, planted: s.planted}
		c.head = l.core.begin(c.full, c.frames)
		if s.cfg.Faults > 0 && s.chance(0.1) {
			c.slow = 1 + s.rng.IntN(30)
			s.counts["snapshot slow"]++
		}
		l.cut = c
		return
	}
	if !c.encoded {
		var err error
		if c.encoded, err = l.core.encode(1+s.rng.IntN(20), c.frames); err != nil {
			s.fail(err)
		}
		return
	}
	if c.slow--; c.slow >= 0 || !l.core.covered(c.ticket) && s.planted != plantUnacked && !(s.planted == plantAhead && l.stray) {
		return
	}
	if written := l.core.written(); written >= 0 && written < c.next && s.planted != plantAheadOfStore {
		return
	}
	s.store(l, c)
}

// store keeps the snapshot that a life has made.
func (s *Simulation) store(l *life, c *simCut) {
	blobs := slices.Clone(l.base)
	if c.full {
		blobs = nil
	}
	l.base, l.cut = append(blobs, c.buf.Bytes()), nil
	if s.cfg.Faults > 0 && s.chance(0.1) {
		s.counts["snapshot not stored"]++
		l.base = nil
		return
	}
	if s.planted == plantHead {
		c.head = l.core.head()
	}
	l.task.stored = append(l.task.stored, stored{next: c.next, floor: c.floor, head: c.head, blobs: l.base})
	s.counts["snapshot"]++
	if l.stray {
		s.counts["snapshot of a stray"]++
	}
	s.trim(l.task)
}
