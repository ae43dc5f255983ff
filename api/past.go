package api

import (
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// maxFolding bounds the states of the past that are folded at once.
const maxFolding = 32

// moments are the query parameters that name a moment of the past.
var moments = []string{"version", "at", "position"}

// asOf returns the moment that a query asks for; zero: the present.
func asOf(r *http.Request) (framework.AsOf, error) {
	q, err := newQuery(r, moments...)
	if err != nil {
		return framework.AsOf{}, err
	}
	m := q.moment()
	return m, q.problem()
}

// moment reads the parameters of a moment, of which one may be given.
func (q *query) moment() (m framework.AsOf) {
	given := 0
	for _, name := range moments {
		if q.values.Has(name) {
			given++
		}
	}
	if given > 1 {
		for _, name := range moments {
			if q.values.Has(name) {
				q.add(name, "give one of version, at and position", q.values.Get(name))
			}
		}
		return m
	}
	m.Version = q.number("version", 0, 1, math.MaxInt64)
	m.At = q.time("at")
	m.Position = q.position("position")
	return m
}

// time returns a parameter that is a time; zero if it is not given.
func (q *query) time(name string) time.Time {
	if !q.values.Has(name) {
		return time.Time{}
	}
	text := q.values.Get(name)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() {
		q.add(name, "want a time such as 2026-01-31T09:30:00Z; a + in it is written %2B", text)
	}
	return at
}

// position returns a parameter that is a position; none if it is not given.
func (q *query) position(name string) eventlog.Positions {
	if !q.values.Has(name) {
		return eventlog.Positions{}
	}
	text := q.values.Get(name)
	at, err := eventlog.ParsePositions(text)
	if err != nil || len(at.Offsets) == 0 {
		q.add(name, "want partition@offset such as 3@81234, several joined by commas", text)
	}
	return at
}

// strong reports whether a query is to see all that anybody was told before.
func strong(r *http.Request) (bool, error) {
	text, err := header(r, "Consistency")
	switch {
	case err != nil:
		return false, err
	case r.Header["Consistency"] == nil || text == "eventual":
		return false, nil
	case text == "strong":
		return true, nil
	}
	return false, malformedHeader("Consistency", "want strong or eventual", strings.ToValidUTF8(text, "\uFFFD"))
}

// momentParams describe what asOf reads.
func momentParams() []*huma.Param {
	return []*huma.Param{
		queryParam("version", "The state after the event of this version. Of version, at and position one may be given.", number(1, nil, nil)),
		queryParam("at", "The state at this time: after all events before the first that is later.", &huma.Schema{Type: huma.TypeString, Format: "date-time"}),
		queryParam("position", "The state at this Position, which must name the partition of the aggregate; it is waited for as Min-Position is.", &huma.Schema{Type: huma.TypeString, MaxLength: ptr(eventlog.MaxPositions)}),
	}
}

var consistencyParam = headerParam("Consistency", "With strong the answer holds all that anybody was told before it was asked for: it waits for a record in the log that proves it.",
	&huma.Schema{Type: huma.TypeString, Enum: []any{"eventual", "strong"}, Default: "eventual"})
