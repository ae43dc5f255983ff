package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a pseudo-terminal of 100 columns.
func terminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("open a pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100})
	}
	if err == nil {
		program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return screen, program
}

// onScreen returns what progress shows of answers on a terminal.
func onScreen(t *testing.T, env []string, answers ...string) (shown string, got result) {
	t.Helper()
	screen, program := terminal(t)
	var out strings.Builder
	cmd := command(t, append([]string{"TERM=xterm"}, env...), "view", "progress", "cards", "2", "--timeout", "5s", "--admin", scripted(t, answers...))
	cmd.Stdout, cmd.Stderr = &out, program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close()
	data, _ := io.ReadAll(screen) // ends with an error when the program has
	_ = cmd.Wait()
	return string(data), result{code: cmd.ProcessState.ExitCode(), out: out.String()}
}

func TestOnATerminalProgressIsABar(t *testing.T) {
	t.Parallel()
	const (
		begun = `{"items":[{"generation":2,"state":"building","done":5000,"end":20000,"lag":15000,"events_per_second":2500,"seconds_left":6}]}`
		half  = `{"items":[{"generation":2,"state":"building","done":20000,"end":20000,"lag":20000,"events_per_second":2500,"seconds_left":8}]}`
		whole = `{"items":[{"generation":2,"state":"ready","done":20000,"end":20000}]}`
	)
	shown, got := onScreen(t, nil, begun, begun, half, half, unwell, whole)
	went(t, got, 0, "generation 2 of cards is ready")
	for _, want := range []string{`cards 2 \[=+>-+\] 5,000 of 20,000 events, 2,500/s, 15,000 behind, 6s left`, `cards 2 \[=+>-+\] 20,000 events, 2,500/s, 20,000 behind, 8s left`,
		`drivetrain: Not available now \(503\)`, `cards 2 \[=+\] ready, 20,000 events`} {
		if !regexp.MustCompile(want).MatchString(shown) {
			t.Errorf("the screen lacks %s:\n%q", want, shown)
		}
	}
	// A quarter of the bar, and half of it while derived records are lacking.
	for _, c := range [][2]int{{5000, 25}, {20000, 50}} {
		m := regexp.MustCompile(`\[(=+>-+)\] ` + grouped(int64(c[0]))).FindStringSubmatch(shown)
		if filled := 0; m != nil {
			filled = 100 * (strings.Count(m[1], "=") + 1) / len(m[1])
			if filled < c[1]-4 || filled > c[1]+4 {
				t.Errorf("%d %% of the bar are filled, want %d", filled, c[1])
			}
		}
	}
}

func TestADumbTerminalHasLines(t *testing.T) {
	t.Parallel()
	const whole = `{"items":[{"generation":2,"state":"ready","done":20000,"end":20000}]}`
	one := `{"items":[{"generation":2,"state":"building","done":5000,"end":20000,"lag":15000}]}`
	shown, got := onScreen(t, []string{"TERM=dumb"}, one, whole)
	went(t, got, 0, "generation 2 of cards is ready")
	if want := "drivetrain: generation 2 of cards: 5,000 of 20,000 events, 0/s, 15,000 behind\r\n"; shown != want {
		t.Errorf("the screen has %q, want %q", shown, want)
	}
}

// An interrupt leaves the bar as it was, and says what to do.
func TestABarThatIsInterruptedStays(t *testing.T) {
	t.Parallel()
	screen, program := terminal(t)
	cmd := command(t, []string{"TERM=xterm"}, "view", "progress", "cards", "2", "--admin",
		scripted(t, `{"items":[{"generation":2,"state":"building","done":5000,"end":20000,"lag":15000,"events_per_second":2500,"seconds_left":6}]}`))
	cmd.Stderr = program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close()
	var shown strings.Builder
	buffer := make([]byte, 4<<10)
	for began := time.Now(); ; {
		n, err := screen.Read(buffer)
		shown.Write(buffer[:n])
		if err != nil {
			break
		}
		if strings.Contains(shown.String(), "5,000 of") && time.Since(began) < time.Hour {
			began = began.Add(-2 * time.Hour)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if end := shown.String(); cmd.ProcessState.ExitCode() != 1 || !regexp.MustCompile(`6s left\s+drivetrain: not followed any more; generation 2 of cards goes on being built`).MatchString(end) {
		t.Errorf("code %d, the screen has\n%q", cmd.ProcessState.ExitCode(), end)
	}
}
