package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

// viewCommand is what operators do with the generations of views.
type viewCommand struct {
	List     viewList     `cmd:"" help:"List views and their generations: which is read, what is being built, how far it is."`
	Rebuild  viewRebuild  `cmd:"" help:"Let a generation be built beside the one that is read."`
	Progress viewProgress `cmd:"" help:"Follow what is being built until it is ready."`
	Compare  viewCompare  `cmd:"" help:"Compare a generation with the one that is read, and show the first differences."`
	Shadow   viewShadow   `cmd:"" help:"Let a share of the queries be asked of a generation too, and show where it answers otherwise than the one that is read."`
	Switch   viewSwitch   `cmd:"" help:"Let a generation be read, once it was found to hold what the one that is read does."`
	Rollback viewRollback `cmd:"" help:"Undo the last switch: the generation is read that was before."`
	Explain  viewExplain  `cmd:"" help:"Show which events made a document."`
	Retire   viewRetire   `cmd:"" help:"Give a generation up that is not read: it is deleted."`
}

// Help says how the commands hang together.
func (*viewCommand) Help() string {
	return `A view is rebuilt beside the generation that is read, compared with it, and switched to; until it is
retired, the former one is followed on, and a rollback leads back to it within a second:

  drivetrain view rebuild tribe-card --wait
  drivetrain view compare tribe-card 2
  drivetrain view switch tribe-card 2
  drivetrain view retire tribe-card 1

Each may be repeated, broken off anywhere, and given by two people at once. What is being built goes
on whether somebody follows it or not. Exit codes: 0, 1 if it was not done, 2 if the command was not
understood, 3 if a compare found differences, or a shadow has.`
}

// generation is one of a view as the admin listener shows it.
type generation struct {
	Number  int       `json:"generation"`
	Version int       `json:"version"`
	State   string    `json:"state"`
	Lag     int64     `json:"lag"`
	Done    int64     `json:"done"`
	End     int64     `json:"end"`
	Rate    float64   `json:"events_per_second"`
	Left    float64   `json:"seconds_left"`
	Created time.Time `json:"created"`
	By      string    `json:"by"`
	Error   string    `json:"error"`
	Shadow  *shadowed `json:"shadow"`
}

// The states of a generation; besides these there is "read".
const (
	building = "building"
	ready    = "ready"
	retired  = "retired"
)

// oneView names a view.
type oneView struct {
	adminFlags
	View string `arg:"" help:"The view's name."`
}

func (v *oneView) path(parts ...string) string {
	return "/v1/views/" + url.PathEscape(v.View) + "/" + strings.Join(parts, "/")
}

// named is "generation 3 of tribe-card".
func (v *oneView) named(number int) string {
	return fmt.Sprintf("generation %d of %s", number, v.View)
}

// generations asks for those of the view.
func (v *oneView) generations(ctx context.Context, out io.Writer) ([]generation, error) {
	var all struct {
		Items []generation `json:"items"`
	}
	err := v.ask(ctx, out, v.within(requestTime), http.MethodGet, v.path("generations"), nil, &all)
	if err == nil && len(all.Items) == 0 {
		err = fmt.Errorf("%s knows no generation of %s: is it the admin listener of an application?", v.Admin, v.View)
	}
	return all.Items, err
}

// say prints a line where the answer is not printed itself.
func (f *adminFlags) say(out io.Writer, format string, args ...any) error {
	if f.JSON {
		return nil
	}
	_, err := fmt.Fprintf(out, format+"\n", args...)
	return err
}

// oneGeneration names a generation of a view.
type oneGeneration struct {
	oneView
	Generation int `arg:"" help:"The generation's number, as drivetrain view list shows it."`
}

// Validate checks the flags; kong calls it.
func (g *oneGeneration) Validate() error {
	if g.Generation < 1 {
		return fmt.Errorf("generation %d: want its number, from 1", g.Generation)
	}
	return g.adminFlags.Validate()
}

func (g *oneGeneration) path(parts ...string) string {
	return g.oneView.path(append([]string{"generations", fmt.Sprint(g.Generation)}, parts...)...)
}

// byFlag says who wants a change.
type byFlag struct {
	By string `env:"DRIVETRAIN_BY,USER" placeholder:"NAME" help:"Who wants it, which is recorded, at most 256 bytes."`
}

type viewList struct {
	adminFlags
	View string `arg:"" optional:"" help:"The view's name. Default: all views."`
	All  bool   `help:"List retired generations too."`
}

// listedView is a view with its generations as the admin listener lists it.
type listedView struct {
	View        string       `json:"view"`
	Generations []generation `json:"generations"`
}

// Run lists them.
func (c *viewList) Run(ctx context.Context, out io.Writer, n notes) error {
	if c.View != "" {
		one := oneView{c.adminFlags, c.View}
		all, err := one.generations(ctx, out)
		if err != nil || c.JSON {
			return err
		}
		return c.print(out, n, []listedView{{c.View, all}})
	}
	var all struct {
		Items []listedView `json:"items"`
	}
	if err := c.ask(ctx, out, c.within(requestTime), http.MethodGet, "/v1/views", nil, &all); err != nil || c.JSON {
		return err
	}
	return c.print(out, n, all.Items)
}

// print prints a table.
func (c *viewList) print(out io.Writer, n notes, all []listedView) error {
	table, hidden := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), 0
	fmt.Fprintln(table, "VIEW\tGENERATION\tSTATE\tVERSION\tEVENTS\tBEHIND\tEVENTS/S\tLEFT\tCREATED\tBY")
	for _, v := range all {
		for _, g := range v.Generations {
			if g.State == retired && !c.All {
				hidden++
				continue
			}
			fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", v.View, g.Number, g.State, g.Version, g.events(), grouped(g.Lag),
				grouped(int64(g.Rate)), cmp.Or(g.left(), "-"), g.Created.UTC().Format(time.RFC3339), onOneLine(g.By))
			if g.Error != "" {
				n.say("generation %d of %s does not go on: %s", g.Number, v.View, onOneLine(g.Error))
			}
			if g.Shadow != nil {
				n.say("generation %d of %s: %s", g.Number, v.View, g.Shadow.words())
			}
		}
	}
	if hidden > 0 {
		n.say("%d retired are not listed; see --all", hidden)
	}
	return table.Flush()
}

type viewRebuild struct {
	oneView
	byFlag
	Version int  `placeholder:"N" help:"The fold's version. Default: the greatest that the program carries."`
	Rate    int  `placeholder:"N" help:"Events a second that it may take over the whole application, until it has caught up once. Default: no limit."`
	Wait    bool `help:"Follow it until it is ready."`
}

// Validate checks the flags; kong calls it.
func (c *viewRebuild) Validate() error {
	switch {
	case c.Version < 0:
		return fmt.Errorf("--version %d: want 1 or more", c.Version)
	case c.Rate < 0:
		return fmt.Errorf("--rate %d: want 0 or more", c.Rate)
	}
	return c.adminFlags.Validate()
}

// Run lets it be built.
func (c *viewRebuild) Run(ctx context.Context, out io.Writer, n notes) error {
	in := struct {
		Version int    `json:"version,omitempty"`
		Rate    int    `json:"rate,omitempty"`
		By      string `json:"by,omitempty"`
	}{c.Version, c.Rate, c.By}
	var begun struct{ Generation int }
	if err := c.ask(ctx, out, c.within(requestTime), http.MethodPost, c.path("generations"), in, &begun); err != nil {
		return c.broken(ctx, err)
	}
	if c.Wait {
		return c.follow(ctx, out, n, []int{begun.Generation})
	}
	return c.say(out, "%s is being built, or is ready already; follow it with: %s", c.named(begun.Generation), c.again(fmt.Sprintf("view progress %s %d", c.View, begun.Generation)))
}

// broken says what to do after a change that was broken off before it was answered.
func (v *oneView) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("broken off before an answer: it may have been done; look with: %s", v.again("view list "+v.View))
	}
	return err
}

type viewProgress struct {
	oneView
	Generation []int `arg:"" optional:"" help:"Numbers of generations. Default: all that are being built."`
}

// Help says what is shown.
func (*viewProgress) Help() string {
	return `On a terminal it shows a bar for each; else a line each second. Ctrl-C ends the following, and nothing
else. It ends by itself when all are ready, with 1 if one is retired meanwhile, or if the application
does not answer for as long as --timeout says. With --json it prints what the application answers of
each, twice a second at most.`
}

// Run follows them.
func (c *viewProgress) Run(ctx context.Context, out io.Writer, n notes) error {
	wanted := c.Generation
	if len(wanted) == 0 {
		all, err := c.generations(ctx, io.Discard)
		if err != nil {
			return err
		}
		for _, g := range all {
			if g.State == building {
				wanted = append(wanted, g.Number)
			}
		}
	}
	if len(wanted) == 0 {
		return c.say(out, "no generation of %s is being built", c.View)
	}
	return c.follow(ctx, out, n, wanted)
}

type viewCompare struct {
	oneGeneration
	Limit int `default:"20" placeholder:"N" help:"Show so many differences at most. Default: ${default}, which is all that an application tells."`
}

// Help says how it ends.
func (*viewCompare) Help() string {
	return `Both generations are held at one place of the log while they are compared, a partition at a time; it
exits with 3 where they differ. It may take minutes, and changes nothing. Of each difference it shows
the fields that are not the same; --json has them whole.`
}

// errDiffer is that a comparison found differences.
var errDiffer = errors.New("the generations differ")

// Run compares them.
func (c *viewCompare) Run(ctx context.Context, out io.Writer) error {
	var got comparison
	if err := c.ask(ctx, out, c.within(comparisonTime), http.MethodPost, c.path("compare"), nil, &got); err != nil {
		if ctx.Err() != nil {
			return errors.New("the comparison was broken off; nothing has changed")
		}
		return err
	}
	if !c.JSON {
		if err := got.print(out, c.View, c.Generation, c.Limit); err != nil {
			return err
		}
	}
	if !got.Equal {
		return fmt.Errorf("%w: %s and the one that is read", errDiffer, c.named(c.Generation))
	}
	return nil
}

type viewSwitch struct {
	oneGeneration
	byFlag
	Force  bool   `help:"Switch though it lags or differs; needs a reason."`
	Reason string `placeholder:"TEXT" help:"Why it is forced, which is recorded, at most 256 bytes."`
}

// Validate checks the flags; kong calls it.
func (c *viewSwitch) Validate() error {
	switch {
	case c.Force && strings.TrimSpace(c.Reason) == "":
		return errors.New("--force needs --reason=TEXT, which is recorded")
	case !c.Force && c.Reason != "":
		return errors.New("--reason is that of --force, which is not given")
	}
	return c.oneGeneration.Validate()
}

// Run switches.
func (c *viewSwitch) Run(ctx context.Context, out io.Writer) error {
	in := struct {
		Force  bool   `json:"force,omitempty"`
		Reason string `json:"reason,omitempty"`
		By     string `json:"by,omitempty"`
	}{c.Force, c.Reason, c.By}
	if err := c.ask(ctx, out, c.within(comparisonTime), http.MethodPost, c.path("switch"), in, nil); err != nil {
		return c.broken(ctx, err)
	}
	return c.say(out, "%s is read", c.named(c.Generation))
}

type viewRollback struct {
	oneView
	byFlag
}

// Run undoes the last switch.
func (c *viewRollback) Run(ctx context.Context, out io.Writer) error {
	in := struct {
		By string `json:"by,omitempty"`
	}{c.By}
	var back struct{ Generation int }
	if err := c.ask(ctx, out, c.within(requestTime), http.MethodPost, c.path("rollback"), in, &back); err != nil {
		return c.broken(ctx, err)
	}
	return c.say(out, "%s is read", c.named(back.Generation))
}

type viewRetire struct {
	oneGeneration
	byFlag
}

// Run gives it up.
func (c *viewRetire) Run(ctx context.Context, out io.Writer) error {
	path := c.path()
	if c.By != "" {
		path += "?" + url.Values{"by": {c.By}}.Encode()
	}
	if err := c.ask(ctx, out, c.within(requestTime), http.MethodDelete, path, nil, nil); err != nil {
		return c.broken(ctx, err)
	}
	return c.say(out, "%s is given up, and deleted soon", c.named(c.Generation))
}
