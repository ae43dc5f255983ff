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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The environment names in envScripts a folder with scripts SERVER/up and
// SERVER/down, and in envData a folder for what servers keep.
const (
	envScripts = "SERVERS_DIR"
	envData    = "SERVERS_DATA"
)

// servers are a Kafka, a Redis and an Elasticsearch that these tests have for
// themselves, to kill them; a proxy stands before each.
type servers struct {
	dir     string
	env     []string
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
	if os.Getenv(envScripts) == "" || os.Getenv(envData) == "" || onServers() == nil {
		return nil, nil
	}
	s := &servers{proxies: make(map[string]*proxy)}
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
	others := slices.DeleteFunc(os.Environ(), func(v string) bool { return namesServers(v) || strings.HasPrefix(v, "ES_") })
	s.env = append(others, "KAFKA_NODES=1")
	for n, name := range serverNames {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		if s.proxies[name], err = newProxy(addr); err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(addr)
		s.env = append(s.env, []string{"KAFKA_PORT", "REDIS_PORT", "ES_PORT"}[n]+"="+port)
	}
	control, err := freeAddr()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(control)
	s.env = append(s.env, "KAFKA_CTL_PORT="+port, "KAFKA_CONF=advertised.listeners=PLAINTEXT://"+s.proxies["kafka"].addr)
	return s.watch()
}

func (s *servers) watch() (err error) {
	s.guard = exec.Command("bash", "-c", `cat; for s in kafka redis elasticsearch; do DATA="$1/$s" "$2/$s/down"; done; rm -rf "$1"`,
		"guard", s.dir, os.Getenv(envScripts))
	s.guard.Env, s.guard.SysProcAttr = append(s.env, "SIGNAL=KILL"), &syscall.SysProcAttr{Setpgid: true}
	if s.input, err = s.guard.StdinPipe(); err != nil {
		return err
	}
	return s.guard.Start()
}

// up starts a server with the data that it has, and waits until it answers.
func (s *servers) up(name string) error {
	if err := s.script(name, "up"); err != nil {
		return err
	}
	return s.proxies[name].listen()
}

// kill ends a server as a crash does.
func (s *servers) kill(name string) error {
	s.proxies[name].refuse()
	return s.script(name, "down", "SIGNAL=KILL")
}

func (s *servers) script(name, act string, env ...string) error {
	out, err := os.OpenFile(filepath.Join(s.dir, name+".out"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(os.Getenv(envScripts), name, act))
	cmd.Env = append(append(s.env, "DATA="+filepath.Join(s.dir, name)), env...)
	cmd.Stdout, cmd.Stderr = out, out // a file: what it starts keeps it open
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s/%s: %w: %s", name, act, err, said)
	}
	return nil
}

// slow makes all servers answer later.
func (s *servers) slow(d time.Duration) {
	for _, p := range s.proxies {
		p.delay.Store(int64(d))
	}
}

// backend is the servers as the program finds them.
func (s *servers) backend() backend {
	return backend{name: "servers", kafka: s.proxies["kafka"].addr, redis: s.proxies["redis"].addr,
		search: "http://" + s.proxies["elasticsearch"].addr}
}
