package api_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// shown asks for a query live and returns a function that returns the next of its
// data.
func shown(t *testing.T, url string) (next func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); res.Body.Close() })
	lines := bufio.NewReader(res.Body)
	return func() string {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", url, err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				return strings.TrimSpace(data)
			}
		}
	}
}

func TestADocumentAndAFeedAreShownLive(t *testing.T) {
	base := start(t)
	card, feed := shown(t, base+"/v1/views/club-card/hikers"), shown(t, base+"/v1/views/club-feed/all?limit=1")
	expect := func(next func() string, want string) {
		t.Helper()
		for { // a feed and its documents may come one after the other
			got := next()
			if got == want {
				return
			}
			t.Logf("%s, waiting for %s", got, want)
		}
	}
	expect(card, "null")
	expect(feed, `{"items":[],"next":""}`)
	for _, c := range []struct{ command, body, card string }{
		{"found", `{"name":"Hikers"}`, `{"id":"hikers","name":"Hikers","city":"","members":0}`},
		{"join", "", `{"id":"hikers","name":"Hikers","city":"","members":1}`},
	} {
		want(t, send(t, "POST", base+"/v1/club/hikers/"+c.command, c.body, "User", "ann"), 200)
		expect(card, c.card)
		expect(feed, `{"items":[`+c.card+`],"next":""}`)
	}
}
