package framework

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math/bits"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// content is a digest of documents and entries, in whatever order they come: the
// sum of a 128-bit hash of each.
type content struct {
	high, low          uint64
	documents, entries int64
	hash               hash.Hash
	buffer             []byte
}

func newContent() *content { return &content{hash: sha256.New()} }

// page adds what a page of a scan holds.
func (d *content) page(p *view.Scanned) {
	for i := range p.Documents {
		d.add('d', p.Documents[i].Key, p.Documents[i].Value)
	}
	for i := range p.Entries {
		e := &p.Entries[i]
		d.part(e.Set)
		d.part(e.Sort)
		d.add('e', e.Member, nil)
	}
	d.documents += int64(len(p.Documents))
	d.entries += int64(len(p.Entries))
}

// part adds a text to what is hashed next, with its length before it.
func (d *content) part(s string) {
	d.buffer = binary.AppendUvarint(d.buffer, uint64(len(s)))
	d.buffer = append(d.buffer, s...)
}

// add hashes what was given as parts, and adds that.
func (d *content) add(kind byte, key string, value []byte) {
	d.part(key)
	d.buffer = append(d.buffer, kind)
	d.hash.Reset()
	d.hash.Write(d.buffer)
	d.hash.Write(value)
	d.buffer = d.buffer[:0]
	var sum [sha256.Size]byte
	d.hash.Sum(sum[:0])
	d.sum(binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:]))
}

func (d *content) sum(high, low uint64) {
	var carry uint64
	d.low, carry = bits.Add64(d.low, low, 0)
	d.high, _ = bits.Add64(d.high, high, carry)
}

// join adds all that another one is of.
func (d *content) join(other *content) {
	d.sum(other.high, other.low)
	d.documents += other.documents
	d.entries += other.entries
}

// same reports whether two are of the same.
func (d *content) same(other *content) bool {
	return d.high == other.high && d.low == other.low && d.documents == other.documents && d.entries == other.entries
}

func (d *content) String() string { return fmt.Sprintf("%016x%016x", d.high, d.low) }
