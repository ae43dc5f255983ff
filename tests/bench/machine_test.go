package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ownCPU returns the processor time that this process has taken.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// machineCPU returns the processor time that the machine has taken, also for
// others on the same host; ok is false where there is no /proc/stat.
func machineCPU() (_ time.Duration, ok bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	return busy(string(text))
}

// busy reads the first line of /proc/stat: user, nice, system, idle, iowait, irq,
// softirq, steal, in hundredths of a second.
func busy(stat string) (_ time.Duration, ok bool) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, false
	}
	total := 0
	for i, field := range fields[1:9] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, false
		}
		if idle := i == 3 || i == 4; !idle {
			total += n
		}
	}
	return time.Duration(total) * 10 * time.Millisecond, true
}

// usage is processor time at a moment.
type usage struct {
	at           time.Time
	own, machine time.Duration
	ok           bool
}

func now() usage {
	u := usage{at: time.Now(), own: ownCPU()}
	u.machine, u.ok = machineCPU()
	return u
}

// others returns how many processors were busy since u with what is neither this
// process nor child, the processor time of another of ours; -1 if it is not known.
func (u usage) others(since usage, child time.Duration) float64 {
	if !u.ok || !since.ok {
		return -1
	}
	return max(0, (u.machine-since.machine-(u.own-since.own)-child).Seconds()/u.at.Sub(since.at).Seconds())
}

// idle returns how many processors are busy while we do nothing.
func idle(d time.Duration) float64 {
	began := now()
	time.Sleep(d)
	return now().others(began, 0)
}

// syncTime returns the median time that dir's disk takes to make 4 KiB durable.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, fmt.Errorf("measure the disk: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	for range 51 {
		began := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, fmt.Errorf("measure the disk: %w", err)
		}
		if err := f.Sync(); err != nil {
			return 0, fmt.Errorf("measure the disk: %w", err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
