package collector

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"hausmeister/collector/db"
)

// DatabaseOf is the database that a collector of this Config opens.
func DatabaseOf(c Config) db.Config { return c.database() }

// PublicOf is what becomes of the setting.
func PublicOf(public string) (string, error) {
	c := DefaultConfig()
	c.Public = public
	err := c.check()
	return c.Public, err
}

// RunSplitter runs the TCP side alone, with a limit of its own for handshakes.
func RunSplitter(ctx context.Context, tcp *net.TCPListener, within time.Duration) error {
	s := newSplitter(tcp, &tls.Config{}, nil, slog.New(slog.DiscardHandler))
	s.within = within
	return s.Run(ctx, func() {})
}
