package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// RouterConfig says how a router treats messages whose handler fails. Poison and
// Publisher are required; a zero field is its default.
type RouterConfig struct {
	Poison    string            // the topic for messages that are given up, as "<app>.poison"
	Publisher message.Publisher // takes them there
	// Retries is how often a handler is called again after a failure or a panic.
	// Default 5, at most 100.
	Retries int
	// MinPause is before the first of these calls; the pause doubles up to
	// MaxPause, each more or less by half at random. Default 100 ms and 10 s.
	MinPause, MaxPause time.Duration
	// CloseTimeout is how long handlers may go on once the router closes.
	// Default 10 s.
	CloseTimeout time.Duration
	// Logger takes each failure. Default: nowhere.
	Logger *slog.Logger
}

// Router returns a Watermill router that retries, and then sends what it cannot
// handle to the poison topic, with the reason as metadata, and goes on. While
// the poison topic cannot be reached the message is refused, and so delivered
// again. A message whose handler was ended by its context, as when the router
// closes, is refused too.
func Router(cfg RouterConfig) (*message.Router, error) {
	cfg.Retries = or(cfg.Retries, 5)
	cfg.MinPause = or(cfg.MinPause, 100*time.Millisecond)
	cfg.MaxPause = or(cfg.MaxPause, 10*time.Second)
	cfg.CloseTimeout = or(cfg.CloseTimeout, 10*time.Second)
	if err := cfg.bounds(); err != nil {
		return nil, fmt.Errorf("bus router: %w", err)
	}
	poison, err := middleware.PoisonQueueWithFilter(cfg.Publisher, cfg.Poison, hopeless)
	if err != nil {
		return nil, fmt.Errorf("bus router: %w", err)
	}
	log := adapter(cfg.Logger)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: cfg.CloseTimeout}, log)
	if err != nil {
		return nil, fmt.Errorf("bus router: %w", err)
	}
	retry := middleware.Retry{
		MaxRetries: cfg.Retries, InitialInterval: cfg.MinPause, MaxInterval: cfg.MaxPause,
		Multiplier: 2, RandomizationFactor: 0.5, ResetContextOnRetry: true, Logger: log,
	}
	router.AddMiddleware(poison, retry.Middleware, middleware.Recoverer)
	return router, nil
}

func (c RouterConfig) bounds() error {
	switch {
	case c.Poison == "" || c.Publisher == nil:
		return errors.New("no poison queue: set RouterConfig.Poison to a topic such as app.poison and Publisher to what reaches it")
	case c.Retries < 1 || c.Retries > 100:
		return fmt.Errorf("RouterConfig.Retries is %d: want 1 to 100", c.Retries)
	case c.MinPause < 0 || c.MaxPause < c.MinPause || c.CloseTimeout < 0:
		return errors.New("a time in RouterConfig is negative, or MinPause is above MaxPause")
	}
	return nil
}

// hopeless reports whether an error speaks against the message.
func hopeless(err error) bool { return !errors.Is(err, context.Canceled) }
