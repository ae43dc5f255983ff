// Package stream is the engine that folds logs: operators with keyed state, timers,
// windows and joins, between topics. What they make of an input follows from the
// input, so a task that dies is started again anywhere, from a snapshot and the log,
// and what it had written before has no effect a second time.
//
// A [Topology] is declared once, from its sources on. Between two logs elements are
// handed on by calls; where they need another key, [KeyBy] writes them to a log of
// their own, a shuffle. Each of its partitions, and of the sources', is one task. This
// counts the clicks on each page:
//
//	t := &stream.Topology{Name: "clicks-by-page"}
//	clicks := stream.From(t, &stream.Source[Click]{Name: "clicks", Topic: "clicks",
//		Decode: func(r *stream.Record, c *Click) error { return json.Unmarshal(r.Value, c) }})
//	pages := stream.KeyBy(clicks, "pages", func(c Click) string { return c.Page }, stream.Codec[Click]{})
//	counts, _ := stream.Via(pages, &stream.Process[int, Click, int]{Name: "count",
//		OnEvent: func(c *stream.Context[int, int], _ Click) error {
//			*c.State()++
//			c.Emit(*c.State())
//			return nil
//		}})
//	stream.To(counts, &stream.Publish[int]{Name: "counts", Topic: "clicks-by-page"})
//
//	runner, err := stream.NewRunner(t, stream.Config{Log: kafka, Snapshots: folder})
//	err = runner.Run(ctx) // this process's share, until ctx ends
//
// Package streamtest runs a topology in a test, without servers; [Simulation] is what
// it stands on. The guide is doc/streams.md.
//
// [Publish] writes a stream to a topic of others, [Fill] to a store that keeps how
// far it goes, [Deliver] hands it to a function that acts on the world.
package stream
