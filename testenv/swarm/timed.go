package swarm

import (
	"context"
	"sync/atomic"
	"time"

	"hausmeister/proto/wire"
)

// timed is a session that measures how long answers take on the streams after
// its first one, which is the control stream: there nobody answers each frame.
type timed struct {
	wire.Session
	opened atomic.Bool
	told   func(time.Duration)
}

func (t *timed) OpenStream(ctx context.Context) (wire.Stream, error) {
	s, err := t.Session.OpenStream(ctx)
	if err != nil || !t.opened.Swap(true) {
		return s, err
	}
	return &timedStream{Stream: s, told: t.told}, nil
}

// timedStream asks and is answered in turns.
type timedStream struct {
	wire.Stream
	told  func(time.Duration)
	asked atomic.Int64 // nanoseconds since 1970; 0: nothing was asked
}

func (s *timedStream) Write(b []byte) (int, error) {
	s.asked.CompareAndSwap(0, time.Now().UnixNano())
	return s.Stream.Write(b)
}

func (s *timedStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if n > 0 {
		if asked := s.asked.Swap(0); asked != 0 {
			s.told(time.Duration(time.Now().UnixNano() - asked))
		}
	}
	return n, err
}
