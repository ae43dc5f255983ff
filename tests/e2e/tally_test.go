package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
)

// command is a command as a client sends it.
type command struct {
	Seq       int             `json:"seq"`
	Key       string          `json:"key"`
	Actor     string          `json:"actor"`
	Aggregate string          `json:"aggregate"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Body      json.RawMessage `json:"body,omitempty"`
	IfMatch   *uint64         `json:"if_match,omitempty"`
	Want      int             `json:"want"` // the status that its client expects; with IfMatch, 412 is as good
}

// outcome is a definite answer to a command.
type outcome struct {
	Status   int      `json:"status"`
	Version  uint64   `json:"version,omitempty"`
	Position string   `json:"position,omitempty"`
	Events   []stored `json:"events,omitempty"`
	Problem  string   `json:"problem,omitempty"` // its type
}

// stored is an event as an answer names it.
type stored struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Version uint64 `json:"version"`
}

// accepted reports whether the command has caused events.
func (o outcome) accepted() bool { return o.Status == 200 && len(o.Events) > 0 }

func (o outcome) equal(p outcome) bool {
	return o.Status == p.Status && o.Version == p.Version && o.Position == p.Position &&
		o.Problem == p.Problem && slices.Equal(o.Events, p.Events)
}

// line is a line of the tally's file: a command before it is sent, a definite
// answer, or that one did not come.
type line struct {
	Seq     int      `json:"seq"`
	Sent    *command `json:"sent,omitempty"`
	Got     *outcome `json:"got,omitempty"`
	Unknown string   `json:"unknown,omitempty"`
}

// tally is a file of lines, each synced before the call that wrote it returns.
// Lines that are written at the same time share a sync.
type tally struct {
	file  *os.File
	queue chan tallied
	end   sync.WaitGroup
}

type tallied struct {
	data []byte
	done chan error
}

func newTally(path string) (*tally, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	t := &tally{file: f, queue: make(chan tallied, 256)}
	t.end.Go(t.run)
	return t, nil
}

func (t *tally) run() {
	for first := range t.queue {
		batch, data := []tallied{first}, first.data
		for range len(t.queue) {
			next := <-t.queue
			batch, data = append(batch, next), append(data, next.data...)
		}
		_, err := t.file.Write(data)
		if err == nil {
			err = t.file.Sync()
		}
		for _, b := range batch {
			b.done <- err
		}
	}
}

func (t *tally) add(l line) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	t.queue <- tallied{append(data, '\n'), done}
	if err := <-done; err != nil {
		return fmt.Errorf("write the tally: %w", err)
	}
	return nil
}

func (t *tally) close() error {
	close(t.queue)
	t.end.Wait()
	return t.file.Close()
}

// entry is all that a tally says of a command.
type entry struct {
	command
	got     []outcome // definite answers: of the command and of deliberate retries
	unknown int       // times that it was sent and no answer came
}

// readTally reads a tally's file.
func readTally(path string) ([]entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var entries []entry
	at := make(map[int]int)
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("read the tally: %w", err)
		}
		if l.Sent != nil {
			at[l.Seq] = len(entries)
			entries = append(entries, entry{command: *l.Sent})
			continue
		}
		n, ok := at[l.Seq]
		switch {
		case !ok:
			return nil, fmt.Errorf("read the tally: an answer to %d, which was not sent", l.Seq)
		case l.Got != nil:
			entries[n].got = append(entries[n].got, *l.Got)
		default:
			entries[n].unknown++
		}
	}
	return entries, s.Err()
}
