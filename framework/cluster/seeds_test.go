//go:build !race

package cluster

const simSeeds = 300 // of a plain run
