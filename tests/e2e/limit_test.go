package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// limitEnv holds the largest size, in bytes, of a file that the program may
// write.
const limitEnv = "E2E_FILE_LIMIT"

// limited reports whether this process is the helper that startLimited starts:
// then it has become the program, or could not.
func limited() bool {
	text, ok := os.LookupEnv(limitEnv)
	if !ok {
		return false
	}
	bytes, err := strconv.ParseUint(text, 10, 64)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: bytes})
	}
	if err == nil {
		err = syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "run under a limit:", err)
	os.Exit(1)
	return true
}

// startLimited is startReady with a limit on the size of files, which stands for
// a full disk: this test built sets it and becomes the program.
func startLimited(t *testing.T, bytes int, data string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{built}, flags(data)...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", limitEnv, bytes))
	p := launch(t, cmd)
	p.listen(t)
	p.ready(t)
	return p
}
