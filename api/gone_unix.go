//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package api

import (
	"net"
	"syscall"
)

// hungUp reports whether the other side has closed a connection that was read up to
// here. It takes nothing from it and does not wait.
func hungUp(c net.Conn) (closed bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		closed = n == 0 && err == nil || err == syscall.ECONNRESET
	})
	return closed || err != nil
}
