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

// Count is how many entries an account had in a window.
type Count struct {
	Start int64 `json:"start"` // of the window, Unix milliseconds
	Count int64 `json:"count"`
}

// topology is the ledger: one operator between two topics.
func (j job) topology(group string) *stream.Topology {
	t := &stream.Topology{Name: group}
	entries := stream.From(t, &stream.Source[Entry]{Name: "entries", Topic: j.entries, Group: group,
		Decode: func(r *stream.Record, e *Entry) error { return json.Unmarshal(r.Value, e) },
		Time:   func(_ *stream.Record, e *Entry) time.Time { return time.UnixMilli(e.At) }})
	if j.window > 0 {
		counts, _ := stream.Windowed(entries, &stream.Window[Entry, int64, Count]{Name: "counts", Size: j.window, Acc: of[int64](),
			Fold:   func(n int64, _ Entry) int64 { return n + 1 },
			Result: func(s stream.Span, n int64) Count { return Count{s.Start.UnixMilli(), n} }})
		stream.To(counts, &stream.Publish[Count]{Name: "windows", Topic: outTopic, Mode: j.mode, Codec: of[Count]()})
		return t
	}
	accounts, _ := stream.Via(entries, &stream.Process[Account, Entry, Account]{Name: "accounts", State: of[Account](),
		OnEvent: func(c *stream.Context[Account, Account], e Entry) error {
			a := c.State()
			a.add(&e)
			c.Emit(*a)
			return nil
		}})
	stream.To(accounts, &stream.Publish[Account]{Name: "balances", Topic: outTopic, Mode: j.mode, Codec: of[Account]()})
	return t
}

// of is the codec of what lies in the topic and in snapshots: goccy's JSON, as
// the bare loops use it.
func of[T any]() stream.Codec[T] { return stream.Of[T](codec{}) }

type codec struct{}

func (codec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (codec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
