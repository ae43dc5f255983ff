package framework

import (
	"encoding/binary"
	"hash/fnv"
	"regexp"
	"strings"
	"testing"
)

// The log keeps digests, so this one is for ever.
func TestADigestIsFNVOfThePartsBehindTheirLengths(t *testing.T) {
	if got := digest(Call{Aggregate: "tribe", ID: "hikers", Command: "found", Body: []byte(`{"name":"Hikers"}`)}); got != 0x5d7b1c3c4c4af103 {
		t.Errorf("digest %#x", got)
	}
	for _, c := range []Call{{}, {Aggregate: "a", ID: "bc", Command: "d"}, {Aggregate: "ab", ID: "c", Command: "d", Body: []byte(" {} ")},
		{Aggregate: "tribe", ID: "hikers", Command: "join", Body: []byte(" {\"name\":\"ü\"}\n")},
		{Aggregate: "post", ID: "p", Command: "publish", Body: []byte(strings.Repeat("x", 1<<16))}} {
		body := strings.TrimSpace(string(c.Body))
		if body == "{}" {
			body = ""
		}
		h := fnv.New64a()
		for _, part := range []string{c.Aggregate, c.ID, c.Command, body} {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			h.Write([]byte(part))
		}
		if got, want := digest(c), h.Sum64(); got != want {
			t.Errorf("%.80q: %#x, want %#x", body, got, want)
		}
	}
}

func TestAnIDIsWhatItsPatternSays(t *testing.T) {
	pattern := regexp.MustCompile(IDPattern)
	ids := []string{"", "a", "Zz09._~-", strings.Repeat("x", 128), strings.Repeat("x", 129), "a\n", "\xff", "é", "..", "..."}
	for c := range 256 {
		ids = append(ids, "a"+string([]byte{byte(c)}), string(rune(c)))
	}
	for _, id := range ids {
		if got, want := IsID(id), pattern.MatchString(id) && id != "." && id != ".."; got != want {
			t.Errorf("%q is an id: %v, want %v", id, got, want)
		}
	}
}
