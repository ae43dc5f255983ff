package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// place says which cells belong together: those of all rounds.
type place struct {
	row     string
	callers int
}

// figures are the cells of a log, by round.
type figures map[place][]cell

func (c cell) rate() float64 { return float64(c.Commands) / c.Elapsed.Seconds() }

func (c cell) perCommand() float64 { return float64(c.server.Microseconds()) / float64(c.Commands) }

func (c cell) String() string {
	return fmt.Sprintf("%.0f/s, p50 %v, p99 %v, CPU %.1f µs a command, of the clients' process %.1f µs", c.rate(), c.Latencies.quantile(0.5),
		c.Latencies.quantile(0.99), c.perCommand(), float64(c.client.Microseconds())/float64(c.Commands))
}

// over returns the median over rounds of f.
func (f figures) over(at place, of func(cell) float64) float64 {
	var all []float64
	for _, c := range f[at] {
		all = append(all, of(c))
	}
	return median(all)
}

// ratio returns the median of the rounds' ratios of f to that of the floor.
func (f figures) ratio(at, floor place, of func(cell) float64) float64 {
	var all []float64
	for i := range min(len(f[at]), len(f[floor])) {
		all = append(all, of(f[at][i])/of(f[floor][i]))
	}
	return median(all)
}

// median of none is 0.
func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return (all[len(all)/2] + all[(len(all)-1)/2]) / 2
}

func latency(q float64) func(cell) float64 {
	return func(c cell) float64 { return float64(c.Latencies.quantile(q)) / float64(time.Millisecond) }
}

// table renders the rows that were measured, in order.
func (f figures) table(log string, callers []int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | callers | commands/s | p50 ms | p99 ms | CPU µs/command | of its floor |\n|---|--:|--:|--:|--:|--:|---|\n", log)
	for _, r := range rows {
		for _, n := range callers {
			at := place{r.name, n}
			if len(f[at]) == 0 {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %.2f | %.1f | %s |\n", r.name, grouped(n), grouped(int(f.over(at, cell.rate))),
				f.over(at, latency(0.5)), f.over(at, latency(0.99)), f.over(at, cell.perCommand), f.beside(r, n))
		}
	}
	return b.String()
}

// beside says how a row stands to its floors.
func (f figures) beside(r row, callers int) string {
	var all []string
	for _, name := range r.floors {
		if floor := (place{name, callers}); len(f[floor]) > 0 {
			all = append(all, fmt.Sprintf("%.2f of %s, CPU × %.1f", f.ratio(place{r.name, callers}, floor, cell.rate), name,
				f.ratio(place{r.name, callers}, floor, cell.perCommand)))
		}
	}
	return strings.Join(all, "; ")
}

// below returns the places whose rate is below half of a floor's.
func (f figures) below(callers []int) (list []string) {
	for _, r := range rows {
		for _, name := range r.floors {
			for _, n := range callers {
				at, floor := place{r.name, n}, place{name, n}
				if ratio := f.ratio(at, floor, cell.rate); len(f[at]) > 0 && len(f[floor]) > 0 && ratio < 0.5 {
					list = append(list, fmt.Sprintf("%s at %s: %.2f of %s", r.name, grouped(n), ratio, name))
				}
			}
		}
	}
	return list
}

// grouped is n with commas.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
