package wire_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/internal/wire"
)

type good struct {
	Name  string            `json:"name"`
	At    time.Time         `json:"at_time,omitempty"`
	Inner []struct{ inner } `json:"inner"`
	Map   map[string]*inner `json:"map"`
	Left  int               `json:"-"`
	own   int
}

type inner struct {
	N    int   `json:"n"`
	Self *good `json:"self"`
}

func TestEveryFieldThatTravelsHasASnakeCaseName(t *testing.T) {
	_ = good{own: 1} // not exported, so it does not travel
	if err := wire.Check(reflect.TypeFor[good]()); err != nil {
		t.Errorf("%v, want it to pass", err)
	}
	for want, v := range map[string]any{
		"field Name": struct{ Name string }{},
		"field Deep": struct {
			In []map[string]struct{ Deep int } `json:"in"`
		}{},
		"field Camel": struct {
			Camel int `json:"camelCase"`
		}{},
		"field Empty": struct {
			Empty int `json:",omitempty"`
		}{},
	} {
		if err := wire.Check(reflect.TypeOf(v)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v, want an error with %q", v, err, want)
		}
	}
}

func TestDecodeTakesOneObjectWithKnownFields(t *testing.T) {
	for _, in := range []string{"", "  ", "{}", `{"n":1}`, " {\"n\":1}\n"} {
		if err := wire.Decode([]byte(in), &inner{}); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
	for _, in := range []string{"{", `{"m":1}`, `{"n":1}{}`, `{"n":1} x`, `{"n":"1"}`, "[]", "1"} {
		if err := wire.Decode([]byte(in), &inner{}); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}
