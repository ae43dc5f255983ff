package main

import (
	"time"

	json "github.com/goccy/go-json"

	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// Entry moves an account's balance.
type Entry struct {
	Type    string `json:"type"` // Deposited or Withdrawn
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
	At      int64  `json:"at"` // Unix milliseconds
	ID      string `json:"id"`
}

// Account is what an account has come to.
type Account struct {
	Balance int64 `json:"balance"`
	Count   int64 `json:"count"`
	LastAt  int64 `json:"last_at"`
}

// add moves an account by an entry.
func (a *Account) add(e *Entry) {
	if e.Type == "Deposited" {
		a.Balance += e.Amount
	} else {
		a.Balance -= e.Amount
	}
	a.Count++
	a.LastAt = e.At
}

// Topology is the ledger: one operator between two topics.
func Topology(group string, mode stream.Mode) *stream.Topology {
	t := &stream.Topology{Name: group}
	entries := stream.From(t, &stream.Source[Entry]{Name: "entries", Topic: inTopic, Group: group,
		Decode: func(r *stream.Record, e *Entry) error { return json.Unmarshal(r.Value, e) },
		Time:   func(_ *stream.Record, e *Entry) time.Time { return time.UnixMilli(e.At) }})
	accounts, _ := stream.Via(entries, &stream.Process[Account, Entry, Account]{Name: "accounts", State: fast,
		OnEvent: func(c *stream.Context[Account, Account], e Entry) error {
			a := c.State()
			a.add(&e)
			c.Emit(*a)
			return nil
		}})
	stream.To(accounts, &stream.Publish[Account]{Name: "balances", Topic: outTopic, Mode: mode, Codec: fast})
	return t
}

// fast is the codec of accounts, in the topic and in snapshots.
var fast = stream.Of[Account](codec{})

// codec is goccy's JSON, as the bare loops use it.
type codec struct{}

func (codec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (codec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
