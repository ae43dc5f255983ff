//go:build !race

package cluster

// Seeds of a plain run.
const (
	simSeeds   = 300
	againSeeds = 10 // run twice
)
