//go:build !race

package stream

// Seeds of a plain run.
const (
	simSeeds   = 500
	againSeeds = 5 // run twice
)
