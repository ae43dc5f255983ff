package stream

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
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
// With no faults it drives a topology in a test; see package streamtest.
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
	node   int
	stored []stored // snapshots, oldest first
	epoch  int      // of its transactional name
	offset int64    // committed in transactions; -1: none
}

// stored is a snapshot that can be restored.
type stored struct {
	head  []byte
	blobs [][]byte
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
	of    *life // nil: nobody waits for it
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
	head    []byte
	ticket  ticket
	encoded bool
}

// Simulate returns a simulation at its beginning. It panics on a topology or
// configuration that cannot run.
func Simulate(t *Topology, cfg SimulationConfig) *Simulation {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
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
		for p := range int32(len(s.logs[st.input()])) {
			s.tasks = append(s.tasks, &simTask{stage: st, part: p, node: s.rng.IntN(cfg.Nodes), offset: -1})
		}
	}
	return s
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
	s.lives = slices.DeleteFunc(s.lives, func(l *life) bool { return l.ended })
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
		if !s.nodes[t.node].paused && s.current(t) == nil {
			s.start(t)
		}
	}
}

func (s *Simulation) current(t *simTask) *life {
	for _, l := range s.lives {
		if l.task == t && !l.stray && !l.ended {
			return l
		}
	}
	return nil
}

// awake returns a life that can do something.
func (s *Simulation) awake() *life {
	var all []*life
	for _, l := range s.lives {
		if !s.nodes[l.node].paused && !l.ended {
			all = append(all, l)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[s.rng.IntN(len(all))]
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
	stored := slices.Clone(t.stored)
	for len(stored) > 0 && s.cfg.Faults > 0 && s.chance(0.2) {
		stored = stored[:len(stored)-1]
		s.counts["snapshot missing"]++
	}
	l := &life{task: t, node: t.node, core: s.core(t)}
	if len(stored) > 0 {
		from := stored[len(stored)-1]
		if err := l.restore(from); err != nil {
			s.fail(fmt.Errorf("restore %s/%d: %w", t.stage.name, t.part, err))
			return
		}
		l.base = from.blobs
		s.counts["restore"]++
	}
	if t.stage.transactional() {
		t.epoch++
		l.epoch, l.core.settled = t.epoch, t.offset
		if s.planted == plantSettled {
			l.core.settled = -1
		}
	}
	s.counts["start"]++
	s.lives = append(s.lives, l)
}

func (s *Simulation) core(t *simTask) *core {
	counts := make(map[string]int)
	for topic, parts := range s.logs {
		counts[topic] = len(parts)
	}
	around := t.stage.around(counts)
	around.tables = s.tables
	c := newCore(t.stage, t.part, around)
	c.planted, c.rng = s.planted, s.rng
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
	log := s.logs[l.task.stage.input()][l.task.part]
	from := min(l.core.next, int64(len(log)))
	run := log[from:min(from+int64(n), int64(len(log)))]
	if len(run) == 0 {
		return false
	}
	if err := l.core.feed(run); err != nil {
		s.fail(err)
	}
	return true
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
	s.append(f.topic, f.part, f.batch)
}

// end ends a life. What it has sent may land yet.
func (s *Simulation) end(l *life) {
	for _, f := range l.flights {
		if f.lands {
			f.of = nil
			s.late = append(s.late, f)
		}
	}
	l.ended = true
	l.core.leave()
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
	l.task.offset = t.next
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
		c = &simCut{full: len(l.base) == 0 || len(l.base) > 3, buf: &bytes.Buffer{}, ticket: l.core.ticket()}
		c.frames = &frames{to: c.buf, planted: s.planted}
		c.head = l.core.begin(c.full, c.frames)
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
	if !l.core.covered(c.ticket) && s.planted != plantUnacked {
		return
	}
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
	l.task.stored = append(l.task.stored, stored{c.head, l.base})
	s.counts["snapshot"]++
}

// misfortune befalls a process or a task.
func (s *Simulation) misfortune() {
	n := s.rng.IntN(len(s.nodes))
	switch s.rng.IntN(5) {
	case 0:
		s.counts["process killed"]++
		for _, l := range s.lives {
			if l.node == n {
				s.end(l)
			}
		}
	case 1:
		if !s.nodes[n].paused {
			s.counts["process paused"]++
			s.nodes[n].paused = true
			s.moveAll(n)
		}
	case 2, 3:
		if s.nodes[n].paused {
			s.counts["process woken"]++
			s.nodes[n].paused = false
		}
	default:
		t := s.tasks[s.rng.IntN(len(s.tasks))]
		s.counts["task moved"]++
		s.move(t)
	}
}

// moveAll gives the tasks of a process to others. Its lives do not know.
func (s *Simulation) moveAll(n int) {
	for _, t := range s.tasks {
		if t.node == n {
			s.move(t)
		}
	}
}

func (s *Simulation) move(t *simTask) {
	if l := s.current(t); l != nil {
		l.stray, l.left = true, s.rng.IntN(60)
		s.counts["stray"]++
	}
	t.node = s.rng.IntN(len(s.nodes))
}

// Settle ends all faults and strays, lets what is under way land, and runs until
// nothing moves. It returns the first error of any task, and an error if the
// operators make something else of the same input when they are run again.
func (s *Simulation) Settle() error {
	s.cfg.Faults = 0
	for i := range s.nodes {
		s.nodes[i].paused = false
	}
	for _, l := range s.lives {
		if l.stray {
			s.end(l)
		}
	}
	for len(s.inputs) > 0 {
		s.input()
	}
	for len(s.late) > 0 {
		s.land(0)
	}
	s.lives = slices.DeleteFunc(s.lives, func(l *life) bool { return l.ended })
	s.revive()
	for moved := true; moved && s.err == nil; {
		moved = false
		for _, l := range slices.Clone(s.lives) {
			moved = s.calm(l) || moved
		}
	}
	if s.err == nil {
		s.again()
	}
	return s.err
}

// calm does all that a life can do now.
func (s *Simulation) calm(l *life) (moved bool) {
	for len(l.flights) > 0 && !l.ended {
		s.answer(l, 0)
		moved = true
	}
	if l.ended {
		s.lives = slices.DeleteFunc(s.lives, func(x *life) bool { return x == l })
		s.revive()
		return true
	}
	moved = s.feed(l, 1000) || moved
	moved = s.pump(l) || moved
	return s.transact(l) || moved
}

// again folds each task's input twice more and compares all that comes of it.
func (s *Simulation) again() {
	for _, t := range s.tasks {
		if t.stage.topic == "" && len(t.stage.outs) == 0 && len(t.stage.operators) == 0 {
			continue
		}
		one, two := s.refold(t), s.refold(t)
		if one != two && s.err == nil {
			s.fail(fmt.Errorf("%s/%d makes something else of the same input when it is run again: does it depend on a map's order, the time or chance?", t.stage.name, t.part))
		}
	}
}

func (s *Simulation) refold(t *simTask) uint64 {
	h := fnv.New64a()
	c := s.core(t)
	defer c.leave()
	if err := c.feed(s.logs[t.stage.input()][t.part]); err != nil {
		s.fail(err)
	}
	for _, g := range c.outs {
		for _, b := range g.boxes {
			for _, r := range b.records {
				fmt.Fprintf(h, "%q %q %q\n", r.Key, r.Header, r.Value)
			}
		}
	}
	states, err := c.states()
	if err != nil {
		s.fail(err)
	}
	for _, key := range slices.Sorted(maps.Keys(states)) {
		fmt.Fprintf(h, "%q %q\n", key, states[key])
	}
	return h.Sum64()
}
