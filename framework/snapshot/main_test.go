//go:build unix

package snapshot_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/internal/children"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(children.Main(m, map[string]func(path string) error{"snap": snapForEver, "fill": fillAndGoOn}))
}
