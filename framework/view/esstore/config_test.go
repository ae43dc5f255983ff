package esstore_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
)

func TestMistakesInConfigAreNamedWithoutSecrets(t *testing.T) {
	url := []string{"http://127.0.0.1:9200"}
	for _, c := range []struct {
		config esstore.Config
		want   string
	}{
		{esstore.Config{}, "no URLs"},
		{esstore.Config{URLs: []string{"127.0.0.1:9200"}}, "URL 1 is malformed"},
		{esstore.Config{URLs: []string{"http://ok:1", "http://user:hunter2@bad host"}}, "URL 2 is malformed"},
		{esstore.Config{URLs: []string{"ftp://user:hunter2@host"}}, "URL 1 is malformed"},
		{esstore.Config{URLs: url, User: "u", Password: "hunter2", APIKey: "hunter2"}, "both User and APIKey"},
		{esstore.Config{URLs: url, Password: "hunter2"}, "Password without a User"},
		{esstore.Config{URLs: url, Timeout: time.Millisecond}, "Timeout of 1ms"},
		{esstore.Config{URLs: url, Shards: -1}, "-1 Shards"},
		{esstore.Config{URLs: url, Shards: 1025}, "1025 Shards"},
		{esstore.Config{URLs: url, Replicas: -1}, "-1 Replicas"},
	} {
		if _, err := esstore.New(c.config); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
}

func TestConfigIsShownWithoutSecrets(t *testing.T) {
	c := esstore.Config{URLs: []string{"https://u:hunter2@es1:9200", "::hunter2"}, User: "alice", Password: "hunter2", APIKey: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "c", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "c", c)
	for _, shown := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), log.String()} {
		if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "es1:9200") {
			t.Errorf("shown as %s", shown)
		}
	}
}

func TestTheServerLearnsTheUserAndErrorsDoNot(t *testing.T) {
	basic := func(r *http.Request) string { u, p, _ := r.BasicAuth(); return u + " " + p }
	key := func(r *http.Request) string { return r.Header.Get("Authorization") }
	for name, c := range map[string]struct {
		config esstore.Config
		in     string // before the host
		got    func(*http.Request) string
		want   string
	}{
		"user":    {esstore.Config{User: "alice", Password: "hunter2"}, "", basic, "alice hunter2"},
		"URL":     {esstore.Config{}, "alice:hunter2@", basic, "alice hunter2"},
		"both":    {esstore.Config{User: "bob", Password: "hunter2"}, "alice:hunter3@", basic, "bob hunter2"},
		"API key": {esstore.Config{APIKey: "hunter2"}, "", key, "APIKey hunter2"},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 10)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got <- c.got(r)
				refuse(w, 401, "security_exception", "unable to authenticate")
			}))
			defer server.Close()
			c.config.URLs = []string{strings.Replace(server.URL, "http://", "http://"+c.in, 1)}
			s := open(t, c.config)
			err := s.Prepare(t.Context(), posts, postFields)
			if is := <-got; is != c.want {
				t.Errorf("the server was told %q, want %q", is, c.want)
			}
			wantUnknown(t, err, "401", "security_exception", "check User and Password, or the APIKey")
			server.Close()
			for _, err := range []error{err, s.Ping(t.Context())} {
				if err == nil || strings.Contains(err.Error(), "hunter") {
					t.Errorf("%v; want an error without the password", err)
				}
			}
		})
	}
}

func TestARefusedConnectionNamesTheAddress(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	s := open(t, esstore.Config{URLs: []string{server.URL}})
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(server.URL, "http://")) {
		t.Errorf("%v; want an error that names %s", err, server.URL)
	}
}

func TestTLSIsCheckedByConfig(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	if err := open(t, esstore.Config{URLs: []string{server.URL}, TLS: &tls.Config{RootCAs: trusted}}).Ping(t.Context()); err != nil {
		t.Errorf("with the server's certificate: %v", err)
	}
	if err := open(t, esstore.Config{URLs: []string{server.URL}}).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with the system's certificates: %v", err)
	}
}

func TestANodeThatIsDownIsPassedOver(t *testing.T) {
	up := newFake(t)
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	s := open(t, esstore.Config{URLs: []string{down.URL, up.URL}})
	failed := 0
	for range 10 {
		if s.Ping(t.Context()) != nil {
			failed++
		}
	}
	if failed > 2 {
		t.Errorf("%d of 10 calls failed beside a node that is up", failed)
	}
}

func TestAStoreOutOfUseSaysWhy(t *testing.T) {
	f := newFake(t)
	s := open(t, esstore.Config{URLs: []string{f.URL}})
	calls := map[string]func(context.Context) error{
		"open":    func(ctx context.Context) error { _, err := s.Open(ctx, posts, 0); return err },
		"write":   func(ctx context.Context) error { return s.Write(ctx, posts, &view.Batch{Epoch: 1, Next: 1}) },
		"marks":   func(ctx context.Context) error { _, err := s.Marks(ctx, posts, []int32{0}); return err },
		"find":    func(ctx context.Context) error { _, err := s.Find(ctx, posts, view.Query{Size: 1}); return err },
		"refresh": func(ctx context.Context) error { return s.Refresh(ctx, posts) },
	}
	for name, call := range calls {
		if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "Prepare first") {
			t.Errorf("%s before Prepare: %v", name, err)
		}
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	calls["ping"] = s.Ping
	calls["prepare"] = func(ctx context.Context) error { return s.Prepare(ctx, posts, postFields) }
	calls["drop"] = func(ctx context.Context) error { return s.Drop(ctx, posts) }
	for name, call := range calls {
		if err := call(t.Context()); !errors.Is(err, esstore.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func TestEntriesOfSetsAndOtherJSONAreRefused(t *testing.T) {
	k := newTask(t)
	for want, b := range map[string]view.Batch{
		"sets":                             {Adds: []view.Entry{{Set: "s", Member: "m"}}},
		`document "k": want a JSON object`: {Puts: []view.Put{{Key: "k", Value: []byte("[1]")}}},
		`document "n": want a JSON object`: {Puts: []view.Put{{Key: "n", Value: []byte("null")}}},
		"at most 10000":                    {Deletes: make([]view.Ref, view.MaxBatch+1)},
	} {
		b.Epoch, b.Next = 1, 1
		if err := k.s.Write(t.Context(), posts, &b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if k.called("bulk") != 0 || k.called("mget") != 1 { // Open's
		t.Error("the server was asked about a batch that cannot be written")
	}
}
