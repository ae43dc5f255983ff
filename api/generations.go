package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Limits of requests about generations.
const (
	maxOrder   = 4 << 10          // bytes of a body
	maxName    = 256              // bytes of who wants a change
	maxTending = 8                // that are under way at once
	compareFor = 10 * time.Minute // that one which compares may take
)

// unnamed is who is recorded for a request that does not say it.
const unnamed = "admin API"

// rebuildOrder is the body of POST /v1/views/{view}/generations.
type rebuildOrder struct {
	Version int    `json:"version,omitempty" minimum:"1" maximum:"2147483647" doc:"Of the fold. Default: the greatest that the program carries"`
	Rate    int    `json:"rate,omitempty" minimum:"0" maximum:"2147483647" doc:"Events a second that it may take over the whole application until it has caught up once. Default: 0, no limit"`
	By      string `json:"by,omitempty" maxLength:"256" doc:"Who wants it, which is recorded"`
}

// switchOrder is the body of POST /v1/views/{view}/generations/{number}/switch.
type switchOrder struct {
	Force  bool   `json:"force,omitempty" doc:"Though it lags or differs"`
	Reason string `json:"reason,omitempty" maxLength:"256" doc:"Of force, which needs one; it is recorded"`
	By     string `json:"by,omitempty" maxLength:"256" doc:"Who wants it, which is recorded"`
}

// rollbackOrder is the body of POST /v1/views/{view}/rollback.
type rollbackOrder struct {
	By string `json:"by,omitempty" maxLength:"256" doc:"Who wants it, which is recorded"`
}

// generation is one of a view as operators see it.
type generation struct {
	Generation int       `json:"generation" doc:"Its number, counted up per view"`
	Version    int       `json:"version" doc:"Of the fold that makes it"`
	State      string    `json:"state" enum:"building,ready,read,retired"`
	Lag        int64     `json:"lag" doc:"Events and derived records that it is behind the end of the log"`
	Done       int64     `json:"done" doc:"Events that it has passed"`
	End        int64     `json:"end" doc:"Events that the log has"`
	Rate       float64   `json:"events_per_second" doc:"That it has taken in the last seconds"`
	Left       float64   `json:"seconds_left" doc:"Until it has caught up at that pace; 0: it has, or nobody can say"`
	Parked     int       `json:"parked" doc:"Keys that it holds back in the partitions that this process serves"`
	Carried    bool      `json:"carried" doc:"Whether processes that carry its version serve all partitions"`
	Created    time.Time `json:"created"`
	By         string    `json:"by" doc:"Who wanted it"`
	Error      string    `json:"error,omitempty" doc:"Why it does not go on; absent while it does"`
	Shadow     *shadowed `json:"shadow,omitempty" doc:"What came of asking it a share of the queries too; absent if it was not asked, since this process began"`
}

// generationList is those of one view.
type generationList struct {
	Items []generation `json:"items" nullable:"false" doc:"By number; of retired ones the last 100"`
}

// tendedView is a view with its generations.
type tendedView struct {
	View        string       `json:"view" doc:"Its name"`
	Kind        string       `json:"kind" enum:"document,feed,ranking,search" doc:"How it is asked"`
	Generations []generation `json:"generations" nullable:"false" doc:"By number; of retired ones the last 100"`
}

// viewList is all views.
type viewList struct {
	Items []tendedView `json:"items" nullable:"false"`
}

// numbered names the generation that a change was about.
type numbered struct {
	Generation int `json:"generation"`
}

// comparison is what comparing a generation with the one that is read came to; of pairs
// the first is that one's.
type comparison struct {
	Equal       bool         `json:"equal"`
	Documents   [2]int64     `json:"documents" nullable:"false" doc:"How many: of the generation that is read, and of the other"`
	Entries     [2]int64     `json:"entries" nullable:"false" doc:"Of sets, likewise"`
	Digests     [2]string    `json:"digests" nullable:"false" doc:"Of all documents and entries, likewise"`
	Parked      [2]int       `json:"parked" nullable:"false" doc:"Keys that are held back, likewise; one that holds any back is not equal"`
	Position    string       `json:"position" doc:"Where in the log both were held"`
	Differences []difference `json:"differences" nullable:"false" doc:"The first 20"`
}

type difference struct {
	Key   string          `json:"key"`
	Read  json.RawMessage `json:"read" doc:"In the generation that is read; null: it is not there"`
	Other json.RawMessage `json:"other" doc:"In the other; null: it is not there"`
}

func generationOf(g framework.Generation) generation {
	out := generation{Generation: g.Number, Version: g.Version, State: string(g.State), Lag: g.Lag, Done: g.Done, End: g.End,
		Rate: g.Rate, Left: g.Left.Seconds(), Parked: g.Parked, Carried: g.Carried, Created: g.Created, By: g.By}
	if g.Err != nil {
		out.Error = g.Err.Error()
	}
	if g.Shadowed != nil {
		out.Shadow = shadowedOf(g.Shadowed)
	}
	return out
}

// tending is the operators' door to the generations of views.
type tending struct {
	*server
	toRebuild order[rebuildOrder]
	toSwitch  order[switchOrder]
	toBack    order[rollbackOrder]
	toShadow  order[shadowOrder]
}

// The paths about generations.
const (
	viewsPath      = "/v1/views"
	allPath        = "/v1/views/{view}/generations"
	onePath        = "/v1/views/{view}/generations/{number}"
	rollbackPath   = "/v1/views/{view}/rollback"
	mayYetBeMade   = " An answer 503 unresolved says that the change may yet be made: look, or ask again, for each may be repeated."
	comparisonTime = " It takes 10 min at most."
)

// addGenerations adds the routes of views' generations. They have a bound of their own,
// so that they answer where the API is busy.
func (o *operators) addGenerations() {
	t := &tending{server: o.server}
	room := make(room, maxTending)
	for _, a := range slices.Concat(t.looks(), t.changes()) {
		a.tag, a.room = "views", room
		o.add(a)
	}
}

var (
	ofView       = pathParam("view", "The view's name", &huma.Schema{Type: huma.TypeString})
	ofGeneration = []*huma.Param{ofView, pathParam("number", "The generation's number", number(1, nil, nil))}
)

// looks are the routes that change nothing.
func (t *tending) looks() []adminRoute {
	fails := []*kind{malformed, unknown, invalid, limited, unavailable}
	return []adminRoute{
		{method: http.MethodGet, path: viewsPath, id: "list_views", summary: "List the views",
			about:  "Answers with all views and their generations, as this process knows them.",
			answer: answer{about: "The views.", of: reflect.TypeFor[viewList]()}, fails: []*kind{malformed, invalid, limited, unavailable}, do: t.views},
		{method: http.MethodGet, path: allPath, id: "list_generations", summary: "List the generations of a view",
			about:  "Answers with the generations of a view, by number, as this process knows them.",
			params: []*huma.Param{ofView}, answer: answer{about: "The generations.", of: reflect.TypeFor[generationList]()}, fails: fails, do: t.about(t.list)},
		{method: http.MethodGet, path: onePath, id: "get_generation", summary: "Read one generation",
			about:  "Answers with one generation: what it is, how far, how fast, and how long it will take.",
			params: ofGeneration, answer: answer{about: "The generation.", of: reflect.TypeFor[generation]()}, fails: fails, do: t.about(t.show)},
		{method: http.MethodPost, path: onePath + "/compare", id: "compare_generation", summary: "Compare a generation with the one that is read",
			about: "Holds both at one place of the log and goes through all that they keep. 409 while that may not be: of what is being filled, " +
				"or is the one that is read." + comparisonTime,
			params: ofGeneration, answer: answer{about: "Whether they hold the same.", of: reflect.TypeFor[comparison]()},
			fails: append([]*kind{wrongState}, fails...), do: t.about(t.compare)},
	}
}

// changes are the routes that change what is built, read or kept.
func (t *tending) changes() []adminRoute {
	bare := []*kind{malformed, unknown, wrongState, invalid, limited, unavailable, unresolved}
	fails := append([]*kind{tooLarge, wrongMedia, tooSlow}, bare...)
	changed := answer{about: "The generation.", of: reflect.TypeFor[numbered]()}
	begun := changed
	begun.status, begun.headers = http.StatusAccepted, []namedHeader{named("Location", "The generation's path", &huma.Schema{Type: huma.TypeString})}
	return []adminRoute{
		{method: http.MethodPost, path: allPath, id: "rebuild_view", summary: "Rebuild a view",
			about: "Lets a generation be built beside the one that is read. While one of the version is, or is ready, and was begun after the one " +
				"that is read, it is that one." + mayYetBeMade,
			params: []*huma.Param{ofView}, takes: &t.toRebuild, answer: begun, fails: fails, do: t.about(t.rebuild)},
		{method: http.MethodPost, path: onePath + "/switch", id: "switch_generation", summary: "Let a generation be read",
			about: "Lets the generation be read, after it was compared with the one that is, unless forced. 409 while it is being filled, or lags, " +
				"or they differ, or it holds keys back, or it was asked queries too and answered otherwise; 422 for force without a reason." + comparisonTime + mayYetBeMade,
			params: ofGeneration, takes: &t.toSwitch, answer: changed, fails: fails, do: t.about(t.change)},
		{method: http.MethodPost, path: onePath + "/shadow", id: "shadow_generation", summary: "Ask a generation a share of the queries too",
			about: "Lets a share of the view's queries be asked too of a generation that is not read, and compares what both answer; the generation " +
				"shows what came of it. Whoever asks the query does not notice. All processes do so, until the share is 0, the generation is retired, or the view is " +
				"switched. 409 while it is being filled, cannot be followed, is the one that is read, or is retired." + mayYetBeMade,
			params: ofGeneration, takes: &t.toShadow,
			answer: answer{about: "The share of the queries that it is asked too.", of: reflect.TypeFor[shadowing]()}, fails: fails, do: t.about(t.shadow)},
		{method: http.MethodPost, path: rollbackPath, id: "rollback_view", summary: "Undo the last switch of a view",
			about:  "Lets the generation be read that was before. 409 where there is none to go back to." + mayYetBeMade,
			params: []*huma.Param{ofView}, takes: &t.toBack, answer: changed, fails: fails, do: t.about(t.rollback)},
		{method: http.MethodDelete, path: onePath, id: "retire_generation", summary: "Retire a generation",
			about: "Gives a generation up, which is then deleted. 409 for the one that is read." + mayYetBeMade,
			params: slices.Concat(ofGeneration, []*huma.Param{queryParam("by", "Who wants it, which is recorded.",
				&huma.Schema{Type: huma.TypeString, MaxLength: ptr(maxName)})}),
			answer: answer{status: http.StatusNoContent, about: "It is given up."}, fails: bare, do: t.about(t.retire)},
	}
}

// about returns a handler that finds what a request is about. But for DELETE none has
// parameters.
func (t *tending) about(h func(w *response, r *http.Request, of target) error) handler {
	return func(w *response, r *http.Request) error {
		of, err := t.target(r)
		if err == nil && r.Method != http.MethodDelete {
			err = noQuery(r)
		}
		if err != nil {
			return err
		}
		return h(w, r, of)
	}
}

// views answers with all views.
func (t *tending) views(w *response, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	all := viewList{Items: []tendedView{}}
	for _, name := range t.names.views {
		list, err := t.generations(r.Context(), name)
		if err != nil {
			return err
		}
		all.Items = append(all.Items, tendedView{name, string(t.names.kinds[name]), list})
	}
	return w.fresh(http.StatusOK, all)
}

// generations returns those of a view.
func (t *tending) generations(ctx context.Context, view string) ([]generation, error) {
	all, err := t.app.Generations(ctx, view)
	list := make([]generation, len(all))
	for i, g := range all {
		list[i] = generationOf(g)
	}
	return list, err
}

// list answers with the generations of a view.
func (t *tending) list(w *response, r *http.Request, of target) error {
	all, err := t.generations(r.Context(), of.view)
	if err != nil {
		return err
	}
	return w.fresh(http.StatusOK, generationList{all})
}

// show answers with one generation.
func (t *tending) show(w *response, r *http.Request, of target) error {
	all, err := t.generations(r.Context(), of.view)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(g generation) bool { return g.Generation == of.number })
	if at < 0 {
		return noGeneration(of.view, strconv.Itoa(of.number))
	}
	return w.fresh(http.StatusOK, all[at])
}

// rebuild lets a generation be built.
func (t *tending) rebuild(w *response, r *http.Request, of target) error {
	order := rebuildOrder{By: unnamed}
	if err := t.toRebuild.read(w, r, &order); err != nil {
		return err
	}
	number, err := t.app.Rebuild(r.Context(), of.view, framework.Rebuild{Version: order.Version, Rate: order.Rate, By: order.By})
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/views/%s/generations/%d", url.PathEscape(of.view), number))
	return w.fresh(http.StatusAccepted, numbered{number})
}

// compare answers whether a generation holds what the one that is read does.
func (t *tending) compare(w *response, r *http.Request, of target) error {
	ctx, end := t.compares(w, r)
	defer end()
	c, err := t.app.Compare(ctx, of.view, of.number)
	if err != nil {
		return err
	}
	out := comparison{Equal: c.Equal, Documents: c.Documents, Entries: c.Entries, Digests: c.Digests, Parked: c.Parked, Position: c.Positions.String(),
		Differences: make([]difference, len(c.Differences))}
	for i, d := range c.Differences {
		out.Differences[i] = difference(d)
	}
	return w.fresh(http.StatusOK, out)
}

// compares lets a request take as long as a comparison may.
func (t *tending) compares(w *response, r *http.Request) (context.Context, context.CancelFunc) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(clock.System.Now().Add(compareFor + lastWrite))
	return context.WithTimeout(r.Context(), compareFor)
}

// change lets a generation be read.
func (t *tending) change(w *response, r *http.Request, of target) error {
	order := switchOrder{By: unnamed}
	if err := t.toSwitch.read(w, r, &order); err != nil {
		return err
	}
	ctx, end := t.compares(w, r) // it does, unless forced
	defer end()
	if err := t.app.Switch(ctx, of.view, of.number, framework.Switch(order)); err != nil {
		return err
	}
	return w.fresh(http.StatusOK, numbered{of.number})
}

// rollback undoes the last switch.
func (t *tending) rollback(w *response, r *http.Request, of target) error {
	order := rollbackOrder{By: unnamed}
	if err := t.toBack.read(w, r, &order); err != nil {
		return err
	}
	number, err := t.app.Rollback(r.Context(), of.view, order.By)
	if err != nil {
		return err
	}
	return w.fresh(http.StatusOK, numbered{number})
}

// retire gives a generation up. Who wants it stands in the query string, for a DELETE
// has no body.
func (t *tending) retire(w *response, r *http.Request, of target) error {
	q, err := newQuery(r, "by")
	if err != nil {
		return err
	}
	by := q.text("by", maxName)
	if err := q.problem(); err != nil {
		return err
	}
	if by == "" {
		by = unnamed
	}
	if err := t.app.Retire(r.Context(), of.view, of.number, by); err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// target is what a request is about: a view or, where its path names one, a generation
// of it.
type target struct {
	view   string
	number int
}

// target returns what the path names.
func (t *tending) target(r *http.Request) (of target, err error) {
	of.view = r.PathValue("view")
	if !slices.Contains(t.names.views, of.view) {
		return of, unknown.because("unknown view %.80q; there are: %s", of.view, list(t.names.views))
	}
	text := r.PathValue("number")
	if text == "" {
		return of, nil
	}
	of.number, err = strconv.Atoi(text)
	if err != nil || of.number < 1 || strconv.Itoa(of.number) != text {
		return of, noGeneration(of.view, fmt.Sprintf("%.80q", text))
	}
	return of, nil
}

// noGeneration says that a view has no generation of this number, or that it is none.
func noGeneration(view, number string) *problem {
	return unknown.because("unknown generation %s of view %q; want the number of one, from 1", number, view)
}
