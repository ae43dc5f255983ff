// Package api is an application's HTTP door: its commands, states, histories and
// views as a JSON API, with an OpenAPI description and a page that shows it.
//
//	app := framework.New(embedded.Config("./data"))
//	commands.Handle(app, Tribes, "found", Tribe.Found)
//	projections.Register(app, Cards)
//	log.Fatal(api.Serve(ctx, app, "127.0.0.1:8080", api.CallerHeader("User")))
//
// What is registered decides what there is:
//
//	POST /v1/{aggregate}/{id}/{command}  the body is the command; answers {version, position, events}
//	GET  /v1/{aggregate}/{id}            the folded state, by now or of a moment of the past
//	GET  /v1/{aggregate}/{id}/events     its events: {items, next}
//	GET  /v1/views/{view}/{key}          a document, or a page {items, next} of a feed or ranking
//	     with Accept: text/event-stream now, and each time that it has changed
//	GET  /v1/views/{view}?q=…            a search's page {items, total}
//	GET  /openapi.json, /docs            the description, for programs and for people
//	GET  /healthz, /readyz               alive; ready, or 503 with the reasons
//
// A command's answer carries the header Position; a query that brings it as
// Min-Position sees what the command did. Every error is problem+json (RFC 9457),
// whose type says what kind it is; GET /problems/{kind} explains each.
//
// Where several processes share an application, each takes every request: what
// another one owns is passed on to it, once.
//
// [Serve] runs all of it. Whoever has a server mounts [Handler], and [Admin] for
// operators, and runs the App.
package api

import (
	"context"
	"net/http"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// app is what the door needs of an application.
type app interface {
	Config() framework.Config
	Aggregates() []framework.Aggregate
	Commands() []framework.Command
	Views() []framework.View

	Advertise(addr string) error
	Run(ctx context.Context) error
	Unready() []string
	Members() []framework.Member
	Generations(ctx context.Context, view string) ([]framework.Generation, error)
	Rebuild(ctx context.Context, view string, r framework.Rebuild) (number int, err error)
	Compare(ctx context.Context, view string, number int) (framework.Comparison, error)
	Switch(ctx context.Context, view string, number int, s framework.Switch) error
	Rollback(ctx context.Context, view string, by string) (number int, err error)
	Retire(ctx context.Context, view string, number int, by string) error
	Shadow(ctx context.Context, view string, number int, s framework.Shadow) error
	Explain(ctx context.Context, view, key string, e framework.Explain) (framework.Explanation, error)
	DeadLetters(ctx context.Context, after string, limit int) ([]framework.DeadLetter, error)
	DeadLetter(ctx context.Context, id string) (framework.DeadLetter, []stream.Letter, error)
	Rule(ctx context.Context, id string, act stream.Act, reason, by string) (framework.Ruled, error)
	Locate(aggregate, id string) framework.Place
	Execute(ctx context.Context, c framework.Call) (cluster.Result, error)
	StateAsOf(ctx context.Context, aggregate, id string, q framework.StateQuery) (cluster.State, error)
	History(ctx context.Context, aggregate, id string, after uint64, limit int, min eventlog.Positions) ([]cluster.Recorded, eventlog.Position, error)
	Held(ctx context.Context, age time.Duration) (eventlog.Positions, error)
	Ask(ctx context.Context, view string, q framework.Query) (framework.Answer, error)
	Notify(view string, q framework.Query, c chan<- struct{}) (forget func(), err error)
}

var _ app = (*framework.App)(nil)

// Serve runs a and answers HTTP on addr, such as "127.0.0.1:8080", until ctx
// ends. Then it stops accepting, lets requests under way finish for at most
// [ShutdownTimeout], stops a, and returns nil. It returns early with the first
// error of a or of a listener; that an address is in use is said with the remedy.
// On a loopback address it tells a so by App.Advertise, so that processes of one
// machine find each other.
//
// Register with a before. Serve panics on options and on body types that cannot
// work, naming the fix.
func Serve(ctx context.Context, a *framework.App, addr string, options ...Option) error {
	return serve(ctx, a, addr, options)
}

// Handler returns the API of a, for a server of one's own; it answers once a
// runs. The server is to bound headers and time; Handler bounds bodies and the
// number of requests at once. Where processes share the application, say in
// framework.Config.Advertise where the server is, and prefer Serve: it alone sees
// at once that a client has gone, and passes nothing on for it.
//
// A [Caller] that reads a cookie needs protection against cross-site requests:
// wrap the Handler in an http.CrossOriginProtection.
func Handler(a *framework.App, options ...Option) http.Handler {
	return newServer(a, options).mux
}

// Admin returns the operators' API of a: /v1/members with the processes and what
// each owns, /v1/views with the generations of views, what is done with them and what
// their documents come from, /v1/dead-letters with the events that cannot be folded,
// /metrics for Prometheus, /debug/pprof, /healthz and /readyz; /openapi.json
// describes it, and /docs shows that. It answers only requests whose Host is a
// loopback name or address, that of [AdminAddr], or the address on which the
// connection arrived, and whose Origin, if any, is the same; others get 403, so that
// a web page in an operator's browser cannot reach it.
//
// Its figures are those of Config.Metrics if that is also a prometheus.Gatherer,
// as *prometheus.Registry is; Go's and the process's own are added to it. If not,
// they are these and those of requests, the latter only where Serve runs both.
//
// It imports net/http/pprof, which also adds its pages to http.DefaultServeMux:
// do not serve that one to strangers.
func Admin(a *framework.App, options ...Option) http.Handler {
	return newServer(a, options).admin()
}
