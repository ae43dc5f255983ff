package framework

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// App is an application. Register with it first, then Run it once; its other
// methods are safe for concurrent use while it runs.
type App struct {
	cfg        Config
	aggregates map[string]Aggregate
	commands   map[commandKey]Command
	views      map[string]View         // the greatest version of each
	versions   map[string]map[int]View // all that are carried
	effects    map[string]Effect
	*running
}

type commandKey struct{ aggregate, name string }

var appName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// New returns an application. It panics on a Config that cannot work.
func New(cfg Config) *App {
	cfg.App = cmp.Or(cfg.App, "app")
	cfg.Partitions = cmp.Or(cfg.Partitions, 16)
	cfg.AppendTimeout = cmp.Or(cfg.AppendTimeout, 5*time.Second)
	cfg.CommandWait = cmp.Or(cfg.CommandWait, 10*time.Second)
	cfg.ReadWait = cmp.Or(cfg.ReadWait, 5*time.Second)
	cfg.RememberAge = cmp.Or(cfg.RememberAge, 24*time.Hour)
	cfg.RememberCount = cmp.Or(cfg.RememberCount, 100_000)
	cfg.MaxQueue = cmp.Or(cfg.MaxQueue, 4096)
	cfg.SnapshotEvery = cmp.Or(cfg.SnapshotEvery, stream.SnapshotEvery)
	cfg.Clock = cmp.Or(cfg.Clock, clock.System)
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	switch {
	case !appName.MatchString(cfg.App):
		panic(fmt.Errorf("framework: Config.App %q must match %s", cfg.App, appName))
	case cfg.Partitions < 1 || cfg.Partitions > MaxPartitions:
		panic(fmt.Errorf("framework: Config.Partitions is %d, want 1 to %d", cfg.Partitions, MaxPartitions))
	case min(cfg.AppendTimeout, cfg.CommandWait, cfg.ReadWait, cfg.RememberAge, cfg.SnapshotEvery) < 0 || min(cfg.RememberCount, cfg.MaxQueue) < 0:
		panic("framework: none of Config.AppendTimeout, Config.CommandWait, Config.ReadWait, Config.RememberAge, Config.SnapshotEvery, Config.RememberCount and Config.MaxQueue may be negative")
	case min(cfg.MaxParkedKeys, cfg.MaxParkedEvents) < 0:
		panic(fmt.Errorf("framework: Config.MaxParkedKeys is %d, Config.MaxParkedEvents %d, want none below zero", cfg.MaxParkedKeys, cfg.MaxParkedEvents))
	case cfg.Heartbeat != 0 && cfg.Heartbeat < time.Second:
		panic(fmt.Errorf("framework: Config.Heartbeat is %v, want 0 or at least 1s", cfg.Heartbeat))
	case cfg.Advertise != "" && CheckAdvertise(cfg.Advertise) != nil:
		panic(fmt.Errorf("framework: Config.Advertise: %w", CheckAdvertise(cfg.Advertise)))
	case cfg.Open == nil:
		panic("framework: Config.Open is nil; take a Config from package embedded or servers")
	}
	return &App{cfg: cfg, aggregates: map[string]Aggregate{}, commands: map[commandKey]Command{}, views: map[string]View{}, versions: map[string]map[int]View{},
		effects: map[string]Effect{}, running: newRunning()}
}

// Config returns the configuration with its defaults filled in.
func (a *App) Config() Config { return a.cfg }

// AddCommand registers a command; use commands.Handle. It panics on a name that
// is taken or does not fit.
func (a *App) AddCommand(c Command) {
	t := c.Aggregate.TypeName()
	known, ok := a.aggregates[t]
	_, taken := a.commands[commandKey{t, c.Name}]
	switch {
	case ok && known != c.Aggregate:
		panic(fmt.Errorf("aggregate type %q is declared twice; make it one package variable", t))
	case !appName.MatchString(c.Name) || c.Name == "events":
		panic(fmt.Errorf("command %s %q: a name must match %s and not be \"events\"", t, c.Name, appName))
	case taken:
		panic(fmt.Errorf("command %s %s is registered twice", t, c.Name))
	}
	a.aggregates[t] = c.Aggregate
	a.commands[commandKey{t, c.Name}] = c
}

// AddView registers a view, or another version of one; use projections.Register. The
// greatest version is the current one, whatever the order: documents have its type,
// and a rebuild makes it. It panics on a name that is taken or does not fit, and on a
// version that is there or is of another kind.
func (a *App) AddView(v View) {
	v.Version = max(v.Version, 1)
	current, known := a.views[v.Name]
	if !known {
		a.checkName("view", v.Name)
	}
	_, taken := a.versions[v.Name][v.Version]
	switch {
	case taken:
		panic(fmt.Errorf("view %s is registered twice in version %d; register it once, or raise the Version of one", v.Name, v.Version))
	case known && v.Kind != current.Kind:
		panic(fmt.Errorf("view %s is a %s in version %d and a %s in version %d; give one of them another Name", v.Name, current.Kind, current.Version, v.Kind, v.Version))
	case len(a.versions[v.Name]) == control.MaxKept || !known && len(a.views) == control.MaxViews:
		panic(fmt.Errorf("view %s, version %d: at most %d views, and %d versions of each, can be registered", v.Name, v.Version, control.MaxViews, control.MaxKept))
	}
	if err := v.checkParameters(); err != nil {
		panic(fmt.Errorf("view %s: %w", v.Name, err))
	}
	if !known {
		a.versions[v.Name] = make(map[int]View)
	}
	a.versions[v.Name][v.Version] = v
	if v.Version > current.Version {
		a.views[v.Name] = v
	}
}

// The ends of the names of a range's two query parameters; the field's comes before.
const (
	FromParameter = ".from"
	ToParameter   = ".to"
)

// Parameters returns the names of the query parameters of a search: those that every one
// has, then those of its fields, sorted.
func (v *View) Parameters() []string {
	names := v.Fields.Of(view.FieldKind.Exact)
	for _, name := range v.Fields.Of(view.FieldKind.Measured) {
		names = append(names, name+FromParameter, name+ToParameter)
	}
	slices.Sort(names)
	return append([]string{"q", "skip", "limit", "sort", "after"}, names...)
}

// checkParameters returns an error where two query parameters have one name.
func (v *View) checkParameters() error {
	names := v.Parameters()
	slices.Sort(names)
	for i, name := range names {
		if i > 0 && name == names[i-1] {
			return fmt.Errorf("two query parameters are called %q: a field's, or those of its range, and another's; name the field otherwise", name)
		}
	}
	return nil
}

// AddEffect registers an effect; use projections.Register. It panics on a name
// that is taken, by a view too, or does not fit.
func (a *App) AddEffect(e Effect) {
	a.checkName("effect", e.Name)
	a.effects[e.Name] = e
}

// checkName panics on a name that no view or effect may have, or that one has.
func (a *App) checkName(what, name string) {
	_, view := a.views[name]
	_, effect := a.effects[name]
	switch {
	case !appName.MatchString(name):
		panic(fmt.Errorf("%s %q: a name must match %s", what, name, appName))
	case view && what == "view" || effect && what == "effect":
		panic(fmt.Errorf("%s %s is registered twice", what, name))
	case view || effect:
		panic(fmt.Errorf("%s %s: views and effects may not share a name; name one of them otherwise", what, name))
	}
}

// Aggregates returns the aggregate types, by name.
func (a *App) Aggregates() []Aggregate {
	return sorted(a.aggregates, func(x, y Aggregate) int { return cmp.Compare(x.TypeName(), y.TypeName()) })
}

// Commands returns the commands, by aggregate type and name.
func (a *App) Commands() []Command {
	return sorted(a.commands, func(x, y Command) int {
		return cmp.Or(cmp.Compare(x.Aggregate.TypeName(), y.Aggregate.TypeName()), cmp.Compare(x.Name, y.Name))
	})
}

// Views returns the views in their current version, by name.
func (a *App) Views() []View {
	return sorted(a.views, func(x, y View) int { return cmp.Compare(x.Name, y.Name) })
}

// Effects returns the effects, by name.
func (a *App) Effects() []Effect {
	return sorted(a.effects, func(x, y Effect) int { return cmp.Compare(x.Name, y.Name) })
}

func sorted[K comparable, V any](m map[K]V, by func(x, y V) int) []V {
	return slices.SortedFunc(maps.Values(m), by)
}
