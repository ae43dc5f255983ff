package memlog_test

import (
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/eventlogtest"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
)

func TestConformance(t *testing.T) {
	eventlogtest.Run(t, func(*testing.T) eventlog.Log { return memlog.New() })
}

func TestTopicsAreDeleted(t *testing.T) {
	eventlogtest.Delete(t, func(*testing.T) eventlog.Log { return memlog.New() })
}

func TestPartitionsAreTrimmed(t *testing.T) {
	eventlogtest.Trim(t, func(*testing.T) eventlog.Log { return memlog.New() })
}

func TestOffsets(t *testing.T) {
	eventlogtest.Offsets(t, func(*testing.T) eventlog.Log { return memlog.New() })
}
