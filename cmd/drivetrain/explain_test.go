package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/frameworktest"
)

func TestADocumentIsExplained(t *testing.T) {
	admin, app, _ := poisoned(t)
	var last framework.Result
	for _, text := range []string{"a", "b", "c"} {
		last = tell(t, app, "one", text)
		tell(t, app, "two", "other")
	}
	frameworktest.Ask(t, app, "notes", framework.Query{Key: "one", Min: frameworktest.After(last)})
	got := drivetrain(t, "view", "explain", "notes", "one", "--documents", "--admin", admin)
	if got.code != 0 || got.problems != "" {
		t.Fatalf("%+v", got)
	}
	at := 0
	for _, want := range []string{"one of notes, generation 1, version 1:", `{"text":"a.b.c."}`,
		"note.said, version 1 of note/one", `{"text":"a"}`, `made it {"text":"a."}`,
		"note.said, version 2 of note/one", `{"text":"b"}`, `made it {"text":"a.b."}`,
		"note.said, version 3 of note/one", `{"text":"c"}`, `made it {"text":"a.b.c."}`} {
		i := strings.Index(got.out[at:], want)
		if i < 0 {
			t.Fatalf("%q is not behind what comes before it:\n%s", want, got.out)
		}
		at += i + len(want)
	}
	if strings.Contains(got.out, "other") {
		t.Errorf("events of another document:\n%s", got.out)
	}
	if got := drivetrain(t, "view", "explain", "notes", "one", "--version", "2", "--admin", admin); got.code != 0 || strings.Count(got.out, "note.said") != 2 {
		t.Errorf("as of version 2: %+v", got)
	}
	if got := drivetrain(t, "view", "explain", "notes", "one", "--limit", "2", "--admin", admin); got.code != 0 ||
		strings.Count(got.out, "note.said") != 2 || !strings.Contains(got.problems, "there may be more") {
		t.Errorf("two of them: %+v", got)
	}
	got = drivetrain(t, "view", "explain", "notes", "one", "--json", "--admin", admin)
	var page explained
	if err := json.Unmarshal([]byte(got.out), &page); err != nil || len(page.Items) != 3 || page.Items[2].Document != nil {
		t.Errorf("as JSON: %+v, %v", got, err)
	}
}

func TestWhatCannotBeExplainedIsNamed(t *testing.T) {
	admin, _, _ := poisoned(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"nothing", "one"}, 1, "unknown view"},
		{[]string{"notes", "one", "--at", "yesterday"}, 1, "at"},
		{[]string{"notes", "one", "--limit", "0"}, 2, "--limit 0"},
		{[]string{"notes", "one", "--version", "1", "--at", "2026-01-01T00:00:00Z"}, 2, "--at"},
	} {
		got := drivetrain(t, append([]string{"view", "explain", "--admin", admin}, c.args...)...)
		if got.code != c.code || !strings.Contains(got.problems, c.want) {
			t.Errorf("%v: %+v, want exit code %d and %q", c.args, got, c.code, c.want)
		}
	}
	if got := drivetrain(t, "view", "explain", "notes", "nobody", "--admin", admin); got.code == 0 && !strings.Contains(got.problems, "no event has moved it") {
		t.Errorf("a document that never was: %+v", got)
	}
}
