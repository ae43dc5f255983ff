package esstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

var _ view.Pointer = (*Store)(nil)

// Point implements view.Pointer: see the package comment. The index of the generation
// must be there.
func (s *Store) Point(ctx context.Context, g view.Generation, turn int) error {
	err := s.open()
	if err == nil {
		err = s.point(ctx, g, turn)
	}
	if err != nil {
		return fmt.Errorf("elasticsearch: point at %s: %w", g, err)
	}
	return nil
}

// aliasName returns the name under which outside readers find a view.
func aliasName(g view.Generation) string {
	if name := baseName(g); len(name) <= maxName {
		return name
	}
	return fmt.Sprintf("drivetrain..%x", sha256.Sum256([]byte(baseName(g))))
}

// guardName returns the name of the index whose alias says how often the view had been
// switched when aliasName was moved. No generation's number is called so.
func guardName(g view.Generation) string { return aliasName(g) + ".read" }

// turnName returns the name of that alias.
func turnName(g view.Generation, turn int) string {
	return guardName(g) + "." + strconv.Itoa(turn)
}

func (s *Store) point(ctx context.Context, g view.Generation, turn int) error {
	for range 5 { // others may move it in between
		at, err := s.turn(ctx, g)
		if err != nil {
			return err
		}
		there, err := s.aliased(ctx, aliasName(g))
		if err != nil {
			return err
		}
		_, here := there[indexName(g)]
		if at > turn || at == turn && here && len(there) == 1 {
			return nil
		}
		err = s.swap(ctx, g, at, turn, there)
		if err == nil || !has(err, http.StatusNotFound) || named(err, "index_not_found_exception") {
			return err
		}
	}
	return errors.New("others move the alias all the while; try again")
}

// turn returns how often the view had been switched when the alias was moved last, 0 if
// it was not yet.
func (s *Store) turn(ctx context.Context, g view.Generation) (int, error) {
	guard := guardName(g)
	for range 3 {
		var found map[string]struct {
			Aliases map[string]json.RawMessage `json:"aliases"`
		}
		err := s.call(ctx, esapi.IndicesGetAliasRequest{Index: []string{guard}}, &found)
		switch {
		case err == nil:
			return turnOf(g, found[guard].Aliases)
		case !has(err, http.StatusNotFound):
			return 0, err
		}
		if err := s.createGuard(ctx, g); err != nil && !named(err, "resource_already_exists_exception") {
			return 0, err
		}
	}
	return 0, fmt.Errorf("the index %s comes and goes; another program deletes it", guard)
}

func turnOf(g view.Generation, aliases map[string]json.RawMessage) (int, error) {
	for name := range aliases {
		text, ok := strings.CutPrefix(name, guardName(g)+".")
		if turn, err := strconv.Atoi(text); ok && err == nil && turn >= 0 {
			return turn, nil
		}
	}
	return 0, fmt.Errorf("the index %s has lost its alias; delete it", guardName(g))
}

// createGuard makes the index, of which there can only be one, as of no switch.
func (s *Store) createGuard(ctx context.Context, g view.Generation) error {
	body, err := json.Marshal(clause{
		"aliases":  clause{turnName(g, 0): clause{}},
		"settings": clause{"index": clause{"number_of_shards": 1, "number_of_replicas": s.config.Replicas}},
	})
	if err != nil {
		return err
	}
	return s.call(ctx, esapi.IndicesCreateRequest{Index: guardName(g), Body: bytes.NewReader(body)}, nil)
}

// aliased returns the indices that an alias is set on.
func (s *Store) aliased(ctx context.Context, alias string) (map[string]json.RawMessage, error) {
	var found map[string]json.RawMessage
	err := s.call(ctx, esapi.IndicesGetAliasRequest{Name: []string{alias}}, &found)
	if has(err, http.StatusNotFound) {
		return nil, nil
	}
	return found, err
}

// swap sets the alias on the generation's index and takes it from the others, if the
// view had been switched as often as at says; else it fails with status 404.
func (s *Store) swap(ctx context.Context, g view.Generation, at, turn int, there map[string]json.RawMessage) error {
	actions := []clause{
		{"remove": clause{"index": guardName(g), "alias": turnName(g, at), "must_exist": true}},
		{"add": clause{"index": guardName(g), "alias": turnName(g, turn)}},
		{"add": clause{"index": indexName(g), "alias": aliasName(g), "filter": clause{"term": clause{"kind": kindDocument}}}},
	}
	for index := range there {
		if index != indexName(g) {
			actions = append(actions, clause{"remove": clause{"index": index, "alias": aliasName(g)}})
		}
	}
	body, err := json.Marshal(clause{"actions": actions})
	if err != nil {
		return err
	}
	return s.call(ctx, esapi.IndicesUpdateAliasesRequest{Body: bytes.NewReader(body)}, nil)
}
