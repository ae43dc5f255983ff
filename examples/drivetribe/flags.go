package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/servers"
)

// options is what the command line says.
type options struct {
	listen, admin string
	data, app     string
	advertise     string
	demo          bool
}

// errUsage is a command line that does not fit; the reason has been shown.
var errUsage = errors.New("usage")

const usage = `Drivetribe: a small social network, the example of Drivetrain.

  go run ./examples/drivetribe [flags]

All that it records lies in one file of the data folder and survives a restart
and a crash; the views are made of it again at each start.

With KAFKA_BROKERS, REDIS_ADDR and ELASTICSEARCH_URL set it runs on these servers
instead, alone or beside other processes, each with a data folder of its own.

Flags:
  --listen ADDR     address of the API (127.0.0.1:8080; port 0: any free one)
  --admin ADDR      address for operators: metrics, profiles (127.0.0.1:8081)
  --data DIR        data folder, created if missing (./drivetribe-data)
  --app NAME        name of the application within the data folder (drivetribe)
  --advertise ADDR  host:port or URL at which other processes reach this one's API
                    (that of --listen, if it is a loopback address)
  --demo=BOOL       fill an empty log with a small demo world (true; on servers:
                    false)

Stop it with Ctrl-C: requests under way are finished. A second one ends it at once.
`

// appName is what framework.Config.App must be.
var appName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// parse reads the command line. Its errors are flag.ErrHelp and errUsage.
func parse(args []string, stdout, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("drivetribe", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "")
	f.StringVar(&o.admin, "admin", "127.0.0.1:8081", "")
	f.StringVar(&o.data, "data", "./drivetribe-data", "")
	f.StringVar(&o.app, "app", "drivetribe", "")
	f.StringVar(&o.advertise, "advertise", "", "")
	f.BoolVar(&o.demo, "demo", !servers.Named(), "")
	err := f.Parse(args)
	switch {
	case err == nil && f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case err == nil && o.data == "":
		err = errors.New("--data is empty: name a folder")
	case err == nil && o.advertise != "" && framework.CheckAdvertise(o.advertise) != nil:
		err = fmt.Errorf("--advertise: %w", framework.CheckAdvertise(o.advertise))
	case err == nil && !appName.MatchString(o.app):
		err = fmt.Errorf("--app %q: want %s", o.app, appName)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return o, flag.ErrHelp
	case err != nil:
		fmt.Fprintf(stderr, "drivetribe: %v; --help lists the flags\n", err)
		return o, errUsage
	}
	return o, nil
}
