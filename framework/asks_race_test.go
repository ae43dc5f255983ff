//go:build race

package framework_test

import "time"

// With the detector all that follows a command takes long.
const (
	shadowAsks  = 20
	shadowPause = 100 * time.Millisecond
)
