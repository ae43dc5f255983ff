package partition_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/partition"
)

// The files in testdata/v1 are what format 1 wrote. Logs and snapshots of it
// exist, so it is read for ever. No test writes these files. With format 2 add
// testdata/v2 beside them; never change v1.

// golden returns a file's lines without comments, up to the line "---", and what
// follows that line.
func golden(t *testing.T, file string) (lines []string, rest string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(text), "\n---\n")
	for line := range strings.Lines(head) {
		if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) == 0 {
		t.Fatalf("%s holds nothing", file)
	}
	return lines, rest
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestClaimsAndProbesOfFormat1AreRead(t *testing.T) {
	for file, write := range map[string]func(partition.Claim) []byte{
		"testdata/v1/claim.hex": partition.ClaimHeader,
		"testdata/v1/probe.hex": partition.ProbeHeader,
	} {
		lines, _ := golden(t, file)
		for _, line := range lines {
			a := &args{words: strings.Fields(line)}
			want := partition.Claim{Epoch: a.number(a.named("epoch"))}
			owner, err := event.ParseID(a.named("owner"))
			want.Owner = owner
			header := unhex(t, a.next())
			if a.err != nil || err != nil {
				t.Fatalf("%s: %q: %v %v", file, line, a.err, err)
			}
			if got, err := partition.DecodeClaim(header); err != nil || got != want {
				t.Errorf("%s: %x reads as %+v, %v; want %+v", file, header, got, err, want)
			}
			if event.Format == 1 && !bytes.Equal(write(want), header) {
				t.Errorf("%s: %+v is written as %x, was %x", file, want, write(want), header)
			}
		}
	}
}

func TestHeartbeatsOfFormat1AreRead(t *testing.T) {
	lines, _ := golden(t, "testdata/v1/heartbeat.hex")
	for _, line := range lines {
		a := &args{words: strings.Fields(line)}
		want := partition.Claim{Epoch: a.number(a.named("epoch"))}
		owner, err := event.ParseID(a.named("owner"))
		want.Owner = owner
		at, timeErr := strconv.ParseInt(a.named("time"), 10, 64)
		header := unhex(t, a.next())
		if err := errors.Join(a.err, err, timeErr); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got, time, err := partition.DecodeHeartbeat(header); err != nil || got != want || time != at {
			t.Errorf("%x reads as %+v of %d, %v; want %+v of %d", header, got, time, err, want, at)
		}
		if event.Format == 1 && !bytes.Equal(partition.HeartbeatHeader(want, at), header) {
			t.Errorf("%+v of %d is written as %x, was %x", want, at, partition.HeartbeatHeader(want, at), header)
		}
		for n := range header {
			if _, _, err := partition.DecodeHeartbeat(header[:n]); err == nil {
				t.Errorf("%d of %d bytes were taken", n, len(header))
			}
		}
		if _, _, err := partition.DecodeHeartbeat(append(bytes.Clone(header), 0)); !errors.Is(err, event.ErrForeign) {
			t.Errorf("one byte more: %v", err)
		}
	}
}

func TestSnapshotsOfFormat1AreRestored(t *testing.T) {
	const file = "testdata/v1/snapshot.hex"
	lines, rest := golden(t, file)
	b := unhex(t, strings.Join(lines, ""))
	s := &script{memory: partition.Memory{Age: 24 * time.Hour, Number: 3}}
	var err error
	if s.fold, err = partition.Restore(b, s.memory); err != nil {
		t.Fatal(err)
	}
	s.at = s.fold.Next()
	if got := s.fold.AppendSnapshot(nil); partition.SnapshotFormat == 1 && !bytes.Equal(got, b) {
		t.Errorf("the same fold is written as\n%x, was\n%x", got, b)
	}
	s.run(t, file, rest)
}

func TestDecodeClaimRefusesWhatIsNone(t *testing.T) {
	claim := partition.ClaimHeader(partition.Claim{Epoch: 300, Owner: ownerID("alice")})
	for n := range claim {
		if _, err := partition.DecodeClaim(claim[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(claim))
		}
	}
	for name, header := range map[string][]byte{
		"one byte more": append(bytes.Clone(claim), 0),
		"epoch 0":       partition.ClaimHeader(partition.Claim{Owner: ownerID("alice")}),
		"an event":      (&event.Envelope{Type: "a", Count: 1}).Append(nil),
	} {
		if _, err := partition.DecodeClaim(header); !errors.Is(err, event.ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
