package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"
)

// record is an entry of the log as it lies in the file.
type record struct {
	offset             int64
	key, header, value []byte
}

// readLog reads a topic out of a log's file: its partitions in order.
func readLog(path, topic string) ([][]record, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var out [][]record
	err = db.View(func(tx *bbolt.Tx) error {
		topics, log := tx.Bucket([]byte("topics")), tx.Bucket([]byte("log"))
		if topics == nil || log == nil {
			return errors.New("no buckets topics and log")
		}
		n := topics.Get([]byte(topic))
		if len(n) != 4 {
			return fmt.Errorf("no topic %s", topic)
		}
		for p := range binary.BigEndian.Uint32(n) {
			b := log.Bucket(binary.BigEndian.AppendUint32(append([]byte(topic), 0), p))
			if b == nil {
				return fmt.Errorf("no bucket of partition %d", p)
			}
			records, err := readPartition(b)
			if err != nil {
				return fmt.Errorf("partition %d: %w", p, err)
			}
			out = append(out, records)
		}
		return nil
	})
	return out, err
}

// readPartition reads the batches of a partition, each a value under its base
// offset, and finds no offset missing.
func readPartition(b *bbolt.Bucket) (records []record, err error) {
	err = b.ForEach(func(k, v []byte) error {
		if len(k) != 8 || len(v) < 9 || v[0] != 1 {
			return fmt.Errorf("batch %x is not of format 1", k)
		}
		table := crc32.MakeTable(crc32.Castagnoli)
		if crc32.Update(crc32.Checksum(v[5:], table), table, k) != binary.LittleEndian.Uint32(v[1:]) {
			return fmt.Errorf("batch %x: wrong checksum", k)
		}
		if base := binary.BigEndian.Uint64(k); base != uint64(len(records)) {
			return fmt.Errorf("a batch at offset %d, after %d records", base, len(records))
		}
		rest := append([]byte(nil), v[9:]...)
		for range binary.LittleEndian.Uint32(v[5:]) {
			r := record{offset: int64(len(records))}
			var parts [3]int
			for i := range parts {
				n, w := binary.Uvarint(rest)
				if w <= 0 {
					return fmt.Errorf("batch %x: cut off", k)
				}
				parts[i], rest = int(n), rest[w:]
			}
			for i, to := range []*[]byte{&r.key, &r.header, &r.value} {
				if parts[i] > len(rest) {
					return fmt.Errorf("batch %x: cut off", k)
				}
				*to, rest = rest[:parts[i]], rest[parts[i]:]
			}
			records = append(records, r)
		}
		if len(rest) > 0 {
			return fmt.Errorf("batch %x: %d bytes too many", k, len(rest))
		}
		return nil
	})
	if end := b.Sequence(); err == nil && end != uint64(len(records)) {
		err = fmt.Errorf("%d records, but its end is %d", len(records), end)
	}
	return records, err
}

// The kinds of record that a header's second byte says.
const (
	isEvent = 1
	isClaim = 2
	isProbe = 3
)

// envelope is a header: of an event, or the epoch of a claim or probe.
type envelope struct {
	kind         int
	id, command  string // UUIDs
	time         int64  // Unix nanoseconds
	version      uint64
	epoch        uint64
	index, count uint64
	name, actor  string
}

// readEnvelope reads a header.
func readEnvelope(h []byte) (e envelope, err error) {
	if len(h) < 2 || h[0] != 1 || h[1] < isEvent || h[1] > isProbe {
		return e, fmt.Errorf("header %x is not of format 1", h)
	}
	e.kind = int(h[1])
	r := &taker{rest: h[2:]}
	if e.kind != isEvent {
		r.take(16)
		e.epoch = r.number()
		return e, r.end()
	}
	e.id, e.command = uuid(r.take(16)), uuid(r.take(16))
	r.take(16 + 16 + 8) // correlation, causation, digest
	if at := r.take(8); at != nil {
		e.time = int64(binary.BigEndian.Uint64(at))
	}
	e.version, e.epoch, e.index, e.count = r.number(), r.number(), r.number(), r.number()
	e.name, e.actor = string(r.take(int(r.number()))), string(r.take(int(r.number())))
	r.take(int(r.number())) // tenant
	r.take(int(r.number())) // subject
	return e, r.end()
}

func uuid(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// taker takes parts off rest; short once there were too few bytes.
type taker struct {
	rest  []byte
	short bool
}

func (t *taker) take(n int) []byte {
	if n < 0 || n > len(t.rest) {
		t.short = true
		return nil
	}
	b := t.rest[:n]
	t.rest = t.rest[n:]
	return b
}

func (t *taker) number() uint64 {
	n, w := binary.Uvarint(t.rest)
	if w <= 0 {
		t.short = true
		return 0
	}
	t.rest = t.rest[w:]
	return n
}

func (t *taker) end() error {
	if t.short || len(t.rest) > 0 {
		return fmt.Errorf("a header of another length than it says, %d bytes left", len(t.rest))
	}
	return nil
}
