//go:build race

package stream

const simSeeds = 80 // the detector makes each ten times as long
