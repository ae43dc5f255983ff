package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The environment names in envScripts a folder with scripts SERVER/up and
// SERVER/down, in envData a folder for what servers keep, and in envNodes how
// many nodes Kafka has, 1 unless it is set.
const (
	envScripts = "SERVERS_DIR"
	envData    = "SERVERS_DATA"
	envNodes   = "KAFKA_NODES"
)

// servers are a Kafka, a Redis and an Elasticsearch that these tests have for
// themselves, to kill them. A proxy stands before each, but not before several
// nodes of Kafka, which clients find by what the nodes say of themselves.
type servers struct {
	dir     string
	env     []string
	nodes   int               // of Kafka
	brokers []string          // their addresses
	proxies map[string]*proxy // by the name of the script's folder
	guard   *exec.Cmd         // stops the servers when its input ends
	input   io.Closer
}

// serverNames are the folders of the scripts.
var serverNames = []string{"kafka", "redis", "elasticsearch"}

// started is what ownServers has started.
var started *servers

// ownServers starts the servers at the first call; nil if the environment names
// no scripts.
var ownServers = sync.OnceValues(func() (*servers, error) {
	if os.Getenv(envScripts) == "" || os.Getenv(envData) == "" {
		return nil, nil
	}
	s := &servers{nodes: 1, proxies: make(map[string]*proxy)}
	started = s
	if err := s.prepare(); err != nil {
		return s, err
	}
	errs := make([]error, len(serverNames))
	var all sync.WaitGroup
	for n, name := range serverNames {
		all.Go(func() { errs[n] = s.up(name) })
	}
	all.Wait()
	return s, errors.Join(errs...)
})

// killable returns servers to kill: one set or none.
func killable(t *testing.T) []*servers {
	t.Helper()
	s, err := ownServers()
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		return nil
	}
	return []*servers{s}
}

// stopServers stops what killable has started.
func stopServers() error {
	if started == nil || started.guard == nil {
		return nil
	}
	return errors.Join(started.input.Close(), started.guard.Wait())
}

// prepare chooses ports, makes the proxies, and sets a guard that stops the
// servers whatever becomes of this process.
func (s *servers) prepare() (err error) {
	if s.dir, err = os.MkdirTemp(os.Getenv(envData), "e2e-"); err != nil {
		return err
	}
	if text := os.Getenv(envNodes); text != "" {
		if s.nodes, err = strconv.Atoi(text); err != nil || s.nodes < 1 {
			return fmt.Errorf("%s is %q: want a number of nodes", envNodes, text)
		}
	}
	s.env = slices.DeleteFunc(os.Environ(), func(v string) bool { return namesServers(v) || strings.HasPrefix(v, "ES_") })
	for n, name := range serverNames {
		if err := s.place(name, []string{"KAFKA_PORT", "REDIS_PORT", "ES_PORT"}[n]); err != nil {
			return err
		}
	}
	control, err := freePorts(s.nodes)
	if err != nil {
		return err
	}
	s.env = append(s.env, envNodes+"="+strconv.Itoa(s.nodes), "KAFKA_CTL_PORT="+strconv.Itoa(control), "KAFKA_WAIT=120")
	if p := s.proxies["kafka"]; p != nil {
		s.brokers = []string{p.addr}
		s.env = append(s.env, "KAFKA_CONF=advertised.listeners=PLAINTEXT://"+p.addr)
	}
	return s.watch()
}

// place chooses where a server listens, and makes the proxy before it.
func (s *servers) place(name, variable string) error {
	nodes := 1
	if name == "kafka" {
		nodes = s.nodes
	}
	port, err := freePorts(nodes)
	if err != nil {
		return err
	}
	s.env = append(s.env, variable+"="+strconv.Itoa(port))
	if nodes == 1 {
		s.proxies[name], err = newProxy(local(port))
		return err
	}
	for n := range nodes {
		s.brokers = append(s.brokers, local(port+n))
	}
	return nil
}

func (s *servers) watch() (err error) {
	s.guard = exec.Command("bash", "-c", `cat; for s in kafka redis elasticsearch; do DATA="$1/$s" "$2/$s/down"; done; rm -rf "$1"`,
		"guard", s.dir, os.Getenv(envScripts))
	s.guard.Env, s.guard.SysProcAttr = slices.Concat(s.env, []string{"SIGNAL=KILL"}), &syscall.SysProcAttr{Setpgid: true}
	if s.input, err = s.guard.StdinPipe(); err != nil {
		return err
	}
	return s.guard.Start()
}

// up starts a server, or those of its nodes that are down, with the data that it
// has, and waits until it answers.
func (s *servers) up(name string) error {
	if err := s.script(name, "up"); err != nil {
		return err
	}
	if p := s.proxies[name]; p != nil {
		return p.listen()
	}
	return nil
}

// kill ends a server, all its nodes, as a crash does.
func (s *servers) kill(name string) error {
	if p := s.proxies[name]; p != nil {
		p.refuse()
	}
	return s.script(name, "down", "SIGNAL=KILL")
}

// killNode ends one node of several as a crash does.
func (s *servers) killNode(id int32) error {
	if err := s.script("kafka", "down", "SIGNAL=KILL", fmt.Sprintf("NODE=%d", id)); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < session; time.Sleep(pause) { // its threads end one by one
		conn, err := net.Dial("tcp", s.brokers[id-1])
		if err != nil {
			return nil
		}
		conn.Close()
	}
	return fmt.Errorf("node %d was killed, and %s still answers", id, s.brokers[id-1])
}

// script runs one of a server's scripts; those of several run at the same time.
func (s *servers) script(name, act string, env ...string) error {
	out, err := os.OpenFile(filepath.Join(s.dir, name+".out"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(os.Getenv(envScripts), name, act))
	cmd.Env = slices.Concat(s.env, []string{"DATA=" + filepath.Join(s.dir, name)}, env)
	cmd.Stdout, cmd.Stderr = out, out // a file: what it starts keeps it open
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s/%s: %w: %s", name, act, err, said)
	}
	return nil
}

// slow makes all servers that have a proxy answer later.
func (s *servers) slow(d time.Duration) {
	for _, p := range s.proxies {
		p.delay.Store(int64(d))
	}
}

// backend is the servers as the program finds them.
func (s *servers) backend() backend {
	return backend{name: "servers", kafka: strings.Join(s.brokers, ","), redis: s.proxies["redis"].addr,
		search: "http://" + s.proxies["elasticsearch"].addr}
}
