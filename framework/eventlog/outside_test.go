package eventlog

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestAListOfHeadersKeepsTheirOrderAndWhatIsMissing(t *testing.T) {
	list := AppendHeader(nil, "a", []byte("1"))
	list = AppendHeader(list, "", nil)
	list = AppendHeader(list, "a", []byte{})
	list = AppendHeader(list, strings.Repeat("k", 200), bytes.Repeat([]byte("v"), 70_000))
	var keys []string
	var values [][]byte
	for key, value := range Headers(list) {
		keys, values = append(keys, key), append(values, value)
	}
	if len(keys) != 4 || keys[0] != "a" || keys[1] != "" || keys[2] != "a" || len(keys[3]) != 200 {
		t.Errorf("keys %q", keys)
	}
	if string(values[0]) != "1" || values[1] != nil || values[2] == nil || len(values[2]) != 0 || len(values[3]) != 70_000 {
		t.Errorf("values of %d, %d, %d, %d bytes", len(values[0]), len(values[1]), len(values[2]), len(values[3]))
	}
	if n, err := CountHeaders(list); n != 4 || err != nil {
		t.Errorf("%d headers, %v, want 4", n, err)
	}
	if string(Header(list, "a")) != "1" || Header(list, "b") != nil || Header(nil, "a") != nil {
		t.Errorf("a is %q, b is %q", Header(list, "a"), Header(list, "b"))
	}
	for range Headers(list) {
		break
	}
}

func TestOutputsAreCheckedBeforeTheyAreSent(t *testing.T) {
	one := Output{Topic: "t", Partition: 3, Records: []Record{{Value: []byte("v")}}}
	many := Output{Topic: "t", Records: make([]Record, MaxOutputs-1)}
	for _, c := range []struct {
		outputs []Output
		want    error
	}{
		{nil, nil},
		{[]Output{one, many}, nil},
		{[]Output{one, many, one}, ErrTooLarge},
		{[]Output{one, {Topic: "t"}}, ErrInvalid},
		{[]Output{{Records: []Record{{}, {Header: []byte{3}}}}}, ErrHeaders},
		{[]Output{{Records: []Record{{}, {Value: make([]byte, MaxBatch)}}}}, nil},
		{[]Output{{Records: []Record{{}, {Value: make([]byte, MaxBatch+1)}}}}, ErrTooLarge},
	} {
		if err := CheckOutputs(c.outputs); !errors.Is(err, c.want) {
			t.Errorf("%d outputs: %v, want %v", len(c.outputs), err, c.want)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add(AppendHeader(AppendHeader(nil, "key", []byte("value")), "", nil))
	f.Add([]byte{2, 'a', 1})
	f.Add([]byte{0x82, 0x80, 0x80, 0x80, 0x80, 0x00, 'a', 1})
	f.Fuzz(func(t *testing.T, list []byte) {
		n, err := CountHeaders(list)
		seen := 0
		var again []byte
		for key, value := range Headers(list) {
			seen++
			again = AppendHeader(again, key, value)
		}
		if err == nil && n != seen {
			t.Fatalf("%d headers, but %d are counted", seen, n)
		}
		if more, err := CountHeaders(again); err != nil || more != seen {
			t.Fatalf("written again, %d headers are %d, %v", seen, more, err)
		}
	})
}
