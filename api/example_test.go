package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/drivetrain-go/drivetrain/api"
	"github.com/drivetrain-go/drivetrain/commands"
	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/memlog"
	"github.com/drivetrain-go/drivetrain/projections"
)

// A whole program: an application served over HTTP, asked by a client, and
// stopped.
func ExampleServe() {
	app := framework.New(framework.Config{Open: func(context.Context) (framework.Resources, error) {
		return embedded.With(memlog.New())
	}})
	commands.Handle(app, clubs, "found", club.found)
	projections.Register(app, cards)

	ctx, stop := context.WithCancel(context.Background())
	addr, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- api.Serve(ctx, app, "127.0.0.1:0", api.CallerHeader("User"), api.Title("Clubs"),
			api.Listening(func(public, _ net.Addr) { addr <- "http://" + public.String() }))
	}()
	base := <-addr
	for ready, _ := ask("GET", base+"/readyz", "", ""); ready.StatusCode != http.StatusOK; ready, _ = ask("GET", base+"/readyz", "", "") {
		time.Sleep(time.Millisecond)
	}

	res, _ := ask("POST", base+"/v1/club/hikers/found", `{"name":"Hill hikers","city":"Bern"}`, "")
	fmt.Println(res.StatusCode, res.Header.Get("ETag"))
	_, card := ask("GET", base+"/v1/views/club-card/hikers", "", res.Header.Get("Position"))
	fmt.Println(card)
	_, problem := ask("POST", base+"/v1/club/hikers/fond", "", "")
	fmt.Println(problem)

	stop()
	http.DefaultClient.CloseIdleConnections()
	fmt.Println(<-ended)
	// Output:
	// 200 "1"
	// {"id":"hikers","name":"Hill hikers","city":"Bern","members":0}
	// {"type":"/problems/unknown","title":"No such path","status":404,"detail":"unknown command \"fond\" of club; it has: found"}
	// <nil>
}

func ask(method, url, body, min string) (*http.Response, string) {
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("User", "ann")
	req.Header.Set("Content-Type", "application/json")
	if min != "" {
		req.Header.Set("Min-Position", min)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		panic(err)
	}
	return res, strings.TrimSpace(string(data))
}
