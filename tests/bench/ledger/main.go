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
// offsets, and ends at SIGTERM. MODE, plain or transactional, says how ours
// publishes. CPUPROFILE names a file for a profile of the whole run.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := profiled(func() error { return run(ctx, os.Args[1:]) }); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func profiled(f func() error) error {
	path := os.Getenv("CPUPROFILE")
	if path == "" {
		return f()
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return f()
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && (args[0] == "fold" || args[0] == "txn"):
		return bare(ctx, args[0] == "txn", strings.Split(args[1], ","), args[2])
	case len(args) == 3:
		return ours(ctx, strings.Split(args[0], ","), args[1], args[2])
	}
	return fmt.Errorf("usage: ledger BROKERS GROUP FOLDER, or ledger fold|txn BROKERS GROUP")
}

// ours runs the topology until ctx ends.
func ours(ctx context.Context, brokers []string, group, folder string) error {
	mode, ok := map[string]stream.Mode{"": stream.Plain, "plain": stream.Plain, "transactional": stream.Transactional}[os.Getenv("MODE")]
	if !ok {
		return fmt.Errorf("MODE is %q: want plain or transactional", os.Getenv("MODE"))
	}
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
	runner, err := stream.NewRunner(Topology(group, mode), stream.Config{Log: log, Snapshots: snapshots, SnapshotEvery: 5 * time.Second, Logger: logger})
	if err != nil {
		return err
	}
	return runner.Run(ctx)
}
