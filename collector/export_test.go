package collector

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/pace"
	"hausmeister/collector/rollout"
)

// DatabaseOf is the database that a collector of this Config opens.
func DatabaseOf(c Config) db.Config { return c.database() }

// PaceOf and LinesOf are what a collector of this Config gives to rollouts and lines.
func PaceOf(c Config) rollout.Pace { return c.pace() }

// LinesOf see PaceOf.
func LinesOf(c Config) pace.Config { return c.Updates.lines() }

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
