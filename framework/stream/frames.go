package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

// Frames are what the blob of a snapshot is made of: the operator's number, an
// act, a key, and for a put the length and the bytes of a unit.
const (
	framePut  = 1
	frameBury = 2 // the key has no unit any more
)

// flushFrames is how many bytes of frames are handed on at once.
const flushFrames = 256 << 10

// frameStep is how much room is made at once at least for a frame that is read.
const frameStep = 64 << 10

// maxFrame bounds a frame that is read: a longer one is mangled.
const maxFrame = 256 << 20

// frames collects frames and hands them to a writer, which takes over each slice.
type frames struct {
	to  io.Writer
	buf []byte
	tmp []byte
	err error // of the writer; nothing is written after it
	n   int64 // bytes so far

	planted planted
}

func (f *frames) put(number int, key string, unit func([]byte) ([]byte, error)) error {
	var err error
	if f.tmp, err = unit(f.tmp[:0]); err != nil {
		return err
	}
	f.head(number, framePut, key)
	f.buf = binary.AppendUvarint(f.buf, uint64(len(f.tmp)))
	f.buf = append(f.buf, f.tmp...)
	f.flush(flushFrames)
	return nil
}

func (f *frames) bury(number int, key string) {
	f.head(number, frameBury, key)
	f.flush(flushFrames)
}

func (f *frames) head(number int, act byte, key string) {
	if f.buf == nil {
		size := 4 << 10
		if f.n > 0 { // it is no small one
			size = flushFrames + flushFrames/4
		}
		f.buf = make([]byte, 0, size)
	}
	f.buf = binary.AppendUvarint(f.buf, uint64(number))
	f.buf = append(f.buf, act)
	f.buf = packed.AppendBytes(f.buf, key)
}

// flush hands on what has collected, if that is at least so many bytes.
func (f *frames) flush(least int) {
	if len(f.buf) < least || len(f.buf) == 0 {
		return
	}
	f.n += int64(len(f.buf))
	if f.err == nil {
		_, f.err = f.to.Write(f.buf)
	}
	f.buf = nil
}

// frameReader reads frames back.
type frameReader struct {
	r         bytesReader
	key, data []byte
}

type bytesReader interface {
	io.Reader
	io.ByteReader
}

// next returns the next frame, good until the next call; io.EOF at the end. A
// nil unit is a bury.
func (f *frameReader) next() (number int, key, unit []byte, err error) {
	n, err := binary.ReadUvarint(f.r)
	if err == io.EOF {
		return 0, nil, nil, err
	}
	act, err2 := f.r.ReadByte()
	if err != nil || err2 != nil || n > 1<<16 {
		return 0, nil, nil, errMangled
	}
	if f.key, err = f.bytes(f.key); err != nil {
		return 0, nil, nil, err
	}
	switch act {
	case frameBury:
		return int(n), f.key, nil, nil
	case framePut:
		f.data, err = f.bytes(f.data)
		return int(n), f.key, f.data, err
	}
	return 0, nil, nil, fmt.Errorf("%w: act %d", errMangled, act)
}

func (f *frameReader) bytes(b []byte) ([]byte, error) {
	n, err := binary.ReadUvarint(f.r)
	if err != nil || n > maxFrame {
		return b, errMangled
	}
	if b = b[:0]; b == nil {
		b = []byte{} // nil would be no unit at all
	}
	for uint64(len(b)) < n { // a length may be mangled: no more room than bytes come
		more := min(int(n)-len(b), max(len(b), frameStep))
		b = append(b, make([]byte, more)...)
		if _, err := io.ReadFull(f.r, b[len(b)-more:]); err != nil {
			return b, errMangled
		}
	}
	return b, nil
}

// encodeAll encodes about n units of the cut under way of all that a fold keeps, and
// reports whether it is whole.
func encodeAll(kept []keyedStates, n int, to *frames) (done bool, err error) {
	for _, k := range kept {
		if done, err := k.encode(n); err != nil || !done {
			return false, err
		}
	}
	to.flush(1)
	return true, nil
}

// loadAll takes over one blob of frames.
func loadAll(kept []keyedStates, r bytesReader) error {
	f := &frameReader{r: r}
	for {
		number, key, unit, err := f.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && number >= len(kept) {
			err = fmt.Errorf("%w: operator %d of %d", errMangled, number, len(kept))
		}
		if err == nil {
			err = kept[number].load(string(key), unit)
		}
		if err != nil {
			return err
		}
	}
}
