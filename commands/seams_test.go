package commands_test

import (
	"github.com/drivetrain-go/drivetrain/aggregates"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
)

// What an owner can do with an aggregate type besides the least.
var (
	_ cluster.StateKeeper = (*aggregates.Type[struct{}, any])(nil)
	_ cluster.Decoder     = (*aggregates.Type[struct{}, any])(nil)
)
