package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
)

// shadowOrder is the body of POST /v1/views/{view}/generations/{number}/shadow.
type shadowOrder struct {
	Share float64 `json:"share" minimum:"0" maximum:"1" doc:"Of the view's queries; 0: none any more"`
	By    string  `json:"by,omitempty" maxLength:"256" doc:"Who wants it, which is recorded"`
}

// shadowing is what that answers.
type shadowing struct {
	Generation int     `json:"generation"`
	Share      float64 `json:"share"`
}

// shadowed is what came of asking a generation a share of the queries too.
type shadowed struct {
	Share     float64            `json:"share" doc:"Of the view's queries; 0: it has ended"`
	Asked     int64              `json:"asked" doc:"Queries of this process that were taken, since the share became more than 0 last"`
	Equal     int64              `json:"equal" doc:"Of these: it gave the same answer"`
	Different int64              `json:"different" doc:"It gave another one, again and again, while that of the one that is read stayed the same"`
	Moved     int64              `json:"moved" doc:"The answers changed too fast to be compared"`
	Failed    int64              `json:"failed" doc:"One of both did not answer, or did not come as far as the other in time"`
	Dropped   int64              `json:"dropped" doc:"Queries that were not taken, since too many waited"`
	First     []shadowDifference `json:"first" nullable:"false" doc:"The first differences, of 10 questions at most"`
}

// shadowDifference is a question that two generations answer differently.
type shadowDifference struct {
	Question      shadowQuestion  `json:"question"`
	Read          json.RawMessage `json:"read" doc:"What the generation that is read answers; null: not found. Beyond 16 KiB a text of its beginning"`
	Other         json.RawMessage `json:"other" doc:"What the other one answers, likewise"`
	Refused       string          `json:"refused,omitempty" doc:"Why the other one does not take the question; absent: it does"`
	ReadPosition  string          `json:"read_position" doc:"What the generation that is read had passed at least"`
	OtherPosition string          `json:"other_position" doc:"What the other one had"`
	At            time.Time       `json:"at"`
}

// shadowQuestion is a query.
type shadowQuestion struct {
	Key    string                 `json:"key,omitempty" doc:"Of a document, feed or ranking"`
	Text   string                 `json:"text,omitempty" doc:"What is searched for"`
	Is     map[string]string      `json:"is,omitempty" doc:"Fields that must be so"`
	Ranges map[string]shadowRange `json:"ranges,omitempty" doc:"What fields must lie within"`
	Sort   string                 `json:"sort,omitempty"`
	After  string                 `json:"after,omitempty"`
	From   string                 `json:"from,omitempty"`
	Skip   int                    `json:"skip,omitempty"`
	Limit  int                    `json:"limit,omitempty"`
}

type shadowRange struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

func shadowedOf(s *framework.Shadowed) *shadowed {
	out := &shadowed{Share: s.Share, Asked: s.Asked, Equal: s.Equal, Different: s.Different, Moved: s.Moved, Failed: s.Failed, Dropped: s.Dropped,
		First: make([]shadowDifference, len(s.First))}
	for i, d := range s.First {
		out.First[i] = shadowDifference{Question: questionOf(&d.Question), Read: d.Read, Other: d.Other, Refused: d.Refused,
			ReadPosition: d.ReadAt.String(), OtherPosition: d.OtherAt.String(), At: d.At}
	}
	return out
}

func questionOf(q *framework.Query) shadowQuestion {
	out := shadowQuestion{Key: q.Key, Text: q.Text, Is: q.Is, Sort: q.Sort, After: q.After, From: q.From, Skip: q.Skip, Limit: q.Limit}
	for field, r := range q.Ranges {
		if out.Ranges == nil {
			out.Ranges = make(map[string]shadowRange)
		}
		out.Ranges[field] = shadowRange(r)
	}
	return out
}

// shadow lets a generation be asked a share of the queries too.
func (t *tending) shadow(w *response, r *http.Request, of target) error {
	order := shadowOrder{By: unnamed}
	if err := t.toShadow.read(w, r, &order); err != nil {
		return err
	}
	if err := t.app.Shadow(r.Context(), of.view, of.number, framework.Shadow(order)); err != nil {
		return err
	}
	return w.fresh(http.StatusOK, shadowing{of.number, order.Share})
}
