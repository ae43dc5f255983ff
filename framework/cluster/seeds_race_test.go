//go:build race

package cluster

const simSeeds = 60 // the detector makes each ten times as long
