package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Variables by which the environment names servers, and by which the program
// finds them.
const (
	envKafka  = "KAFKA_BROKERS"
	envRedis  = "REDIS_ADDR"
	envSearch = "ELASTICSEARCH_URL"
)

// backend is what the program runs on: servers, or nothing but itself.
type backend struct {
	name   string
	kafka  string // brokers, joined by commas; empty: embedded
	redis  string
	search string // URL
}

var embeddedOnly = backend{name: "embedded"}

// backends returns what there is to test on: the servers if the environment names all
// three, else the embedded program.
func backends() []backend {
	if alone() {
		return []backend{embeddedOnly}
	}
	return onServers()
}

// alone reports whether the program is to be tested as it runs by itself: beside servers
// only what they make different is.
func alone() bool { return len(onServers()) == 0 }

// onServers is the servers that the environment names: one backend or none.
func onServers() []backend {
	b := backend{name: "servers", kafka: os.Getenv(envKafka), redis: os.Getenv(envRedis), search: os.Getenv(envSearch)}
	if b.kafka == "" || b.redis == "" || b.search == "" {
		return nil
	}
	return []backend{b}
}

func (b backend) embedded() bool { return b.kafka == "" }

// environment is the settings that the program finds its servers by.
func (b backend) environment() []string {
	if b.embedded() {
		return nil
	}
	return []string{envKafka + "=" + b.kafka, envRedis + "=" + b.redis, envSearch + "=" + b.search}
}

// namesServers reports whether a setting of the environment would make the
// program run on servers, or on others than a test gives it.
func namesServers(setting string) bool {
	name, _, _ := strings.Cut(setting, "=")
	return strings.HasPrefix(name, "KAFKA_") || strings.HasPrefix(name, "REDIS_") || strings.HasPrefix(name, "ELASTICSEARCH_")
}

// site is one application on a backend; its processes have a data folder each.
type site struct {
	backend
	app         string
	dir         string         // of the tally and the data folders
	program     string         // that its processes run, with more flags
	more        []string       //
	generations map[string]int // of views that are not read in generation 1

	running map[int]*program // by number
}

// newSite makes an application that nobody else uses. On servers it is removed
// when the test is over.
func newSite(t testing.TB, b backend) *site {
	t.Helper()
	s := &site{backend: b, app: "e2e-" + strconv.FormatInt(time.Now().UnixNano(), 36), dir: t.TempDir(), program: built, running: make(map[int]*program)}
	if !b.embedded() {
		t.Cleanup(func() { s.remove(t) })
	}
	return s
}

// generation is the one in which a view is read.
func (s *site) generation(view string) int { return max(s.generations[view], 1) }

// data is the data folder of process n.
func (s *site) data(n int) string { return filepath.Join(s.dir, "data-"+strconv.Itoa(n)) }

// launch starts process n.
func (s *site) launch(t testing.TB, n int) *program {
	t.Helper()
	cmd := exec.Command(s.program, append(flags(s.data(n), "--app", s.app), s.more...)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), namesServers), s.environment()...)
	s.running[n] = launchAs(t, cmd)
	return s.running[n]
}

// start starts process n and waits until it says where it listens.
func (s *site) start(t testing.TB, n int) *program {
	t.Helper()
	p := s.launch(t, n)
	p.listen(t)
	return p
}

// startReady starts process n and waits until it is ready.
func (s *site) startReady(t testing.TB, n int) *program {
	t.Helper()
	p := s.start(t, n)
	p.ready(t)
	return p
}

// readLog reads the application's log where it lies; on the embedded backend the
// program must have stopped.
func (s *site) readLog(t testing.TB) [][]record {
	t.Helper()
	read := func() ([][]record, error) { return readLog(filepath.Join(s.data(0), "drivetrain.db"), s.app+".events") }
	if !s.embedded() {
		read = func() ([][]record, error) { return readTopic(t.Context(), s.kafka, s.app+".events") }
	}
	log, err := read()
	if err != nil {
		t.Fatal(err)
	}
	return log
}
