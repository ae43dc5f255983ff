package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// shadowed is what came of asking a generation a share of the queries too, as the admin
// listener shows it.
type shadowed struct {
	Share     float64            `json:"share"`
	Asked     int64              `json:"asked"`
	Equal     int64              `json:"equal"`
	Different int64              `json:"different"`
	Moved     int64              `json:"moved"`
	Failed    int64              `json:"failed"`
	Dropped   int64              `json:"dropped"`
	First     []shadowDifference `json:"first"`
}

type shadowDifference struct {
	Question shadowQuestion  `json:"question"`
	Read     json.RawMessage `json:"read"`
	Other    json.RawMessage `json:"other"`
	Refused  string          `json:"refused"`
}

type shadowQuestion struct {
	Key    string            `json:"key"`
	Text   string            `json:"text"`
	Is     map[string]string `json:"is"`
	Ranges map[string]struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"ranges"`
	Sort  string `json:"sort"`
	After string `json:"after"`
	From  string `json:"from"`
	Skip  int    `json:"skip"`
}

// String is the question as it would be in a URL, such as "hikers" or "?q=oak&sort=-n".
func (q *shadowQuestion) String() string {
	var params []string
	add := func(name, value string) {
		if value != "" {
			params = append(params, name+"="+value)
		}
	}
	add("q", q.Text)
	for _, field := range slices.Sorted(maps.Keys(q.Is)) {
		params = append(params, field+"="+q.Is[field]) // it may be empty
	}
	for _, field := range slices.Sorted(maps.Keys(q.Ranges)) {
		add(field+".from", q.Ranges[field].From)
		add(field+".to", q.Ranges[field].To)
	}
	add("sort", q.Sort)
	add("from", q.From)
	if q.Skip > 0 {
		add("skip", strconv.Itoa(q.Skip))
	}
	add("after", q.After)
	if len(params) == 0 && q.Key != "" {
		return q.Key
	}
	return q.Key + "?" + strings.Join(params, "&")
}

// words is what came of it, in one line.
func (s *shadowed) words() string {
	text := "asked no queries beside the one that is read any more"
	if s.Share > 0 {
		text = "asked " + percent(s.Share) + " of the queries too"
	}
	return fmt.Sprintf("%s: %s asked, %s equal, %s different, %s moved, %s failed, %s dropped", text,
		grouped(s.Asked), grouped(s.Equal), grouped(s.Different), grouped(s.Moved), grouped(s.Failed), grouped(s.Dropped))
}

// percent is a share, such as "5 %".
func percent(share float64) string { return strconv.FormatFloat(100*share, 'g', 6, 64) + " %" }

type viewShadow struct {
	oneGeneration
	byFlag
	Share *float64 `placeholder:"S" help:"The share of the view's queries that the generation is asked too, 0 to 1; 0 ends it. Default: nothing changes, and it is shown what came of it."`
}

// Help says what is done.
func (*viewShadow) Help() string {
	return `Readers get what the generation that is read answers, and do not notice. All processes ask, until the share
is 0, the generation is retired, or the view is switched; each shows what it has found itself, so ask each
(--admin) or see the metrics. A difference keeps a switch by that process from being made but by force.

  drivetrain view shadow tribe-card 2 --share 0.05
  drivetrain view shadow tribe-card 2                # what came of it: exits with 3 where answers differ
  drivetrain view shadow tribe-card 2 --share 0

Of each difference it shows the question and the fields that are not the same; --json has both answers.`
}

// Validate checks the flags; kong calls it.
func (c *viewShadow) Validate() error {
	if c.Share != nil && !(*c.Share >= 0 && *c.Share <= 1) {
		return fmt.Errorf("--share %v: want 0 to 1, such as 0.05", *c.Share)
	}
	return c.oneGeneration.Validate()
}

// Run changes the share, or shows what came of it.
func (c *viewShadow) Run(ctx context.Context, out io.Writer) error {
	if c.Share == nil {
		return c.show(ctx, out)
	}
	in := struct {
		Share float64 `json:"share"`
		By    string  `json:"by,omitempty"`
	}{*c.Share, c.By}
	if err := c.ask(ctx, out, c.within(requestTime), http.MethodPost, c.path("shadow"), in, nil); err != nil {
		return c.broken(ctx, err)
	}
	look := c.again(fmt.Sprintf("view shadow %s %d", c.View, c.Generation))
	if *c.Share == 0 {
		return c.say(out, "%s is asked no queries beside the one that is read any more; see what came of it with: %s", c.named(c.Generation), look)
	}
	return c.say(out, "%s is asked %s of the queries too; see what comes of it with: %s", c.named(c.Generation), percent(*c.Share), look)
}

// show says what came of it.
func (c *viewShadow) show(ctx context.Context, out io.Writer) error {
	var g generation
	if err := c.ask(ctx, out, c.within(requestTime), http.MethodGet, c.path(), nil, &g); err != nil {
		return err
	}
	if g.Shadow == nil {
		return c.say(out, "%s was not asked queries beside the one that is read, since this process began", c.named(c.Generation))
	}
	if !c.JSON {
		if err := g.Shadow.print(out, c.named(c.Generation), c.Generation); err != nil {
			return err
		}
	}
	if g.Shadow.Different > 0 {
		return fmt.Errorf("%w: %s answers otherwise than the one that is read", errDiffer, c.named(c.Generation))
	}
	return nil
}

// print shows it with the first differences.
func (s *shadowed) print(out io.Writer, named string, number int) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\n", named, s.words())
	if len(s.First) > 0 {
		fmt.Fprintf(&b, "\n")
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "\tREAD\tGENERATION %d\t\n", number)
		for i := range s.First {
			fmt.Fprintf(table, "\t\t\t\n")
			for _, r := range s.First[i].rows() {
				fmt.Fprintln(table, strings.Join(r[:], "\t")+"\t")
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
		fmt.Fprintf(&b, "\nthese are the first differences, one of each question; there may be more\n")
	}
	_, err := io.WriteString(out, trimLines(b.String()))
	return err
}

// rows shows a difference side by side.
func (d *shadowDifference) rows() [][3]string {
	one := difference{d.Question.String(), d.Read, d.Other}
	if d.Refused != "" {
		return [][3]string{{clip(onOneLine(one.Key), maxWidth), clip(compact(d.Read), maxWidth), clip(onOneLine("refuses it: "+d.Refused), 2*maxWidth)}}
	}
	return one.rows()
}
