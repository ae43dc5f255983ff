package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"

	"github.com/go-chi/chi/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/view"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
	"github.com/drivetrain-go/drivetrain/projections"
)

// card is the document of a counter.
type card struct {
	ID    string `json:"id"`
	Total int    `json:"total"`
	Last  string `json:"last"`
}

func (c card) fold(e projections.Event[fact]) card {
	return card{e.ID, c.Total + e.Fact.(counted).By, e.Actor}
}

// inRedis is documents, and a client of where they lie.
type inRedis struct {
	view.Documents
	client *redis.Client
}

// withRedis is the log in a file and documents in the Redis that the environment
// names.
func withRedis(dir string) framework.Config {
	cfg := embedded.Config(dir)
	open := cfg.Open
	cfg.Open = func(ctx context.Context) (framework.Resources, error) {
		r, err := open(ctx)
		client := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR"), Password: os.Getenv("REDIS_PASSWORD"),
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
		r.Documents = inRedis{redisstore.New(client), client}
		if before := r.Close; err == nil {
			r.Close = func() error { return errors.Join(before(), client.Close()) }
		}
		return r, err
	}
	return cfg
}

// dear returns the places where a query costs the processor more than is promised.
func (f figures) dear(callers []int) (list []string) {
	for _, n := range callers {
		at, floor := place{ourView, n}, place{bareView, n}
		if len(f[at]) == 0 || len(f[floor]) == 0 {
			continue
		}
		if of := 1 / f.ratio(at, floor, cell.perCommand); of < promisedOfView {
			list = append(list, fmt.Sprintf("%s at %s callers: %.2f of %s by processor time, %v are promised", ourView, grouped(n), of, bareView, promisedOfView))
		}
	}
	return list
}

// furnishViews lets the first counters have documents, and returns what a query is
// answered.
func (b *bench) furnishViews(ctx context.Context, handler http.Handler) (same http.Header, err error) {
	at := make([]eventlog.Positions, 16)
	errs := make([]error, len(at))
	var all sync.WaitGroup
	for n := range at {
		all.Go(func() {
			at[n] = eventlog.NewPositions()
			for i := n; i < cardsCount && errs[n] == nil; i += len(at) {
				var res framework.Result
				call := b.call()
				call.ID = b.ids[i]
				res, errs[n] = b.app.Execute(ctx, call)
				at[n].Offsets[res.Position.Partition] = res.Position.Offset
			}
		})
	}
	all.Wait()
	for n := range at {
		if errs[n] == nil {
			_, errs[n] = b.app.Ask(ctx, "card", framework.Query{Key: b.ids[n], Min: at[n]})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/views/card/counter-0", nil))
	if w.Code != http.StatusOK {
		return nil, fmt.Errorf("a query is answered %d: %s", w.Code, w.Body)
	}
	return w.Header(), nil
}

// bareView is the least that a chi handler can do for a document in Redis.
func (b *bench) bareView(same http.Header) http.Handler {
	var hashes [partitions]string
	for p := range hashes {
		hashes[p] = fmt.Sprintf("{%s:card:1:%d}", b.app.Config().App, p)
	}
	mux := chi.NewMux()
	mux.Get("/v1/views/card/{key}", func(w http.ResponseWriter, r *http.Request) {
		key := chi.URLParam(r, "key")
		value, err := b.redis.HGet(r.Context(), hashes[partitionOf(key)], ":"+key).Bytes()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		for name, values := range same {
			h[name] = values
		}
		w.Write(value)
	})
	return mux
}
