package docs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// The decoders here follow doc/reference/formats.md alone, so that the page is
// enough to read what is on disk.

func id(n byte) event.ID { return event.ID(bytes.Repeat([]byte{n}, 16)) }

var envelope = event.Envelope{ID: id(1), Command: id(2), Correlation: id(3), Causation: id(4), Digest: 0x0102030405060708,
	Time: time.Unix(0, 1_700_000_000_123_456_789).UTC(), Version: 300, Epoch: 7, Index: 0, Count: 2,
	Type: "tribe.founded", Actor: "maya", Tenant: "t", Subject: "s"}

// section returns the lines of a page under a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	text, err := fs.ReadFile(root, page)
	if err != nil {
		t.Fatal(err)
	}
	_, behind, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %s", page, heading)
	}
	depth, _, _ := strings.Cut(heading, " ")
	own, _, _ := strings.Cut(behind, "\n"+depth+" ")
	return own
}

// cells returns the rows of the tables in text.
func cells(text string) [][]string {
	var rows [][]string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|---") {
			row := strings.Split(strings.Trim(line, "|"), "|")
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// at returns the documented offset and length of a field.
func at(t *testing.T, rows [][]string, what string) (int, int) {
	t.Helper()
	for _, row := range rows {
		if strings.HasPrefix(row[2], what) {
			offset, err1 := strconv.Atoi(row[0])
			length, err2 := strconv.Atoi(row[1])
			if err1 == nil && (err2 == nil || row[1] == "uvarint") {
				return offset, length
			}
		}
	}
	t.Fatalf("no row for %q", what)
	return 0, 0
}

func TestAnEventsHeaderIsAsTheReferenceSays(t *testing.T) {
	rows := cells(section(t, "doc/reference/formats.md", "### Event (format 1)"))
	h := envelope.Append(nil)
	for what, want := range map[string][]byte{
		"format":           {1},
		"kind":             {1},
		"the event's id":   envelope.ID[:],
		"id of the com":    envelope.Command[:],
		"correlation":      envelope.Correlation[:],
		"causation":        envelope.Causation[:],
		"digest":           binary.BigEndian.AppendUint64(nil, envelope.Digest),
		"event time, Unix": binary.BigEndian.AppendUint64(nil, uint64(envelope.Time.UnixNano())),
	} {
		if offset, length := at(t, rows, what); !bytes.Equal(h[offset:offset+length], want) {
			t.Errorf("%s: at %d there is %x, want %x", what, offset, h[offset:offset+length], want)
		}
	}
	offset, _ := at(t, rows, "version")
	r := &cursor{t, h[offset:]}
	if v, e, i, n := r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint(); v != 300 || e != 7 || i != 0 || n != 2 {
		t.Errorf("version %d, epoch %d, index %d of %d", v, e, i, n)
	}
	for _, want := range []string{"tribe.founded", "maya", "t", "s"} {
		if got := string(r.bytes()); got != want {
			t.Errorf("text %q, want %q", got, want)
		}
	}
	r.end()
}

func TestAClaimIsAsTheReferenceSays(t *testing.T) {
	rows := cells(section(t, "doc/reference/formats.md", "### Claim and probe (format 1)"))
	for kind, h := range map[byte][]byte{
		2: partition.ClaimHeader(partition.Claim{Epoch: 300, Owner: id(9)}),
		3: partition.ProbeHeader(partition.Claim{Epoch: 300, Owner: id(9)}),
	} {
		owner, n := at(t, rows, "owner")
		epoch, _ := at(t, rows, "epoch")
		r := &cursor{t, h[epoch:]}
		if h[0] != 1 || h[1] != kind || event.ID(h[owner:owner+n]) != id(9) || r.uvarint() != 300 {
			t.Errorf("header %x", h)
		}
		r.end()
	}
}

func TestAHeartbeatIsAsTheReferenceSays(t *testing.T) {
	rows := cells(section(t, "doc/reference/formats.md", "### Heartbeat (format 1)"))
	h := partition.HeartbeatHeader(partition.Claim{Epoch: 300, Owner: id(9)}, envelope.Time.UnixNano())
	owner, n := at(t, rows, "owner")
	epoch, _ := at(t, rows, "epoch")
	r := &cursor{t, h[epoch:]}
	if h[0] != 1 || h[1] != 6 || event.ID(h[owner:owner+n]) != id(9) || r.uvarint() != 300 || int64(binary.BigEndian.Uint64(r.take(8))) != envelope.Time.UnixNano() {
		t.Errorf("header %x", h)
	}
	r.end()
}

func TestTheControlLogIsAsTheReferenceSays(t *testing.T) {
	text := section(t, "doc/reference/formats.md", "## Control log (format 1)")
	m := control.Member{Process: id(1), Instance: "i", Address: "http://a", Host: "h", Started: envelope.Time, Views: map[string][]int{"v": {1}}}
	for kind, r := range map[string]eventlog.Record{"member": m.Record(), "left": m.Left(), "owner": control.Owner{Partition: 3, Epoch: 7, Process: id(1)}.Record(),
		"generation": control.Generation{View: "v", Number: 2, Version: 2, Rate: 9, By: "b"}.Record(),
		"switch":     control.Switch{View: "v", Turn: 1, To: 2, Forced: true, Back: true, Reason: "r", By: "b"}.Record(),
		"retired":    control.Retired{View: "v", Number: 1, By: "b"}.Record(), "dropped": control.Dropped{View: "v", Number: 1}.Record(),
		"cut": control.Cut{View: "v", ID: id(2), Generations: []int{1}}.Record(), "released": control.Released{ID: id(2)}.Record(),
		"shadow": control.Shadow{View: "v", Number: 2, Turn: 1, Share: 0.5, By: "b"}.Record(),
		"held":   control.Held{ID: id(2), Generation: 2, Partition: 3, Next: 9, Derived: 4, Parked: 1}.Record()} {
		row := cells(text)[slices.IndexFunc(cells(text), func(row []string) bool { return row[0] == kind })]
		if len(r.Header) != 2 || r.Header[0] != 1 || strconv.Itoa(int(r.Header[1])) != row[1] || len(r.Key) > 0 {
			t.Errorf("%s: header %v, key %q", kind, r.Header, r.Key)
		}
		var got map[string]any
		if err := json.Unmarshal(r.Value, &got); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, m := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(row[2], -1) {
			want = append(want, m[1])
		}
		slices.Sort(want)
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
			t.Errorf("%s: the record has %q, the page %q", kind, names, want)
		}
	}
	for _, limit := range []int{control.MaxText, control.MaxMembers, control.MaxPartition - 1} {
		if !strings.Contains(text, strconv.Itoa(limit)) {
			t.Errorf("the page does not say %d", limit)
		}
	}
}

func TestAFoldSnapshotIsAsTheReferenceSays(t *testing.T) {
	f := partition.New(partition.Memory{Age: time.Hour, Number: 10})
	single, open := envelope, envelope
	single.Version, single.Count, open.Version, open.Command = 1, 1, 2, id(8)
	for i, h := range [][]byte{partition.ClaimHeader(partition.Claim{Epoch: 7, Owner: id(9)}), single.Append(nil), open.Append(nil)} {
		var key, value []byte
		if i > 0 {
			key, value = []byte("tribe/x"), []byte("{}")
		}
		if _, err := f.Step(int64(i)+100, key, h, value); err != nil {
			t.Fatal(err)
		}
	}
	r := &cursor{t, f.AppendSnapshot(nil)}
	r.want("format", uint64(r.take(1)[0]), 1)
	r.want("next", r.uvarint(), 103)
	r.want("epoch", r.uvarint(), 7)
	r.same("owner", r.take(16), id(9))
	r.want("aggregates", r.uvarint(), 1)
	r.want("key", uint64(len(r.bytes())), uint64(len("tribe/x")))
	r.want("version", r.uvarint(), 1)
	r.want("unfinished events", r.uvarint(), 1)
	r.want("their offset", r.uvarint(), 102)
	r.want("key", uint64(len(r.bytes())), uint64(len("tribe/x")))
	r.want("header", uint64(len(r.bytes())), uint64(len(open.Append(nil))))
	r.want("payload", uint64(len(r.bytes())), 2)
	r.want("greatest time", uint64(r.varint()), uint64(envelope.Time.UnixNano()))
	r.want("horizon", uint64(-r.varint()), 1)
	r.want("commands", r.uvarint(), 1)
	r.same("command", r.take(16), id(2))
	r.want("time", uint64(r.varint()), uint64(envelope.Time.UnixNano()))
	r.want("digest", binary.BigEndian.Uint64(r.take(8)), envelope.Digest)
	r.want("first", r.uvarint(), 101)
	r.want("last", r.uvarint(), 101)
	r.end()
}

func TestBoltlogsFileIsAsTheReferenceSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "drivetrain.db")
	log, err := boltlog.Open(file, boltlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Ensure(t.Context(), eventlog.Topic{Name: "app.events", Partitions: 3}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		batch := []eventlog.Record{{Key: []byte("k"), Header: []byte("hh"), Value: []byte("vvv")}, {Value: []byte("w")}}
		if _, err := log.Append(t.Context(), "app.events", 2, batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Commit(t.Context(), "app.mail", "app.events", 2, 0x0102); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error { return readFile(t, tx) }); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, tx *bbolt.Tx) error {
	if got := tx.Bucket([]byte("drivetrain.log")).Get([]byte("format")); !bytes.Equal(got, []byte{1}) {
		t.Errorf("format %x", got)
	}
	if got := tx.Bucket([]byte("topics")).Get([]byte("app.events")); !bytes.Equal(got, []byte{0, 0, 0, 3}) {
		t.Errorf("partitions %x", got)
	}
	part := tx.Bucket([]byte("log")).Bucket([]byte("app.events\x00\x00\x00\x00\x02"))
	if part == nil || part.Sequence() != 4 {
		return fmt.Errorf("partition 2 is not there, or does not end at 4")
	}
	key := binary.BigEndian.AppendUint64(nil, 2)
	v := part.Get(key)
	if len(v) < 9 || v[0] != 1 || binary.LittleEndian.Uint32(v[5:]) != 2 {
		return fmt.Errorf("batch at 2: %x", v)
	}
	sum := crc32.Checksum(append(bytes.Clone(v[5:]), key...), crc32.MakeTable(crc32.Castagnoli))
	if binary.LittleEndian.Uint32(v[1:]) != sum {
		t.Errorf("the checksum is not over what follows it and the key")
	}
	readOffset(t, tx)
	r := &cursor{t, v[9:]}
	for _, want := range []string{"khhvvv", "w"} {
		n := r.uvarint() + r.uvarint() + r.uvarint()
		if got := string(r.take(int(n))); got != want {
			t.Errorf("record %q, want %q", got, want)
		}
	}
	r.end()
	return nil
}

func readOffset(t *testing.T, tx *bbolt.Tx) {
	key := []byte("app.mail\x00app.events\x00\x00\x00\x00\x02")
	v := tx.Bucket([]byte("offsets")).Get(key)
	if want := []byte{1, 0, 0, 0, 0, 0, 0, 1, 2}; len(v) != 13 || !bytes.Equal(v[:9], want) {
		t.Fatalf("committed offset: %x, want %x and a checksum", v, want)
	}
	if sum := crc32.Checksum(append(bytes.Clone(v[:9]), key...), crc32.MakeTable(crc32.Castagnoli)); binary.LittleEndian.Uint32(v[9:]) != sum {
		t.Error("the checksum is not over the nine bytes before it and the key")
	}
}

// cursor takes documented parts off a slice.
type cursor struct {
	t *testing.T
	b []byte
}

func (c *cursor) take(n int) []byte {
	c.t.Helper()
	if n > len(c.b) {
		c.t.Fatalf("%d bytes are left, want %d", len(c.b), n)
	}
	s := c.b[:n]
	c.b = c.b[n:]
	return s
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	c.take(n)
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	c.take(n)
	return v
}

func (c *cursor) bytes() []byte { return c.take(int(c.uvarint())) }

func (c *cursor) want(what string, got, want uint64) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s is %d, want %d", what, got, want)
	}
}

func (c *cursor) same(what string, got []byte, want event.ID) {
	c.t.Helper()
	if event.ID(got) != want {
		c.t.Errorf("%s is %x, want %v", what, got, want)
	}
}

func (c *cursor) end() {
	c.t.Helper()
	if len(c.b) > 0 {
		c.t.Errorf("%d bytes are left: %x", len(c.b), c.b)
	}
}

// The defaults that the page on operating names are those of the code.
func TestTheDefaultsOfConfigAreAsDocumented(t *testing.T) {
	cfg := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) {
		return framework.Resources{}, nil
	}}).Config()
	rows := cells(section(t, "doc/operating.md", "## Limits"))
	for field, want := range map[string]string{
		"`Config.Partitions`":                   fmt.Sprint(cfg.Partitions, ","),
		"`Config.AppendTimeout`":                seconds(cfg.AppendTimeout),
		"`Config.CommandWait`":                  seconds(cfg.CommandWait),
		"`Config.ReadWait`":                     seconds(cfg.ReadWait),
		"`Config.MaxQueue`":                     fmt.Sprint(cfg.MaxQueue),
		"`Config.SnapshotEvery`":                seconds(cfg.SnapshotEvery),
		"`Config.RememberCount`, `RememberAge`": fmt.Sprintf("%d,%03d, for %.0f h", cfg.RememberCount/1000, cfg.RememberCount%1000, cfg.RememberAge.Hours()),
	} {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[2] == field && strings.HasPrefix(row[1]+",", want) }) {
			t.Errorf("doc/operating.md does not say %q for %s", want, field)
		}
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

// The metrics that are documented are those that the code declares.
func TestEveryMetricIsDocumented(t *testing.T) {
	name := regexp.MustCompile("[\"`](drivetrain_[a-z_]+)[\"`]")
	declared, documented := map[string]bool{}, map[string]bool{}
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "tests/") {
			return err
		}
		text, err := fs.ReadFile(root, file)
		for _, m := range name.FindAllSubmatch(text, -1) {
			declared[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range cells(section(t, "doc/operating.md", "## Metrics")) {
		if m := name.FindStringSubmatch(row[0]); m != nil {
			documented[m[1]] = true
		}
	}
	for m := range declared {
		if !documented[m] {
			t.Errorf("doc/operating.md does not have %s", m)
		}
	}
	for m := range documented {
		if !declared[m] {
			t.Errorf("doc/operating.md has %s, which nothing declares", m)
		}
	}
}
