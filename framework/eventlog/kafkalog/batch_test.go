package kafkalog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// some returns bytes of a random length, around the lengths at which a varint
// grows, or none.
func some(r *rand.Rand) []byte {
	switch n := r.IntN(8); n {
	case 0:
		return nil
	case 1:
		return []byte{}
	default:
		return bytes.Repeat([]byte{byte(n)}, []int{1, 3, 62, 63, 64, 65, 8191, 8192, 8193}[r.IntN(9)])
	}
}

func TestABatchIsWhatKafkaReads(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		as := form(seed%2 == 1)
		batch := make([]eventlog.Record, 1+r.IntN(200))
		for i := range batch {
			batch[i] = eventlog.Record{Key: some(r), Value: some(r), Header: some(r)}
			if as == others {
				batch[i].At = []int64{0, 1, 1_600_000_000_000, 1_800_000_000_000}[r.IntN(4)]
				batch[i].Header = nil
				for range r.IntN(3) {
					batch[i].Header = eventlog.AppendHeader(batch[i].Header, string(some(r)), some(r))
				}
			}
		}
		by := nobody
		if r.IntN(2) == 0 {
			by = producer{id: r.Int64(), epoch: 7, sequence: 1<<31 - 1, open: true}
		}
		room := batchSize(len(batch), eventlog.Size(batch))
		raw := appendBatch(make([]byte, 3, room+3), batch, as, 1_700_000_000_000, by)[3:]
		if len(raw) > room {
			t.Errorf("seed %d: %d bytes, more than the %d that were expected", seed, len(raw), room)
		}
		checkBatch(t, raw, batch, as, by)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func checkBatch(t *testing.T, raw []byte, batch []eventlog.Record, as form, by producer) {
	t.Helper()
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	if int(b.Length)+12 != len(raw) || b.Magic != 2 || uint32(b.CRC) != crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)) {
		t.Fatalf("length %d of %d, format %d, checksum %x", b.Length, len(raw), b.Magic, uint32(b.CRC))
	}
	attributes := int16(0)
	if by.open {
		attributes = 16
	}
	if b.ProducerID != by.id || b.ProducerEpoch != by.epoch || b.FirstSequence != by.sequence || b.Attributes != attributes {
		t.Fatalf("batch %+v: want producer %+v", b, by)
	}
	if int(b.NumRecords) != len(batch) || int(b.LastOffsetDelta) != len(batch)-1 {
		t.Fatalf("%d records, the last at %d, want %d", b.NumRecords, b.LastOffsetDelta, len(batch))
	}
	records, err := kfake.BatchRecords(b)
	if err != nil || len(records) != len(batch) {
		t.Fatalf("%d records, %v", len(records), err)
	}
	latest := int64(0)
	for i := range records {
		at := b.FirstTimestamp + records[i].TimestampDelta64
		latest = max(latest, at)
		if want := as.time(&batch[i], 1_700_000_000_000); at != want || int(records[i].OffsetDelta) != i {
			t.Fatalf("record %d is of %d and at %d, want %d", i, at, records[i].OffsetDelta, want)
		}
		checkRecord(t, &records[i], &batch[i], as)
	}
	if b.MaxTimestamp != latest {
		t.Fatalf("the greatest time is %d, want %d", b.MaxTimestamp, latest)
	}
}

func checkRecord(t *testing.T, got *kmsg.Record, want *eventlog.Record, as form) {
	t.Helper()
	if !bytes.Equal(got.Key, want.Key) || !bytes.Equal(got.Value, want.Value) {
		t.Fatalf("record %q: %q", got.Key, got.Value)
	}
	if missing := as == others && want.Value == nil; missing != (got.Value == nil) {
		t.Fatalf("the value is missing: %v, want %v", got.Value == nil, missing)
	}
	list := []byte(nil)
	for _, h := range got.Headers {
		list = eventlog.AppendHeader(list, h.Key, h.Value)
	}
	header := want.Header
	if as == ours && len(header) > 0 {
		header = eventlog.AppendHeader(nil, "e", header)
	}
	if !bytes.Equal(list, header) {
		t.Fatalf("the headers are %q, want %q", list, header)
	}
}

func TestSizesOfVarints(t *testing.T) {
	for shift := range 63 {
		for _, v := range []int64{1<<shift - 1, 1 << shift, -1 << shift, -1<<shift - 1} {
			if want := len(binary.AppendVarint(nil, v)); sizeOf(v) != want {
				t.Errorf("%d takes %d bytes, want %d", v, sizeOf(v), want)
			}
		}
	}
}
