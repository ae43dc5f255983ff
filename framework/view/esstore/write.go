package esstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// openAttempts bounds how often Open yields to others that open the same part.
const openAttempts = 100

// An index that was just made, by this process or by another, has no shard to
// read from for a moment: Open asks again every shardPause, for shardWait.
const (
	shardPause = 50 * time.Millisecond
	shardWait  = 3 * time.Second
)

// loaded is a document as read by its _id, newest version, refreshed or not.
type loaded struct {
	ID      string          `json:"_id"`
	Found   bool            `json:"found"`
	Version int64           `json:"_version"`
	SeqNo   int             `json:"_seq_no"`
	Term    int             `json:"_primary_term"`
	Source  json.RawMessage `json:"_source"`
	Error   json.RawMessage `json:"error"`
}

// place is a part's mark and which version of it that is.
type place struct {
	view.Mark
	uuid string // of the index
	id   string
	at   *loaded // nil where there is none
}

// stored is a mark in the index.
type stored struct {
	Kind      string `json:"kind"`
	Partition int32  `json:"partition"`
	Epoch     uint64 `json:"epoch"`
	Next      int64  `json:"next"`
}

// Open implements view.Store. It makes a prepared index that is gone again.
func (s *Store) Open(ctx context.Context, g view.Generation, partition int32) (view.Mark, error) {
	x, err := s.generation(g)
	if err == nil {
		err = s.ensure(ctx, x)
	}
	var mark view.Mark
	if err == nil {
		mark, err = s.take(ctx, x, partition)
	}
	if err != nil {
		return view.Mark{}, fmt.Errorf("elasticsearch: open %s, partition %d: %w", g, partition, err)
	}
	return mark, nil
}

// take raises a part's epoch.
func (s *Store) take(ctx context.Context, x *generation, partition int32) (view.Mark, error) {
	for range openAttempts {
		p, err := s.settled(ctx, x, partition)
		if err != nil {
			return view.Mark{}, err
		}
		p.Epoch++
		err = s.move(ctx, x, partition, p)
		if err == nil || !has(err, http.StatusConflict) {
			return p.Mark, err
		}
	}
	return view.Mark{}, fmt.Errorf("others have opened it %d times meanwhile", openAttempts)
}

// settled is place for an index that may be new.
func (s *Store) settled(ctx context.Context, x *generation, partition int32) (place, error) {
	late := time.NewTimer(shardWait)
	defer late.Stop()
	for {
		p, err := s.place(ctx, x, partition)
		if !named(err, "no_shard_available_action_exception") {
			return p, err
		}
		select {
		case <-ctx.Done():
			return p, fmt.Errorf("%w, and before that: %w", context.Cause(ctx), err)
		case <-late.C:
			return p, err
		case <-time.After(shardPause):
		}
	}
}

// Write implements view.Store. Documents can be found before Write returns, and
// those of a Write that fails may be; see the package's comment.
func (s *Store) Write(ctx context.Context, g view.Generation, b *view.Batch) error {
	if err := s.write(ctx, g, b); err != nil {
		return fmt.Errorf("elasticsearch: write %s, partition %d: %w", g, b.Partition, err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, g view.Generation, b *view.Batch) error {
	if err := b.CheckSearch(); err != nil {
		return err
	}
	x, err := s.generation(g)
	if err != nil {
		return err
	}
	changes, err := changesOf(b, x.fields)
	if err != nil {
		return err
	}
	p, err := s.from(ctx, x, b)
	if err != nil {
		return err
	}
	if err = s.send(ctx, x, changes); err == nil {
		p.Next = b.Next
		err = s.move(ctx, x, b.Partition, p)
	}
	if has(err, http.StatusConflict) || has(err, http.StatusNotFound) || errors.Is(err, errDeleted) {
		return s.moved(ctx, x, b, err)
	}
	return err
}

// from returns the mark that a batch begins at: as it was moved last, if that was done
// here and fits, else as it is. Should another have moved it since, that is found when it
// is to be moved again, as it would be if it had been moved after a look.
func (s *Store) from(ctx context.Context, x *generation, b *view.Batch) (place, error) {
	if p, ok := x.lastMoved(b.Partition); ok && b.Follows(p.Mark) == nil {
		return p, nil
	}
	p, err := s.place(ctx, x, b.Partition)
	if err == nil {
		err = b.Follows(p.Mark)
	}
	return p, err
}

// lastMoved returns a mark as it was last moved, and forgets it: what comes of the next
// move is not known before that is answered.
func (x *generation) lastMoved(partition int32) (p place, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p, ok = x.moved[partition]; ok {
		delete(x.moved, partition)
	}
	return p, ok && p.uuid == x.uuid
}

// moved says why a write has met another mark, or none, than at its start.
func (s *Store) moved(ctx context.Context, x *generation, b *view.Batch, cause error) error {
	p, err := s.place(ctx, x, b.Partition)
	if err != nil {
		return errors.Join(cause, err)
	}
	if err := b.Follows(p.Mark); err != nil {
		return err
	}
	if errors.Is(cause, errDeleted) {
		return cause
	}
	return fmt.Errorf("the mark was disturbed; try again: %w", cause)
}

// move writes a mark where p was read, and fails with status 409 if that has
// changed since, with 404 if the index is gone.
func (s *Store) move(ctx context.Context, x *generation, partition int32, p place) error {
	body, err := json.Marshal(stored{kindMark, partition, p.Epoch, p.Next})
	if err != nil {
		return err
	}
	yes := true
	r := esapi.IndexRequest{Index: x.alias, DocumentID: p.id, Body: bytes.NewReader(body), RequireAlias: &yes, OpType: "create"}
	if p.at != nil {
		r.OpType, r.IfSeqNo, r.IfPrimaryTerm = "", &p.at.SeqNo, &p.at.Term
	}
	var answer loaded
	if err := s.call(ctx, r, &answer); err != nil {
		return fmt.Errorf("move the mark: %w", err)
	}
	if answer.ID != p.id || answer.Term < 1 {
		return fmt.Errorf("move the mark: an answer about %.100q of term %d, not %s", answer.ID, answer.Term, p.id)
	}
	p.at = &answer
	x.moveTo(partition, p)
	return nil
}

// moveTo notes that a mark was moved.
func (x *generation) moveTo(partition int32, p place) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uuid == p.uuid {
		x.reached[partition] = max(x.reached[partition], p.Next)
		x.moved[partition] = p
	}
}

// Marks implements view.Store.
func (s *Store) Marks(ctx context.Context, g view.Generation, partitions []int32) ([]view.Mark, error) {
	x, err := s.generation(g)
	marks := make([]view.Mark, 0, len(partitions))
	for some := range slices.Chunk(partitions, view.MaxPage) {
		if err != nil {
			break
		}
		var places []place
		places, err = s.places(ctx, x, some)
		for _, p := range places {
			marks = append(marks, p.Mark)
		}
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("elasticsearch: marks of %s: %w", g, err)
	}
	return marks, nil
}

func (s *Store) place(ctx context.Context, x *generation, partition int32) (place, error) {
	places, err := s.places(ctx, x, []int32{partition})
	if err != nil {
		return place{}, err
	}
	return places[0], nil
}

// places reads marks, and looks again where some are missing and the index
// turns out to be another than it was.
func (s *Store) places(ctx context.Context, x *generation, partitions []int32) ([]place, error) {
	uuid := x.incarnation()
	places, whole, err := s.placesIn(ctx, x, uuid, partitions)
	if err != nil || whole {
		return places, err
	}
	there, err := s.look(ctx, x)
	switch {
	case has(err, http.StatusNotFound):
		return places, nil
	case err != nil:
		return nil, err
	case there.Settings.Index.UUID == uuid:
		return places, nil
	}
	x.seen(there)
	places, _, err = s.placesIn(ctx, x, there.Settings.Index.UUID, partitions)
	return places, err
}

// placesIn reads the marks of one incarnation of the index; whole is false where
// some are missing.
func (s *Store) placesIn(ctx context.Context, x *generation, uuid string, partitions []int32) (places []place, whole bool, err error) {
	ids := make([]string, len(partitions))
	for i, p := range partitions {
		ids[i] = markID(p, uuid)
	}
	found, err := s.load(ctx, x, ids, true)
	if err != nil {
		return nil, false, fmt.Errorf("read the mark: %w", err)
	}
	places, whole = make([]place, len(ids)), true
	for i := range found {
		places[i].uuid, places[i].id = uuid, ids[i]
		if !found[i].Found {
			whole = false
			continue
		}
		var m stored
		if err := json.Unmarshal(found[i].Source, &m); err != nil || m.Kind != kindMark || m.Epoch == 0 {
			return nil, false, fmt.Errorf("the mark %s is not as this package writes it: another program has written to the index", ids[i])
		}
		places[i].Mark, places[i].at = view.Mark{Epoch: m.Epoch, Next: m.Next}, &found[i]
		x.reach(uuid, partitions[i], m.Next)
	}
	return places, whole, nil
}

func markID(partition int32, uuid string) string { return fmt.Sprintf("mark-%d-%s", partition, uuid) }

// load reads documents by _id, in order. Of an index that is gone it finds none.
func (s *Store) load(ctx context.Context, x *generation, ids []string, sources bool) ([]loaded, error) {
	body, err := json.Marshal(map[string][]string{"ids": ids})
	if err != nil {
		return nil, err
	}
	r := esapi.MgetRequest{Index: x.name, Body: bytes.NewReader(body)}
	if !sources {
		r.Source = []string{"false"}
	}
	var answer struct {
		Docs []loaded `json:"docs"`
	}
	if err := s.call(ctx, r, &answer); err != nil {
		return nil, err
	}
	if len(answer.Docs) != len(ids) {
		return nil, fmt.Errorf("an answer to %d ids of %d", len(answer.Docs), len(ids))
	}
	for i := range answer.Docs {
		d := &answer.Docs[i]
		if d.ID != ids[i] {
			return nil, fmt.Errorf("an answer about %.100q, not %.100q", d.ID, ids[i])
		}
		if len(d.Error) == 0 {
			continue
		}
		if err := reason(http.StatusServiceUnavailable, d.Error); !named(err, "index_not_found_exception") {
			return nil, err
		}
	}
	return answer.Docs, nil
}
