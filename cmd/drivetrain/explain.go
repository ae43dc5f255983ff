package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// explainPage is the most events that one request answers with.
const explainPage = 1000

type viewExplain struct {
	oneView
	Key        string `arg:"" help:"The document's key, or the name of the set."`
	Generation int    `placeholder:"N" help:"Of the view. Default: the one that is read."`
	Documents  bool   `help:"Show what each event has made of the document."`
	Limit      int    `default:"1000" placeholder:"N" help:"Show so many events at most. Default: ${default}."`
	Version    uint64 `placeholder:"N" xor:"moment" help:"Only events up to this version of the aggregate."`
	At         string `placeholder:"TIME" xor:"moment" help:"Only events before the first that is later, such as 2026-11-26T15:04:05Z."`
	Position   string `placeholder:"POSITION" xor:"moment" help:"Only events that had taken effect at this position."`
}

// Help says what is shown.
func (*viewExplain) Help() string {
	return `The events are shown in the order in which they were folded, whether or not the document is there still.
It shows them with who caused them, whoever they are of.`
}

// Validate checks the flags; kong calls it.
func (c *viewExplain) Validate() error {
	if c.Generation < 0 || c.Limit < 1 {
		return fmt.Errorf("--generation %d and --limit %d: want 1 or more", c.Generation, c.Limit)
	}
	return c.adminFlags.Validate()
}

// explained is a page of what the admin listener answers.
type explained struct {
	Generation int             `json:"generation"`
	Version    int             `json:"version"`
	Document   json.RawMessage `json:"document"`
	Items      []madeBy        `json:"items"`
	Next       string          `json:"next"`
}

// madeBy is an event that has moved the document.
type madeBy struct {
	Position    string           `json:"position"`
	Aggregate   string           `json:"aggregate"`
	AggregateID string           `json:"aggregate_id"`
	ID          string           `json:"id"`
	Type        string           `json:"type"`
	Version     uint64           `json:"version"`
	Time        time.Time        `json:"time"`
	Actor       string           `json:"actor"`
	Data        json.RawMessage  `json:"data"`
	Document    *json.RawMessage `json:"document"`
	Pending     bool             `json:"pending"`
}

// Run shows page after page. Of a page without events, where the log was looked through
// for long enough, only the next is used.
func (c *viewExplain) Run(ctx context.Context, out io.Writer, n notes) error {
	query, shown, next := c.query(), 0, ""
	for more := true; more; more = next != "" && shown < c.Limit {
		query.Set("limit", fmt.Sprint(min(explainPage, c.Limit-shown)))
		if next != "" {
			query.Set("after", next)
		}
		var page explained
		if err := c.ask(ctx, out, c.within(requestTime+10*time.Second), http.MethodGet, c.path("explain", url.PathEscape(c.Key))+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		if next == "" && !c.JSON {
			document := cmp.Or(string(page.Document), "null")
			fmt.Fprintf(out, "%s of %s, generation %d, version %d:\n  %s\n", c.Key, c.View, page.Generation, page.Version, onOneLine(document))
		}
		for i := range page.Items {
			if err := c.print(out, &page.Items[i]); err != nil {
				return err
			}
		}
		shown, next = shown+len(page.Items), page.Next
	}
	switch {
	case next != "":
		n.say("there may be more; give a greater --limit")
	case shown == 0:
		n.say("no event has moved it")
	}
	return nil
}

func (c *viewExplain) query() url.Values {
	query := url.Values{}
	if c.Documents {
		query.Set("documents", "true")
	}
	if c.Generation > 0 {
		query.Set("generation", fmt.Sprint(c.Generation))
	}
	if c.Version > 0 {
		query.Set("version", fmt.Sprint(c.Version))
	}
	for name, text := range map[string]string{"at": c.At, "position": c.Position} {
		if text != "" {
			query.Set(name, text)
		}
	}
	return query
}

// print prints one event.
func (c *viewExplain) print(out io.Writer, e *madeBy) error {
	pending := ""
	if e.Pending {
		pending = ", not folded yet"
	}
	err := c.say(out, "%s %s, version %d of %s/%s, %s by %s, %s%s\n  %s", e.Position, e.Type, e.Version, e.Aggregate, onOneLine(e.AggregateID),
		e.Time.UTC().Format(time.RFC3339Nano), dash(onOneLine(e.Actor)), e.ID, pending, onOneLine(string(e.Data)))
	if err == nil && e.Document != nil {
		err = c.say(out, "  made it %s", onOneLine(string(*e.Document)))
	}
	return err
}
