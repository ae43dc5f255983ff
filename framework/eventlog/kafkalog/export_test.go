package kafkalog

import (
	"context"
	"net"
)

// WithDial returns c with another way to reach brokers for all but appends.
func (c Config) WithDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) Config {
	c.dial = dial
	return c
}
