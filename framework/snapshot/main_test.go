//go:build unix

package snapshot_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// children are what this test binary does when a test runs it again as a
// process of its own, by the name in childEnv.
var children = map[string]func(path string) error{"snap": snapForEver, "fill": fillAndGoOn}

const (
	childEnv = "SNAPSHOT_TEST_CHILD"
	pathEnv  = "SNAPSHOT_TEST_PATH"
)

func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv(childEnv)]; ok {
		if err := child(os.Getenv(pathEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
