package stream

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// The oracle says what must come of the inputs, naively: it reads the topics as
// they lie, keeps whole lists, and shares nothing with the engine.

const oracleNoMark = math.MinInt64

// fed is a record that takes effect in a task.
type fed struct {
	rec           int // its place among those
	offset        int64
	key           string
	time          int64
	port          int // 0: it has no element
	value         string
	before, after int64 // watermark
}

// call is what made an emission: a record's element, or a timer.
type call struct {
	rec       int
	timer     bool
	at        int64
	operator  int
	key, name string
}

func compareCalls(a, b call) int {
	timer := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(a.rec, b.rec), cmp.Compare(timer[a.timer], timer[b.timer]), cmp.Compare(a.at, b.at),
		cmp.Compare(a.operator, b.operator), strings.Compare(a.key, b.key), strings.Compare(a.name, b.name))
}

// said is an emission.
type said struct {
	call
	out       int
	partition int // -1: its key's
	key       string
	port      int
	time      int64
	data      string
}

// written is a record as it must lie in a topic.
type written struct {
	key, data  string
	time, mark int64
	number     uint64
	offset     int64
	index      int
	port       int
}

// way is one way out of a stage.
type way struct {
	name, topic   string
	partitions    int
	shuffle, once bool
	own           bool // a task writes to the partition of its own number
}

// derived is the header of a shuffle's record.
type derived struct {
	fold, operator, part, number, offset, index, port uint64
	time, mark                                        int64
}

func readDerived(h []byte) (d derived, ok bool) {
	if len(h) < 18 || h[0] != 1 || h[1] != 4 {
		return d, false
	}
	d.time, d.mark = int64(binary.BigEndian.Uint64(h[2:])), int64(binary.BigEndian.Uint64(h[10:]))
	h = h[18:]
	for _, to := range []*uint64{&d.fold, &d.operator, &d.part, &d.number, &d.offset, &d.index, &d.port} {
		v, n := binary.Uvarint(h)
		if n <= 0 {
			return d, false
		}
		*to, h = v, h[n:]
	}
	return d, len(h) == 0
}

// accepted is what takes effect in a shuffle's partition.
type accepted struct {
	feds    []fed
	written map[[2]uint64][]written // by source
}

// accept applies the rule of numbers to what a version has written, and counts the
// verdicts. tasks is how many write to the shuffle.
func accept(log []eventlog.Record, version uint64, tasks int, counts map[string]int) accepted {
	a := accepted{written: map[[2]uint64][]written{}}
	marks, mark := map[[2]uint64]int64{}, int64(oracleNoMark)
	for _, r := range log {
		d, ok := readDerived(r.Header)
		source := [2]uint64{d.operator, d.part}
		next := uint64(len(a.written[source]) + 1)
		switch {
		case !ok:
			counts["verdict foreign"]++
		case d.fold != version:
			counts["verdict other fold"]++
		case d.number < next:
			counts["verdict duplicate"]++
		case d.number > next:
			counts["verdict gap"]++
		default:
			counts["verdict valid"]++
			a.written[source] = append(a.written[source], written{string(r.Key), string(r.Value), d.time, d.mark, d.number, int64(d.offset), int(d.index), int(d.port)})
			if old, ok := marks[source]; !ok || d.mark > old {
				marks[source] = d.mark
			}
			f := fed{len(a.feds), r.Offset, string(r.Key), d.time, int(d.port), string(r.Value), mark, mark}
			if len(marks) == tasks {
				least := int64(math.MaxInt64)
				for _, m := range marks {
					least = min(least, m)
				}
				mark = max(mark, least)
			}
			f.after = mark
			a.feds = append(a.feds, f)
		}
	}
	return a
}

// outside is what a source's task is fed: every record.
func outsideOf(log []eventlog.Record, at func(string) int64) (feds []fed) {
	mark, greatest := int64(oracleNoMark), int64(oracleNoMark)
	for _, r := range log {
		f := fed{len(feds), r.Offset, string(r.Key), at(string(r.Value)) * 1e6, 1, string(r.Value), mark, 0}
		greatest = max(greatest, f.time)
		mark = max(mark, greatest-int64(simLate))
		f.after = mark
		feds = append(feds, f)
	}
	return feds
}

// write puts emissions in order and says what must lie in each partition of each
// way out.
func write(part int, feds []fed, all []said, ways []way) [][][]written {
	out, told := make([][][]written, len(ways)), make([][]int64, len(ways))
	for i, w := range ways {
		out[i], told[i] = make([][]written, w.partitions), slices.Repeat([]int64{oracleNoMark}, w.partitions)
	}
	for i := range all {
		if s := &all[i]; s.partition < 0 && ways[s.out].own {
			s.partition = part
		} else if s.partition < 0 {
			s.partition = int(eventlog.PartitionOf([]byte(s.key), ways[s.out].partitions))
		}
	}
	slices.SortStableFunc(all, func(a, b said) int {
		return cmp.Or(compareCalls(a.call, b.call), cmp.Compare(a.out, b.out), cmp.Compare(a.partition, b.partition),
			strings.Compare(a.key, b.key), cmp.Compare(a.port, b.port))
	})
	for _, f := range feds {
		index := 0
		put := func(way, p int, w written) {
			w.offset, w.index, w.number = f.offset, index, uint64(len(out[way][p])+1)
			index++
			out[way][p] = append(out[way][p], w)
			told[way][p] = max(told[way][p], w.mark)
		}
		for ; len(all) > 0 && all[0].rec == f.rec; all = all[1:] {
			s := all[0]
			put(s.out, s.partition, written{key: s.key, data: s.data, time: s.time, mark: f.before, port: s.port})
		}
		for i, w := range ways {
			for p := range w.partitions {
				if t := told[i][p]; w.shuffle && f.after != oracleNoMark && (t == oracleNoMark || f.after-t >= int64(simMarkEvery)) {
					put(i, p, written{time: f.after, mark: f.after})
				}
			}
		}
	}
	return out
}

// id is the header of a published record.
func (w *written) id(name string, part int) string {
	b := []byte{1, 7, simVersion}
	b = binary.AppendUvarint(b, uint64(part))
	b = binary.AppendUvarint(b, uint64(w.offset))
	b = binary.AppendUvarint(b, uint64(w.index))
	b = append(b, name...)
	all := append(binary.AppendVarint(nil, 10), "drivetrain"...)
	return string(append(binary.AppendVarint(all, int64(len(b))), b...))
}

// unitText writes what a snapshot holds under a key so that it can be read and
// compared: the timers, and the state as show has it.
func unitText(b []byte, show func([]byte) string) string {
	_, n := binary.Varint(b) // when it was seen
	b = b[n:]
	count, n := binary.Uvarint(b)
	b = b[n:]
	var timers []string
	for range count {
		at, n := binary.Varint(b)
		size, m := binary.Uvarint(b[n:])
		name := string(b[n+m:][:size])
		b = b[n+m+int(size):]
		switch {
		case name == "\x00ttl":
			timers = append(timers, "ttl")
		case len(name) == 9:
			timers = append(timers, timerText(name[:1], int64(binary.BigEndian.Uint64([]byte(name[1:]))), at))
		default:
			timers = append(timers, fmt.Sprintf("%s@%d", name, at))
		}
	}
	slices.Sort(timers)
	return fmt.Sprint(timers, " ", show(b))
}

func timerText(kind string, start, at int64) string { return fmt.Sprintf("%s%d@%d", kind, start, at) }

func unitOf(timers []string, state string) string {
	slices.Sort(timers)
	return fmt.Sprint(timers, " ", state)
}

// showPanes reads the open windows of a key.
func showPanes(b []byte) string {
	count, n := binary.Uvarint(b)
	b = b[n:]
	var all []string
	for range count {
		start, n := binary.Varint(b)
		end, m := binary.Varint(b[n:])
		size, k := binary.Uvarint(b[n+m:])
		b = b[n+m+k:]
		all = append(all, fmt.Sprintf("%d-%d=%s", start, end, b[:size]))
		b = b[size:]
	}
	return strings.Join(all, ";") + hex.EncodeToString(b)
}

// showSides reads what waits to be joined.
func showSides(b []byte) string {
	var sides []string
	for range 2 {
		count, n := binary.Uvarint(b)
		b = b[n:]
		var all []string
		for range count {
			at, n := binary.Varint(b)
			size, m := binary.Uvarint(b[n:])
			b = b[n+m:]
			all = append(all, fmt.Sprintf("%d=%s", at, b[:size]))
			b = b[size:]
		}
		sides = append(sides, strings.Join(all, ";"))
	}
	return strings.Join(sides, "|") + hex.EncodeToString(b)
}

// showLatest reads a time and what follows it.
func showLatest(b []byte) string {
	at, n := binary.Varint(b)
	return fmt.Sprintf("%d=%s", at, b[n:])
}

func showText(b []byte) string { return string(b) }
