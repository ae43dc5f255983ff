// Command worker runs the topology of the crash test as one of several processes:
//
//	worker BROKERS PREFIX SNAPSHOTS INSTANCE
//
// PREFIX begins the names of all topics and groups; SNAPSHOTS is a folder that the
// processes share. It ends at SIGTERM.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/stream"
	"github.com/drivetrain-go/drivetrain/tests/crash/shop"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: worker BROKERS PREFIX SNAPSHOTS INSTANCE")
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log, err := kafkalog.Open(ctx, kafkalog.Config{Brokers: strings.Split(args[0], ","), Logger: logger})
	if err != nil {
		return err
	}
	defer log.Close()
	snapshots, err := snapshot.Dir(args[2])
	if err != nil {
		return err
	}
	runner, err := stream.NewRunner(shop.Topology(args[1]), stream.Config{Log: log, Instance: args[3], Snapshots: snapshots,
		SnapshotEvery: time.Second, Logger: logger})
	if err != nil {
		return err
	}
	return runner.Run(ctx)
}
