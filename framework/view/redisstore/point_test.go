package redisstore_test

import (
	"fmt"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
)

func TestOutsideReadersAreToldWhatIsReadAndNeverBack(t *testing.T) {
	c := client(t)
	s := redisstore.New(c)
	g := generation(t, s)
	g.View = "card%of"
	key := g.App + ":card%25of:read"
	t.Cleanup(func() { c.Del(t.Context(), key) })
	point := func(number, turn int, want string) {
		t.Helper()
		g.Number = number
		if err := s.Point(t.Context(), g, turn); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(c.HGetAll(t.Context(), key).Val()); got != want {
			t.Errorf("after turn %d to %d: %s, want %s", turn, number, got, want)
		}
	}
	point(9, 9, "map[generation:9 turn:9]")
	point(10, 10, "map[generation:10 turn:10]")
	point(9, 9, "map[generation:10 turn:10]") // late: it is less as a number, not as a text
	point(9, 11, "map[generation:9 turn:11]")
	point(9, 11, "map[generation:9 turn:11]")
	c.Del(t.Context(), key) // lost
	point(9, 11, "map[generation:9 turn:11]")
	if err := s.Drop(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	point(9, 11, "map[generation:9 turn:11]")
}
