//go:build !race

package framework_test

import "time"

// How many queries of each view the test of shadows asks, and how long it waits between two
// commands.
const (
	shadowAsks  = 700
	shadowPause = 20 * time.Millisecond
)
