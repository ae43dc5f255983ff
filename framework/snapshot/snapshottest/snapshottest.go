// Package snapshottest is the conformance suite of blob stores: what
// [snapshot.BlobStore] promises, as tests. The driver's own test calls it:
//
//	func TestStore(t *testing.T) {
//		snapshottest.Blobs(t, func(t *testing.T) snapshot.BlobStore { return snapshot.Memory() })
//	}
//
// Every test writes below a prefix of its own, and deletes what it wrote, so that
// a store on a shared server can be tested by one process at a time.
package snapshottest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/snapshot"
)

// limit bounds one test, on a slow server too.
const limit = 2 * time.Minute

var tests = map[string]func(*store){
	"blobs come back byte for byte":           bytesComeBack,
	"a blob is replaced whole":                replacedWhole,
	"what is not there is not found":          notFound,
	"names are listed sorted, by prefix":      listedByPrefix,
	"deleting twice is no error":              deletedTwice,
	"names that do not fit are refused":       namesAreRefused,
	"the greatest names fit":                  greatestNames,
	"a body that fails leaves what was":       failedBody,
	"calls end with their context":            contextsEnd,
	"writers of one blob leave one's":         writersOfOneBlob,
	"a reader sees one blob or fails":         readerSeesOne,
	"blobs are written and read side by side": sideBySide,
}

// Blobs runs the suite. open returns the store to test, a new one or the same
// each time, and registers its end with t.
func Blobs(t *testing.T, open func(t *testing.T) snapshot.BlobStore) {
	number := 0
	for name, f := range tests {
		number++
		prefix := fmt.Sprintf("snapshottest/%d/", number)
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			s := &store{T: t, BlobStore: open(t), ctx: ctx, prefix: prefix}
			s.clear()
			defer s.clear()
			f(s)
		})
	}
}

// store is a store under test.
type store struct {
	*testing.T
	snapshot.BlobStore
	ctx    context.Context
	prefix string
}

func (s *store) clear() {
	s.Helper()
	for _, name := range s.list("") {
		if err := s.Delete(s.ctx, s.prefix+name); err != nil {
			s.Fatalf("delete %s: %v", name, err)
		}
	}
}

func (s *store) put(name, body string) {
	s.Helper()
	if err := s.Put(s.ctx, s.prefix+name, strings.NewReader(body)); err != nil {
		s.Errorf("put %s: %v", name, err)
	}
}

func (s *store) get(name string) (string, error) {
	r, err := s.Get(s.ctx, s.prefix+name)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func (s *store) want(name, body string) {
	s.Helper()
	if got, err := s.get(name); err != nil || got != body {
		s.Errorf("%s: %d bytes %.60q, %v, want %d bytes %.60q", name, len(got), got, err, len(body), body)
	}
}

func (s *store) wantNone(name string) {
	s.Helper()
	if got, err := s.get(name); !errors.Is(err, snapshot.ErrNotFound) {
		s.Errorf("%s: %d bytes, %v, want ErrNotFound", name, len(got), err)
	}
}

// list returns the names below the test's prefix and prefix.
func (s *store) list(prefix string) []string {
	s.Helper()
	names, err := s.List(s.ctx, s.prefix+prefix)
	if err != nil {
		s.Errorf("list %s: %v", prefix, err)
	}
	for i, name := range names {
		rest, ok := strings.CutPrefix(name, s.prefix)
		if !ok {
			s.Errorf("list %s has %s", s.prefix+prefix, name)
		}
		names[i] = rest
	}
	return names
}

func (s *store) wantList(prefix string, want ...string) {
	s.Helper()
	if got := s.list(prefix); !slices.Equal(got, want) {
		s.Errorf("list %q: %q, want %q", prefix, got, want)
	}
}

// noise returns n bytes that repeat only after a while.
func noise(n int, seed byte) string {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

func bytesComeBack(s *store) {
	bodies := map[string]string{"empty": "", "zero": "\x00", "text": "a\r\n\x00é", "one-mib": noise(1<<20, 1), "odd": noise(3<<20+17, 2)}
	for name, body := range bodies {
		s.put(name, body)
	}
	for name, body := range bodies {
		s.want(name, body)
	}
	slow := noise(4000, 3)
	if err := s.Put(s.ctx, s.prefix+"slow", iotest.OneByteReader(iotest.DataErrReader(strings.NewReader(slow)))); err != nil {
		s.Fatal(err)
	}
	s.want("slow", slow)
}

func replacedWhole(s *store) {
	s.put("a", noise(100_000, 1))
	s.put("a", "short")
	s.want("a", "short")
	s.put("a", "")
	s.want("a", "")
	s.wantList("", "a")
}

func notFound(s *store) {
	s.wantNone("a")
	s.wantNone("folder/a")
	s.put("folder/a", "x")
	s.wantNone("folder")
	s.wantNone("folder/b")
	s.put("b", "x")
	if err := s.Delete(s.ctx, s.prefix+"b"); err != nil {
		s.Fatal(err)
	}
	s.wantNone("b")
	s.wantList("none/")
}

func listedByPrefix(s *store) {
	for _, name := range []string{"b/2", "a", "b/10", "b.x", "b-x/1", "b/1", "c/d/e", "c/dd"} {
		s.put(name, name)
	}
	s.wantList("", "a", "b-x/1", "b.x", "b/1", "b/10", "b/2", "c/d/e", "c/dd")
	s.wantList("b", "b-x/1", "b.x", "b/1", "b/10", "b/2")
	s.wantList("b/", "b/1", "b/10", "b/2")
	s.wantList("b/1", "b/1", "b/10")
	s.wantList("c/d", "c/d/e", "c/dd")
	s.wantList("c/d/e", "c/d/e")
	s.wantList("c/d/e/")
	s.wantList(".")
	if err := s.Delete(s.ctx, s.prefix+"b/10"); err != nil {
		s.Fatal(err)
	}
	s.wantList("b/1", "b/1")
}

func deletedTwice(s *store) {
	s.put("a/b", "x")
	for range 2 {
		if err := s.Delete(s.ctx, s.prefix+"a/b"); err != nil {
			s.Fatal(err)
		}
	}
	for _, name := range []string{"a", "no/such", "c"} {
		if err := s.Delete(s.ctx, s.prefix+name); err != nil {
			s.Errorf("delete %s, which is not there: %v", name, err)
		}
	}
}

func namesAreRefused(s *store) {
	before, err := s.List(s.ctx, "")
	if err != nil {
		s.Fatal(err)
	}
	for _, name := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/../b", "../a", "A", "a b", "é", "a\x00", "a\\b", "a:b", "+new/1",
		strings.Repeat("a", 401)} {
		if err := s.Put(s.ctx, name, strings.NewReader("x")); !errors.Is(err, snapshot.ErrName) {
			s.Errorf("put %.20q: %v, want ErrName", name, err)
		}
		if r, err := s.Get(s.ctx, name); !errors.Is(err, snapshot.ErrName) {
			s.Errorf("get %.20q: %v, %v, want ErrName", name, r, err)
		}
		if err := s.Delete(s.ctx, name); !errors.Is(err, snapshot.ErrName) {
			s.Errorf("delete %.20q: %v, want ErrName", name, err)
		}
	}
	for _, prefix := range []string{"/", "../", "a/../", "A", "a//", "é", strings.Repeat("a", 401)} {
		if names, err := s.List(s.ctx, prefix); !errors.Is(err, snapshot.ErrName) {
			s.Errorf("list %.20q: %q, %v, want ErrName", prefix, names, err)
		}
	}
	if after, err := s.List(s.ctx, ""); err != nil || !slices.Equal(before, after) {
		s.Errorf("after names that were refused: %q, %v, before %q", after, err, before)
	}
}

func greatestNames(s *store) {
	segment := strings.Repeat("s", 100)
	long := strings.Join([]string{segment, segment, segment}, "/")
	long += "/" + strings.Repeat("x", snapshot.MaxName-len(s.prefix)-len(long)-1)
	for _, name := range []string{long, "...", "-", "_", "a..b", ".a", "con.txt", "0"} {
		s.put(name, name)
		s.want(name, name)
	}
	s.wantList(long, long)
}

func failedBody(s *store) {
	broken := errors.New("broken")
	body := func() io.Reader {
		return io.MultiReader(strings.NewReader(noise(700_000, 1)), iotest.ErrReader(broken))
	}
	s.put("there", "before")
	for _, name := range []string{"there", "new", "folder/new"} {
		if err := s.Put(s.ctx, s.prefix+name, body()); !errors.Is(err, broken) {
			s.Errorf("put %s: %v, want the body's error", name, err)
		}
	}
	s.want("there", "before")
	s.wantNone("new")
	s.wantList("", "there")
}

func contextsEnd(s *store) {
	s.put("a", "x")
	ended, cancel := context.WithCancel(s.ctx)
	r, err := s.Get(ended, s.prefix+"a")
	if err != nil {
		s.Fatal(err)
	}
	cancel()
	_, _ = io.Copy(io.Discard, r) // it may still come, but not hang
	r.Close()
	_, getErr := s.Get(ended, s.prefix+"a")
	_, listErr := s.List(ended, s.prefix)
	for what, err := range map[string]error{
		"put": s.Put(ended, s.prefix+"b", strings.NewReader("x")), "get": getErr, "list": listErr, "delete": s.Delete(ended, s.prefix+"a"),
	} {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("%s: %v, want the context's error", what, err)
		}
	}
	s.wantList("", "a")
	midway, stop := context.WithCancel(s.ctx)
	body := io.MultiReader(strings.NewReader("half"), readFunc(func([]byte) (int, error) { stop(); return 0, nil }), strings.NewReader("rest"))
	if err := s.Put(midway, s.prefix+"c", body); !errors.Is(err, context.Canceled) {
		s.Errorf("a put whose context ends midway: %v", err)
	}
	s.wantNone("c")
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func writersOfOneBlob(s *store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 5 {
				if err := s.Put(s.ctx, s.prefix+"one", strings.NewReader(noise(50_000+i, byte(i)))); err != nil {
					s.Errorf("writer %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	got, err := s.get("one")
	if i := len(got) - 50_000; err != nil || i < 0 || i >= 8 || got != noise(50_000+i, byte(i)) {
		s.Errorf("%d bytes that nobody wrote so, %v", len(got), err)
	}
}

func readerSeesOne(s *store) {
	old := noise(2<<20, 1)
	for what, change := range map[string]func(){
		"replaced": func() { s.put("a", noise(2<<20, 2)) },
		"deleted": func() {
			if err := s.Delete(s.ctx, s.prefix+"a"); err != nil {
				s.Error(err)
			}
		},
	} {
		s.put("a", old)
		r, err := s.Get(s.ctx, s.prefix+"a")
		if err != nil {
			s.Fatal(err)
		}
		first := make([]byte, 1000)
		if _, err := io.ReadFull(r, first); err != nil {
			s.Fatal(err)
		}
		change()
		rest, err := io.ReadAll(r)
		r.Close()
		if got := append(first, rest...); !bytes.HasPrefix([]byte(old), got) || err == nil && len(got) != len(old) {
			s.Errorf("read while it was %s: %d bytes, not those of one blob, %v", what, len(got), err)
		}
	}
}

func sideBySide(s *store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name, body := fmt.Sprintf("%d/%d", i%3, i), noise(10_000*i+1, byte(i))
			for range 5 {
				s.put(name, body)
				s.want(name, body)
				if !slices.Contains(s.list(fmt.Sprintf("%d/", i%3)), name) {
					s.Errorf("%s is not listed", name)
				}
				if err := s.Delete(s.ctx, s.prefix+name); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.wantList("")
}
