package layers_test

import (
	"testing"

	"github.com/drivetrain-go/drivetrain/tests/layers"
)

func load(t *testing.T) *layers.Graph {
	t.Helper()
	g, err := layers.Load(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestImportsPointOneWay(t *testing.T) {
	g := load(t)
	for _, v := range layers.Default.Imports(g) {
		t.Error(v)
	}
	for _, p := range layers.Default.Programs {
		t.Log(p.Size(g))
	}
}

func TestSourceReadsAsItShould(t *testing.T) {
	files, err := load(t).Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range layers.Default.Source.Check(files) {
		t.Error(v)
	}
	for _, f := range layers.Default.Source.Long(files) {
		t.Log("long:", f)
	}
}
