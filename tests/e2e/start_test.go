package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheQuickStartWorks runs what the README begins with: go run, a post, and
// the same post read back. Only the addresses and the data folder are others.
func TestTheQuickStartWorks(t *testing.T) {
	if !alone() {
		return
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(readme)
	if !strings.Contains(text, "\ngo run ./examples/drivetribe\n") || !strings.Contains(text, "\ngo test ./...\n") {
		t.Fatal("the README does not begin with go run ./examples/drivetribe and go test ./...")
	}
	post := regexp.MustCompile(`(?s)-H 'User: (\S+)'.{0,20}?http://127\.0\.0\.1:8080(/v1/\S+).{0,20}?--json '([^']+)'`).FindStringSubmatch(text)
	read := regexp.MustCompile(`(?m)^curl .*Min-Position.* http://127\.0\.0\.1:8080(/v1/views/\S+)$`).FindStringSubmatch(text)
	if post == nil || read == nil {
		t.Fatal("the README shows no curl that posts and none that reads back")
	}
	cmd := exec.Command("go", append([]string{"run", "./examples/drivetribe"}, strings.Fields("--listen 127.0.0.1:0 --admin 127.0.0.1:0 --data")...)...)
	cmd.Args = append(cmd.Args, filepath.Join(t.TempDir(), "data"))
	cmd.Dir = "../.."
	began := time.Now()
	p := launch(t, cmd)
	p.listen(t)
	p.ready(t)
	t.Logf("go run answered /readyz after %v", time.Since(began).Round(time.Millisecond))
	got := must(t, p, post[1], post[2], post[3])
	a, err := ask(t.Context(), http.MethodGet, p.base+read[1], "", "Min-Position", got.Position)
	if err != nil || a.status != http.StatusOK || !strings.Contains(string(a.body), `"author":"`+post[1]+`"`) {
		t.Errorf("read back: %d %s, %v", a.status, a.body, err)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil { // as Ctrl-C does: go and the program
		t.Fatal(err)
	}
	p.wait(t, 20*time.Second)
}

// TestTheDemoWorldIsMadeOnce starts with the demo, kills it on the way, and starts
// it twice more: the world is there, once.
func TestTheDemoWorldIsMadeOnce(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	data := t.TempDir()
	cut := start(t, data, "--demo=true")
	cut.ready(t)
	cut.kill()
	const filled = "Filled with a demo world: 12 people, 8 tribes, 61 posts."
	p := startReady(t, data, "--demo=true")
	for end := time.Now().Add(readyWithin); !strings.Contains(p.out.String(), filled); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not filled; it wrote:\n%s", p.out)
		}
	}
	sum := func(p *program) string {
		out := ""
		for _, path := range []string{"/v1/views/tribe-card/hikers", "/v1/views/post-card/ridge-is-open", "/v1/views/search?kind=post&limit=1",
			"/v1/views/search?kind=user&limit=1", "/v1/post/welcome/events"} {
			status, doc := p.try(path)
			out += fmt.Sprintln(path, status, doc)
		}
		return out
	}
	const card = `{"id":"hikers","name":"Ridge Walkers","members":9,"posts":12}`
	position := must(t, p, "maya", "/v1/tribe/hikers/join", "").Position // does nothing, but says where the log is
	if a, err := ask(t.Context(), http.MethodGet, p.base+"/v1/views/tribe-card/hikers", "", "Min-Position", position); err != nil || !sameJSON(string(a.body), mapOf(t, card)) {
		t.Errorf("got %s, %v, want %s", a.body, err, card)
	}
	before := sum(p)
	if err := p.stop(t); err != nil {
		t.Fatal(err)
	}
	p = startReady(t, data, "--demo=true")
	time.Sleep(300 * time.Millisecond) // in which a demo would show
	if after := sum(p); after != before || strings.Contains(p.out.String(), "Filled") {
		t.Errorf("after another start:\n%s\nbefore:\n%s\nit wrote:\n%s", after, before, p.out)
	}
}

// TestASecondProcessIsRefusedByName starts a second program on a data folder in
// use.
func TestASecondProcessIsRefusedByName(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	data := t.TempDir()
	first := startReady(t, data)
	second := launch(t, exec.Command(built, flags(data)...))
	began := time.Now()
	second.wait(t, 5*time.Second)
	refusedByLine(t, second, filepath.Join(data, "drivetrain.db"), "in use")
	t.Logf("refused after %v", time.Since(began).Round(time.Millisecond))
	must(t, first, "maya", "/v1/user/maya/register", `{"name":"Maya"}`) // the first is not disturbed
}

// refusedByLine checks that a program has ended with code 1 and one line with
// these words.
func refusedByLine(t *testing.T, p *program, words ...string) {
	t.Helper()
	lines := p.lines()
	if code := p.cmd.ProcessState.ExitCode(); code != 1 || len(lines) != 1 {
		t.Fatalf("it ended with code %d and wrote %q, want 1 and one line", code, lines)
	}
	for _, w := range words {
		if !strings.Contains(lines[0], w) {
			t.Errorf("%q does not say %q", lines[0], w)
		}
	}
}

func TestAnAddressInUseIsRefusedByName(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, flag := range []string{"--listen", "--admin"} {
		p := launch(t, exec.Command(built, flags(t.TempDir(), flag, taken)...))
		p.wait(t, 5*time.Second)
		refusedByLine(t, p, taken, "in use", flag)
	}
}

func TestADataFolderThatCannotBeMadeIsRefusedByName(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, exec.Command(built, flags(file)...))
	p.wait(t, 5*time.Second)
	refusedByLine(t, p, file)
}

func TestASignalStopsInOrderAndASecondOneAtOnce(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p := startReady(t, t.TempDir())
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := p.wait(t, 10*time.Second); err != nil {
			t.Errorf("after %v: %v; it wrote:\n%s", sig, err, p.out)
		}
	}
	p := startReady(t, t.TempDir())
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/post/p1/publish HTTP/1.1\r\nHost: x\r\nUser: maya\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	time.Sleep(200 * time.Millisecond) // so that the request is under way
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
		t.Fatal("it did not wait for the request under way")
	case <-time.After(500 * time.Millisecond):
	}
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.wait(t, 2*time.Second)
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v, want the signal", p.cmd.ProcessState)
	}
}

func TestHelpSaysHowAndWrongFlagsSayWhy(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	for flag, want := range map[string]struct {
		code int
		says string
	}{"--help": {0, "--listen ADDR"}, "--nope": {2, "nope"}, "start": {2, "--help"}, "--app=UPPER": {2, "UPPER"}} {
		cmd := exec.Command(built, flag)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != want.code || !strings.Contains(string(out), want.says) {
			t.Errorf("%s: %v, %s", flag, err, out)
		}
	}
}
