//go:build !race

package stream

const simSeeds = 500 // of a plain run
