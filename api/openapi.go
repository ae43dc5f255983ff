package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/projections"
)

// spec is the description of the API, as it is built.
type spec struct {
	api      huma.API
	registry huma.Registry
	namer    *namer
	rules    *rules
}

// newSpec begins the description of the API for clients.
func newSpec(mux *chi.Mux, set settings) *spec {
	s := newSpecOf(mux, huma.Info{Title: set.title, Version: set.version, Description: about})
	s.registry.RegisterTypeAlias(reflect.TypeFor[projections.Unique](), reflect.TypeFor[uint64]())
	s.registry.RegisterTypeAlias(reflect.TypeFor[projections.Top](), reflect.TypeFor[[]projections.Counted]())
	s.schema("", "Accepted", reflect.TypeFor[accepted]())
	return s
}

// newSpecOf begins the description of an API whose routes are mux's.
func newSpecOf(mux *chi.Mux, info huma.Info) *spec {
	n := &namer{names: make(map[scoped]string), taken: make(map[string]bool)}
	registry := huma.NewMapRegistry(schemaPrefix, n.name)
	description := &huma.OpenAPI{
		OpenAPI:    "3.1.0",
		Info:       &info,
		Components: &huma.Components{Schemas: registry},
		Extensions: map[string]any{"x-problems": explained()},
	}
	s := &spec{humachi.New(mux, huma.Config{OpenAPI: description}), registry, n, newRules(registry)}
	s.schema("", "Problem", reflect.TypeFor[problem]())
	return s
}

const about = `Commands are sent by POST and answer with what was recorded. Queries are GETs. ` +
	`A command's answer has a Position; a query that brings it as Min-Position sees what the command did. ` +
	`Every error is application/problem+json, and its type says what kind it is.`

type explanation struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Title  string `json:"title"`
	About  string `json:"about"`
}

func explained() []explanation {
	list := make([]explanation, len(kinds))
	for i, k := range kinds {
		list[i] = explanation{k.uri(), k.status, k.title, k.about}
	}
	return list
}

// camel is "tribe-card" as "TribeCard".
func camel(name string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '-' || r == '.' || r == '_' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// command describes a command, and returns its body's schema.
func (s *spec) command(set settings, c framework.Command) (*huma.Operation, *huma.Schema) {
	t := c.Aggregate.TypeName()
	schema := s.schema(camel(t), camel(t)+camel(c.Name), c.Body)
	op := &huma.Operation{
		Method: http.MethodPost, Path: "/v1/" + t + "/{id}/" + c.Name, OperationID: t + "_" + c.Name, Tags: []string{t},
		Summary:     upper(strings.ReplaceAll(c.Name, "-", " ")) + " " + article(t),
		Description: fmt.Sprintf("Sends the command %s to the %s with this id. Without faults it is decided, and what it causes is recorded.", c.Name, t),
		Parameters:  append([]*huma.Param{s.idParam("id", "Of the "+t)}, commandParams(set)...),
		Responses: answers(ok("Accepted; without events if there was nothing to do.", ref("Accepted"), etagHeader, positionHeader, requestIDHeader),
			malformed, unauthenticated, forbidden, tooSlow, tooLate, conflict, tooLarge, wrongMedia, invalid, rejected,
			keyReused, limited, internal, broken, unavailable, unresolved, notOwner),
	}
	if body := s.resolve(schema); len(body.Properties) > 0 {
		op.RequestBody = &huma.RequestBody{Required: len(body.Required) > 0, Content: content("application/json", schema)}
	}
	return op, schema
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// article is "a tribe", "an order".
func article(name string) string {
	if strings.ContainsRune("aeio", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

func commandParams(set settings) []*huma.Param {
	list := []*huma.Param{
		headerParam("Idempotency-Key", "Names the command: sent again with the same key, it runs once and gets the same answer. Best a UUIDv7.", &huma.Schema{
			Type: huma.TypeString, MinLength: ptr(1), MaxLength: ptr(128), Pattern: `^[!-~]+$`}),
		headerParam("If-Match", `The version that the aggregate must have, in double quotes: "3"; "0" for none yet.`, &huma.Schema{
			Type: huma.TypeString, Pattern: `^"(0|[1-9][0-9]*)"$`}),
		headerParam("X-Request-Id", "A UUID, recorded as the correlation of what the command causes. Default: a new one.", &huma.Schema{
			Type: huma.TypeString, Format: "uuid"}),
	}
	if set.callerHeader == "" {
		return list
	}
	caller := headerParam(set.callerHeader, "Who sends the command.", &huma.Schema{Type: huma.TypeString, Pattern: framework.IDPattern})
	caller.Required = true
	return append([]*huma.Param{caller}, list...)
}

// state describes the query for an aggregate's state.
func (s *spec) state(t framework.Aggregate) *huma.Operation {
	name := t.TypeName()
	schema := s.schema(camel(name), camel(name)+"State", t.StateType())
	op := &huma.Operation{
		Method: http.MethodGet, Path: "/v1/" + name + "/{id}", OperationID: "get_" + name + "_state", Tags: []string{name},
		Summary:     "Read " + article(name),
		Description: "Answers with the state that its events fold to, by now or as of a version, a time or a position.",
		Parameters: append([]*huma.Param{s.idParam("id", "Of the "+name), minPositionParam, maxStalenessParam, consistencyParam,
			headerParam("If-None-Match", "ETags that the client has; one of them is answered with 304.", &huma.Schema{Type: huma.TypeString})}, momentParams()...),
		Responses: answers(ok("The state.", schema, etagHeader, positionHeader), queryProblems(notFound, broken, notOwner)...),
	}
	op.Responses["304"] = &huma.Response{Description: "The client has this version.", Headers: headers(etagHeader, positionHeader)}
	return op
}

// events describes the query for an aggregate's events.
func (s *spec) events(t framework.Aggregate) *huma.Operation {
	name := t.TypeName()
	return &huma.Operation{
		Method: http.MethodGet, Path: "/v1/" + name + "/{id}/events", OperationID: "get_" + name + "_events", Tags: []string{name},
		Summary:     "Read the events of " + article(name),
		Description: "Answers with its history, oldest first. Without next there are no more, so far. An event's type and data are as they would be written today.",
		Parameters: []*huma.Param{s.idParam("id", "Of the "+name), minPositionParam, maxStalenessParam,
			queryParam("after", "The version behind which to begin: the next of the page before.", number(0, nil, 0)),
			queryParam("limit", "The most events to answer with.", number(1, ptr(float64(maxEvents)), 100))},
		Responses: answers(ok("A page of events.", s.history(t), positionHeader), queryProblems(notFound, broken, notOwner)...),
	}
}

// history makes the schema of a page of events.
func (s *spec) history(t framework.Aggregate) *huma.Schema {
	scope, written := camel(t.TypeName()), t.Written()
	data := &huma.Schema{Description: "The event's payload, as its type says"}
	kind := &huma.Schema{Type: huma.TypeString, Description: "The event's name"}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		kind.Enum = append(kind.Enum, name)
		data.AnyOf = append(data.AnyOf, s.schema(scope, scope+camel(strings.TrimPrefix(name, t.TypeName()+"."))+"Event", written[name]))
	}
	item := object(map[string]*huma.Schema{
		"id":      {Type: huma.TypeString, Format: "uuid"},
		"type":    kind,
		"version": {Type: huma.TypeInteger, Format: "int64", Description: "Of the aggregate after this event"},
		"time":    {Type: huma.TypeString, Format: "date-time"},
		"actor":   {Type: huma.TypeString, Description: "Who caused it"},
		"data":    data,
	})
	page := object(map[string]*huma.Schema{
		"items": {Type: huma.TypeArray, Items: item},
		"next":  {Type: huma.TypeInteger, Format: "int64", Description: "Pass as after to get the next page; absent at the end"},
	}, "next")
	return s.own(scope+"Events", page)
}

// document describes a view that is asked by key.
func (s *spec) document(v framework.View) *huma.Operation {
	return live(s.view(v, "/{key}", "Read "+v.Name, "Answers with the document that has this key.", s.item(v),
		[]*huma.Param{s.idParam("key", "Of the document")}, notFound))
}

// feed describes a view that is asked by key, page by page.
func (s *spec) feed(v framework.View) *huma.Operation {
	page := object(map[string]*huma.Schema{
		"items": {Type: huma.TypeArray, Items: s.item(v)},
		"next":  {Type: huma.TypeString, Description: "Pass as after to get the next page; empty at the end"},
	})
	return live(s.view(v, "/{key}", "Read "+v.Name, "Answers with a page of documents, the latest first.", s.own(camel(v.Name)+"Page", page),
		[]*huma.Param{s.idParam("key", "Of the feed"),
			queryParam("after", "The next of the page before.", &huma.Schema{Type: huma.TypeString, MaxLength: ptr(maxAfter)}),
			queryParam("limit", "The most documents to answer with.", number(1, ptr(float64(maxLimit)), 20))}))
}

// ranking describes a view that is asked by key, page by page or from one entry on.
func (s *spec) ranking(v framework.View) *huma.Operation {
	entry := object(map[string]*huma.Schema{
		"rank":  {Type: huma.TypeInteger, Format: "int64", Description: "From 1, as of the reading"},
		"key":   {Type: huma.TypeString},
		"score": {Type: huma.TypeNumber, Format: "double"},
		"item":  {AnyOf: []*huma.Schema{s.item(v), {Type: "null"}}, Description: "The document; null if there is none"},
	})
	page := object(map[string]*huma.Schema{
		"items": {Type: huma.TypeArray, Items: s.own(camel(v.Name)+"Ranked", entry)},
		"next":  {Type: huma.TypeString, Description: "Pass as after to get the next page; empty at the end"},
	})
	return live(s.view(v, "/{key}", "Read "+v.Name, "Answers with a page of entries, the greatest score first.", s.own(camel(v.Name)+"Page", page),
		[]*huma.Param{s.idParam("key", "Of the ranking"),
			queryParam("after", "The next of the page before.", &huma.Schema{Type: huma.TypeString, MaxLength: ptr(maxAfter)}),
			queryParam("from", "Begin with the entry of this key, which is not found if it is not there; not with after.", &huma.Schema{Type: huma.TypeString, MaxLength: ptr(maxField)}),
			queryParam("limit", "The most entries to answer with.", number(1, ptr(float64(maxLimit)), 20))}, notFound))
}

// search describes a view that is asked by words and fields.
func (s *spec) search(v framework.View) *huma.Operation {
	page := object(map[string]*huma.Schema{
		"items": {Type: huma.TypeArray, Items: s.item(v)},
		"total": {Type: huma.TypeInteger, Format: "int64", Description: "All that match, wherever the page begins"},
		"next":  {Type: huma.TypeString, Description: "Pass as after to get the next page; empty at the end"},
	})
	params := []*huma.Param{
		queryParam("q", "Words, all of which must occur. Default: every document.", &huma.Schema{Type: huma.TypeString, MaxLength: ptr(maxWords)}),
		queryParam("skip", "Matches to leave out; not with after.", number(0, ptr(float64(maxSkip)), 0)),
		queryParam("after", "The next of the page before.", &huma.Schema{Type: huma.TypeString, MaxLength: ptr(maxAfter)}),
		queryParam("limit", "The most matches to answer with.", number(1, ptr(float64(maxLimit)), 20)),
	}
	return s.view(v, "", "Find in "+v.Name, "Answers with the documents that match, sorted, or else the best first.", s.own(camel(v.Name)+"Found", page),
		append(params, fieldParams(v.Fields)...), notAcceptable)
}

// fieldParams are the parameters of a search that its fields make.
func fieldParams(fields view.Fields) (params []*huma.Param) {
	if by := orders(fields); len(by) > 0 {
		schema := &huma.Schema{Type: huma.TypeString}
		for _, name := range by {
			schema.Enum = append(schema.Enum, name)
		}
		params = append(params, queryParam("sort", "The field to sort by, behind a - from the greatest down. Those without it come last. Default: the best first.", schema))
	}
	for _, name := range fields.Of(view.FieldKind.Exact) {
		about := "Only documents whose " + name + " is exactly this."
		if fields[name] == view.Caseless {
			about = "Only documents whose " + name + " is this, in any case of letters."
		}
		params = append(params, queryParam(name, about, &huma.Schema{Type: huma.TypeString, MaxLength: ptr(maxField)}))
	}
	for _, name := range fields.Of(view.FieldKind.Measured) {
		schema := &huma.Schema{Type: huma.TypeNumber, Format: "double"}
		if fields[name] == view.Time {
			schema = &huma.Schema{Type: huma.TypeString, Format: "date-time", MaxLength: ptr(maxEnd)}
		}
		params = append(params, queryParam(name+framework.FromParameter, "Only documents whose "+name+" is this or more.", schema),
			queryParam(name+framework.ToParameter, "Only documents whose "+name+" is this or less.", schema))
	}
	return params
}

func (s *spec) view(v framework.View, path, summary, about string, schema *huma.Schema, params []*huma.Param, more ...*kind) *huma.Operation {
	return &huma.Operation{
		Method: http.MethodGet, Path: "/v1/views/" + v.Name + path, OperationID: "get_views_" + v.Name, Tags: []string{"views"},
		Summary: summary, Description: about, Parameters: append(params, minPositionParam, maxStalenessParam),
		Responses: answers(ok("The answer.", schema, positionHeader, generationHeader), queryProblems(more...)...),
	}
}

// live adds to a query that it may be shown live.
func live(op *huma.Operation) *huma.Operation {
	op.Description += " With Accept: text/event-stream, answers now and each time the answer has changed, by server-sent events."
	op.Parameters = append(op.Parameters, headerParam("Last-Event-ID",
		"The id of the last event of a connection before; what it brought is not sent again.", &huma.Schema{Type: huma.TypeString}))
	op.Responses["200"].Content[eventStream] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: eventsAbout}}
	return op
}

const eventsAbout = "An event without a name is the answer, as application/json has it; gone says that there is no such document (null); " +
	"generation that another generation of the view is read from here on ({generation}); unavailable that there is no answer " +
	"for the moment (a Problem); end that the server stops (null). An id is {generation}/{position}/{digest of the answer}."

func (s *spec) item(v framework.View) *huma.Schema {
	if v.Item == nil {
		return &huma.Schema{}
	}
	return s.schema(camel(v.Name), camel(v.Name)+"Item", v.Item)
}

// queryProblems are the kinds that every query may answer with, and more.
func queryProblems(more ...*kind) []*kind {
	return append([]*kind{malformed, invalid, limited, internal, unavailable}, more...)
}

// answers returns the responses of an operation: what it answers where all goes well,
// as 200, and the problems.
func answers(good *huma.Response, bad ...*kind) map[string]*huma.Response {
	return answersAs(http.StatusOK, good, bad)
}

// answersAs is answers with another status than 200.
func answersAs(status int, good *huma.Response, bad []*kind) map[string]*huma.Response {
	out := map[string]*huma.Response{strconv.Itoa(status): good}
	for _, k := range bad {
		as := strconv.Itoa(k.status)
		r := out[as]
		if r == nil {
			r = &huma.Response{Content: content("application/problem+json", ref("Problem")), Headers: problemHeaders(k.status)}
			out[as] = r
		}
		r.Description += fmt.Sprintf("%s: %s\n", k.name, k.about)
	}
	for _, r := range out {
		r.Description = strings.TrimSuffix(r.Description, "\n")
	}
	return out
}

func problemHeaders(status int) map[string]*huma.Param {
	switch status {
	case http.StatusUnauthorized:
		return headers(named("WWW-Authenticate", "How to say who sends the command", &huma.Schema{Type: huma.TypeString}))
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return headers(named("Retry-After", "Seconds after which to try again", number(1, nil, nil)))
	}
	return nil
}

func ok(about string, schema *huma.Schema, list ...namedHeader) *huma.Response {
	return &huma.Response{Description: about, Content: content("application/json", schema), Headers: headers(list...)}
}

func content(media string, s *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{media: {Schema: s}}
}

type namedHeader struct {
	name string
	*huma.Param
}

func named(name, about string, s *huma.Schema) namedHeader {
	return namedHeader{name, &huma.Param{Description: about, Schema: s}}
}

var (
	etagHeader       = named("ETag", "The aggregate's version, in double quotes", &huma.Schema{Type: huma.TypeString})
	positionHeader   = named("Position", "What the answer has seen of the log; pass it as Min-Position", &huma.Schema{Type: huma.TypeString})
	generationHeader = named("Generation", "The generation of the view that was asked", &huma.Schema{Type: huma.TypeInteger})
	requestIDHeader  = named("X-Request-Id", "The request's id, recorded as correlation", &huma.Schema{Type: huma.TypeString, Format: "uuid"})

	maxStalenessParam = headerParam("Max-Staleness", "How old the answer may be, such as 2s or 500ms, at most 1h: it holds at least what was recorded so long ago, and waits for it, within a bound.", &huma.Schema{Type: huma.TypeString})
	minPositionParam  = headerParam("Min-Position", "A Position that the answer must have seen; it waits for it, within a bound.", &huma.Schema{Type: huma.TypeString})
)

func headers(list ...namedHeader) map[string]*huma.Param {
	out := make(map[string]*huma.Param, len(list))
	for _, h := range list {
		out[h.name] = h.Param
	}
	return out
}

func (s *spec) idParam(name, about string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: about,
		Schema: &huma.Schema{Type: huma.TypeString, Pattern: framework.IDPattern}}
}

func headerParam(name, about string, s *huma.Schema) *huma.Param {
	return &huma.Param{Name: name, In: "header", Description: about, Schema: s}
}

func queryParam(name, about string, s *huma.Schema) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: about, Schema: s}
}

func number(least float64, most *float64, otherwise any) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: most, Default: otherwise}
}

// object is a schema whose members are all required, but for optional.
func object(members map[string]*huma.Schema, optional ...string) *huma.Schema {
	out := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: false, Properties: members}
	for _, name := range slices.SortedFunc(maps.Keys(members), cmp.Compare) {
		if !slices.Contains(optional, name) {
			out.Required = append(out.Required, name)
		}
	}
	return out
}

func ptr[T any](v T) *T { return &v }
