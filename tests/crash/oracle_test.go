package crash

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/drivetrain-go/drivetrain/tests/crash/shop"
)

// world is the inputs, and what must come of them.
type world struct {
	orders []shop.Order
	prices []shop.Price
	ends   int64 // a time after all of them, in Unix milliseconds
}

const (
	began    = 1_700_000_000_000
	step     = 5 // milliseconds between two inputs
	disorder = 200
	items    = 150
	accounts = 400
)

// newWorld makes about n inputs, in the order in which they are written: event
// times are out of order by less than shop.Late.
func newWorld(seed uint64, n int) *world {
	w, r := &world{}, rand.New(rand.NewPCG(seed, 3))
	for i := range n {
		at := int64(began) + int64(i)*step - r.Int64N(disorder)
		item := fmt.Sprintf("item-%d", r.IntN(items))
		if r.IntN(8) == 0 {
			w.prices = append(w.prices, shop.Price{ID: i, Item: item, Each: 1 + r.Int64N(99), At: at})
		} else {
			w.orders = append(w.orders, shop.Order{ID: i, Item: item, Account: fmt.Sprintf("account-%d", r.IntN(accounts)), Count: 1 + r.Int64N(5), At: at})
		}
		w.ends = max(w.ends, at)
	}
	w.ends += 3_600_000
	return w
}

// spent is what an account comes to: how many priced orders, and the total.
type spent struct {
	n     int
	total int64
}

// pair is a priced order with the time at which it counts.
type pair struct {
	at     int64
	amount int64
}

// pairs returns each account's priced orders: every order with every price of its
// item that lies close enough.
func (w *world) pairs() map[string][]pair {
	byItem := make(map[string][]shop.Price)
	for _, p := range w.prices {
		byItem[p.Item] = append(byItem[p.Item], p)
	}
	near := shop.Near.Milliseconds()
	out := make(map[string][]pair)
	for _, o := range w.orders {
		for _, p := range byItem[o.Item] {
			if d := p.At - o.At; -near <= d && d <= near {
				out[o.Account] = append(out[o.Account], pair{max(o.At, p.At), o.Count * p.Each})
			}
		}
	}
	return out
}

func (w *world) spent() map[string]spent {
	out := make(map[string]spent)
	for account, all := range w.pairs() {
		s := spent{n: len(all)}
		for _, p := range all {
			s.total += p.amount
		}
		out[account] = s
	}
	return out
}

// sold returns each window's count, as "item start".
func (w *world) sold() map[string]int64 {
	out := make(map[string]int64)
	for _, o := range w.orders {
		out[fmt.Sprintf("%s %d", o.Item, o.At-o.At%60_000)] += o.Count
	}
	return out
}

// sprees returns each session, as "account start end n amount".
func (w *world) sprees() map[string]int {
	out := make(map[string]int)
	gap := shop.Gap.Milliseconds()
	for account, all := range w.pairs() {
		slices.SortFunc(all, func(a, b pair) int { return cmp.Compare(a.at, b.at) })
		for first := 0; first < len(all); {
			n, amount := first, int64(0)
			for n < len(all) && (n == first || all[n].at-all[n-1].at < gap) {
				amount += all[n].amount
				n++
			}
			out[fmt.Sprintf("%s %d %d %d %d", account, all[first].at, all[n-1].at+gap, n-first, amount)]++
			first = n
		}
	}
	return out
}
