package framework

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/cluster/control"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/partition"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Place says where an aggregate's commands are decided, and its state and events
// are read.
type Place struct {
	Here    bool   // in this process
	Address string // URL of the process that does; empty: here, or no way is known
	Why     string // there is no Address, though it is not here
}

// Member is a process of the application, with the partitions that it owns as far
// as this process knows, ascending.
type Member = cluster.Listed

// CheckAdvertise returns why addr cannot be Config.Advertise, nil if it can.
func CheckAdvertise(addr string) error {
	_, err := control.Address(addr)
	return err
}

// Advertise says where other processes reach this one, unless Config.Advertise does:
// an address as CheckAdvertise takes it. Call it before Run; api.Serve does so on a
// loopback listener. A loopback address is used by processes of the same machine
// only, which they know by its host name.
func (a *App) Advertise(addr string) error {
	if err := CheckAdvertise(addr); err != nil {
		return err
	}
	a.address.Store(&addr)
	return nil
}

// self is this process as others are to know it.
func (a *App) self(r Resources) control.Member {
	addr := a.cfg.Advertise
	if told := a.address.Load(); told != nil {
		addr = cmp.Or(addr, *told)
	}
	url, _ := control.Address(addr) // it was checked, or is empty
	host, _ := os.Hostname()        // empty: loopback addresses are not used
	carried := make(map[string][]int, len(a.versions))
	for name, versions := range a.versions {
		carried[name] = slices.Sorted(maps.Keys(versions))
	}
	return control.Member{Process: clock.NewID(a.cfg.Clock), Instance: r.Instance, Address: url, Host: host,
		Started: a.cfg.Clock.Now().UTC(), Views: carried}
}

// list makes p's catalogue of the processes and the views' generations.
func (a *App) list(ctx context.Context, p *process) error {
	topic := eventlog.Topic{Name: a.cfg.App + ".control", Partitions: 1}
	if err := p.Log.Ensure(ctx, topic); err != nil {
		return err
	}
	p.catalogue = cluster.NewCatalogue(cluster.CatalogueConfig{Log: p.Log, Topic: topic.Name, Self: p.self,
		AppendTimeout: a.cfg.AppendTimeout, Clock: a.cfg.Clock, Logger: a.cfg.Logger})
	return nil
}

// Locate returns where an aggregate is decided. It is a hint: what is said to be
// here may have gone elsewhere when it is asked for, and the process at the address
// may not be the owner any more.
func (a *App) Locate(aggregate, id string) Place {
	p := a.process.Load()
	if p == nil || !p.shared {
		return Place{Here: true} // or not at all yet, which whoever asks is told
	}
	n := eventlog.PartitionOf(partition.Key(aggregate, id), len(p.stations))
	if p.stations[n].owner.Load() != nil {
		return Place{Here: true}
	}
	m, known := p.catalogue.Owner(n)
	addr := m.From(p.self.Host)
	switch {
	case !known || m.Process == p.self.Process:
		return Place{Why: fmt.Sprintf("partition %d has no owner that is known", n)}
	case m.Address == "":
		return Place{Why: fmt.Sprintf("the process that owns partition %d gives no address", n)}
	case addr == "":
		return Place{Why: fmt.Sprintf("the process that owns partition %d is on another machine and gives a loopback address", n)}
	}
	return Place{Address: addr}
}

// Members returns the processes of the application, in the order in which they
// were announced, none before Run. One that was killed is among them until it is started
// again. A process that serves all partitions alone knows itself only.
func (a *App) Members() []Member {
	p := a.process.Load()
	switch {
	case p == nil:
		return nil
	case !p.shared:
		return []Member{{Member: p.self, Partitions: all(len(p.stations))}}
	}
	return p.catalogue.Members()
}
