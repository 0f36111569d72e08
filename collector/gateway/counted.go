package gateway

import (
	"context"

	"golang.org/x/time/rate"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// A session needs three streams in its life, and a few more when the store was
// away. Who opens one after the other all day does it to cost us something.
const (
	streamsPerSecond = 1
	streamsBurst     = 64
)

// countedSession counts the bytes of its streams and ends when too many are
// opened one after the other; those open at once are wire's to bound.
type countedSession struct {
	wire.Session
	stats *stats
	pace  rate.Limiter
}

func (g *Gateway) counted(s wire.Session) wire.Session {
	return &countedSession{Session: s, stats: &g.stats, pace: *rate.NewLimiter(streamsPerSecond, streamsBurst)}
}

func (s *countedSession) AcceptStream(ctx context.Context) (wire.Stream, error) {
	st, err := s.Session.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	if !s.pace.Allow() {
		s.Close(hmpb.Code_CODE_TOO_MANY_STREAMS, "streams one after the other")
		return nil, &wire.Error{Code: hmpb.Code_CODE_TOO_MANY_STREAMS}
	}
	return &countedStream{Stream: st, stats: s.stats}, nil
}

type countedStream struct {
	wire.Stream
	stats *stats
}

func (s *countedStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.stats.up.Add(uint64(n))
	return n, err
}

func (s *countedStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	s.stats.down.Add(uint64(n))
	return n, err
}
