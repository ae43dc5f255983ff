// Command ledger folds account entries into balances, as a program that is written
// with Drivetrain does, and as bare loops on the same client and codec do, which
// lose their state in a crash:
//
//	ledger BROKERS GROUP FOLDER        ours: exactly-once state, snapshots each 5 s
//	ledger fold BROKERS GROUP          bare: read, fold, write; at least once
//	ledger txn BROKERS GROUP           bare: the same in a transaction each 100 ms
//
// It reads ledger-events (JSON, keyed by account), writes an account's new balance
// to ledger-balances for each entry, commits what it has done as the group's
// offsets, and ends at SIGTERM. The environment may set:
//
//	MODE         plain (default) or transactional: how ours publishes
//	ENTRIES      another topic to read
//	WINDOW       such as 10m: count each account's entries by tumbling windows of
//	             this size in event time, in place of balances, and write a count when
//	             its window has ended
//	CPUPROFILE   a file for a profile of the whole run
//	HEAPPROFILE  a file for a profile of the heap at its end
//	GOGC, GOMEMLIMIT  as ever; where neither is set 200 and 200 MiB, for so small a heap
//	             is collected all the time
package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/stream"
)

const (
	inTopic  = "ledger-events"
	outTopic = "ledger-balances"
)

// job is what the environment asks for.
type job struct {
	entries string // the topic
	mode    stream.Mode
	window  time.Duration // 0: balances
}

func asked() (j job, err error) {
	j.entries = cmp.Or(os.Getenv("ENTRIES"), inTopic)
	switch mode := os.Getenv("MODE"); mode {
	case "", "plain":
	case "transactional":
		j.mode = stream.Transactional
	default:
		return j, fmt.Errorf("MODE is %q: want plain or transactional", mode)
	}
	if text := os.Getenv("WINDOW"); text != "" {
		if j.window, err = time.ParseDuration(text); err != nil || j.window <= 0 {
			return j, fmt.Errorf("WINDOW is %q: want a duration such as 10m", text)
		}
	}
	return j, nil
}

func main() {
	if os.Getenv("GOGC")+os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(200)
		debug.SetMemoryLimit(200 << 20)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := profiled(func() error { return run(ctx, os.Args[1:]) }); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func profiled(f func() error) error {
	if path := os.Getenv("CPUPROFILE"); path != "" {
		out, err := os.Create(path)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	err := f()
	if path := os.Getenv("HEAPPROFILE"); path != "" && err == nil {
		err = heap(path)
	}
	return err
}

func heap(path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	return pprof.WriteHeapProfile(out)
}

func run(ctx context.Context, args []string) error {
	j, err := asked()
	switch {
	case err != nil:
		return err
	case len(args) == 3 && (args[0] == "fold" || args[0] == "txn"):
		return bare(ctx, j, args[0] == "txn", strings.Split(args[1], ","), args[2])
	case len(args) == 3:
		return ours(ctx, j, strings.Split(args[0], ","), args[1], args[2])
	}
	return fmt.Errorf("usage: ledger BROKERS GROUP FOLDER, or ledger fold|txn BROKERS GROUP")
}

// ours runs the topology until ctx ends.
func ours(ctx context.Context, j job, brokers []string, group, folder string) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log, err := kafkalog.Open(ctx, kafkalog.Config{Brokers: brokers, Logger: logger})
	if err != nil {
		return err
	}
	defer log.Close()
	snapshots, err := snapshot.Dir(folder)
	if err != nil {
		return err
	}
	runner, err := stream.NewRunner(j.topology(group), stream.Config{Log: log, Snapshots: snapshots, SnapshotEvery: 5 * time.Second, Logger: logger})
	if err != nil {
		return err
	}
	return runner.Run(ctx)
}
