package cluster

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// history is what a log means, told naively: not by package partition, and with
// everything kept.
type history struct {
	commits []commitSeen
	states  map[string][]string // of each aggregate, as JSON, by version
	ends    map[string][]int64  // of each aggregate, by version: where it took effect
	digests map[event.ID]uint64 // by command
	epoch   uint64
	owner   string
	beats   map[int64]int64 // valid heartbeats, by offset: their times
	early   []int64         // where commits took effect with an event that is older than a heartbeat of their epoch
}

type commitSeen struct {
	command event.ID
	key     string
	first   uint64 // version
	last    int64  // offset
	epoch   uint64
	events  []eventSeen
}

type eventSeen struct {
	id         event.ID
	name, data string
}

type recordSeen struct {
	event.Envelope
	offset    int64
	key, data string
}

// replay reads a log from its first record.
func replay(records []eventlog.Record) *history {
	h := &history{states: map[string][]string{}, ends: map[string][]int64{}, digests: map[event.ID]uint64{}, beats: map[int64]int64{}}
	latest := int64(math.MinInt64) // of the heartbeats of this epoch
	var open []recordSeen
	for i := range records {
		r := &records[i]
		switch kind, _ := event.KindOf(r.Header); kind {
		case event.KindClaim:
			if epoch := uvarint(r.Header[18:]); epoch > h.epoch {
				h.epoch, h.owner, open, latest = epoch, string(r.Header[2:18]), nil, math.MinInt64
			}
		case event.KindHeartbeat:
			if uvarint(r.Header[18:]) == h.epoch && string(r.Header[2:18]) == h.owner {
				h.beats[r.Offset] = int64(binary.BigEndian.Uint64(r.Header[len(r.Header)-8:]))
				latest = max(latest, h.beats[r.Offset])
			}
		case event.KindEvent:
			e := recordSeen{offset: r.Offset, key: string(r.Key), data: string(r.Value)}
			var d event.Decoder
			if d.Decode(r.Header, &e.Envelope) != nil || e.Epoch != h.epoch || h.epoch == 0 {
				continue
			}
			if open = h.event(open, e); len(open) == e.Count {
				if h.judge(open) && open[0].Time.UnixNano() < latest {
					h.early = append(h.early, r.Offset)
				}
				open = nil
			}
		}
	}
	return h
}

// event returns the unfinished commit after e.
func (h *history) event(open []recordSeen, e recordSeen) []recordSeen {
	follows := len(open) > 0 && open[0].Command == e.Command && open[0].key == e.key && open[0].Count == e.Count && e.Index == len(open)
	switch {
	case follows:
		return append(open, e)
	case e.Index == 0:
		return []recordSeen{e}
	}
	return nil
}

// judge takes in a whole commit, and reports whether it has taken effect.
func (h *history) judge(open []recordSeen) bool {
	key, last := open[0].key, open[len(open)-1]
	if _, ok := h.states[key]; !ok {
		h.states[key], h.ends[key] = []string{jsonOf(nil)}, []int64{-1}
	}
	for i, e := range open {
		if e.Version != uint64(len(h.states[key])+i) {
			return false
		}
	}
	c := commitSeen{command: last.Command, key: key, first: open[0].Version, last: last.offset, epoch: last.Epoch}
	for _, e := range open {
		c.events = append(c.events, eventSeen{e.ID, e.Type, e.data})
	}
	h.commits = append(h.commits, c)
	h.digests[c.command] = last.Digest
	all := h.facts(key)
	for i := range open {
		h.states[key] = append(h.states[key], jsonOf(all[:len(all)-len(open)+i+1]))
		h.ends[key] = append(h.ends[key], last.offset)
	}
	return true
}

// facts returns the payloads of an aggregate's valid events.
func (h *history) facts(key string) (all []string) {
	for _, c := range h.commits {
		if c.key == key {
			for _, e := range c.events {
				all = append(all, e.data)
			}
		}
	}
	return all
}

// version returns an aggregate's version in the log's first n records.
func (h *history) version(key string, n int64) uint64 {
	return uint64(max(sort.Search(len(h.ends[key]), func(i int) bool { return h.ends[key][i] >= n }), 1) - 1)
}

// jsonOf writes a tally without the help of its type.
func jsonOf(facts []string) string {
	count := map[string]int{}
	for _, f := range facts {
		count[f]++
	}
	var by []string
	for k, n := range count {
		by = append(by, fmt.Sprintf("%q:%d", k, n))
	}
	sort.Strings(by)
	return fmt.Sprintf(`{"sum":%d,"by":{%s}}`, len(facts), strings.Join(by, ","))
}

func uvarint(b []byte) (v uint64) {
	for i, c := range b {
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			break
		}
	}
	return v
}
