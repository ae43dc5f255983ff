package e2e

import (
	"fmt"
	"net/http"
	"time"
)

// shadowing is what came of asking a generation what readers ask of another, in one process or
// in both.
type shadowing struct {
	Asked, Equal, Different, Moved, Failed, Dropped int
	First                                           []any
}

// shadow has a generation asked all that is asked of a view, until enough came of it in
// both processes together, for 30 s at most, and returns that.
func (g *siege) shadow(view string, number int, enough func(shadowing) bool) (all shadowing) {
	g.t.Helper()
	path := fmt.Sprintf("/generations/%d/shadow", number)
	g.tend(g.life(0), http.StatusOK, http.MethodPost, view, path, `{"share":1,"by":"e2e"}`, nil)
	for began := time.Now(); ; time.Sleep(10 * pause) {
		all = shadowing{}
		for n := range g.lives {
			var one struct{ Shadow shadowing }
			g.tend(g.life(n), http.StatusOK, http.MethodGet, view, fmt.Sprintf("/generations/%d", number), "", &one)
			all.Asked, all.Equal, all.Different = all.Asked+one.Shadow.Asked, all.Equal+one.Shadow.Equal, all.Different+one.Shadow.Different
			all.Moved, all.Failed, all.Dropped = all.Moved+one.Shadow.Moved, all.Failed+one.Shadow.Failed, all.Dropped+one.Shadow.Dropped
			all.First = append(all.First, one.Shadow.First...)
		}
		if enough(all) || time.Since(began) > 30*time.Second {
			break
		}
	}
	g.tend(g.life(0), http.StatusOK, http.MethodPost, view, path, `{"share":0,"by":"e2e"}`, nil)
	g.t.Logf("%s, generation %d was asked %d queries: %d answers were equal, %d different, %d moved, %d failed; %d found no room",
		view, number, all.Asked, all.Equal, all.Different, all.Moved, all.Failed, all.Dropped)
	return all
}

// shadowed has the second generations asked what readers ask of the first, while commands go
// on: they answer the same.
func (g *siege) shadowed() {
	g.enter("both generations are asked")
	for _, view := range rebuilt {
		all := g.shadow(view, g.second[view], func(a shadowing) bool { return a.Equal >= 10 })
		if all.Equal < 10 || all.Different > 0 {
			g.t.Errorf("generation %d of %s, made by a version that makes the same, answers: %+v", g.second[view], view, all)
		}
	}
}

// seenMistaken has a mistaken generation asked what readers ask of the one that is read:
// its mistake is seen in what it answers.
func (g *siege) seenMistaken(view string, number int) {
	all := g.shadow(view, number, func(a shadowing) bool { return a.Different > 0 })
	if all.Different == 0 || len(all.First) == 0 {
		g.t.Errorf("the mistaken generation %d of %s answers as the one that is read: %+v", number, view, all)
	}
}
