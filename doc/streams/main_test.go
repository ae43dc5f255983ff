package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/stream/streamtest"
)

var noon = time.Date(2017, 1, 1, 12, 0, 0, 0, time.UTC)

func TestAMinuteIsCountedOnceItIsOver(t *testing.T) {
	run := streamtest.New(t, pageViews(), streamtest.Topics{"clicks": 2, "page-views": 2, "late-clicks": 1})
	click := func(user, page string, at time.Time) { run.Send("clicks", user, Click{page, at}, at) }
	pass := func(at time.Time) { run.Advance("clicks", at, Click{"nothing", at}) }

	click("maya", "/start", noon.Add(5*time.Second))
	click("tomasz", "/start", noon.Add(55*time.Second))
	pass(noon.Add(65 * time.Second)) // ten seconds may pass before it is over
	run.Expect("page-views")

	pass(noon.Add(75 * time.Second))
	run.Expect("page-views", `/start {"minute": "2017-01-01T12:00:00Z", "views": 2}`)

	click("maya", "/start", noon.Add(6*time.Second))
	run.Expect("page-views")
	run.Expect("late-clicks", `/start {"page": "/start", "at": "2017-01-01T12:00:06Z"}`)
}

func TestATransferThatIsSentTwiceIsBookedOnce(t *testing.T) {
	streamtest.Operator(t, book).
		Given(Entry{"t1", "maya", 500}).
		When(Entry{"t2", "maya", -200}).Then(Balance{"t2", 300, 2}).
		When(Entry{"t2", "maya", -200}).Then()
}

func TestNoCentIsLostOrMadeWhateverFails(t *testing.T) {
	accounts := []string{"maya", "tomasz", "ada"}
	topics := streamtest.Topics{"transfers": 3, "balances": 3}
	streamtest.Simulate(t, ledger(), topics, 20, func(run *streamtest.Run, r *rand.Rand) {
		for i := range 50 {
			from := r.IntN(len(accounts))
			to := (from + 1 + r.IntN(len(accounts)-1)) % len(accounts)
			id := fmt.Sprint("t", i)
			run.Send("transfers", id, Transfer{id, accounts[from], accounts[to], int64(r.IntN(100))}, noon)
		}
	}, func(t *testing.T, run *streamtest.Run) {
		sum, entries := int64(0), 0
		for _, account := range accounts {
			var b Balance
			run.State("book", account, &b)
			sum, entries = sum+b.Amount, entries+b.Entries
		}
		if published := len(run.Published("balances")); sum != 0 || entries != 100 || published != 100 {
			t.Errorf("the accounts have %d together, after %d entries, of which %d were published", sum, entries, published)
		}
	})
}
