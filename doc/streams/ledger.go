package main

import (
	"encoding/json"

	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// Transfer is a record of the topic transfers.
type Transfer struct {
	ID     string `json:"id"`
	From   string `json:"from"`
	To     string `json:"to"`
	Amount int64  `json:"amount"` // in cents
}

// Entry is one side of a transfer, in the books of one account.
type Entry struct {
	Transfer string `json:"transfer"`
	Account  string `json:"account"`
	Amount   int64  `json:"amount"`
}

// Balance is an account after a transfer.
type Balance struct {
	Transfer string `json:"transfer"`
	Amount   int64  `json:"amount"`
	Entries  int    `json:"entries"`
}

// booked are an account's transfers, so that one that a client sends twice counts
// once.
var booked = stream.NewMapState[bool]("booked")

var book = &stream.Process[Balance, Entry, Balance]{
	Name: "book",
	Maps: []stream.Entries{booked},
	OnEvent: func(c *stream.Context[Balance, Balance], e Entry) error {
		if booked.Has(c, e.Transfer) {
			return nil
		}
		booked.Put(c, e.Transfer, true)
		b := c.State()
		b.Transfer, b.Amount, b.Entries = e.Transfer, b.Amount+e.Amount, b.Entries+1
		c.Emit(*b)
		return nil
	},
}

func ledger() *stream.Topology {
	t := &stream.Topology{Name: "ledger", Partitions: 8}
	transfers := stream.From(t, &stream.Source[Transfer]{Name: "transfers", Topic: "transfers",
		Decode: func(r *stream.Record, v *Transfer) error { return json.Unmarshal(r.Value, v) }})
	entries := stream.FlatMap(transfers, func(v Transfer, yield func(Entry)) {
		yield(Entry{v.ID, v.From, -v.Amount})
		yield(Entry{v.ID, v.To, v.Amount})
	})
	accounts := stream.KeyBy(entries, "accounts", func(e Entry) string { return e.Account }, stream.Codec[Entry]{})
	balances, _ := stream.Via(accounts, book)
	stream.To(balances, &stream.Publish[Balance]{Name: "balances", Topic: "balances", Mode: stream.Transactional})
	return t
}
