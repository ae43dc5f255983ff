//go:build race

package stream

// Fewer, for the detector makes each ten times as long, and those left out run without it.
const (
	simSeeds   = 60
	againSeeds = 2 // run twice
)
