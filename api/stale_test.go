package api_test

import (
	"fmt"
	"testing"
)

func TestAnAnswerMayBeNoOlderThanAsked(t *testing.T) {
	public, _ := tend(t)
	for n := range 3 {
		want(t, send(t, "POST", public+"/v1/club/hikers/join", "", "User", fmt.Sprint("late", n)), 200)
		members := fmt.Sprintf(`"members":%d`, 40+n)
		a := send(t, "GET", public+"/v1/views/club-card/hikers", "", "Max-Staleness", "0s")
		if want(t, a, 200, members); a.header.Get("Position") == "" {
			t.Errorf("%v", a.header)
		}
		want(t, send(t, "GET", public+"/v1/views/club-card/hikers", "", "Max-Staleness", "1h"), 200)
		want(t, send(t, "GET", public+"/v1/club/hikers", "", "Max-Staleness", "0ms"), 200)
		want(t, send(t, "GET", public+fmt.Sprintf("/v1/club/hikers/events?after=%d", 40+n), "", "Max-Staleness", "0s"), 200, fmt.Sprintf(`"version":%d`, 41+n))
	}
	for _, path := range []string{"/v1/views/club-card/hikers", "/v1/club/hikers", "/v1/club/hikers/events"} {
		for _, age := range []string{"soon", "-1s", "61m", "2", ""} {
			want(t, send(t, "GET", public+path, "", "Max-Staleness", age), 400, "malformed", "header.Max-Staleness")
		}
	}
}
