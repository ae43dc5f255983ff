package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built is the program, made once for all tests.
var built string

func TestMain(m *testing.M) {
	if limited() {
		return
	}
	dir, err := os.MkdirTemp("", "drivetribe-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built = filepath.Join(dir, "drivetribe")
	build := exec.Command("go", "build", "-o", built, "../../examples/drivetribe")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build drivetribe:", err)
	} else {
		code = m.Run()
	}
	if err := stopServers(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the servers:", err)
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// openSources opens what the program is built from: go test takes an earlier
// result for this one unless a file has changed that a test opens.
var openSources = sync.OnceValue(func() error {
	for _, dir := range []string{"aggregates", "api", "commands", "examples", "framework", "internal", "projections", "go.mod"} {
		err := filepath.WalkDir("../../"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			return f.Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
})

// readyWithin is how long a program may take to become ready.
const readyWithin = 60 * time.Second

// program is a running Drivetribe.
type program struct {
	cmd    *exec.Cmd
	base   string // of its API, such as http://127.0.0.1:34567
	admin  string
	out    *output // what it wrote, stdout and stderr together
	exited chan struct{}
	err    error // of Wait, once exited is closed
}

// output keeps what a process writes, and tells line by line.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// launch starts cmd, embedded whatever the environment says, in a process group
// of its own, which ends with the test.
func launch(t testing.TB, cmd *exec.Cmd) *program {
	t.Helper()
	cmd.Env = slices.DeleteFunc(cmd.Environ(), namesServers)
	return launchAs(t, cmd)
}

// launchAs is launch with the environment that cmd has.
func launchAs(t testing.TB, cmd *exec.Cmd) *program {
	t.Helper()
	if err := openSources(); err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: cmd, out: &output{}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the program's whole process group at once, and waits for it.
func (p *program) kill() {
	select {
	case <-p.exited:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended meanwhile
		<-p.exited
	}
}

// stop asks the program to end in order and returns its error.
func (p *program) stop(t testing.TB) error {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return p.wait(t, 20*time.Second)
}

// wait waits until the program has ended and returns its error.
func (p *program) wait(t testing.TB, d time.Duration) error {
	t.Helper()
	select {
	case <-p.exited:
		return p.err
	case <-time.After(d):
		t.Fatalf("still running after %v; it wrote:\n%s", d, p.out)
		return nil
	}
}

// flags are those that a test's program has: free ports, a data folder, no demo.
func flags(data string, more ...string) []string {
	return append([]string{"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data, "--demo=false"}, more...)
}

// start starts the program on data and waits until it says where it listens.
func start(t testing.TB, data string, more ...string) *program {
	t.Helper()
	p := launch(t, exec.Command(built, flags(data, more...)...))
	p.listen(t)
	return p
}

var address = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// listen waits until the program has said where it listens.
func (p *program) listen(t testing.TB) {
	t.Helper()
	deadline := time.After(readyWithin)
	for {
		found := address.FindAllString(p.out.String(), -1)
		if len(found) > 0 && strings.Contains(p.out.String(), "for operators") {
			p.base = found[0]
			for _, other := range found {
				if other != p.base {
					p.admin = other
					return
				}
			}
		}
		select {
		case <-p.exited:
			t.Fatalf("it ended (%v) before it listened; it wrote:\n%s", p.err, p.out)
		case <-deadline:
			t.Fatalf("it does not listen; it wrote:\n%s", p.out)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// ready waits until the program is ready.
func (p *program) ready(t testing.TB) {
	t.Helper()
	began := time.Now()
	for {
		status, body := p.try("/readyz")
		switch {
		case status == http.StatusOK:
			return
		case time.Since(began) > readyWithin:
			t.Fatalf("not ready after %v: %d %s\nit wrote:\n%s", readyWithin, status, body, p.out)
		}
		select {
		case <-p.exited:
			t.Fatalf("it ended (%v) before it was ready; it wrote:\n%s", p.err, p.out)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// startReady starts the program on data and waits until it is ready.
func startReady(t testing.TB, data string, more ...string) *program {
	t.Helper()
	p := start(t, data, more...)
	p.ready(t)
	return p
}

var client = &http.Client{
	Timeout:   20 * time.Second,
	Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 128, IdleConnTimeout: 30 * time.Second},
}

// try gets a path; status is 0 if there was no answer.
func (p *program) try(path string) (status int, body string) {
	resp, err := client.Get(p.base + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(data)
}

// answer is an HTTP answer, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request. Headers are pairs of name and value.
func ask(ctx context.Context, method, url, body string, headers ...string) (answer, error) {
	return askBy(ctx, client, method, url, body, headers...)
}

// askBy is ask by a client of the caller's.
func askBy(ctx context.Context, client *http.Client, method, url, body string, headers ...string) (answer, error) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, data}, err
}

// lines returns what the program wrote, without empty lines.
func (p *program) lines() (lines []string) {
	s := bufio.NewScanner(strings.NewReader(p.out.String()))
	for s.Scan() {
		if strings.TrimSpace(s.Text()) != "" {
			lines = append(lines, s.Text())
		}
	}
	return lines
}
