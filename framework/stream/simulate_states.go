package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// States returns the encoded states of all tasks of an operator, by key. A key
// that two tasks have is an error, but for the empty one, under which broadcasts
// come: of that it returns the state in the lowest partition.
func (s *Simulation) States(operator string) (map[string]string, error) {
	all := make(map[string]string)
	for _, t := range s.tasks {
		l := t.now
		if l == nil || !slices.Contains(t.stage.operators, operator) {
			continue
		}
		states, err := l.core.states()
		if err != nil {
			return nil, err
		}
		l.cut, l.base = nil, nil // the cut under way is abandoned
		for name, data := range states {
			key, ok := strings.CutPrefix(name, operator+"\x00")
			_, twice := all[key]
			switch {
			case !ok || twice && (key == "" || key[0] == 0):
			case twice:
				return nil, fmt.Errorf("key %q of %s is in two tasks", key, operator)
			default:
				all[key] = data
			}
		}
	}
	return all, nil
}

// states returns all states of a task, encoded as in a snapshot, by the
// operator's name and the key.
func (c *core) states() (map[string]string, error) {
	c.abandon()
	var buf bytes.Buffer
	f := &frames{to: &buf}
	c.begin(true, f)
	for {
		if done, err := c.encode(1<<20, f); err != nil || done {
			if err != nil {
				return nil, err
			}
			break
		}
	}
	out := make(map[string]string)
	r := &frameReader{r: bytes.NewReader(buf.Bytes())}
	for {
		n, key, unit, err := r.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out[c.stage.operators[n]+"\x00"+string(key)] = string(unit)
	}
}
