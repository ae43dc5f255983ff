package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// damage is a way to spoil a log's file.
type damage struct {
	name  string
	spoil func(data []byte) []byte
}

func flip(at, n int) func([]byte) []byte {
	return func(data []byte) []byte {
		for i := at; i < min(at+n, len(data)); i++ {
			data[i] ^= 0x5a
		}
		return data
	}
}

func damages(data []byte) []damage {
	list := []damage{
		{"an empty file", func([]byte) []byte { return nil }},
		{"cut to a page", func(d []byte) []byte { return d[:4096] }},
		{"cut to the half", func(d []byte) []byte { return d[:len(d)/2] }},
		{"another program's file", func([]byte) []byte { return bytes.Repeat([]byte("This is no log.\n"), 4096) }},
		{"zeros", func(d []byte) []byte { return make([]byte, len(d)) }},
		{"the first page", flip(16, 32)},
		{"the second page", flip(4096+16, 32)},
		{"a text", flip(bytes.LastIndex(data, []byte("Number40.")), 4)},
		{"an envelope", flip(bytes.LastIndex(data, []byte("post.published"))-20, 2)},
	}
	r := rand.New(rand.NewPCG(7, 7))
	for range 9 {
		at := 8192 + r.IntN(len(data)-8192)
		list = append(list, damage{fmt.Sprintf("64 bytes at %d", at), flip(at, 64)})
	}
	return list
}

// TestADamagedLogIsRefusedByName spoils the log's file in many ways. The program
// refuses it with a line that names the file, at once or when it reads what all of it
// depends on, or serves what is whole: then it
// gives no answer that is wrong, and names the file when it meets the damage.
func TestADamagedLogIsRefusedByName(t *testing.T) {
	if !alone() {
		return
	}
	t.Parallel()
	dir := t.TempDir()
	s := &sender{t: t, p: startReady(t, dir)}
	for n := range 80 {
		s.send(command{Aggregate: "post", ID: fmt.Sprintf("p%d", n), Actor: "maya", Name: "publish",
			Body: body("tribe", "hikers", "text", fmt.Sprintf("Zopela muti %s Number%d.", strings.Repeat("la", 200), n))})
	}
	if err := s.p.stop(t); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "drivetrain.db"))
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, d := range damages(data) {
		t.Run(d.name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.WriteFile(filepath.Join(folder, "drivetrain.db"), d.spoil(slices.Clone(data)), 0o600); err != nil {
				t.Fatal(err)
			}
			if meetsDamage(t, folder, s.entries) {
				refused++
			}
		})
	}
	t.Logf("%d of %d were refused at start", refused, len(damages(data)))
}

// meetsDamage starts the program on a spoilt file and checks what it does. It
// reports whether it was refused.
func meetsDamage(t *testing.T, folder string, entries []entry) bool {
	t.Helper()
	p := launch(t, exec.Command(built, flags(folder)...))
	file := filepath.Join(folder, "drivetrain.db")
	refused := false
	for end := time.Now().Add(readyWithin); !refused && p.base == ""; time.Sleep(10 * time.Millisecond) {
		if found := address.FindAllString(p.out.String(), -1); len(found) > 1 {
			p.base = found[0]
		}
		select {
		case <-p.exited:
			refused = true
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("it neither listens nor ends; it wrote:\n%s", p.out)
		}
	}
	for end := time.Now().Add(readyWithin); !refused && !strings.Contains(p.out.String(), file) && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if status, _ := p.try("/readyz"); status == http.StatusOK {
			break
		}
	}
	select {
	case <-p.exited: // at once, or while it read what all of it depends on
		refused = true
	case <-time.After(200 * time.Millisecond):
	}
	if refused {
		lines := p.lines()
		if p.base != "" && len(lines) > 0 {
			lines = lines[len(lines)-1:] // behind those that said where it listened
		}
		if len(lines) != 1 || !strings.Contains(lines[0], file) || p.cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("it ended with %v and wrote %q, want one line that names %s", p.err, p.lines(), file)
		}
		return true
	}
	unanswered := missing(t, p, entries)
	p.stop(t) // with or without an error
	out := p.out.String()
	if unanswered > 0 && !strings.Contains(out, file) {
		t.Errorf("%d queries were not answered, but nothing names the file:\n%s", unanswered, out)
	}
	if strings.Contains(out, "goroutine ") || strings.Contains(out, "panic:") {
		t.Errorf("it wrote a stack:\n%s", out)
	}
	return false
}

// missing asks for every post, and returns how many queries get no answer now. An
// answer must be right.
func missing(t *testing.T, p *program, entries []entry) (n int) {
	t.Helper()
	w := imagine(entries)
	for id, card := range w.posts {
		switch status, doc := p.try("/v1/views/post-card/" + id); {
		case status == http.StatusOK && sameJSON(doc, card):
		case status == http.StatusServiceUnavailable && strings.Contains(doc, "/problems/"):
			n++
		default:
			t.Errorf("post-card %s: %d %s", id, status, doc)
		}
		switch status, doc := p.try("/v1/post/" + id); {
		case status == http.StatusOK && sameJSON(doc, map[string]any{"tribe": "hikers", "bumpers": map[string]bool{}}):
		case status == http.StatusServiceUnavailable && strings.Contains(doc, "/problems/"):
			n++
		default:
			t.Errorf("post %s: %d %s", id, status, doc)
		}
	}
	return n
}
