package api

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestADeadMachineHoldsNobody connects to where nothing answers: a listener whose
// queue is full, at which the kernel takes no further connection.
func TestADeadMachineHoldsNobody(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for full := false; !full; {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if full = err != nil; !full {
			defer c.Close()
		}
	}
	h := handlerOf(owned("http://" + addr))
	began := time.Now()
	expect(t, do(t, h, call{"POST", "/v1/tribe/x/join", "", []string{"Idempotency-Key", "k"}}), 503, unavailable, "cannot be reached")
	if took := time.Since(began); took < connectTimeout/2 || took > 3*connectTimeout {
		t.Errorf("after %v, want %v", took, connectTimeout)
	}
}
