package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
	"github.com/drivetrain-go/drivetrain/framework/view/viewtest"
)

// store is a Store that can lose its data.
type store struct{ *redisstore.Store }

func (s store) Empty(t *testing.T, g view.Generation) {
	t.Helper()
	if err := s.Drop(t.Context(), g); err != nil {
		t.Fatal(err)
	}
}

// client returns a client of the server that REDIS_ADDR names, or of a new
// miniredis.
func client(t testing.TB) *redis.Client {
	addr := os.Getenv("REDIS_ADDR")
	if addr == "" {
		addr = miniredis.RunT(t).Addr()
	}
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { c.Close() })
	return c
}

// generation returns one that no other test or run uses, dropped at the end.
func generation(t testing.TB, s *redisstore.Store) view.Generation {
	g := view.Generation{App: fmt.Sprintf("redisstore-%x", maphash.String(maphash.MakeSeed(), t.Name())), View: "card", Number: 1}
	t.Cleanup(func() {
		if err := s.Drop(context.Background(), g); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestStore(t *testing.T) {
	viewtest.Documents(t, func(t *testing.T) view.Documents { return store{redisstore.New(client(t))} })
}

func TestAServersScriptCacheMayBeFlushed(t *testing.T) {
	c := client(t)
	s := redisstore.New(c)
	g := generation(t, s)
	for i := range int64(3) {
		mark, err := s.Open(t.Context(), g, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), g, &view.Batch{Epoch: mark.Epoch, From: i, Next: i + 1}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAllKeysOfAPartShareOneHashTag(t *testing.T) {
	c := client(t)
	s := redisstore.New(c)
	g := generation(t, s)
	mark, err := s.Open(t.Context(), g, 3)
	if err != nil {
		t.Fatal(err)
	}
	b := &view.Batch{Partition: 3, Epoch: mark.Epoch, Next: 1, Puts: []view.Put{{Key: "}k{", Value: []byte("1")}},
		Adds: []view.Entry{{Set: "}s{", Member: "m"}, {Set: "t", Member: "m"}}}
	if err := s.Write(t.Context(), g, b); err != nil {
		t.Fatal(err)
	}
	keys, err := c.Keys(t.Context(), "*"+g.App+"*").Result()
	if err != nil || len(keys) != 4 {
		t.Fatalf("keys %q, %v; want the part, two sets and their list", keys, err)
	}
	for _, k := range keys {
		if tag := "{" + g.App + ":card:1:3}"; !strings.HasPrefix(k, tag) {
			t.Errorf("key %q does not begin with the tag %q", k, tag)
		}
	}
}

func TestDropLeavesOtherGenerations(t *testing.T) {
	s := redisstore.New(client(t))
	one := generation(t, s)
	ten := one
	ten.Number = 10
	for _, g := range []view.Generation{one, ten} {
		for p := range int32(20) {
			if _, err := s.Open(t.Context(), g, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Drop(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	for g, want := range map[view.Generation]uint64{one: 0, ten: 1} {
		for p := range int32(20) {
			marks, err := s.Marks(t.Context(), g, []int32{p})
			if err != nil || marks[0].Epoch != want {
				t.Errorf("%v, partition %d: %+v, %v; want epoch %d", g, p, marks, err, want)
			}
		}
	}
	if err := s.Drop(t.Context(), ten); err != nil {
		t.Fatal(err)
	}
}

// silent accepts connections and never answers.
func silent(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestCallsToASilentServerEndWithTheirContext(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("silent", func(t *testing.T) {
		c := redis.NewClient(&redis.Options{Addr: silent(t), ReadTimeout: time.Second, MaxRetries: -1})
		t.Cleanup(func() { c.Close() })
		s := redisstore.New(c)
		g := view.Generation{App: "a", View: "v", Number: 1}
		at := []view.Ref{{Key: "k"}}
		for name, call := range map[string]func(context.Context) error{
			"open":  func(ctx context.Context) error { _, err := s.Open(ctx, g, 0); return err },
			"write": func(ctx context.Context) error { return s.Write(ctx, g, &view.Batch{Epoch: 1, Next: 1}) },
			"marks": func(ctx context.Context) error { _, err := s.Marks(ctx, g, []int32{0}); return err },
			"get":   func(ctx context.Context) error { _, err := s.Get(ctx, g, at); return err },
			"sizes": func(ctx context.Context) error { _, err := s.Sizes(ctx, g, at); return err },
			"page":  func(ctx context.Context) error { _, err := s.Page(ctx, g, at, nil, 1); return err },
			"ping":  s.Ping,
			"drop":  func(ctx context.Context) error { return s.Drop(ctx, g) },
			"scan":  func(ctx context.Context) error { _, err := s.Scan(ctx, g, 0, "", 10); return err },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			begin := time.Now()
			if err := call(ctx); !errors.Is(err, context.Canceled) || time.Since(begin) > 800*time.Millisecond {
				t.Errorf("%s: %v after %v, want context.Canceled at once", name, err, time.Since(begin))
			}
		}
	})
}

func TestErrorsNameTheActAndNoPassword(t *testing.T) {
	m := miniredis.RunT(t)
	m.RequireAuth("right-secret")
	c := redis.NewClient(&redis.Options{Addr: m.Addr(), Password: "wrong-secret"})
	t.Cleanup(func() { c.Close() })
	_, err := redisstore.New(c).Open(t.Context(), view.Generation{App: "a", View: "v", Number: 4}, 7)
	if err == nil || !strings.Contains(err.Error(), "open a:v:4, partition 7") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v; want what was tried and no password", err)
	}
}

func TestAWriteRefusedHalfWayCanBeRepeated(t *testing.T) {
	c := client(t)
	s := redisstore.New(c)
	g := generation(t, s)
	mark, err := s.Open(t.Context(), g, 0)
	if err != nil {
		t.Fatal(err)
	}
	foreign := fmt.Sprintf("{%s:card:1:0}:s", g.App)
	if err := c.Set(t.Context(), foreign, "of another type", 0).Err(); err != nil {
		t.Fatal(err)
	}
	b := &view.Batch{Epoch: mark.Epoch, Next: 1, Puts: []view.Put{{Key: "k", Value: []byte("1")}}, Adds: []view.Entry{{Set: "s", Member: "m"}}}
	if err := s.Write(t.Context(), g, b); err == nil || errors.Is(err, view.ErrFenced) || errors.As(err, new(*view.BehindError)) {
		t.Fatalf("a write into a key of another type: %v", err)
	}
	if now, err := s.Marks(t.Context(), g, []int32{0}); err != nil || now[0] != mark {
		t.Fatalf("mark %v, %v; want %+v", now, err, mark)
	}
	if err := c.Del(t.Context(), foreign).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), g, b); err != nil {
		t.Fatal(err)
	}
}

func TestARestoredStoreSaysWhereItIs(t *testing.T) {
	c := client(t)
	s := redisstore.New(c)
	g := generation(t, s)
	var mark view.Mark
	for range 3 {
		var err error
		if mark, err = s.Open(t.Context(), g, 0); err != nil {
			t.Fatal(err)
		}
	}
	// A backup from when the first writer was at 5.
	if err := c.HSet(t.Context(), fmt.Sprintf("{%s:card:1:0}", g.App), "e", 1, "n", 5).Err(); err != nil {
		t.Fatal(err)
	}
	var behind *view.BehindError
	err := s.Write(t.Context(), g, &view.Batch{Epoch: mark.Epoch, From: 9, Next: 10})
	if !errors.As(err, &behind) || behind.Mark != (view.Mark{Epoch: 1, Next: 5}) {
		t.Errorf("%v; want a BehindError at offset 5", err)
	}
}

// TestSetsOfBeforeThereWereListsAreScanned takes from a part what earlier versions of
// this package did not write.
func TestSetsOfBeforeThereWereListsAreScanned(t *testing.T) {
	c := client(t)
	s := redisstore.New(c)
	g := generation(t, s)
	mark, err := s.Open(t.Context(), g, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &view.Batch{Epoch: mark.Epoch, Next: 1, Puts: []view.Put{{Key: "k", Value: []byte("1")}}, Adds: []view.Entry{{Set: "s", Member: "m"}, {Set: "t", Member: "m"}}}
	if err := s.Write(t.Context(), g, b); err != nil {
		t.Fatal(err)
	}
	part := fmt.Sprintf("{%s:card:1:0}", g.App)
	if c.HDel(t.Context(), part, "s").Val() != 1 || c.Del(t.Context(), part+"=").Val() != 1 {
		t.Fatal("there is no list to take away")
	}
	if _, err := s.Open(t.Context(), g, 0); err != nil { // by a later version
		t.Fatal(err)
	}
	b = &view.Batch{Epoch: mark.Epoch + 1, From: 1, Next: 2, Adds: []view.Entry{{Set: "u", Member: "m"}}}
	if err := s.Write(t.Context(), g, b); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var sets []string
		for from, first := "", true; first || from != ""; first = false {
			page, err := s.Scan(t.Context(), g, 0, from, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				sets = append(sets, e.Set)
			}
			from = page.Next
		}
		if !slices.Equal(sets, []string{"s", "t", "u"}) {
			t.Errorf("a scan brings the sets %q, want s, t and u", sets)
		}
	}
}

func TestAPlaceThatNoScanGaveIsRefused(t *testing.T) {
	s := redisstore.New(client(t))
	for _, from := range []string{"x", "d", "dx", "s", "s9:a", "s-1:a", "sx:a"} {
		if _, err := s.Scan(t.Context(), generation(t, s), 0, from, 10); err == nil || !strings.Contains(err.Error(), "Next of the page before") {
			t.Errorf("a page at %q: %v", from, err)
		}
	}
}
