package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"hausmeister/platform/layout"
)

// Delta is a patch against one version of the program.
type Delta struct {
	Target
	From []byte // SHA-256 of the program that it is made against
}

// Plan is how to get a program.
type Plan struct {
	Program Want
	Full    Target // zstd
	Delta   *Delta // nil = there is none from here
	// Base gives the program that is here; only asked for with a Delta.
	Base func() ([]byte, error)
	// Part opens the part of a target by its hash; what it gives is closed if it can
	// be. Done is told of a part that is not needed any more; nil = nobody.
	Part func(sha256 []byte) (Part, error)
	Done func(sha256 []byte)
	// Out gives an empty file for the program, the same one each time that it is
	// asked.
	Out func() (io.WriteCloser, error)
}

// Stats say what a program cost.
type Stats struct {
	Fetched int64 // bytes
	Patched bool  // it came as a patch
	// Why says why there was a patch and it did not come as one; nil = it did, or
	// there was none.
	Why error
}

// Program fetches and unpacks a program: as a patch against the one that is here,
// or whole if there is no patch, or once the patch turns out to be of no use. What
// the network or the disk has against it is no reason for fetching the longer file;
// that is returned as Target does.
func (c *Client) Program(ctx context.Context, p Plan) (s Stats, err error) {
	if p.Delta != nil {
		err := c.patch(ctx, p, &s)
		if err == nil {
			s.Patched = true
			return s, nil
		}
		if !errors.Is(err, ErrBytes) && !errors.Is(err, ErrNotFound) {
			return s, err
		}
		s.Why = err
		c.c.Log.Warn("an update comes whole, its patch is of no use", "error", err)
	}
	return s, c.unpacked(ctx, p, p.Full, nil, &s)
}

func (c *Client) patch(ctx context.Context, p Plan, s *Stats) error {
	base, err := p.Base()
	if err != nil {
		return fmt.Errorf("%w: reading the program that is here: %w", ErrBytes, err)
	}
	if sum := sha256.Sum256(base); !bytes.Equal(sum[:], p.Delta.From) {
		return fmt.Errorf("%w: the program that is here is not the one that the patch is against", ErrBytes)
	}
	return c.unpacked(ctx, p, p.Delta.Target, base, s)
}

// unpacked fetches a target and unpacks it. A file that is verified and yet does
// not unpack to what was wanted is not kept, nor is one for whose program the disk
// has no room: others need that.
func (c *Client) unpacked(ctx context.Context, p Plan, t Target, base []byte, s *Stats) error {
	part, err := p.Part(t.SHA256)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	defer func() {
		if closer, ok := part.(io.Closer); ok {
			closer.Close()
		}
		if p.Done != nil && (err == nil || errors.Is(err, ErrBytes) || errors.Is(err, ErrNotFound) || layout.IsFull(err)) {
			p.Done(t.SHA256)
		}
	}()
	n, err := c.Target(ctx, t, part)
	s.Fetched += n
	if err != nil {
		return err
	}
	out, err := p.Out()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	err = Unpack(io.NewSectionReader(part, 0, t.Length), base, p.Program, out)
	if closing := out.Close(); err == nil && closing != nil {
		err = fmt.Errorf("%w: %w", ErrDisk, closing)
	}
	if err != nil {
		p.empty()
	}
	return err
}

// empty leaves nothing of a program that is not whole, above all no full disk.
func (p Plan) empty() {
	if out, err := p.Out(); err == nil {
		out.Close()
	}
}
