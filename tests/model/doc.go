// Package model explores the ownership protocol of a partition: every
// interleaving of a few processes, appends, faults, commands and queries,
// breadth first, so that the trace to a broken invariant is a shortest one.
//
//	m, err := model.New(model.Presets()[0])
//	if err != nil {
//		return err
//	}
//	found := model.Explore(m, 3_000_000)
//	if found.Broken != "" {
//		fmt.Println(strings.Join(found.Trace, "\n"))
//	}
//
// README.md says what is modelled, what is not, and how to read a trace.
//
// File map: explore.go is the engine and knows nothing of the protocol.
// preset.go says what bounds an exploration and which bugs can be planted, and
// presets.go lists them all. state.go is a moment; fold.go what a reader makes of
// the log; network.go how appends land; owner.go how a process claims, learns of
// its appends, gives up and is deposed; work.go what it decides and answers.
// invariants.go is what must hold, settle.go that it goes on once faults end,
// describe.go the words.
package model
