// Package streamtest runs topologies in tests: in memory, on one goroutine, without
// servers and without waiting. A [Run] is a whole topology, given and asked through
// its topics:
//
//	run := streamtest.New(t, visits(), streamtest.Topics{"clicks": 4, "visits": 4})
//	run.Send("clicks", "maya", Click{Page: "/start"}, noon)
//	run.Send("clicks", "maya", Click{Page: "/pay"}, noon.Add(time.Second))
//	run.Expect("visits",
//		`maya {"pages":1}`,
//		`maya {"pages":2}`)
//
// [Operator] and [Through] look at one operator or a few, with the test's own values
// in place of topics. [Simulate] runs a topology under faults, once for each of many
// seeds.
//
// What the kit does is what [stream.Simulation] does. It does not show how a
// topology fares on a real log: time-outs, rebalances and the records of others are
// matters for a test against Kafka.
package streamtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// T is what the kit needs of a *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
}

// Topics are the topics of others that a topology reads and publishes to, each with
// its number of partitions.
type Topics map[string]int

// Run is a topology in a test. Its methods that look at what came of the inputs
// settle first; see Settle.
type Run struct {
	t       T
	sim     *stream.Simulation
	topics  Topics
	seen    map[string]map[int32]int // by topic and partition: what Expect has seen
	commits commits
	taken   map[string]int64 // by topic and partition: records that Take has copied
}

// New returns a run of a topology in which nothing has been sent. It panics where
// topics lacks one that the topology names.
func New(t T, topology *stream.Topology, topics Topics) *Run {
	return start(t, topology, topics, stream.SimulationConfig{Topics: topics})
}

func start(t T, topology *stream.Topology, topics Topics, cfg stream.SimulationConfig) *Run {
	return &Run{t: t, sim: stream.Simulate(topology, cfg), topics: topics, seen: make(map[string]map[int32]int), commits: newCommits(), taken: make(map[string]int64)}
}

// Simulation returns what the run stands on, for what the kit has no words for.
func (r *Run) Simulation() *stream.Simulation { return r.sim }

// Send appends a record to a topic of others, in the partition of its key by Kafka's
// murmur2. v is sent as it is if it is []byte or a string, as a missing value if it
// is nil, and as JSON otherwise. at is the record's own time, to the millisecond; zero:
// it has none.
func (r *Run) Send(topic, key string, v any, at time.Time) {
	r.t.Helper()
	r.sim.Send(topic, r.record(key, v, at))
}

func (r *Run) record(key string, v any, at time.Time) eventlog.Record {
	r.t.Helper()
	out := eventlog.Record{Key: []byte(key)}
	switch v := v.(type) {
	case nil:
	case []byte:
		out.Value = v
	case string:
		out.Value = []byte(v)
	default:
		data, err := json.Marshal(v)
		if err != nil {
			r.t.Fatalf("send under key %q: %v", key, err)
		}
		out.Value = data
	}
	if !at.IsZero() {
		out.At = at.UnixMilli()
	}
	return out
}

// Advance sends v at a time to each partition of a topic, under keys that begin with
// "advance-". A watermark is the least over all partitions of all sources of what
// their records have shown, less Source.Late; so this is what it takes for that of one
// source to get to at less Late.
//
// There is no other way in production either: a topic of which one partition is
// silent holds its windows open, but for heartbeats (Run.Heartbeat) and what
// Source.Mark recognises. So the elements are real: everything downstream
// folds them. Let v be what the topology filters out, or what the test's
// expectations allow for; where Source.Time reads the value, v must say at.
func (r *Run) Advance(topic string, at time.Time, v any) {
	r.t.Helper()
	n := r.topics[topic]
	if n == 0 {
		r.t.Fatalf("advance: there is no topic %s", topic)
	}
	for i, left := 0, n; left > 0; i++ {
		key := fmt.Sprintf("advance-%d", i)
		if part := eventlog.PartitionOf([]byte(key), n); int(part) == n-left {
			r.sim.SendTo(topic, part, r.record(key, v, at))
			left--
		}
	}
}

// Settle folds all that was sent, and what comes of it, until nothing moves. It fails
// the test on an operator's error, and if the operators make something else of the
// same input when they are run a second time.
func (r *Run) Settle() {
	r.t.Helper()
	if err := r.sim.Settle(); err != nil {
		r.t.Fatalf("%v", err)
	}
}

// Snapshot settles and stores a snapshot of all tasks, so that Crash does not make
// them fold everything anew.
func (r *Run) Snapshot() {
	r.t.Helper()
	if err := r.sim.Snapshot(); err != nil {
		r.t.Fatalf("snapshot: %v", err)
	}
}

// Crash ends all processes where they are, and lets the tasks go on from their last
// snapshots, or from the beginning. What a test expects must not depend on it.
func (r *Run) Crash() { r.sim.Crash() }

// State reads the state of an operator under a key into v, a pointer to a value of
// its type, and reports whether there is one. What it points at must not be changed.
// The entries of a map or list state are those of the operator "name/map", for a
// *map[string]V or a *[]V.
func (r *Run) State(operator, key string, v any) bool {
	r.t.Helper()
	r.Settle()
	found, err := r.sim.State(operator, key, v)
	if err != nil {
		r.t.Fatalf("state of %s under key %q: %v", operator, key, err)
	}
	return found
}

// Record is a record of a published topic.
type Record struct {
	Partition int32
	Key       string
	Value     []byte    // nil: missing
	Time      time.Time // UTC, to the millisecond; zero: none
}

// Published returns what a topic holds, by partition and in its order. Copies that were
// written again after a crash are left out, as by a reader that knows them by
// stream.PublishedHeader. The test fails if such a copy differs, and if there is one
// of what is published Transactional.
func (r *Run) Published(topic string) []Record {
	r.t.Helper()
	r.Settle()
	all, err := r.sim.Published(topic)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	records := make([]Record, len(all))
	for i, p := range all {
		records[i] = Record{Partition: p.Partition, Key: string(p.Key), Value: p.Value}
		if p.At != 0 {
			records[i].Time = time.UnixMilli(p.At).UTC()
		}
	}
	return records
}

// Decode returns the values of records, read from JSON.
func Decode[V any](t T, records []Record) []V {
	t.Helper()
	out := make([]V, len(records))
	for i, r := range records {
		if err := json.Unmarshal(r.Value, &out[i]); err != nil {
			t.Fatalf("decode the value under key %q, %q: %v", r.Key, r.Value, err)
		}
	}
	return out
}

// String returns a record as "key value": JSON without spaces, what cannot be shown
// quoted, and the value alone where the key is empty. A missing value is "-".
func (r Record) String() string {
	value := "-"
	if compact := (&bytes.Buffer{}); r.Value != nil && json.Compact(compact, r.Value) == nil {
		value = compact.String()
	} else if r.Value != nil {
		value = shown(string(r.Value))
	}
	if r.Key == "" {
		return value
	}
	return shown(r.Key) + " " + value
}

func shown(s string) string {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune(` "\`, r) }
	if s == "" || strings.ContainsFunc(s, hidden) {
		return strconv.Quote(s)
	}
	return s
}

// Lines returns what a topic holds as Expect compares it: a line for each record, in
// the order of keys, and under one key in the topic's.
func (r *Run) Lines(topic string) []string {
	r.t.Helper()
	return lines(r.Published(topic))
}

func lines(records []Record) []string {
	var all []string
	for _, record := range records {
		all = append(all, record.String())
	}
	return byKey(all)
}

func byKey(lines []string) []string {
	sorted := slices.Clone(lines)
	slices.SortStableFunc(sorted, func(a, b string) int { return strings.Compare(keyOf(a), keyOf(b)) })
	return sorted
}

// keyOf returns the key that a line begins with, quotes and all; empty: it has none.
func keyOf(line string) string {
	switch {
	case strings.HasPrefix(line, "{"), strings.HasPrefix(line, "["):
		return ""
	case strings.HasPrefix(line, `"`):
		if end := strings.Index(line, `" `); end > 0 {
			return line[:end+1]
		}
		return ""
	}
	key, _, found := strings.Cut(line, " ")
	if !found {
		return ""
	}
	return key
}

// tidy returns a line of a test as Record.String would have it.
func tidy(line string) string {
	key := keyOf(line)
	value := strings.TrimSpace(line[len(key):])
	if compact := (&bytes.Buffer{}); json.Compact(compact, []byte(value)) == nil {
		value = compact.String()
	}
	return strings.TrimSpace(key + " " + value)
}

// Expect fails the test unless what was published to a topic since the last Expect of
// it is want: a line for each record, "key value", as Record.String has it. Lines of
// one key are compared in their order, keys in any.
func (r *Run) Expect(topic string, want ...string) {
	r.t.Helper()
	seen := r.seen[topic]
	if seen == nil {
		seen = make(map[int32]int)
		r.seen[topic] = seen
	}
	var fresh []Record
	counts := make(map[int32]int)
	for _, p := range r.Published(topic) {
		if counts[p.Partition]++; counts[p.Partition] > seen[p.Partition] {
			fresh = append(fresh, p)
		}
	}
	r.seen[topic] = counts
	wanted := make([]string, len(want))
	for i, line := range want {
		wanted[i] = tidy(line)
	}
	if diff := compare(lines(fresh), byKey(wanted)); diff != "" {
		r.t.Errorf("published to %s (- is missing, + was not expected):\n%s", topic, diff)
	}
}

// compare returns how got differs from want, line by line; empty: they are equal.
func compare(got, want []string) string {
	if slices.Equal(got, want) {
		return ""
	}
	same := common(got, want)
	var b strings.Builder
	i, j := 0, 0
	for i < len(got) || j < len(want) {
		switch {
		case i < len(got) && j < len(want) && got[i] == want[j]:
			b.WriteString("  " + got[i] + "\n")
			i, j = i+1, j+1
		case j < len(want) && (i == len(got) || same[i][j+1] >= same[i+1][j]):
			b.WriteString("- " + want[j] + "\n")
			j++
		default:
			b.WriteString("+ " + got[i] + "\n")
			i++
		}
	}
	return b.String()
}

// common returns how many lines a[i:] and b[j:] have in common at most, in order.
func common(a, b []string) [][]int {
	n := make([][]int, len(a)+1)
	for i := range n {
		n[i] = make([]int, len(b)+2)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				n[i][j] = n[i+1][j+1] + 1
			} else {
				n[i][j] = max(n[i+1][j], n[i][j+1])
			}
		}
	}
	return n
}
