package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"regexp"
	"strings"
	"testing"
)

func TestFlagsHaveTheDefaultsThatHelpNames(t *testing.T) {
	o, err := parse(nil, io.Discard, io.Discard)
	want := options{listen: "127.0.0.1:8080", admin: "127.0.0.1:8081", data: "./drivetribe-data", app: "drivetribe", demo: true}
	if err != nil || o != want {
		t.Fatalf("got %+v, %v, want %+v", o, err, want)
	}
	for _, value := range []string{o.listen, o.admin, o.data, o.app} {
		if !strings.Contains(usage, value) {
			t.Errorf("--help does not name the default %s", value)
		}
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var out bytes.Buffer
	if _, err := parse([]string{"--help"}, &out, io.Discard); !errors.Is(err, flag.ErrHelp) || out.String() != usage {
		t.Fatalf("--help gave %v and %q", err, out.String())
	}
	listed := regexp.MustCompile(`(?m)^  --([a-z]+)`).FindAllStringSubmatch(usage, -1)
	for _, m := range listed {
		args := []string{"--" + m[1] + "=true"} // a name and a truth value as well
		if m[1] == "advertise" {
			args[0] = "--advertise=node-3:8080"
		}
		if _, err := parse(args, io.Discard, io.Discard); err != nil {
			t.Errorf("--help lists --%s, which is no flag", m[1])
		}
	}
	if len(listed) != 6 {
		t.Errorf("--help lists %d flags, want 6", len(listed))
	}
}

func TestAWrongCommandLineIsOneLineWithTheRemedy(t *testing.T) {
	for _, args := range [][]string{{"--nope"}, {"--demo=perhaps"}, {"start"}, {"--app", "Not a name"}, {"--advertise", "node-3"}} {
		var out, msg bytes.Buffer
		_, err := parse(args, &out, &msg)
		text := msg.String()
		if !errors.Is(err, errUsage) || strings.Count(text, "\n") != 1 || !strings.Contains(text, "--help") || out.Len() > 0 {
			t.Errorf("%q gave %v, %q", args, err, text)
		}
	}
}
