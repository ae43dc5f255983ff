package framework

import (
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

// Notify sends to c once, if it has room, as soon as the answer to q may be another
// than it is now: a partition of the views that it is made of has moved, a view was
// switched, or the application has stopped. Call it before Ask, and nothing that Ask does not show yet
// is missed:
//
//	forget, err := app.Notify("tribe-card", q, c)
//	answer, err := app.Ask(ctx, "tribe-card", q)
//	<-c // ask again
//	forget()
//
// Where another process writes the view, c hears of it within some 100 ms. Most
// often it is another key of the partition that has moved. forget takes back what
// Notify was told, and is to be called in any case. Errors: ErrUnknown, and
// *cluster.UnavailableError while the application does not run.
func (a *App) Notify(view string, q Query, c chan<- struct{}) (forget func(), err error) {
	p, k, err := a.viewed(view)
	if err != nil {
		return nil, err
	}
	q.Partitions = a.cfg.Partitions
	reading := p.catalogue.Reading()
	f, err := k.read(reading)
	if err != nil {
		return nil, err
	}
	tasks := f.read(f.view.Partition, q)
	for _, r := range f.view.Reads {
		of, err := p.views[r.View].read(reading)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, of.read(r.Partition, q)...)
	}
	for _, t := range tasks {
		t.Notify(c)
	}
	p.waiters.Add(c)
	if a.process.Load() != p || !p.catalogue.Reading().Same(reading) { // it stopped, or has switched, and may not have seen c
		p.waiters.Wake()
	}
	return func() {
		p.waiters.Remove(c)
		for _, t := range tasks {
			t.Forget(c)
		}
	}, nil
}

// read returns the tasks that fill what q is answered from: one, or all.
func (f *following) read(only func(Query) (int32, bool), q Query) []*stream.Task {
	tasks := f.sources
	if f.fills != nil {
		tasks = f.fills
	}
	if only != nil {
		if n, single := only(q); single {
			tasks = tasks[n : n+1]
		}
	}
	return append([]*stream.Task(nil), tasks...)
}
