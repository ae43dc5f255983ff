package e2e

import "fmt"

// commit is a command's events as they take effect.
type commit struct {
	partition int
	position  int64 // offset of its last event
	key       string
	events    []fact
}

// fact is an event of a commit.
type fact struct {
	envelope
	data []byte
}

// judgement is what a log says.
type judgement struct {
	valid    []commit
	void     int      // events that take no effect
	problems []string // what should not be in a log at all
}

// judge reads a log by the fold rule, in the most naive way: claims first, then
// the events of whoever had the claim where they lie, cut into commits, and
// versions last.
func judge(log [][]record) judgement {
	var j judgement
	for p, records := range log {
		j.partition(p, records)
	}
	return j
}

func (j *judgement) partition(p int, records []record) {
	terms, events := j.terms(p, records)
	var commits []commit
	for _, term := range terms {
		commits = append(commits, cut(p, records, events, term)...)
	}
	valid := 0
	versions := make(map[string]uint64)
	for _, c := range commits {
		follows := true
		for i, e := range c.events {
			follows = follows && e.version == versions[c.key]+uint64(i)+1
		}
		if !follows {
			j.problemf("partition %d, offset %d: version gap: %s has version %d, and then comes %d",
				p, c.position, c.key, versions[c.key], c.events[0].version)
			continue
		}
		versions[c.key] += uint64(len(c.events))
		j.valid = append(j.valid, c)
		valid += len(c.events)
	}
	j.void += len(events) - valid
}

// terms returns the events of each epoch, as places in records: those that lie
// behind the epoch's claim and before the next; and all events that there are.
func (j *judgement) terms(p int, records []record) (terms [][]int, events map[int]envelope) {
	events = make(map[int]envelope)
	epoch := uint64(0)
	for n, r := range records {
		e, err := readEnvelope(r.header)
		if err != nil {
			j.problemf("partition %d, offset %d: %v", p, r.offset, err)
			continue
		}
		switch {
		case e.kind == isEvent:
			events[n] = e
			if e.epoch == epoch && epoch > 0 {
				terms[len(terms)-1] = append(terms[len(terms)-1], n)
			}
		case e.kind == isClaim && e.epoch > epoch:
			epoch, terms = e.epoch, append(terms, nil)
		}
	}
	return terms, events
}

// cut returns the whole commits of a term.
func cut(p int, records []record, events map[int]envelope, term []int) (commits []commit) {
	for from := 0; from < len(term); {
		first := events[term[from]]
		c := commit{partition: p, key: string(records[term[from]].key)}
		for _, n := range term[from:] {
			e := events[n]
			if string(records[n].key) != c.key || e.command != first.command || e.count != first.count || e.index != uint64(len(c.events)) {
				break
			}
			c.position = records[n].offset
			c.events = append(c.events, fact{e, records[n].value})
			if uint64(len(c.events)) == first.count {
				break
			}
		}
		if uint64(len(c.events)) == first.count {
			commits = append(commits, c)
		}
		from += max(len(c.events), 1)
	}
	return commits
}

func (j *judgement) problemf(format string, args ...any) {
	j.problems = append(j.problems, fmt.Sprintf(format, args...))
}

// partitionOf is where a key belongs: the murmur2 of Kafka's Java client.
func partitionOf(key string, partitions int) int {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(key))
	for len(key) >= 4 {
		k := (uint32(key[0]) + uint32(key[1])<<8 + uint32(key[2])<<16 + uint32(key[3])<<24) * m
		h = (h * m) ^ ((k ^ k>>24) * m)
		key = key[4:]
	}
	if len(key) > 0 {
		for i := len(key) - 1; i >= 0; i-- {
			h ^= uint32(key[i]) << (8 * i)
		}
		h *= m
	}
	h = (h ^ h>>13) * m
	return int((h^h>>15)&0x7fffffff) % partitions
}
