package e2e

import "syscall"

// ownGroup starts a process in a group of its own; it dies with the test, even
// when that is killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
