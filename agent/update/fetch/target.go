package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Target is a target's file as the metadata names it.
type Target struct {
	SHA256 []byte
	Length int64
	Lease  string // under which it is fetched; not sent by HTTPS. "" = by sessions only
}

const (
	// maxFailures ends a fetch that gets nowhere. A try counts that brought less than
	// somewhere, or came too slowly.
	maxFailures = 8
	somewhere   = 32 << 10
	// sessionTries is how often in a row the session fails before HTTPS is asked,
	// where nobody knows the device's school: half a minute, in which one that broke
	// comes back.
	sessionTries = 3
)

// Target fetches a target's file into part, going on where an earlier call stopped.
// Without an error the part holds it whole and verified, and it is durable. fetched
// is how many bytes came, also those that were of no use.
func (c *Client) Target(ctx context.Context, t Target, part Part) (fetched int64, err error) {
	if len(t.SHA256) != sha256.Size || t.Length < 0 {
		return 0, fmt.Errorf("%w: asked for a hash of %d bytes and %d bytes", ErrBytes, len(t.SHA256), t.Length)
	}
	d := &download{c: c, growing: growing{part: part, want: t}}
	if err := d.resume(); err != nil {
		return 0, err
	}
	for again := false; ; again = true {
		err := d.fill(ctx)
		switch {
		case errors.Is(err, ErrDisk):
			// What lies here is of no use to a disk that is full, and others need it.
			d.restart()
			return d.fetched, err
		case err != nil:
			return d.fetched, errors.Join(err, d.keep())
		case d.whole():
			return d.fetched, d.keep()
		case again:
			return d.fetched, errors.Join(fmt.Errorf("%w: twice", ErrBytes), d.restart())
		}
		c.c.Log.Warn("a file of an update has other bytes, it is fetched anew")
		d.wrong = true
		if err := d.restart(); err != nil {
			return d.fetched, err
		}
	}
}

// download is one call of Target.
type download struct {
	growing
	c       *Client
	fetched int64
	wrong   bool            // other bytes came than were asked for, by whichever way
	dead    map[string]bool // ways that there are not, or that cost too much
	ignored int64           // bytes that came before the offset which was asked for
}

// fill fetches until all bytes are there.
func (d *download) fill(ctx context.Context) error {
	failures, turn := 0, 0 // tries in a row; which of them counts for the choice of the way
	for d.offset < d.want.Length {
		ways := d.ways()
		if len(ways) == 0 {
			return fmt.Errorf("%w: %w", ErrUnreachable, errNoWay)
		}
		w := ways[max(0, turn-sessionTries+1)%len(ways)]
		before := d.offset
		err := d.once(ctx, w)
		var later *ComeBack
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrNotFound) && w.name == https && d.c.c.Open != nil:
			d.kill(w) // the session's word counts
			continue
		case errors.Is(err, ErrDisk), errors.Is(err, ErrLease), errors.Is(err, ErrNotFound):
			return err
		case errors.As(err, &later):
			if later.After > d.c.c.Patience {
				return err
			}
			if !d.c.sleep(ctx, later.After) {
				return context.Cause(ctx)
			}
			failures++ // it costs the collector something too
			if failures >= 10*maxFailures {
				return err
			}
			continue
		case errors.Is(err, errNoWay):
			d.kill(w)
			continue
		}
		d.c.c.Log.Debug("file of an update not fetched to its end", "way", w.name, "offset", d.offset, "error", err)
		if !sentAway(err) {
			turn++
		}
		if d.offset-before >= somewhere && !errors.Is(err, errSlow) {
			failures, turn = 0, 0
		} else if failures++; failures >= maxFailures {
			return fmt.Errorf("%w: by %s: %w", ErrUnreachable, w.name, err)
		}
		if err := d.keep(); err != nil {
			return err
		}
		if !d.c.sleep(ctx, d.c.backoff(failures)) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// ways leaves out what is dead, and HTTPS where only the session's word counts: nothing
// here knows the lessons of a target without a lease, the session's collector does; and
// what came and was wrong may have been HTTPS', whoever brought the last bytes.
func (d *download) ways() (ways []way) {
	for _, w := range d.c.ways() {
		switch {
		case d.dead[w.name]:
		case w.name == https && d.c.c.Open != nil && (d.want.Lease == "" || d.wrong && !d.dead[session]):
		default:
			ways = append(ways, w)
		}
	}
	return ways
}

func (d *download) kill(w way) {
	if d.dead == nil {
		d.dead = map[string]bool{}
	}
	d.dead[w.name] = true
}

// once asks by one way for what is missing.
func (d *download) once(ctx context.Context, w way) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := w.open(ctx, ask{sha256: d.want.SHA256, lease: d.want.Lease, offset: d.offset})
	if err != nil {
		return err
	}
	if b.length >= 0 && b.length != d.want.Length {
		b.close()
		return fmt.Errorf("%w: a file of %d bytes, want %d", errForeign, b.length, d.want.Length)
	}
	skip := d.offset - b.at // somebody between us and the collector ignores ranges
	err = d.c.pull(ctx, b, d.want.Length-b.at, func(p []byte) error {
		d.fetched += int64(len(p))
		n := min(skip, int64(len(p)))
		if skip -= n; n > 0 {
			d.ignored += n
			if d.ignored > d.want.Length {
				d.kill(w)
				return fmt.Errorf("%w: ranges are ignored", errForeign)
			}
		}
		if int64(len(p)) == n {
			return nil
		}
		return d.add(p[n:])
	})
	switch {
	case errors.Is(err, ErrBytes): // longer than it should be
		return fmt.Errorf("%w: %w", errForeign, err)
	case err == nil && d.offset < d.want.Length:
		return errCut
	}
	return err
}
