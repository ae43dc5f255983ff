package snapshot

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

const (
	manifestMagic  = "dtsm"
	manifestFormat = 1
	manifestHead   = len(manifestMagic) + 1 + 8 // magic, format, length of the body
	manifestMost   = MaxHead + 1<<20            // bytes of a whole manifest
	manifestEnd    = ".manifest"
)

// manifest says what a snapshot consists of.
type manifest struct {
	series   event.ID // who wrote it
	at       time.Time
	id       Identity
	position int64
	head     []byte
	chain    []blobRef // the full one first
}

// name returns the manifest's name, in which its position stands first, so that
// names are ordered as snapshots are. It has the id of the last blob.
func (m *manifest) name() string {
	return fmt.Sprintf("%019d-%s%s", m.position, m.chain[len(m.chain)-1].id, manifestEnd)
}

// parseManifestName returns what name says.
func parseManifestName(name string) (position int64, id event.ID, ok bool) {
	stem, isManifest := strings.CutSuffix(name, manifestEnd)
	digits, rest, _ := strings.Cut(stem, "-")
	position, err := strconv.ParseInt(digits, 10, 64)
	id, ok = parseID(rest)
	return position, id, ok && isManifest && err == nil && len(digits) == 19 && position >= 0
}

// parseBlobName returns the id in a blob's name.
func parseBlobName(name string) (event.ID, bool) {
	stem, isFull := strings.CutSuffix(name, ".full")
	stem, isDelta := strings.CutSuffix(stem, ".delta")
	id, ok := parseID(stem)
	return id, ok && isFull != isDelta
}

// parseID takes an id as String writes it, with a time in it.
func parseID(s string) (event.ID, bool) {
	id, err := event.ParseID(s)
	_, timed := id.Time()
	return id, err == nil && timed && id.String() == s
}

// encode returns the manifest's bytes.
func (m *manifest) encode() ([]byte, error) {
	b := append(make([]byte, 0, 1024+len(m.head)), manifestMagic...)
	b = append(b, manifestFormat)
	b = append(b, make([]byte, 8)...)
	b = append(b, m.series[:]...)
	b = binary.AppendVarint(b, m.at.UnixMilli())
	for _, text := range []string{m.id.App, m.id.Operator, m.id.Topic, m.id.State} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	b = binary.AppendVarint(b, int64(m.id.Partition))
	b = binary.AppendVarint(b, int64(m.id.Version))
	b = binary.AppendUvarint(b, uint64(m.position))
	b = append(binary.AppendUvarint(b, uint64(len(m.head))), m.head...)
	b = binary.AppendUvarint(b, uint64(len(m.chain)))
	for i := range m.chain {
		c := &m.chain[i]
		b = append(b, c.id[:]...)
		b = binary.AppendUvarint(b, uint64(c.size))
		b = binary.LittleEndian.AppendUint32(b, c.sum)
	}
	if len(b)+4 > manifestMost {
		return nil, fmt.Errorf("the manifest has %d bytes, at most %d fit", len(b)+4, manifestMost)
	}
	binary.LittleEndian.PutUint64(b[manifestHead-8:], uint64(len(b)-manifestHead))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// decodeManifest is the inverse of encode. It keeps parts of b. Its errors are
// ErrDamaged and ErrFormat.
func decodeManifest(b []byte) (*manifest, error) {
	if len(b) < manifestHead+4 {
		return nil, fmt.Errorf("%w: a manifest of %d bytes was cut off", ErrDamaged, len(b))
	}
	if string(b[:len(manifestMagic)]) != manifestMagic {
		return nil, fmt.Errorf("%w: it does not begin as a manifest", ErrDamaged)
	}
	if format := b[len(manifestMagic)]; format != manifestFormat {
		return nil, fmt.Errorf("%w: manifest format %d, this program reads %d", ErrFormat, format, manifestFormat)
	}
	body, end := b[manifestHead:len(b)-4], b[len(b)-4:]
	if n := binary.LittleEndian.Uint64(b[manifestHead-8:]); n != uint64(len(body)) {
		return nil, fmt.Errorf("%w: its body has %d bytes and should have %d", ErrDamaged, len(body), n)
	}
	if crc32.Checksum(b[:len(b)-4], castagnoli) != binary.LittleEndian.Uint32(end) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	r := &parts{b: body}
	m := r.manifest()
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: its parts do not fit together, %d bytes are left over", ErrDamaged, len(r.b))
	}
	return m, nil
}

// parts takes parts off b; bad once one does not fit.
type parts struct {
	b   []byte
	bad bool
}

func (r *parts) manifest() *manifest {
	m := &manifest{series: r.id(), at: time.UnixMilli(r.signed()).UTC()}
	for _, text := range []*string{&m.id.App, &m.id.Operator, &m.id.Topic, &m.id.State} {
		*text = string(r.take(r.number()))
	}
	partition, version, position := r.signed(), r.signed(), r.number()
	m.id.Partition, m.id.Version, m.position = int32(partition), int(version), int64(position)
	r.bad = r.bad || int64(m.id.Partition) != partition || int64(m.id.Version) != version || m.position < 0
	m.head = r.take(r.number())
	n := r.number()
	r.bad = r.bad || n == 0 || n > MaxChain
	for i := range n {
		if r.bad {
			break
		}
		c := blobRef{id: r.id(), full: i == 0}
		size := r.number()
		c.size = int64(size)
		r.bad = r.bad || size > math.MaxInt64
		if sum := r.take(4); sum != nil {
			c.sum = binary.LittleEndian.Uint32(sum)
		}
		m.chain = append(m.chain, c)
	}
	return m
}

func (r *parts) id() (id event.ID) {
	copy(id[:], r.take(uint64(len(id))))
	return id
}

func (r *parts) number() uint64 {
	v, n := binary.Uvarint(r.b)
	r.bad = r.bad || n <= 0
	r.take(uint64(max(n, 0)))
	return v
}

func (r *parts) signed() int64 {
	v, n := binary.Varint(r.b)
	r.bad = r.bad || n <= 0
	r.take(uint64(max(n, 0)))
	return v
}

func (r *parts) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}
