package wire_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/internal/wire"
)

type embedded struct {
	Base int `json:"base"`
}

type whole struct {
	embedded
	Name  string           `json:"name,omitempty"`
	At    time.Time        `json:"at,omitzero"`
	ID    event.ID         `json:"id"`
	By    map[string]*leaf `json:"by"`
	Lists [][]uint64       `json:"lists"`
	Raw   []byte           `json:"raw"`
	Fixed [4]bool          `json:"fixed"`
	Ages  map[int32]string `json:"ages"`
	_     struct{}
}

type leaf struct {
	F float64 `json:"f"`
}

type chain struct {
	Next []chain `json:"next"`
}

func TestLosslessFindsWhatJSONWouldChange(t *testing.T) {
	if err := wire.Lossless(reflect.TypeFor[whole]()); err != nil {
		t.Errorf("%v, want it to pass", err)
	}
	for want, v := range map[string]any{
		"not exported": struct{ n int }{},
		"left out": struct {
			N int `json:"-"`
		}{},
		"A[] is a interface": struct {
			A []any `json:"a"`
		}{},
		"E has omitempty": struct {
			E map[string]int `json:"e,omitempty"`
		}{},
		"keys of wire_test": struct {
			K map[leaf]int `json:"k"`
		}{},
		"keys of time.Time": struct {
			K map[time.Time]int `json:"k"`
		}{},
		"marshals itself": struct {
			R json.RawMessage `json:"r"`
		}{},
		"B is not the only *": struct{ A, B *leaf }{},
		"nil may be": struct {
			P *[]int `json:"p"`
		}{},
		"within another": chain{},
		"only field of the name base": struct {
			embedded
			Base int `json:"base"`
		}{},
		"C is a chan": struct {
			C chan int `json:"c"`
		}{},
	} {
		if err := wire.Lossless(reflect.TypeOf(v)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v, want an error with %q", v, err, want)
		}
	}
}

func TestShapeTellsTypesApartByWhatIsOnTheWire(t *testing.T) {
	same := func(a, b any) bool { return wire.Shape(reflect.TypeOf(a)) == wire.Shape(reflect.TypeOf(b)) }
	type count struct {
		N int `json:"n"`
	}
	type renamed struct {
		M int `json:"n"`
	}
	if !same(count{}, renamed{}) {
		t.Error("a Go name made another shape")
	}
	for _, other := range []any{struct {
		N int64 `json:"n"`
	}{}, struct {
		N int `json:"m"`
	}{}, struct {
		N []int `json:"n"`
	}{}, &count{},
		struct {
			N int `json:"n"`
			M int `json:"m"`
		}{}} {
		if same(count{}, other) {
			t.Errorf("%T has the shape of %T", other, count{})
		}
	}
	if wire.Shape(reflect.TypeFor[chain]()) == "" || same(time.Time{}, event.ID{}) {
		t.Error("a shape is missing")
	}
}
