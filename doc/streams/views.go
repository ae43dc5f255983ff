package main

import (
	"encoding/json"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// Click is a record of the topic clicks, under the user's name.
type Click struct {
	Page string    `json:"page"`
	At   time.Time `json:"at"`
}

// Views is how often a page was seen in a minute.
type Views struct {
	Minute time.Time `json:"minute"`
	Views  int       `json:"views"`
}

func pageViews() *stream.Topology {
	t := &stream.Topology{Name: "page-views", Partitions: 8}
	clicks := stream.From(t, &stream.Source[Click]{Name: "clicks", Topic: "clicks",
		Decode: func(r *stream.Record, c *Click) error { return json.Unmarshal(r.Value, c) },
		Time:   func(_ *stream.Record, c *Click) time.Time { return c.At },
		Late:   10 * time.Second})
	pages := stream.KeyBy(clicks, "pages", func(c Click) string { return c.Page }, stream.Codec[Click]{})
	perMinute, late := stream.Windowed(pages, &stream.Window[Click, int, Views]{Name: "per-minute", Size: time.Minute,
		Fold:   func(n int, _ Click) int { return n + 1 },
		Result: func(s stream.Span, n int) Views { return Views{Minute: s.Start, Views: n} }})
	stream.To(perMinute, &stream.Publish[Views]{Name: "views", Topic: "page-views"})
	stream.To(late, &stream.Publish[Click]{Name: "late", Topic: "late-clicks"})
	return t
}
