//go:build !linux

package boltlog_test

import "os"

func datasync(f *os.File) error { return f.Sync() }
