// Package children lets a test binary run itself again as a process of its own, to be
// killed.
package children

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The variables that tell a process that it is a child, which one, and where it
// works.
const (
	childEnv = "DRIVETRAIN_TEST_CHILD"
	pathEnv  = "DRIVETRAIN_TEST_PATH"
)

// Main is what TestMain is to run: m, or, where the process is a child, what its name
// stands for.
func Main(m *testing.M, children map[string]func(path string) error) interface{ Run() int } {
	if child, ok := children[os.Getenv(childEnv)]; ok {
		return run(child)
	}
	return m
}

type run func(path string) error

// Run returns the exit code.
func (r run) Run() int {
	if err := r(os.Getenv(pathEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Command returns a command that runs a child.
func Command(child, path string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+child, pathEnv+"="+path)
	return cmd
}

// Kill runs a child, kills it some time after the first line that it printed, and
// hands all its lines to said. A child that ends by itself fails the test.
func Kill(t *testing.T, child, path string, after time.Duration, said func(line string)) {
	t.Helper()
	cmd := Command(child, path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	for lines.Scan() {
		if timer == nil {
			timer = time.AfterFunc(after, func() { cmd.Process.Kill() })
		}
		said(lines.Text())
	}
	if err := cmd.Wait(); timer == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child ended by itself: %v", err)
	}
}
