//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package boltlog

import (
	"os"
	"syscall"
)

// unlock lets others open the file. Closing it would not, as bbolt's mapping
// keeps the lock.
func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
