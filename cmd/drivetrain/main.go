// Command drivetrain looks at what a Drivetrain application has left behind, and tells
// one that runs what to do with its views.
//
//	drivetrain log --data ./drivetribe-data --limit 10
//	drivetrain log --brokers 127.0.0.1:9092 --app drivetribe --follow
//	drivetrain replay --data ./drivetribe-data --file events.ndjson
//	drivetrain view rebuild tribe-card --wait
//	drivetrain dead-letters list
//	drivetrain version
//
// It exits with 0, with 1 when it could not do what was asked, with 2 when it was
// not understood, and with 3 when drivetrain view compare found differences; what was
// wrong is on standard error, a line each.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

type cli struct {
	Log         logCommand         `cmd:"" help:"Print the log of a data folder or on Kafka, a JSON object per line, with what each record means."`
	Replay      replayCommand      `cmd:"" help:"Write the events of a log to a file or to a topic of others, from a position, a time or the beginning."`
	View        viewCommand        `cmd:"" help:"List views of a running application, rebuild them, compare, switch, roll back and retire generations."`
	DeadLetters deadLettersCommand `cmd:"" help:"List, show and rule on events that a running application cannot fold."`
	Version     versionCommand     `cmd:"" help:"Print the version of this program and of the formats that it reads."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run does what args say and returns the exit code.
func run(ctx context.Context, args []string, out, problems io.Writer) int {
	helped := -1
	parser, err := kong.New(&cli{},
		kong.Name("drivetrain"),
		kong.Description("Looks at what a Drivetrain application has left behind, and tells one that runs what to do with its views."),
		kong.Vars{"admin": defaultAdmin},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Writers(out, problems),
		kong.Exit(func(code int) { helped = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindTo(out, (*io.Writer)(nil)),
		kong.Bind(notes{problems}))
	if err != nil {
		panic(fmt.Errorf("drivetrain: declare the commands: %w", err))
	}
	command, err := parser.Parse(args)
	switch {
	case helped >= 0:
		return helped
	case err != nil:
		fmt.Fprintf(problems, "drivetrain: %v; see drivetrain --help\n", err)
		return 2
	}
	if err := command.Run(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			notes{problems}.say("%s", line)
		}
		if errors.Is(err, errDiffer) {
			return 3
		}
		return 1
	}
	return 0
}

// notes is where a command says what does not keep it from its work.
type notes struct{ to io.Writer }

func (n notes) say(format string, args ...any) {
	fmt.Fprintf(n.to, "drivetrain: "+format+"\n", args...)
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(out io.Writer) error {
	version, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version, goVersion = info.Main.Version, info.GoVersion
	}
	_, err := fmt.Fprintf(out, "drivetrain %s, built with %s; reads record headers up to format %d, fold snapshots of format %d\n",
		version, goVersion, event.Format, partition.SnapshotFormat)
	return err
}
