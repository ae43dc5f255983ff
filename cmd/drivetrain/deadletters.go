package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"
)

// deadLettersCommand is what is done about events that cannot be folded.
type deadLettersCommand struct {
	List    lettersList    `cmd:"" help:"List what is parked, stalled or stopped in the partitions that the process serves."`
	Show    lettersShow    `cmd:"" help:"Show one, with the events that are held back, 100 at most."`
	Retry   lettersRetry   `cmd:"" help:"Fold the key's events again, in order, from the state before them."`
	Discard lettersDiscard `cmd:"" help:"Leave out those events of the key that fail, for good."`
}

// Help says where to look.
func (*deadLettersCommand) Help() string {
	return `Each process shows the partitions that it serves; GET /v1/members of an admin listener lists the
processes, each of which has its own. Retry and discard are recorded in the log, where the view
obeys them. A new version of the view needs neither: it folds everything anew.`
}

// deadLetter is a dead letter as the admin listener shows it.
type deadLetter struct {
	ID         string    `json:"id"`
	State      string    `json:"state"`
	View       string    `json:"view"`
	Effect     string    `json:"effect"`
	Generation int       `json:"generation"`
	Operator   string    `json:"operator"`
	Position   string    `json:"position"`
	Key        string    `json:"key"`
	Event      heldEvent `json:"event"`
	Timer      string    `json:"timer"`
	Error      string    `json:"error"`
	Parked     int       `json:"parked"`
	Since      time.Time `json:"since"`
	Attempts   int       `json:"attempts"`

	Events []heldEvent `json:"events"`
}

type heldEvent struct {
	Position  string          `json:"position"`
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Version   uint64          `json:"version"`
	Time      time.Time       `json:"time"`
	Data      json.RawMessage `json:"data"`
	DataBytes string          `json:"data_base64"`
}

type lettersList struct {
	adminFlags
	Limit int `default:"1000" placeholder:"N" help:"List so many at most. Default: ${default}."`
}

// Run lists them, a page after the other.
func (c *lettersList) Run(ctx context.Context, out io.Writer, n notes) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	count, after := 0, ""
	for more := true; more; {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next"`
		}
		query := url.Values{"limit": {fmt.Sprint(max(1, min(100, c.Limit-count)))}}
		if after != "" {
			query.Set("after", after)
		}
		if _, err := c.call(ctx, http.MethodGet, "/v1/dead-letters?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if err := c.print(out, table, item, count == 0); err != nil {
				return err
			}
			count++
		}
		after = page.Next
		more = after != "" && count < c.Limit
	}
	if count == 0 {
		n.say("nothing is parked, stalled or stopped in what this process serves")
	}
	if after != "" {
		n.say("there may be more; give a greater --limit")
	}
	return table.Flush()
}

// print prints one: a line of JSON, or of the table.
func (c *lettersList) print(out io.Writer, table io.Writer, item json.RawMessage, first bool) error {
	if c.JSON {
		_, err := fmt.Fprintf(out, "%s\n", item)
		return err
	}
	var l deadLetter
	if err := json.Unmarshal(item, &l); err != nil {
		return fmt.Errorf("read a dead letter: %w", err)
	}
	if first {
		fmt.Fprintln(table, "STATE\tOF\tPOSITION\tKEY\tEVENT\tHELD\tSINCE\tID\tERROR")
	}
	_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", l.State, l.of(), l.Position, dash(onOneLine(l.Key)), dash(l.what()), l.Parked,
		l.since(), l.ID, clip(onOneLine(l.Error), 80))
	return err
}

// of names the view and generation, or the effect.
func (l *deadLetter) of() string {
	if l.Effect != "" {
		return l.Effect
	}
	return fmt.Sprintf("%s/%d", l.View, l.Generation)
}

func (l *deadLetter) what() string {
	if l.Timer != "" {
		return "timer " + l.Timer
	}
	return l.Event.Type
}

func (l *deadLetter) since() string {
	if l.Since.IsZero() {
		return "-"
	}
	return l.Since.UTC().Format(time.RFC3339)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type lettersShow struct {
	adminFlags
	ID string `arg:"" help:"As list shows it."`
}

// Run shows one.
func (c *lettersShow) Run(ctx context.Context, out io.Writer) error {
	var raw json.RawMessage
	if _, err := c.call(ctx, http.MethodGet, letterPath(c.ID), nil, &raw); err != nil {
		return err
	}
	if c.JSON {
		_, err := fmt.Fprintf(out, "%s\n", raw)
		return err
	}
	var l deadLetter
	if err := json.Unmarshal(raw, &l); err != nil {
		return fmt.Errorf("read a dead letter: %w", err)
	}
	fmt.Fprintf(out, "%s %s of %s at %s, since %s, %d rulings or calls in vain\nkey %s, %d events held back\nerror: %s\n",
		l.State, dash(l.what()), l.of(), l.Position, l.since(), l.Attempts, dash(l.Key), l.Parked, l.Error)
	for _, e := range l.Events {
		data := string(e.Data)
		if e.DataBytes != "" {
			data = "base64 " + e.DataBytes
		}
		fmt.Fprintf(out, "%s %s version %d %s %s\n  %s\n", e.Position, dash(e.Type), e.Version, e.Time.UTC().Format(time.RFC3339Nano), e.ID, data)
	}
	return nil
}

func letterPath(id string) string { return "/v1/dead-letters/" + url.PathEscape(id) }

type lettersRetry struct {
	adminFlags
	ID     string `arg:"" help:"As list shows it."`
	Reason string `help:"Why; recorded in the log, 256 bytes at most."`
	By     string `help:"Who wants it; recorded in the log, 256 bytes at most."`
}

// Run retries one.
func (c *lettersRetry) Run(ctx context.Context, out io.Writer) error {
	return c.rule(ctx, out, letterPath(c.ID)+"/retry", c.Reason, c.By)
}

type lettersDiscard struct {
	adminFlags
	ID     string `arg:"" help:"As list shows it."`
	Reason string `required:"" help:"Why; recorded in the log, 256 bytes at most."`
	By     string `help:"Who wants it; recorded in the log, 256 bytes at most."`
}

// Run discards one.
func (c *lettersDiscard) Run(ctx context.Context, out io.Writer) error {
	return c.rule(ctx, out, letterPath(c.ID)+"/discard", c.Reason, c.By)
}

// rule sends a ruling and says what has come of it. It is an error if the key is still
// parked.
func (f *adminFlags) rule(ctx context.Context, out io.Writer, path, reason, by string) error {
	var raw json.RawMessage
	order := struct {
		Reason string `json:"reason,omitempty"`
		By     string `json:"by,omitempty"`
	}{reason, by}
	if _, err := f.call(ctx, http.MethodPost, path, order, &raw); err != nil {
		return err
	}
	var ruled struct {
		Position string      `json:"position"`
		Obeyed   bool        `json:"obeyed"`
		Freed    bool        `json:"freed"`
		Letter   *deadLetter `json:"letter"`
	}
	if err := json.Unmarshal(raw, &ruled); err != nil {
		return fmt.Errorf("read what has come of it: %w", err)
	}
	if f.JSON {
		fmt.Fprintf(out, "%s\n", raw)
	}
	switch {
	case !ruled.Obeyed:
		return fmt.Errorf("recorded at %s; the view has not got there yet, and will obey when it does: list again", ruled.Position)
	case ruled.Freed && !f.JSON:
		fmt.Fprintf(out, "freed; recorded at %s\n", ruled.Position)
	case ruled.Letter != nil:
		return fmt.Errorf("still parked, as %s, with %d events: %s", ruled.Letter.ID, ruled.Letter.Parked, clip(onOneLine(ruled.Letter.Error), 300))
	case !ruled.Freed:
		return errors.New("still parked")
	}
	return nil
}
