package eventlog

import (
	"errors"
	"strings"
	"testing"
)

func TestPositionsAreWrittenAsTheyAlwaysWere(t *testing.T) {
	for want, p := range map[string]Positions{
		"3@81234":                        NewPositions(Position{3, 81234}),
		"0@0":                            NewPositions(Position{}),
		"0@12,3@81234":                   NewPositions(Position{3, 81234}, Position{0, 12}),
		"2@7,10@5":                       NewPositions(Position{10, 5}, Position{2, 7}),
		"3@81234;c@57":                   {Offsets: map[int32]int64{3: 81234}, control: 58},
		";c@57":                          {control: 58},
		"1@2;c@0":                        {Offsets: map[int32]int64{1: 2}, control: 1},
		"":                               {},
		"4@9":                            NewPositions(Position{4, 9}, Position{4, 1}),
		"2147483647@9223372036854775807": NewPositions(Position{1<<31 - 1, 1<<63 - 1}),
	} {
		if got := p.String(); got != want {
			t.Errorf("%v is written %q, want %q", p, got, want)
		}
		if want == "" {
			continue
		}
		if back, err := ParsePositions(want); err != nil || back.String() != want {
			t.Errorf("%q reads back as %q, %v", want, back, err)
		}
	}
}

func TestParsePositionsTakesEachPartAndRefusesTheRest(t *testing.T) {
	for in, want := range map[string]string{"c@57": ";c@57", "3@1,3@9,3@4": "3@9", "1@1,0@0;c@3": "0@0,1@1;c@3", "03@007": "3@7"} {
		if got, err := ParsePositions(in); err != nil || got.String() != want {
			t.Errorf("%q is %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "3", "@", "3@", "@3", "3@-1", "-1@3", "+1@3", "3@1,", ",3@1", "3@1;", "3@1;57",
		"3@1;c@", "3@1;c@-1", "3@1;c@1;c@2", "c@1,3@1", "3@1 ", " 3@1", "2147483648@1", "1@9223372036854775808",
		"3@1@2", "3@0x1", "3@1_0", "c@1;c@2", strings.Repeat("1@1,", MaxPositions)} {
		if got, err := ParsePositions(bad); err == nil {
			t.Errorf("%.40q was taken for %v", bad, got)
		} else if !strings.Contains(err.Error(), "3@81234") || len(err.Error()) > 500 {
			t.Errorf("%.40q: error %.600q does not say in short what is wanted", bad, err)
		}
	}
}

func FuzzPositionsReadBack(f *testing.F) {
	for _, s := range []string{"3@81234", "0@12,3@81234;c@57", "c@57", ";c@0", "", "3@", "1@1,1@2", "01@1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePositions(s)
		if err != nil {
			return
		}
		for part, offset := range p.Offsets {
			if part < 0 || offset < 0 {
				t.Fatalf("%q gives %d@%d", s, part, offset)
			}
		}
		text := p.String()
		back, err := ParsePositions(text)
		if text == "" || err != nil || back.String() != text || len(back.Offsets) != len(p.Offsets) || back.control != p.control {
			t.Fatalf("%q gives %q, which reads back as %q, %v", s, text, back, err)
		}
	})
}

func TestPositionsThatAreJoinedLieBehindBoth(t *testing.T) {
	for _, c := range [][3]string{
		{"0@1,3@9;c@4", "0@5,1@0,3@8", "0@5,1@0,3@9;c@4"}, {"0@1", "c@0", "0@1;c@0"}, {";c@7", ";c@9", ";c@9"}, {"1@2", "1@2", "1@2"},
	} {
		a, err1 := ParsePositions(c[0])
		b, err2 := ParsePositions(c[1])
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got, back := a.Join(b).String(), b.Join(a).String(); got != c[2] || back != c[2] || a.String() != c[0] {
			t.Errorf("%s and %s are %s and %s, want %s", c[0], c[1], got, back, c[2])
		}
	}
	if got := (Positions{}).Join(Positions{}).String(); got != "" {
		t.Errorf("nothing and nothing is %q", got)
	}
}

func TestMurmur2IsKafkas(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) is %d, want %d", key, got, want)
		}
	}
}

func TestPartitionOfIsKafkasAndWithinBounds(t *testing.T) {
	// Kafka: toPositive(murmur2(key)) % partitions.
	if got, want := PartitionOf([]byte("21"), 16), int32((-973932308&0x7fffffff)%16); got != want {
		t.Errorf("partition %d, want %d", got, want)
	}
	used := map[int32]bool{}
	for i := range 1000 {
		key := []byte(strings.Repeat("k", i%50) + string(rune('a'+i%26)))
		for _, n := range []int{1, 3, 16} {
			got := PartitionOf(key, n)
			if got < 0 || int(got) >= n {
				t.Fatalf("partition %d of %d", got, n)
			}
			if n == 16 {
				used[got] = true
			}
		}
	}
	if len(used) != 16 {
		t.Errorf("1000 keys use %d of 16 partitions", len(used))
	}
	if PartitionOf(nil, 1) != 0 {
		t.Error("an empty key has no partition")
	}
}

func TestCheckKnowsTheBounds(t *testing.T) {
	if err := Check(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("no record: %v", err)
	}
	batch := []Record{{Key: make([]byte, 100), Header: make([]byte, 200), Value: make([]byte, 300)}, {Value: make([]byte, MaxBatch-600)}}
	if n := Size(batch); n != MaxBatch {
		t.Errorf("size %d, want %d", n, MaxBatch)
	}
	if err := Check(batch); err != nil {
		t.Errorf("the greatest batch: %v", err)
	}
	batch[0].Key = make([]byte, 101)
	if err := Check(batch); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "921601") {
		t.Errorf("one byte more: %v", err)
	}
}

func TestErrorsNameTheThingAndTheRemedy(t *testing.T) {
	for want, err := range map[string]error{
		"topic t: it has 3 partitions, not 4; ask for 3":                                           &TopicError{"t", "it has 3 partitions, not 4", "ask for 3"},
		"f.db is damaged: cut off; restore it from a backup":                                       &DamagedError{Where: "f.db", Reason: "cut off"},
		"f.db is damaged: topic t, partition 2, from offset 7: checksum; restore it from a backup": &DamagedError{Where: "f.db", Topic: "t", Part: 2, Offset: 7, Reason: "checksum"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
