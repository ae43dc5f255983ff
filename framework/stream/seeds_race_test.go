//go:build race

package stream

const simSeeds = 40 // the detector makes each ten times as long
