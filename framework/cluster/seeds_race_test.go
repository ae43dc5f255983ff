//go:build race

package cluster

// Fewer, for the detector makes each ten times as long, and those left out run without it.
const (
	simSeeds   = 30
	againSeeds = 3 // run twice
)
