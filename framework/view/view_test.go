package view_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

func TestGenerationIsWrittenWithColons(t *testing.T) {
	g := view.Generation{App: "drivetribe", View: "tribe-card", Number: 12}
	if got := g.String(); got != "drivetribe:tribe-card:12" {
		t.Errorf("got %q", got)
	}
}

func TestBehindErrorSaysWhereTheStoreIsAndSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("write: %w", &view.BehindError{Mark: view.Mark{Epoch: 3, Next: 17}, From: 40})
	if got, want := err.Error(), "write: the store is at offset 17 of epoch 3, not at offset 40"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var behind *view.BehindError
	if !errors.As(err, &behind) || behind.Mark != (view.Mark{Epoch: 3, Next: 17}) {
		t.Errorf("unwrapped to %+v", behind)
	}
	if errors.Is(err, view.ErrFenced) {
		t.Error("a part that is behind is taken for one that another writer has")
	}
}

// TestKindsAreSet guards the zero FieldKind, which must stay invalid so that a
// forgotten kind is noticed.
func TestKindsAreSet(t *testing.T) {
	if view.Text == 0 || view.Keyword == 0 || view.Text == view.Keyword {
		t.Errorf("kinds are %d and %d", view.Text, view.Keyword)
	}
}

// TestLimitsFitOneAnother guards limits that other packages rely on:
// a page of hits is within Elasticsearch's window, and a document within the
// records it is made of.
func TestLimitsFitOneAnother(t *testing.T) {
	if view.MaxPage > 10_000 || view.MaxBatch < view.MaxPage || view.MaxValue != 900<<10 || view.MaxKey < 128+1 {
		t.Errorf("limits are batch %d, key %d, value %d, page %d", view.MaxBatch, view.MaxKey, view.MaxValue, view.MaxPage)
	}
}
