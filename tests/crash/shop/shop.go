// Package shop is the topology of the crash test: orders and prices meet by item,
// what came of them is summed by account, with windows on the way.
package shop

import (
	"encoding/json"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// Order is an input, keyed by account.
type Order struct {
	ID      int    `json:"id"`
	Account string `json:"account"`
	Item    string `json:"item"`
	Count   int64  `json:"count"`
	At      int64  `json:"at"` // Unix milliseconds
}

// Price is an input, keyed by item.
type Price struct {
	ID   int    `json:"id"`
	Item string `json:"item"`
	Each int64  `json:"each"`
	At   int64  `json:"at"`
}

// Priced is an order that has met a price.
type Priced struct {
	Order   int    `json:"order"`
	Price   int    `json:"price"`
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

// Spent is what an account has spent, after its N-th priced order.
type Spent struct {
	Account string `json:"account"`
	N       int    `json:"n"`
	Total   int64  `json:"total"`
}

// Sold is how many of an item were ordered in a minute.
type Sold struct {
	Item  string `json:"item"`
	Start int64  `json:"start"` // Unix milliseconds
	Count int64  `json:"count"`
}

// Spree is a time in which an account's priced orders followed one another.
type Spree struct {
	Account string `json:"account"`
	Start   int64  `json:"start"`
	End     int64  `json:"end"`
	N       int    `json:"n"`
	Amount  int64  `json:"amount"`
}

// What the topology is made of, and its checker knows.
const (
	Near   = 5 * time.Second // an order meets the prices so close to it
	Gap    = 2 * time.Second // of sprees
	Late   = time.Second     // by which inputs are out of order at most
	Shares = 6               // partitions of shuffles
)

// Topics of a prefix.
func Topics(prefix string) map[string]int {
	return map[string]int{prefix + ".orders": 4, prefix + ".prices": 2, prefix + ".spent": 4, prefix + ".sold": 3, prefix + ".sprees": 2}
}

// Topology returns the shop whose topics have a prefix.
func Topology(prefix string) *stream.Topology {
	t := &stream.Topology{Name: prefix, Partitions: Shares}
	orders := stream.From(t, &stream.Source[Order]{Name: "orders", Topic: prefix + ".orders", Late: Late, Decode: fromJSON[Order],
		Time: func(_ *stream.Record, o *Order) time.Time { return time.UnixMilli(o.At) }})
	prices := stream.From(t, &stream.Source[Price]{Name: "prices", Topic: prefix + ".prices", Late: Late, Decode: fromJSON[Price],
		Time: func(_ *stream.Record, p *Price) time.Time { return time.UnixMilli(p.At) }})
	counted, _ := stream.Via(orders, &stream.Process[int, Order, Order]{Name: "orders-of-account",
		OnEvent: func(c *stream.Context[int, Order], o Order) error {
			*c.State()++
			c.Emit(o)
			return nil
		}})
	items := stream.NewShuffle(t, "by-item")
	ordersByItem := stream.Into(counted, items, func(o Order) string { return o.Item }, stream.Codec[Order]{})
	pricesByItem := stream.Into(prices, items, func(p Price) string { return p.Item }, stream.Codec[Price]{})
	priced, _, _ := stream.JoinInterval(ordersByItem, pricesByItem, &stream.IntervalJoin[Order, Price, Priced]{Name: "priced", Before: Near, After: Near,
		Join: func(_ string, o Order, p Price) Priced { return Priced{o.ID, p.ID, o.Account, o.Count * p.Each} }})
	sold, _ := stream.Windowed(ordersByItem, &stream.Window[Order, Sold, Sold]{Name: "sold", Size: time.Minute,
		Fold:   func(s Sold, o Order) Sold { return Sold{Item: o.Item, Count: s.Count + o.Count} },
		Result: func(w stream.Span, s Sold) Sold { s.Start = w.Start.UnixMilli(); return s }})
	stream.To(sold, &stream.Publish[Sold]{Name: "sold-out", Topic: prefix + ".sold"})
	accounts := stream.KeyBy(priced, "by-account", func(p Priced) string { return p.Account }, stream.Codec[Priced]{})
	spent, _ := stream.Via(accounts, &stream.Process[Spent, Priced, Spent]{Name: "spent",
		OnEvent: func(c *stream.Context[Spent, Spent], p Priced) error {
			s := c.State()
			*s = Spent{p.Account, s.N + 1, s.Total + p.Amount}
			c.Emit(*s)
			return nil
		}})
	stream.To(spent, &stream.Publish[Spent]{Name: "spent-out", Topic: prefix + ".spent", Mode: stream.Transactional})
	sprees, _ := stream.Windowed(accounts, &stream.Window[Priced, Spree, Spree]{Name: "sprees", Gap: Gap,
		Fold: func(s Spree, p Priced) Spree {
			return Spree{Account: p.Account, N: s.N + 1, Amount: s.Amount + p.Amount}
		},
		Merge: func(a, b Spree) Spree { return Spree{Account: a.Account, N: a.N + b.N, Amount: a.Amount + b.Amount} },
		Result: func(w stream.Span, s Spree) Spree {
			s.Start, s.End = w.Start.UnixMilli(), w.End.UnixMilli()
			return s
		}})
	stream.To(sprees, &stream.Publish[Spree]{Name: "sprees-out", Topic: prefix + ".sprees"})
	return t
}

func fromJSON[T any](r *stream.Record, v *T) error { return json.Unmarshal(r.Value, v) }
