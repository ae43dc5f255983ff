//go:build !race

package framework_test

const shadowAsks = 700
