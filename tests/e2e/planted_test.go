package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scene is a small run that is right in every way: its tally, its log of one
// partition, and its views.
type scene struct {
	entries []entry
	log     [][]record
	views   answers
}

// newScene makes the scene anew, so that a test may spoil it.
func newScene() *scene {
	s := &scene{log: make([][]record, 1)}
	s.claim(1)
	s.accept(command{Aggregate: "user", ID: "maya", Actor: "maya", Name: "register", Body: body("name", "Maya Bako")})
	s.accept(command{Aggregate: "tribe", ID: "hikers", Actor: "maya", Name: "found", Body: body("name", "Hikers")})
	s.accept(command{Aggregate: "tribe", ID: "hikers", Actor: "maya", Name: "join"})
	s.accept(command{Aggregate: "tribe", ID: "hikers", Actor: "ines", Name: "join"})
	s.accept(command{Aggregate: "tribe", ID: "hikers", Actor: "ines", Name: "leave"})
	s.answered(command{Aggregate: "tribe", ID: "hikers", Actor: "ines", Name: "leave", Want: 200}, outcome{Status: 200, Version: 4, Position: "0@5"})
	s.answered(command{Aggregate: "tribe", ID: "bikes", Actor: "ines", Name: "join", Want: 422}, outcome{Status: 422, Problem: "/problems/rejected"})
	s.claim(2)
	s.accept(command{Aggregate: "post", ID: "p1", Actor: "maya", Name: "publish", Body: body("tribe", "hikers", "text", "Ko ti bako.")})
	s.accept(command{Aggregate: "post", ID: "p2", Actor: "ines", Name: "publish", Body: body("tribe", "hikers", "text", "Muzo, bako!")})
	s.accept(command{Aggregate: "post", ID: "p3", Actor: "ines", Name: "publish", Body: body("tribe", "nowhere", "text", "Lape.")})
	s.accept(command{Aggregate: "post", ID: "p1", Actor: "ines", Name: "bump"})
	s.accept(command{Aggregate: "post", ID: "p1", Actor: "maya", Name: "comment", Body: body("text", "Zo.")})
	s.views = s.show()
	return s
}

func (s *scene) answered(c command, got outcome) {
	c.Seq = len(s.entries) + 1
	s.entries = append(s.entries, entry{command: c, got: []outcome{got}})
}

// append adds a record and returns its place.
func (s *scene) append(key string, header, value []byte) string {
	r := record{int64(len(s.log[0])), []byte(key), header, value}
	s.log[0] = append(s.log[0], r)
	return fmt.Sprintf("0@%d", r.offset)
}

func (s *scene) claim(epoch uint64) {
	s.append("", binary.AppendUvarint(append([]byte{1, isClaim}, make([]byte, 16)...), epoch), nil)
}

// epoch is the current one.
func (s *scene) epoch() (n uint64) {
	for _, r := range s.log[0] {
		if e, err := readEnvelope(r.header); err == nil && e.kind == isClaim {
			n = e.epoch
		}
	}
	return n
}

// accept writes what a command does, and that it was answered.
func (s *scene) accept(c command) {
	c.Want = 200
	got := s.write(c, len(s.entries)+1, s.next(c))
	s.answered(c, got)
}

// next is the version that c makes.
func (s *scene) next(c command) uint64 {
	n := uint64(1)
	for _, e := range s.entries {
		if e.Aggregate == c.Aggregate && e.ID == c.ID && e.got[0].accepted() {
			n++
		}
	}
	return n
}

// write appends c's event, with an id made of n.
func (s *scene) write(c command, n int, version uint64) outcome {
	name, data := effect(c)
	payload, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id, uint64(n))
	h := append([]byte{1, isEvent}, id...)
	h = append(h, id...)                    // the command's
	h = append(h, make([]byte, 16+16+8)...) // correlation, causation, digest
	h = binary.BigEndian.AppendUint64(h, uint64(1_000_000*n))
	for _, v := range []uint64{version, s.epoch(), 0, 1} {
		h = binary.AppendUvarint(h, v)
	}
	for _, text := range []string{name, c.Actor, "", ""} {
		h = append(binary.AppendUvarint(h, uint64(len(text))), text...)
	}
	at := s.append(c.Aggregate+"/"+c.ID, h, payload)
	return outcome{Status: 200, Version: version, Position: at, Events: []stored{{uuid(id), name, version}}}
}

// show is the views as they should be.
func (s *scene) show() answers {
	got := answers{map[string]string{}, map[string]string{}, map[string][]string{}, map[question]found{}}
	text := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(data)
	}
	a := newAudit(s.entries, s.log)
	for _, id := range a.world.places() {
		if card := a.world.tribes[id]; card != nil {
			got.tribeCards[id] = text(card)
		}
		for _, card := range a.world.feed(id, a.published) {
			got.feeds[id] = append(got.feeds[id], text(card))
		}
	}
	for id, card := range a.world.posts {
		got.postCards[id] = text(card)
	}
	for _, q := range a.world.questions() {
		f := found{total: len(a.world.find(q))}
		for _, h := range a.world.find(q) {
			f.items = append(f.items, text(h))
		}
		got.searches[q] = f
	}
	return got
}

// cutOut takes the record at a place out, as if it had never been written.
func (s *scene) cutOut(at int) {
	s.log[0] = slices.Delete(s.log[0], at, at+1)
}

// TestTheAuditFindsWhatIsPlanted spoils a sound run in one way after the other.
// Each must be found, by its name.
func TestTheAuditFindsWhatIsPlanted(t *testing.T) {
	edit := func(doc, old, new string) string {
		if !strings.Contains(doc, old) {
			panic(doc + " has no " + old)
		}
		return strings.Replace(doc, old, new, 1)
	}
	post := command{Aggregate: "post", ID: "p1", Actor: "kofi", Name: "bump"}
	for name, plant := range map[string]struct {
		spoil func(s *scene)
		find  string
	}{
		"nothing": {func(s *scene) {}, ""},
		"the last command is lost": {func(s *scene) { s.cutOut(len(s.log[0]) - 1) },
			"was accepted, and event"},
		"a command in the middle is lost": {func(s *scene) { s.cutOut(3) },
			"version gap: tribe/hikers has version 1, and then comes 3"},
		"a command ran twice": {func(s *scene) { s.write(post, 98, 4); s.write(post, 99, 5) },
			"nobody was told that it was accepted"},
		"an event is there twice": {func(s *scene) { s.write(s.entries[12-1].command, 12, 4) },
			"is valid twice"},
		"a command that was not sent": {func(s *scene) {
			s.write(command{Aggregate: "user", ID: "x", Actor: "x", Name: "register", Body: body("name", "X")}, 99, 1)
		},
			"nobody was told that it was accepted"},
		"a rejected command is in the log": {func(s *scene) { s.write(s.entries[7-1].command, 7, 1) },
			"nobody was told that it was accepted"},
		"a version is left out": {func(s *scene) { s.write(post, 99, 5) },
			"version gap: post/p1 has version 3, and then comes 5"},
		"a version is there twice": {func(s *scene) { s.write(post, 99, 3) },
			"version gap: post/p1 has version 3, and then comes 3"},
		"it took effect for an old owner only": {func(s *scene) {
			last := s.log[0][len(s.log[0])-1]
			s.log[0] = s.log[0][:len(s.log[0])-1]
			s.claim(3)
			s.append(string(last.key), last.header, last.value)
		}, "is not in the log"},
		"a record that cannot be read": {func(s *scene) { s.append("post/p1", []byte{9, 9}, nil) },
			"is not of format 1"},
		"another version was answered": {func(s *scene) { s.entries[0].got[0].Version = 2 },
			"command 1 was answered"},
		"another position was answered": {func(s *scene) { s.entries[0].got[0].Position = "0@9" },
			"command 1 was answered position 0@9 and lies at 0@1"},
		"another event was answered": {func(s *scene) { s.entries[0].got[0].Events[0].ID = "x" },
			"command 1 was accepted, and event x is not in the log"},
		"another caller is in the log": {func(s *scene) { s.entries[2].Actor = "kofi" },
			"command 3 by kofi is in the log as by maya"},
		"other data is in the log": {func(s *scene) { s.log[0][1].value = []byte(`{"name":"Maja"}`) },
			"command 1: want one user.registered"},
		"a field too much is in the log": {func(s *scene) { s.log[0][1].value = []byte(`{"name":"Maya Bako","x":1}`) },
			"command 1: want one user.registered"},
		"a retry was answered otherwise": {func(s *scene) {
			s.entries[0].got = append(s.entries[0].got, outcome{Status: 422, Problem: "/problems/rejected"})
		}, "and, to a retry,"},
		"a command has no answer": {func(s *scene) { s.entries[6].got = nil },
			"command 7 was never answered"},
		"a command was refused that should not be": {func(s *scene) { s.entries[5].got[0] = outcome{Status: 422} },
			"was answered 422"},
		"a version other than the expected one": {func(s *scene) { v := uint64(7); s.entries[2].IfMatch = &v },
			"command 3 was for version 7 and made version 2"},
		"a decision that no state allows": {func(s *scene) { s.accept(command{Aggregate: "post", ID: "p1", Actor: "ines", Name: "bump"}) },
			"bump of post p1 by ines, published true, bumping true"},
		"the tally is off by one": {func(s *scene) { s.entries = s.entries[:len(s.entries)-1] },
			"post-card p1"},
		"a member too many": {func(s *scene) {
			s.views.tribeCards["hikers"] = edit(s.views.tribeCards["hikers"], `"members":1`, `"members":2`)
		},
			"tribe-card hikers"},
		"a post too few on a tribe's card": {func(s *scene) {
			s.views.tribeCards["hikers"] = edit(s.views.tribeCards["hikers"], `"posts":2`, `"posts":1`)
		},
			"tribe-card hikers"},
		"a bump too few": {func(s *scene) { s.views.postCards["p1"] = edit(s.views.postCards["p1"], `"bumps":1`, `"bumps":0`) },
			"post-card p1"},
		"a field is missing in a card": {func(s *scene) { s.views.postCards["p2"] = edit(s.views.postCards["p2"], `,"comments":0`, ``) },
			"post-card p2"},
		"a card is missing": {func(s *scene) { s.views.postCards["p3"] = "" },
			"post-card p3"},
		"a card of a tribe that is not founded": {func(s *scene) { s.views.tribeCards["nowhere"] = `{}` },
			"tribe-card nowhere"},
		"a post is missing in a feed": {func(s *scene) { s.views.feeds["hikers"] = s.views.feeds["hikers"][1:] },
			"tribe-feed hikers: 1 posts, want 2"},
		"a feed is out of order": {func(s *scene) { slices.Reverse(s.views.feeds["hikers"]) },
			"tribe-feed hikers, place 0"},
		"an old card in a feed": {func(s *scene) {
			s.views.feeds["hikers"][1] = edit(s.views.feeds["hikers"][1], `"comments":1`, `"comments":0`)
		},
			"tribe-feed hikers, place 1"},
		"a total off by one": {func(s *scene) { s.search(func(f *found) { f.total++ }) },
			"search {words:bako kind:}"},
		"another hit than there is": {func(s *scene) { s.search(func(f *found) { f.items[0] = `{"kind":"post","id":"p9","text":"Bako."}` }) },
			"search {words:bako kind:}"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			plant.spoil(s)
			a := newAudit(s.entries, s.log)
			a.views(s.views)
			got := strings.Join(a.problems, "\n")
			if plant.find == "" && got != "" || !strings.Contains(got, plant.find) {
				t.Errorf("found:\n%s\nwant %q", got, plant.find)
			}
		})
	}
}

// search changes what was found for a word.
func (s *scene) search(change func(*found)) {
	q := question{words: "bako"}
	f := s.views.searches[q]
	change(&f)
	s.views.searches[q] = f
}

func TestARecordInAnotherPartitionIsFound(t *testing.T) {
	s := newScene()
	s.log = append(s.log, nil) // of two partitions, one holds all
	if got := strings.Join(newAudit(s.entries, s.log).problems, "\n"); !strings.Contains(got, "where it does not belong") {
		t.Errorf("found:\n%s", got)
	}
}

// TestPartitionsAreThoseOfKafkasClients compares with what Kafka's Java client
// gives.
func TestPartitionsAreThoseOfKafkasClients(t *testing.T) {
	for key, want := range map[string]int{"21": -973932308 & 0x7fffffff, "foobar": -790332482 & 0x7fffffff,
		"a-little-bit-long-string": -985981536 & 0x7fffffff, "a-little-bit-longer-string": -1486304829 & 0x7fffffff} {
		if got := partitionOf(key, 1<<31); got != want {
			t.Errorf("%s: %d, want %d", key, got, want)
		}
	}
}

func TestATallyReadsBackWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tally")
	tl, err := newTally(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd, got := command{Seq: 1, Key: "k", Actor: "maya", Aggregate: "post", ID: "p1", Name: "bump", Want: 200},
		outcome{Status: 200, Version: 3, Position: "0@7", Events: []stored{{"x", "post.bumped", 3}}}
	for _, l := range []line{{Seq: 1, Sent: &cmd}, {Seq: 1, Unknown: "EOF"}, {Seq: 1, Got: &got}, {Seq: 1, Got: &got}} {
		if err := tl.add(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := tl.close(); err != nil {
		t.Fatal(err)
	}
	entries, err := readTally(path)
	if err != nil || len(entries) != 1 || entries[0].unknown != 1 || len(entries[0].got) != 2 || !entries[0].got[1].equal(got) || entries[0].Key != "k" {
		t.Fatalf("read back %+v, %v", entries, err)
	}
}
