// Package embedded runs a whole application in one process, with nothing
// installed: the log in one file under a data folder, documents in an in-process
// Redis, search in an in-process index. The log is what lasts; views are filled
// from it at each start.
//
//	app := framework.New(embedded.Config("./data"))
package embedded

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/boltlog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/view/blevestore"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// What lies in the data folder: the log, and copies of what was folded from it,
// which may be deleted.
const (
	File      = "drivetrain.db"
	Snapshots = "snapshots"
)

// Config returns a configuration whose log lies in folder dir, which is made if
// it is missing. One process uses a folder at a time: a second one's Run fails
// with a *boltlog.InUseError within seconds. It sets ReplaceViews.
func Config(dir string) framework.Config {
	return framework.Config{ReplaceViews: true, Open: func(context.Context) (framework.Resources, error) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return framework.Resources{}, fmt.Errorf("make the data folder: %w; name another one", err)
		}
		log, err := boltlog.Open(filepath.Join(dir, File), boltlog.Options{})
		if err != nil {
			return framework.Resources{}, err
		}
		r, err := With(log)
		if err != nil {
			return r, err
		}
		if r.Snapshots, err = snapshot.Dir(filepath.Join(dir, Snapshots)); err != nil {
			return framework.Resources{}, errors.Join(err, r.Close())
		}
		return r, nil
	}}
}

// With returns log beside in-process stores. Closing the resources closes the log
// too, also when With fails.
func With(log eventlog.Log) (framework.Resources, error) {
	server := miniredis.NewMiniRedis()
	secret := clock.System.Entropy()
	password := hex.EncodeToString(secret[:]) // it listens on loopback, so only we may use it
	server.RequireAuth(password)
	if err := server.Start(); err != nil {
		return framework.Resources{}, errors.Join(fmt.Errorf("start the in-process Redis: %w", err), log.Close())
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: password, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}}) // neither is known to miniredis
	search := blevestore.New()
	return framework.Resources{
		Log:       log,
		Documents: redisstore.New(client),
		Search:    search,
		Fleeting:  true,
		Close: func() error {
			err := errors.Join(log.Close(), client.Close(), search.Close())
			server.Close()
			return err
		},
	}, nil
}
