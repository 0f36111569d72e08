package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"hausmeister/platform/supervise"
)

// Bounds of one connection. A page's form is small, and nobody uploads here.
const (
	maxHeader    = 16 << 10
	maxBody      = 64 << 10
	headerWithin = 10 * time.Second
	readWithin   = 30 * time.Second
	writeWithin  = 30 * time.Second // a live stream renews it
	idleWithin   = 2 * time.Minute
	stopWithin   = 5 * time.Second
)

// Serve answers the connections of ln, which gives *tls.Conn that may have
// negotiated h2 or http/1.1, until ctx ends; then it ends live streams, lets
// answers finish for a moment, and returns nil. It closes ln and may be called
// once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headerWithin,
		ReadTimeout:       readWithin,
		IdleTimeout:       idleWithin,
		// Broken handshakes and the like are the peer's business.
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	crew := supervise.NewCrew(ctx, 1)
	served := make(chan struct{})
	if err := crew.Go(func(ctx context.Context) {
		select {
		case <-served:
			return
		case <-ctx.Done():
		}
		close(s.ending)
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		if srv.Shutdown(stop) != nil {
			srv.Close() // late ones are cut
		}
	}); err != nil {
		ln.Close()
		return nil // ctx had ended before
	}
	err := srv.Serve(ln)
	close(served)
	crew.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving the pages on %s: %w", ln.Addr(), err)
}
