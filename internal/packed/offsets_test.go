package packed_test

import (
	"reflect"
	"testing"

	"github.com/drivetrain-go/drivetrain/internal/packed"
)

func TestOffsetsAreListedAsTheyWereAdded(t *testing.T) {
	var l packed.Offsets
	at := []int64{0, 1, 5, 300, 301, 70_000, 1 << 40}
	for _, o := range at {
		l.Add(o)
	}
	for skip := range uint64(9) {
		for limit := range 9 {
			want := at[min(int(skip), len(at)):]
			want = want[:min(limit, len(want))]
			if got := l.List(skip, limit); len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Errorf("list(%d, %d) = %v, want %v", skip, limit, got, want)
			}
		}
	}
	for i := range at {
		for j := i; j < len(at); j++ {
			if got := l.Between(at[i], at[j]); !reflect.DeepEqual(got, at[i:j+1]) {
				t.Errorf("between(%d, %d) = %v", at[i], at[j], got)
			}
		}
	}
}
