package esstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Bounds of one bulk request: it ends with the change that reaches one of them,
// so with the greatest document it stays below 10 MB.
const (
	bulkBytes   = 4 << 20
	bulkChanges = 1024
)

// bulkTries is how often changes are sent that the server has no room for.
const bulkTries = 6

// item is the answer to one change.
type item struct {
	Index struct {
		ID     string          `json:"_id"`
		Status int             `json:"status"`
		Error  json.RawMessage `json:"error"`
	} `json:"index"`
}

// send writes changes in as many requests as they need. A change that comes late
// is left out.
func (s *Store) send(ctx context.Context, x *generation, changes []change) error {
	var late []change
	for len(changes) > 0 {
		body, n := encode(changes)
		refused, err := s.sendAgain(ctx, x, body, changes[:n])
		if err != nil {
			return err
		}
		late = append(late, refused...)
		changes = changes[n:]
	}
	return s.checkLate(ctx, x, late)
}

// encode writes the first n changes as a bulk request.
func encode(changes []change) (body []byte, n int) {
	size := 0
	for i := 0; i < len(changes) && i < bulkChanges && size < bulkBytes; i++ {
		size += len(changes[i].id) + len(changes[i].source) + 100
	}
	body = make([]byte, 0, size)
	for ; n < len(changes) && n < bulkChanges && len(body) < bulkBytes; n++ {
		c := &changes[n]
		body, _ = jsontext.AppendQuote(append(body, `{"index":{"_id":`...), c.id) // an id is UTF-8
		body = strconv.AppendInt(append(body, `,"version":`...), c.offset, 10)
		body = append(body, `,"version_type":"external_gte"}}`+"\n"...)
		body = append(append(body, c.source...), '\n')
	}
	return body, n
}

// sendAgain sends one request, and those of its changes again that the server had no
// room for, so that a part that fails does not fail the whole for ever. It returns
// the changes that the index has later versions of.
func (s *Store) sendAgain(ctx context.Context, x *generation, body []byte, changes []change) (late []change, err error) {
	var pause clock.Backoff
	for tries := 1; ; tries++ {
		refused, left, err := s.sendSome(ctx, x, body, changes)
		late = append(late, refused...)
		if err == nil || len(left) == 0 || tries == bulkTries {
			return late, err
		}
		if clock.Sleep(ctx, clock.System, pause.Next(clock.System)) != nil {
			return nil, fmt.Errorf("%w, and before that: %w", context.Cause(ctx), err)
		}
		changes = left
		body, _ = encode(changes)
	}
}

// sendSome sends one request. It returns the changes that the index has later
// versions of and, with an error that names the first, those that failed, if all of
// these may be taken soon.
func (s *Store) sendSome(ctx context.Context, x *generation, body []byte, changes []change) (late, left []change, err error) {
	yes := true
	var answer struct {
		Items []item `json:"items"`
	}
	err = s.call(ctx, esapi.BulkRequest{Index: x.alias, Body: bytes.NewReader(body), RequireAlias: &yes,
		FilterPath: []string{"items.*._id", "items.*.status", "items.*.error.type", "items.*.error.reason"}}, &answer)
	if err != nil {
		return nil, nil, fmt.Errorf("bulk request of %d changes: %w", len(changes), err)
	}
	if len(answer.Items) != len(changes) {
		return nil, nil, fmt.Errorf("bulk request of %d changes: an answer to %d", len(changes), len(answer.Items))
	}
	return judge(answer.Items, changes)
}

// judge takes the answers apart. Of failures it names the first; left are all of
// them, if the server had no room for any.
func judge(items []item, changes []change) (late, left []change, err error) {
	failed := 0
	for i := range items {
		c, got := &changes[i], &items[i].Index
		switch {
		case got.ID != c.id:
			return nil, nil, fmt.Errorf("bulk request: an answer about %.100q where document %q was sent", got.ID, c.key)
		case got.Status == http.StatusOK, got.Status == http.StatusCreated:
			continue
		case got.Status == http.StatusConflict:
			late = append(late, *c)
			continue
		case got.Status == http.StatusTooManyRequests, got.Status == http.StatusServiceUnavailable:
			left = append(left, *c)
		}
		if failed++; failed == 1 {
			err = fmt.Errorf("document %q: %w", c.key, reason(got.Status, got.Error))
		}
	}
	if failed > 1 {
		err = fmt.Errorf("%w (and %d more of %d)", err, failed-1, len(changes))
	}
	if len(left) < failed {
		left = nil
	}
	return late, left, err
}

// errDeleted says why a document was refused that is not there in a later version.
var errDeleted = errors.New("someone has deleted it; it can be written soon: try again")

// checkLate makes sure that what was refused as late is there in a later
// version. It is not where someone has deleted documents, whose versions
// Elasticsearch remembers for a while.
func (s *Store) checkLate(ctx context.Context, x *generation, late []change) error {
	for some := range slices.Chunk(late, bulkChanges) {
		ids := make([]string, len(some))
		for i := range some {
			ids[i] = some[i].id
		}
		found, err := s.load(ctx, x, ids, false)
		if err != nil {
			return fmt.Errorf("look for %d documents refused as late: %w", len(some), err)
		}
		for i := range found {
			if !found[i].Found || found[i].Version < some[i].offset {
				return fmt.Errorf("document %q of offset %d was refused, for %w", some[i].key, some[i].offset, errDeleted)
			}
		}
	}
	return nil
}
