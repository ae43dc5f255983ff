package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
	"unicode/utf8"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// entry is an event in a file. Its names are for ever, and position comes first: by it
// a file is resumed.
type entry struct {
	Position    string          `json:"position"`
	Key         string          `json:"key,omitempty"`
	KeyBytes    []byte          `json:"key_base64,omitempty"`
	ID          event.ID        `json:"id"`
	Type        string          `json:"type"`
	Version     uint64          `json:"version"`
	Epoch       uint64          `json:"epoch"`
	Command     event.ID        `json:"command"`
	Index       int             `json:"index"`
	Count       int             `json:"count"`
	Time        time.Time       `json:"time"`
	Actor       string          `json:"actor,omitempty"`
	Correlation *event.ID       `json:"correlation,omitempty"`
	Causation   *event.ID       `json:"causation,omitempty"`
	Tenant      string          `json:"tenant,omitempty"`
	Subject     string          `json:"subject,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	DataBytes   []byte          `json:"data_base64,omitempty"`
}

func (l *entry) set(part int32, e *partition.Event) {
	*l = entry{Position: eventlog.Position{Partition: part, Offset: e.Offset}.String(), ID: e.ID, Type: e.Type, Version: e.Version, Epoch: e.Epoch,
		Command: e.Command, Index: e.Index, Count: e.Count, Time: e.Time, Actor: e.Actor, Tenant: e.Tenant, Subject: e.Subject}
	if utf8.Valid(e.Key) {
		l.Key = string(e.Key)
	} else {
		l.KeyBytes = e.Key
	}
	if !e.Correlation.IsZero() {
		l.Correlation = &e.Correlation
	}
	if !e.Causation.IsZero() {
		l.Causation = &e.Causation
	}
	if isJSON(e.Data) {
		l.Data = e.Data
	} else {
		l.DataBytes = e.Data
	}
}

// isJSON reports whether data can stand in a file of JSON, which is UTF-8.
func isJSON(data []byte) bool { return utf8.Valid(data) && json.Valid(data) }

// export writes events to a file or to standard output, an entry per line.
type export struct {
	file   *os.File // nil: standard output
	buffer *bufio.Writer
	lines  *json.Encoder
	line   entry
	ends   map[int32]ending // of a file that is resumed, by partition, until the event is met
}

// ending is the last event that a file has of a partition.
type ending struct {
	offset int64
	id     event.ID
}

func newExport(file *os.File, out io.Writer) *export {
	x := &export{file: file, buffer: bufio.NewWriterSize(out, 1<<20)}
	x.lines = json.NewEncoder(x.buffer)
	x.lines.SetEscapeHTML(false)
	return x
}

// openExport begins a file.
func openExport(name string) (*export, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists; go on with it by --resume, or name another file", name)
	}
	if err != nil {
		return nil, err
	}
	return newExport(file, file), nil
}

// resumeExport goes on with a file, which may not be there yet: o.From becomes where it
// ends.
func resumeExport(ctx context.Context, name string, log eventlog.Log, topic eventlog.Topic, o *framework.ReplayOptions, n notes) (*export, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	x := newExport(file, file)
	whole, err := x.scan(n)
	if err == nil {
		err = x.compare(ctx, log, topic.Name)
	}
	if err == nil {
		err = x.goOn(topic.Partitions, o)
	}
	if err == nil {
		err = file.Truncate(whole)
	}
	if err == nil {
		_, err = file.Seek(whole, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return x, nil
}

// scan finds the last event that a file has of each partition, and how many bytes its
// whole lines have.
func (x *export) scan(n notes) (whole int64, err error) {
	x.ends = make(map[int32]ending)
	last := make(map[int32][]byte) // lines
	r := bufio.NewReaderSize(x.file, 1<<20)
	for number := 1; ; number++ {
		line, err := readLine(r)
		if errors.Is(err, io.EOF) {
			if len(line) > 0 {
				n.say("%s: line %d is not whole and is written anew", x.file.Name(), number)
			}
			break
		}
		if err == nil {
			err = x.meet(line, last)
		}
		if err != nil {
			return 0, fmt.Errorf("%s, line %d: %w; resume only what drivetrain replay has written", x.file.Name(), number, err)
		}
		whole += int64(len(line))
	}
	for part, line := range last {
		var l entry
		if err := json.Unmarshal(line, &l); err != nil {
			return 0, fmt.Errorf("%s, the last line of partition %d: %w", x.file.Name(), part, err)
		}
		x.ends[part] = ending{x.ends[part].offset, l.ID}
	}
	return whole, nil
}

// meet takes in a line.
func (x *export) meet(line []byte, last map[int32][]byte) error {
	at, err := positionOf(line)
	if err != nil {
		return err
	}
	if before, ok := x.ends[at.Partition]; ok && at.Offset <= before.offset {
		return fmt.Errorf("its event at %v does not lie behind the one before it", at)
	}
	x.ends[at.Partition] = ending{offset: at.Offset}
	last[at.Partition] = append(last[at.Partition][:0], line...)
	return nil
}

// compare refuses a file that is of another log.
func (x *export) compare(ctx context.Context, log eventlog.Log, topic string) error {
	for part, last := range x.ends {
		id, err := idAt(ctx, log, topic, eventlog.Position{Partition: part, Offset: last.offset})
		if err != nil && !errors.Is(err, eventlog.ErrUnknownTopic) {
			return err
		}
		if id != last.id {
			return fmt.Errorf("%s is of another log: %s has no event %s at %d@%d", x.file.Name(), topic, last.id, part, last.offset)
		}
	}
	return nil
}

// idAt returns the id of the event at a position, zero if there is none.
func idAt(ctx context.Context, log eventlog.Log, topic string, at eventlog.Position) (id event.ID, err error) {
	end, err := log.End(ctx, topic, at.Partition)
	if err != nil || end <= at.Offset {
		return id, err
	}
	r, err := log.Read(topic, at.Partition, at.Offset)
	if err != nil {
		return id, err
	}
	defer r.Close()
	records, err := r.Next(ctx)
	if err != nil {
		return id, err
	}
	var e event.Envelope
	var d event.Decoder
	if records[0].Offset == at.Offset && d.Decode(records[0].Header, &e) == nil {
		id = e.ID
	}
	return id, nil
}

// goOn lets a replay begin with the last event that the file has of each partition, to
// see that it is wanted now, too.
func (x *export) goOn(partitions int, o *framework.ReplayOptions) error {
	from := eventlog.NewPositions()
	for n := range int32(partitions) {
		start, named := o.From.Offsets[n]
		named = named || len(o.From.Offsets) == 0
		end, has := x.ends[n]
		switch {
		case has && (!named || start > end.offset):
			return x.others(n, end)
		case has:
			from.Offsets[n] = end.offset
		case named:
			from.Offsets[n] = start
		}
	}
	o.From = from
	return nil
}

// positionOf reads the position at the beginning of a line.
func positionOf(line []byte) (eventlog.Position, error) {
	text, ok := bytes.CutPrefix(line, []byte(`{"position":"`))
	text, _, found := bytes.Cut(text, []byte(`"`))
	at, err := eventlog.ParsePositions(string(text))
	if !ok || !found || err != nil || len(at.Offsets) != 1 || !bytes.HasSuffix(line, []byte("}\n")) {
		return eventlog.Position{}, errors.New("it is no event")
	}
	for part, offset := range at.Offsets {
		return eventlog.Position{Partition: part, Offset: offset}, nil
	}
	return eventlog.Position{}, nil
}

// maxLine is more than any event takes in a file.
const maxLine = 4 << 20

// readLine returns the next line with its end, or what is left and io.EOF. It is good
// until the next call.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if line == nil && err == nil {
			return part, nil
		}
		if line = append(line, part...); !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxLine {
			return line, errors.New("it is longer than any event's")
		}
	}
}

func (x *export) put(_ context.Context, part int32, e *partition.Event) error {
	if end, ok := x.ends[part]; ok {
		if e.Offset != end.offset {
			return x.others(part, end)
		}
		delete(x.ends, part)
		return nil
	}
	x.line.set(part, e)
	if err := x.lines.Encode(&x.line); err != nil {
		return fmt.Errorf("write %s: %w", eventlog.Position{Partition: part, Offset: e.Offset}, err)
	}
	return nil
}

func (x *export) others(part int32, end ending) error {
	return fmt.Errorf("%s has event %s at %d@%d, which is not wanted now: give the same filters as before", x.file.Name(), end.id, part, end.offset)
}

func (x *export) ended() error {
	for part, end := range x.ends {
		return x.others(part, end)
	}
	return nil
}

func (x *export) settle(context.Context) error { return x.buffer.Flush() }

// close makes the file last.
func (x *export) close() error {
	err := x.buffer.Flush()
	if x.file == nil {
		return err
	}
	return errors.Join(err, x.file.Sync(), x.file.Close())
}

func (x *export) rest(eventlog.Positions) string {
	if x.file == nil {
		return "what was printed is not the whole"
	}
	return "--resume goes on with " + x.file.Name()
}
