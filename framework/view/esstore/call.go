package esstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"
)

// maxAnswer bounds what is read of one answer, 1 GiB: the greatest page of the
// greatest documents, with room for what JSON escapes.
const maxAnswer = 1 << 30

// ServerError is an answer that is not a success. After one to Write with a
// status of 429 or from 500 on, whether the batch was written is unknown.
type ServerError struct {
	Status int    // of HTTP
	Kind   string // as Elasticsearch names it, such as "index_not_found_exception"; empty if another server answered
	Reason string // shortened
}

func (e *ServerError) Error() string {
	text := fmt.Sprintf("the server answered %d", e.Status)
	for _, more := range []string{e.Kind, e.Reason, remedies[e.Status]} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

var remedies = map[int]string{
	http.StatusUnauthorized:          "check User and Password, or the APIKey",
	http.StatusForbidden:             "give the user the privileges on drivetrain.* that package esstore names",
	http.StatusRequestEntityTooLarge: "set http.max_content_length to 10mb at least",
	http.StatusTooManyRequests:       "the server is overloaded; try again later",
	http.StatusServiceUnavailable:    "the server is not ready; try again later",
}

// has reports whether err is an answer of this status.
func has(err error, status int) bool {
	var e *ServerError
	return errors.As(err, &e) && e.Status == status
}

// named reports whether err is an answer of this kind.
func named(err error, kind string) bool {
	var e *ServerError
	return errors.As(err, &e) && e.Kind == kind
}

// request is one of esapi's.
type request interface {
	Do(context.Context, esapi.Transport) (*esapi.Response, error)
}

// call sends a request once and decodes the answer, if into is not nil. An error
// after the context's end is the context's.
func (s *Store) call(ctx context.Context, r request, into any) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	late := fmt.Errorf("no answer within %v", s.config.Timeout)
	own, cancel := context.WithTimeoutCause(ctx, s.config.Timeout, late)
	defer cancel()
	err := s.exchange(own, r, into)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case own.Err() != nil:
		return late
	}
	return err
}

func (s *Store) exchange(ctx context.Context, r request, into any) error {
	answer, err := r.Do(ctx, s.transport)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("the answer was cut: %w", err)
	case len(body) > maxAnswer:
		return fmt.Errorf("an answer above %d bytes; ask for fewer documents", maxAnswer)
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return failure(answer.StatusCode, body)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("an answer that is not Elasticsearch's: %w", err)
	}
	return nil
}

// failure reads an answer that is not a success.
func failure(status int, body []byte) error {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Error) == 0 {
		return &ServerError{Status: status, Reason: shorten(string(body))}
	}
	return reason(status, answer.Error)
}

// reason reads the error object of an answer or of a part of one.
func reason(status int, raw json.RawMessage) error {
	var detail struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	}
	if json.Unmarshal(raw, &detail) != nil {
		return &ServerError{Status: status, Reason: shorten(string(raw))}
	}
	return &ServerError{Status: status, Kind: detail.Type, Reason: shorten(detail.Reason)}
}

// shorten makes a text of the server fit to be shown in an error.
func shorten(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	if runes := []rune(text); len(runes) > 300 {
		return string(runes[:300]) + "…"
	}
	return text
}
