package layers

import "slices"

// Rules is everything that is checked.
type Rules struct {
	Layers    []Layer
	Libraries []Library
	Pure      []Pure
	Programs  []Program
	Source    Source
}

// Layer says which of the module's own packages a package may import. The first
// layer whose Packages match counts; a package without a layer is a violation.
type Layer struct {
	Packages string   // a pattern: "a/b", "a/*" one level below, "a/..." a and below
	May      []string // patterns
	Why      string
}

// Library says where a library of others may be imported.
type Library struct {
	Path  string   // an import path; all below it is meant as well, unless Root
	Root  bool     // this package alone
	In    []string // patterns; none: nowhere
	Tests bool     // test files are held to it too
	Why   string
}

// Pure says which packages stand on the standard library and on our own
// packages alone, by whatever chain of imports.
type Pure struct {
	Packages string
	Why      string
}

// Program bounds what a program links.
type Program struct {
	Package string
	Most    int      // packages of others
	Never   []string // libraries
	Why     string
}

// Source is the rules about the text of the packages.
type Source struct {
	Clock      []string // packages that may read the clock and draw random numbers
	Seeded     []string // packages that may draw them from a generator with a seed
	Documented []string // packages whose every exported name has a doc comment
	Name       int      // lines of a function from which on it is named in the test's output
	Function   int      // the most lines of a function
	File       int      // the most lines of a file
}

// The layers below each other, as lists of what the next one may import.
var (
	event     = []string{"framework/event", "internal/..."}
	contracts = join(event, "framework/eventlog", "framework/partition", "framework/snapshot", "framework/view")
	stream    = join(contracts, "framework/stream/...")
	cluster   = join(stream, "framework/cluster/...")
	framework = join(cluster, "framework")
	model     = join(framework, "aggregates", "commands", "projections")
	api       = join(model, "api/...")
	wiring    = join(api, "framework/eventlog/*", "framework/view/*", "framework/snapshot/*", "framework/bus")
)

func join(a []string, b ...string) []string { return append(slices.Clip(a), b...) }

// Default is the rules of this module: imports point one way,
//
//	event ← {eventlog, partition, snapshot, view} ← stream ← cluster ← framework
//	      ← {commands, projections} ← api ← {embedded, servers, examples}
var Default = Rules{
	Layers: []Layer{
		{"internal/...", event,
			"what all may use stands on the events alone, or it would drag its users' layers in"},
		{"framework/event", nil,
			"facts and their envelopes are the ground: whoever reads a log needs them and nothing else"},
		{"framework/eventlog", event, "the log's interface knows records, not what is made of them"},
		{"framework/partition", event, "the fold rule is pure: it takes records as bytes, wherever they come from"},
		{"framework/snapshot", event, "snapshots are bytes under a name; what they hold is their owner's matter"},
		{"framework/view", event, "stores keep documents by key; the log that made them is not theirs"},
		{"framework/eventlog/*", join(event, "framework/eventlog"),
			"a driver of the log implements its interface and knows nothing of who uses it, or of another driver"},
		{"framework/eventlog/kafkalog/kafkatest", join(event, "framework/eventlog", "framework/eventlog/kafkalog"),
			"a driver's test kit is that driver's"},
		{"framework/view/*", join(event, "framework/view"),
			"a store's driver implements its interface and knows nothing of who uses it, or of another driver"},
		{"framework/snapshot/*", join(event, "framework/snapshot"),
			"a blob store's driver implements its interface and knows nothing of who uses it"},
		{"framework/stream/...", stream, "the engine runs folds over the log; who owns a partition is decided above it"},
		{"framework/cluster/...", cluster, "owners stand on the engine; the application is put together above them"},
		{"framework", framework, "App wires interfaces; it imports no driver and none of the four packages that register with it"},
		{"aggregates", event, "a domain package imports aggregates and event only, so aggregates may need no more than event"},
		{"commands", join(framework, "aggregates"), "commands is a door to the framework beside projections, not on top of it"},
		{"projections", join(framework, "aggregates"), "projections is a door to the framework beside commands, not on top of it"},
		{"api/...", api, "HTTP is a door to an App, whatever it runs on: it knows no driver and no wiring"},
		{"framework/embedded", wiring, "a wiring brings drivers together, and stands beside the other wirings"},
		{"framework/servers", join(wiring, "framework/embedded"), "a wiring brings drivers together; servers alone may fall back on embedded"},
		{"framework/frameworktest", join(wiring, "framework/embedded"), "it is an App for users' tests, and stands beside the wirings"},
		{"framework/bus", framework, "effects are fed by a projection task; they do not know HTTP or a wiring"},
		{"cmd/...", join(wiring, "framework/embedded", "framework/servers"), "a tool is nobody's library, and uses no example"},
		{"examples/*", join(wiring, "framework/embedded", "framework/servers", "framework/frameworktest", "examples/..."),
			"an example shows what a user may import"},
		{"examples/*/views", join(model, "examples/*/*"), "views are declared from the domain with projections; they know no store and no HTTP"},
		{"examples/*/effects", join(model, "framework/bus", "examples/*/*"),
			"effects are declared from the domain with projections, as messages; they know no wiring and no HTTP"},
		{"examples/*/web/...", []string{"internal/..."}, "pages talk to the API over HTTP, like anybody's"},
		{"examples/*/*", []string{"aggregates", "framework/event"},
			"a domain package imports aggregates and event only, so that its test needs no framework and no server"},
		{"doc/start", join(wiring, "framework/embedded", "doc/start/..."), "the guide's program shows what a user may import"},
		{"doc/start/*", []string{"aggregates", "framework/event"}, "a domain package imports aggregates and event only, in the guide too"},
		{"doc/streams", wiring, "the guide's program shows what a user may import"},
		{"tests/...", []string{"..."}, "tests may use everything"},
	},
	Libraries: []Library{
		{Path: "github.com/segmentio/kafka-go", In: []string{"framework/eventlog/kafkalog/...", "framework/bus"},
			Why: "a driver's library is imported in that driver's folder alone"},
		{Path: "github.com/twmb/franz-go", In: []string{"framework/eventlog/kafkalog/...", "tests/bench/ledger"}, // the bare loops
			Why: "a driver's library is imported in that driver's folder alone; what others need of it is an optional interface of eventlog"},
		{Path: "go.etcd.io/bbolt", In: []string{"framework/eventlog/boltlog"},
			Why: "a driver's library is imported in that driver's folder alone"},
		{Path: "github.com/redis/go-redis/v9", In: []string{"framework/view/redisstore", "framework/embedded", "framework/servers"},
			Why: "the store's driver uses the client; the wirings alone make one"},
		{Path: "github.com/alicebob/miniredis/v2", In: []string{"framework/embedded"},
			Why: "the Redis in the process is the embedded wiring's; the driver cannot tell it from a server"},
		{Path: "github.com/blevesearch", In: []string{"framework/view/blevestore"},
			Why: "a driver's library is imported in that driver's folder alone"},
		{Path: "github.com/elastic/go-elasticsearch/v8", Root: true, Tests: true,
			Why: "the root package compiles 906 packages and takes minutes"},
		{Path: "github.com/elastic", In: []string{"framework/view/esstore", "framework/servers"},
			Why: "the store's driver uses esapi and elastictransport; the wiring alone makes a transport"},
		{Path: "github.com/danielgtaylor/huma/v2", In: []string{"api/..."},
			Why: "HTTP's libraries stay behind api, which shows the standard library's types only"},
		{Path: "github.com/go-chi/chi/v5", In: []string{"api/..."},
			Why: "HTTP's libraries stay behind api, which shows the standard library's types only"},
		{Path: "github.com/alecthomas/kong", In: []string{"cmd/..."},
			Why: "command lines are the tools' matter; an application has the flags it wants"},
		{Path: "github.com/vbauerster/mpb", In: []string{"cmd/..."},
			Why: "progress bars are the tools' matter"},
	},
	Pure: []Pure{
		{"framework/event", "whoever reads a log compiles it"},
		{"framework/partition", "the rule that every guarantee rests on depends on nobody else's code"},
		{"aggregates", "a domain compiles it, and its tests in a second"},
		{"framework/stream", "the engine must be whole in simulation, where nothing but its seed decides"},
	},
	Programs: []Program{
		{Package: "examples/drivetribe", Most: 300,
			Never: []string{"github.com/goccy/go-json", "github.com/bytedance/sonic", "github.com/alecthomas/kong",
				"github.com/vbauerster/mpb", "go.opentelemetry.io/otel/exporters", "github.com/aws/aws-sdk-go-v2"},
			Why: "its first compilation is a user's first impression"},
	},
	Source: Source{
		Clock: []string{"internal/clock", "framework/eventlog/eventlogtest", "framework/eventlog/kafkalog/kafkatest",
			"framework/view/viewtest", "framework/frameworktest", "tests/..."}, // the clock itself, and kits for tests
		Seeded: []string{"framework/eventlog/memlog", "framework/stream/..."}, // faults, and the simulation of a topology
		Documented: []string{"framework/...", "aggregates", "commands", "projections",
			"api/..."},
		Name: 70, Function: 100, File: 700,
	},
}
