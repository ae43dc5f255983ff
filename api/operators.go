package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/drivetrain-go/drivetrain/framework"
)

// operators is the operators' API while it is built. A route is added together with its
// description, and what is said of a body is what bodies are checked against.
type operators struct {
	*server
	mux   *chi.Mux
	spec  *spec
	paths []string // of what there is, for who asks for something else
}

// adminRoute is a route of the operators' API.
type adminRoute struct {
	method, path string
	id           string // in the description, for ever
	summary      string // what it does, in a few words
	about        string // and in sentences
	tag          string
	params       []*huma.Param
	takes        taken // the body; nil: none
	answer       answer
	fails        []*kind // besides forbidden and internal, with which all may
	room         room    // where its requests stand; nil: they are not bounded
	do           handler
}

// answer is what a route answers where all goes well.
type answer struct {
	status  int          // 0: 200
	about   string       // in a few words
	of      reflect.Type // of the JSON; nil: none
	media   string       // of what is no JSON; empty: nothing is answered but the status
	headers []namedHeader
}

// taken is a body that a route takes.
type taken interface {
	// prepare returns its schema, against which bodies are checked from now on.
	prepare(s *spec) *huma.Schema
}

func newOperators(s *server) *operators {
	mux := chi.NewMux()
	spec := newSpecOf(mux, huma.Info{Title: s.set.title + " for operators", Version: s.set.version, Description: aboutOperators})
	return &operators{server: s, mux: mux, spec: spec}
}

const aboutOperators = `What operators ask of a process of the application, and tell it to do. It knows no callers: who wants a change is ` +
	`whatever the request says. Every error is application/problem+json, and its type says what kind it is.`

// add adds a route and its description; a GET may be a HEAD.
func (o *operators) add(a adminRoute) {
	t := o.route(a.path, a.do)
	t.free = true
	if a.room != nil {
		t.handle = o.within(a.room, a.do)
	}
	o.mux.Method(a.method, a.path, t)
	if a.method == http.MethodGet {
		o.mux.Method(http.MethodHead, a.path, t)
	}
	if !slices.Contains(o.paths, a.path) {
		o.paths = append(o.paths, a.path)
	}
	o.spec.api.OpenAPI().AddOperation(o.spec.adminRoute(a))
}

// adminRoute describes a route.
func (s *spec) adminRoute(a adminRoute) *huma.Operation {
	status := a.answer.status
	if status == 0 {
		status = http.StatusOK
	}
	good := &huma.Response{Description: a.answer.about, Headers: headers(a.answer.headers...)}
	switch {
	case a.answer.of != nil:
		good.Content = content("application/json", s.schemaOf(a.answer.of))
	case a.answer.media != "":
		good.Content = content(a.answer.media, &huma.Schema{Type: huma.TypeString})
	}
	op := &huma.Operation{Method: a.method, Path: a.path, OperationID: a.id, Tags: []string{a.tag}, Summary: a.summary, Description: a.about,
		Parameters: a.params, Responses: answersAs(status, good, append(a.fails, forbidden, internal))}
	if a.takes != nil {
		schema := a.takes.prepare(s)
		op.RequestBody = &huma.RequestBody{Required: len(s.resolve(schema).Required) > 0, Content: content("application/json", schema)}
	}
	return op
}

// schemaOf returns the schema of a type under the type's own name.
func (s *spec) schemaOf(t reflect.Type) *huma.Schema {
	s.namer.scope, s.namer.root = "", nil
	return s.registry.Schema(t, true, "")
}

// order is a JSON body of type T that a route takes.
type order[T any] struct {
	rules *rules
	rule  *rule
}

// prepare implements taken.
func (o *order[T]) prepare(s *spec) *huma.Schema {
	schema := s.schemaOf(reflect.TypeFor[T]())
	o.rules, o.rule = s.rules, s.rules.of(schema)
	return schema
}

// read reads a body into what into points to; what the body does not name stays as it is.
func (o *order[T]) read(w *response, r *http.Request, into *T) error {
	data, err := body(w.ResponseWriter, r, maxOrder)
	if err != nil {
		return err
	}
	var v any = map[string]any(nil) // no body is an object without members
	if data != nil {
		if v, err = parseJSON(data); err != nil {
			return err
		}
	}
	if faults := o.rules.check(o.rule, "body", v); len(faults) > 0 {
		return invalid.because("%s in the body", count(len(faults), "fault")).faults(faults)
	}
	if data == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w body: %w", framework.ErrInvalid, err)
	}
	return nil
}

// pathParam is a part of a route's path.
func pathParam(name, about string, s *huma.Schema) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: about, Schema: s}
}

// fresh sends an answer that is not to be kept.
func (w *response) fresh(status int, answer any) error {
	data, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"], h["X-Content-Type-Options"], h["Cache-Control"] = jsonType, noSniff, noStore
	w.WriteHeader(status)
	w.Write(append(data, '\n'))
	return nil
}
