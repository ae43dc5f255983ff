package snapshot

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

// A blob is a header and frames, each with a checksum over the header, the
// frame's number and its bytes: so whoever reads it gets no byte that was not
// written there, in this blob and at this place.
const (
	blobMagic  = "dtsb"
	blobFormat = 1
	headerSize = len(blobMagic) + 1 + 16 // magic, format, id
	frameHead  = 8                       // length, checksum
	frameBytes = 256 << 10               // what Writer puts into a frame
	maxFrame   = 1 << 20                 // what a reader takes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blobRef names a blob, and says what is in it.
type blobRef struct {
	id   event.ID
	full bool
	size int64  // of the whole blob, bytes
	sum  uint32 // CRC-32C of the whole blob
}

func (b *blobRef) name() string {
	if b.full {
		return b.id.String() + ".full"
	}
	return b.id.String() + ".delta"
}

func (b *blobRef) header() []byte {
	h := append(make([]byte, 0, headerSize), blobMagic...)
	return append(append(h, blobFormat), b.id[:]...)
}

// frameSum is the checksum of the n-th frame: over the header, n, and the
// frame's length and bytes.
func frameSum(header []byte, n uint64, data []byte) uint32 {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], n)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(data)))
	sum := crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, b[:])
	return crc32.Update(sum, castagnoli, data)
}

// framer is a blob as a store reads it, made of the chunks that come over a
// channel. A chunk has frameHead bytes of room before its data; it goes to free
// once it was read. Closing the channel ends the blob.
type framer struct {
	ctx   context.Context
	queue <-chan []byte
	free  chan<- []byte
	ref   blobRef // size and sum grow
	head  []byte
	n     uint64 // of the next frame
	chunk []byte // being read
	rest  []byte // of it
	ended bool
}

func newFramer(ctx context.Context, ref blobRef, queue <-chan []byte, free chan<- []byte) *framer {
	f := &framer{ctx: ctx, queue: queue, free: free, ref: ref, head: ref.header()}
	f.rest = f.head
	return f
}

// Read yields the blob, and counts and sums what it yields.
func (f *framer) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		if f.ended {
			return 0, io.EOF
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	f.ref.size += int64(n)
	f.ref.sum = crc32.Update(f.ref.sum, castagnoli, p[:n])
	return n, nil
}

func (f *framer) next() error {
	if f.chunk != nil {
		f.free <- f.chunk[:frameHead] // has room for all chunks
		f.chunk = nil
	}
	select {
	case <-f.ctx.Done():
		return f.ctx.Err()
	case chunk, more := <-f.queue:
		if more {
			f.chunk = chunk
		} else {
			chunk, f.ended = make([]byte, frameHead), true
		}
		binary.LittleEndian.PutUint32(chunk, uint32(len(chunk)-frameHead))
		binary.LittleEndian.PutUint32(chunk[4:], frameSum(f.head, f.n, chunk[frameHead:]))
		f.rest = chunk
		f.n++
	}
	return nil
}

// blobReader yields what was written into a blob, having checked it. It is
// opened by the first Read. An error, other than of ctx or the store, is
// ErrDamaged or ErrFormat; what was read before is right.
type blobReader struct {
	ctx   context.Context
	store BlobStore
	name  string
	ref   blobRef
	src   io.ReadCloser
	buf   *bufio.Reader
	size  int64
	sum   uint32
	n     uint64
	frame []byte
	rest  []byte // of the frame
	err   error
}

func (r *blobReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err == nil {
			r.err = r.next()
		}
		if r.err != nil {
			r.release()
			return 0, r.err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next reads a frame; at the last one it returns io.EOF.
func (r *blobReader) next() error {
	if r.src == nil {
		if err := r.open(); err != nil {
			return r.named(err)
		}
	}
	var head [frameHead]byte
	if err := r.fill(head[:]); err != nil {
		return r.named(err)
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size > maxFrame {
		return r.named(fmt.Errorf("%w: frame %d has %d bytes", ErrDamaged, r.n, size))
	}
	if int(size) > cap(r.frame) {
		r.frame = make([]byte, size)
	}
	r.frame = r.frame[:size]
	if err := r.fill(r.frame); err != nil {
		return r.named(err)
	}
	if frameSum(r.ref.header(), r.n, r.frame) != binary.LittleEndian.Uint32(head[4:]) {
		return r.named(fmt.Errorf("%w: the checksum of frame %d is wrong", ErrDamaged, r.n))
	}
	r.n++
	r.rest = r.frame
	if size == 0 {
		return r.end()
	}
	return nil
}

func (r *blobReader) open() (err error) {
	if r.src, err = r.store.Get(r.ctx, r.name); err != nil {
		return err
	}
	r.buf = bufio.NewReaderSize(r.src, int(min(64<<10, r.ref.size)))
	head := make([]byte, headerSize)
	if err := r.fill(head); err != nil {
		return err
	}
	switch magic, want := string(head[:len(blobMagic)]), r.ref.header(); {
	case magic != blobMagic:
		return fmt.Errorf("%w: it does not begin as a blob", ErrDamaged)
	case head[len(blobMagic)] != blobFormat:
		return fmt.Errorf("%w: blob format %d, this program reads %d", ErrFormat, head[len(blobMagic)], blobFormat)
	case string(head) != string(want):
		return fmt.Errorf("%w: another blob lies under its name", ErrDamaged)
	}
	return nil
}

// fill reads all of p, as long as the blob has no more bytes than it should.
func (r *blobReader) fill(p []byte) error {
	if r.size += int64(len(p)); r.size > r.ref.size {
		return fmt.Errorf("%w: it has more than its %d bytes", ErrDamaged, r.ref.size)
	}
	_, err := io.ReadFull(r.buf, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it was cut off before its %d bytes", ErrDamaged, r.ref.size)
	}
	r.sum = crc32.Update(r.sum, castagnoli, p)
	return err
}

// end checks, behind the last frame, that the blob is the one that was written.
func (r *blobReader) end() error {
	_, err := r.buf.ReadByte()
	switch {
	case err == nil:
		return r.named(fmt.Errorf("%w: something follows its last frame", ErrDamaged))
	case !errors.Is(err, io.EOF):
		return r.named(err)
	case r.size != r.ref.size || r.sum != r.ref.sum:
		return r.named(fmt.Errorf("%w: %d bytes with checksum %08x, the manifest has %d with %08x",
			ErrDamaged, r.size, r.sum, r.ref.size, r.ref.sum))
	}
	return io.EOF
}

func (r *blobReader) named(err error) error { return fmt.Errorf("blob %s: %w", r.ref.name(), err) }

// failed returns what is wrong with the blob as far as it was read.
func (r *blobReader) failed() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// close returns what is wrong with the blob; it reads what was left unread if
// rest is set.
func (r *blobReader) close(rest bool) error {
	if rest {
		_, _ = io.Copy(io.Discard, r) // its error is r.err
	}
	r.release()
	return r.failed()
}

// release closes the blob, of which all that was read has been checked, and
// keeps no buffer.
func (r *blobReader) release() {
	if r.src != nil {
		_ = r.src.Close()
	}
	r.src, r.buf, r.frame, r.rest = nil, nil, nil, nil
}
