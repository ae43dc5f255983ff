package wire_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/internal/wire"
)

type within struct {
	Deep int `json:"deep"`
}

type holder struct {
	*within
	Name    string    `json:"name,omitempty"`
	Since   time.Time `json:"since"`
	Left    int       `json:"-"`
	private int
}

func TestFieldsAreThoseOfTheJSON(t *testing.T) {
	for want, of := range map[string]reflect.Type{
		"[deep int name string since time.Time]": reflect.TypeFor[**holder](),
		"[deep int]":                             reflect.TypeFor[within](),
	} {
		fields, ok := wire.Fields(of)
		var got []string
		for name, t := range fields {
			got = append(got, name+" "+t.String())
		}
		slices.Sort(got)
		if !ok || fmt.Sprint(got) != want {
			t.Errorf("%v has %v, %t; want %s", of, got, ok, want)
		}
	}
	for _, of := range []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[map[string]int](), reflect.TypeFor[time.Time](), reflect.TypeFor[any]()} {
		if _, ok := wire.Fields(of); ok {
			t.Errorf("%v is taken for a struct whose fields are known", of)
		}
	}
	_ = holder{}.private
}
