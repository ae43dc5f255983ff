//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package boltlog

import "os"

// unlock does nothing where closing a file unlocks it.
func unlock(*os.File) error { return nil }
