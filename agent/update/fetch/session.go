package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// openSession asks on a fetch stream of the present session.
func (c *Client) openSession(ctx context.Context, a ask) (*body, error) {
	offset := uint64(a.offset)
	h := hmpb.FetchHeader_builder{Offset: &offset}
	if a.name != "" {
		h.Metadata = hmpb.MetadataFile_builder{Name: &a.name, Nonce: a.nonce, RootVersion: &a.root}.Build()
	} else {
		h.Sha256, h.Lease = a.sha256, &a.lease
	}
	f, err := c.c.Open(ctx, h.Build())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	f.SetReadDeadline(time.Now().Add(openWithin))
	var down hmpb.FetchDown
	if err = ctx.Err(); err == nil { // behind the deadline, so that ctx's own is not lost
		err = f.ReadMsg(&down)
	}
	if err != nil {
		f.Reset(hmpb.Code_CODE_NORMAL)
		return nil, noStream(err)
	}
	switch down.WhichKind() {
	case hmpb.FetchDown_Refused_case:
		f.CloseWrite()
		return nil, c.refused(down.GetRefused(), a)
	case hmpb.FetchDown_Begin_case:
	default:
		f.Reset(hmpb.Code_CODE_WRONG_ORDER)
		return nil, fmt.Errorf("%w: neither begin nor refused", errForeign)
	}
	length := down.GetBegin().GetLength()
	if length > math.MaxInt64 {
		f.Reset(hmpb.Code_CODE_WRONG_ORDER)
		return nil, fmt.Errorf("%w: a length of %d", errForeign, length)
	}
	chunks := &chunks{f: f}
	return &body{Reader: chunks, length: int64(length), at: a.offset, fresh: down.GetBegin().GetFreshness(),
		expire: func(t time.Time) { f.SetReadDeadline(t) }, close: chunks.close}, nil
}

// noStream says of a stream that ended before an answer whether there is any use in
// asking again: a collector of before 2026-11-29 knows no such streams, another has
// no updates.
func noStream(err error) error {
	var e *wire.Error
	if errors.As(err, &e) && e.Stream && e.Remote &&
		(e.Code == hmpb.Code_CODE_UNKNOWN_STREAM_TYPE || e.Code == hmpb.Code_CODE_STREAM_NOT_ALLOWED || e.Code == hmpb.Code_CODE_MALFORMED_FRAME) {
		return fmt.Errorf("%w: %w", errNoWay, err)
	}
	return fmt.Errorf("%w: %w", errCut, err)
}

// sentAway says that the collector ended a stream in the middle, because others wait
// or a lesson begins. It is asked again, and says until when; another way would be
// past it.
func sentAway(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Stream && e.Remote && e.Code == hmpb.Code_CODE_COME_BACK
}

func (c *Client) refused(r *hmpb.FetchRefused, a ask) error {
	switch code := hmpb.Code(r.GetCode()); {
	case code == hmpb.Code_CODE_NOT_FOUND:
		return ErrNotFound
	case code == hmpb.Code_CODE_COME_BACK:
		return c.later(time.Duration(r.GetRetryAfterS()) * time.Second)
	case code == hmpb.Code_CODE_STREAM_NOT_ALLOWED && a.name == "":
		return ErrLease
	default:
		return fmt.Errorf("refused: %s", code)
	}
}

// maxEmpty is how many frames may come one after the other that bring nothing.
const maxEmpty = 100

// chunks are the bytes of a fetch stream.
type chunks struct {
	f     *wire.Framed
	rest  []byte
	ended bool
}

func (c *chunks) Read(b []byte) (int, error) {
	for empty := 0; len(c.rest) == 0; empty++ {
		if empty > maxEmpty {
			return 0, fmt.Errorf("%w: frames without bytes", errForeign)
		}
		var down hmpb.FetchDown
		if err := c.f.ReadMsg(&down); err != nil {
			c.ended = errors.Is(err, io.EOF)
			return 0, err
		}
		// What else may come is a newer collector's: not for us.
		c.rest = down.GetChunk()
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *chunks) close() {
	if c.ended {
		c.f.CloseWrite()
		return
	}
	c.f.Reset(hmpb.Code_CODE_NORMAL)
}
