package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/drivetrain-go/drivetrain/framework"
)

// names is what an application has, for answers to requests that ask for what it
// has not.
type names struct {
	aggregates []string
	commands   map[string][]string // by aggregate type
	views      []string
	kinds      map[string]framework.ViewKind
}

func namesOf(a app) names {
	n := names{commands: make(map[string][]string), kinds: make(map[string]framework.ViewKind)}
	for _, t := range a.Aggregates() {
		n.aggregates = append(n.aggregates, t.TypeName())
		n.commands[t.TypeName()] = nil
	}
	for _, c := range a.Commands() {
		t := c.Aggregate.TypeName()
		n.commands[t] = append(n.commands[t], c.Name)
	}
	for _, v := range a.Views() {
		n.views = append(n.views, v.Name)
		n.kinds[v.Name] = v.Kind
	}
	return n
}

// maxListed bounds how many names an answer lists.
const maxListed = 50

func list(names []string) string {
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > maxListed:
		return strings.Join(names[:maxListed], ", ") + fmt.Sprintf(" and %d more, see /openapi.json", len(names)-maxListed)
	}
	return strings.Join(names, ", ")
}

// noRoute says which part of a path is unknown, and what there is.
func (s *server) noRoute(_ *response, r *http.Request) error {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		return unknown.because("there is nothing at %.200q; see /docs, or /openapi.json", r.URL.Path)
	}
	parts := strings.Split(path, "/")
	if parts[0] == "views" {
		return s.names.noView(parts[1:], r.URL.Path)
	}
	return s.names.noAggregate(parts, r.URL.Path)
}

func (n names) noAggregate(parts []string, path string) error {
	t := parts[0]
	commands, ok := n.commands[t]
	switch {
	case !ok:
		return unknown.because("unknown aggregate type %.80q; there are: %s", t, list(n.aggregates))
	case len(parts) == 3 && parts[1] != "" && parts[2] != "":
		return unknown.because("unknown command %.80q of %s; it has: %s", parts[2], t, list(commands))
	}
	return unknown.because("there is nothing at %.200q; a %s has /v1/%s/{id}, /v1/%s/{id}/events and /v1/%s/{id}/{command}, by POST, with the commands: %s",
		path, t, t, t, t, list(commands))
}

func (n names) noView(parts []string, path string) error {
	if len(parts) == 0 || parts[0] == "" {
		return unknown.because("name a view; there are: %s", list(n.views))
	}
	name := parts[0]
	switch kind, ok := n.kinds[name]; {
	case !ok:
		return unknown.because("unknown view %.80q; there are: %s", name, list(n.views))
	case kind == framework.Search:
		return unknown.because("there is nothing at %.200q; the view %s is asked by words: GET /v1/views/%s?q=…", path, name, name)
	default:
		return unknown.because("there is nothing at %.200q; the view %s is asked by key: GET /v1/views/%s/{key}", path, name, name)
	}
}
