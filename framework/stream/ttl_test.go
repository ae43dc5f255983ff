package stream_test

import (
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/framework/stream/streamtest"
)

func TestAStateEndsItsTimeToLiveAfterItsLastChange(t *testing.T) {
	p := &stream.Process[int, string, int]{Name: "counter", TTL: time.Hour,
		OnEvent: func(c *stream.Context[int, int], v string) error {
			if v == "look" {
				n, _ := c.Peek()
				c.Emit(*n)
				return nil
			}
			*c.State()++
			c.Emit(*c.State())
			return nil
		}}
	streamtest.Operator(t, p).
		When("count").Then(1).
		At(noon.Add(40 * time.Minute)).When("count").Then(2).
		At(noon.Add(50 * time.Minute)).When("look").Then(2). // is no change
		Advance(noon.Add(70 * time.Minute)).When("look").Then(2).
		Advance(noon.Add(100 * time.Minute)).When("look").Then(0).
		When("count").Then(1)
}
