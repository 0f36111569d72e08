package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// How a fetch ends that brings nothing. Everything else is ctx's end.
var (
	// ErrNotFound: the collector has no such file.
	ErrNotFound = errors.New("no such file")
	// ErrLease: the collector says that this lease does not hold.
	ErrLease = errors.New("no such lease")
	// ErrBytes: what comes is something else than what was asked for, also from the
	// beginning.
	ErrBytes = errors.New("other bytes than asked for")
	// ErrUnreachable: no way brings anything; it wraps what the last try said.
	ErrUnreachable = errors.New("bytes do not come")
	// ErrDisk: the device's own disk; it wraps what the disk said.
	ErrDisk = errors.New("part not written")
)

// ComeBack is an error that says when to try again, jitter included.
type ComeBack struct{ After time.Duration }

func (c *ComeBack) Error() string { return fmt.Sprintf("told to come back in %v", c.After) }

// What ends a try, not a fetch.
var (
	errNoWay   = errors.New("no such way")
	errSlow    = errors.New("slower than the least rate")
	errCut     = errors.New("cut off")
	errForeign = errors.New("not the collector's answer")
)

const (
	// MaxMetadata bounds a file of metadata: three hundred targets have 80 kB.
	MaxMetadata = 1 << 20
	// LeastRate in bytes a second is what a way must bring over slowOver; a school's
	// pace gives a device four times that at least.
	LeastRate = 1 << 10
	slowOver  = 30 * time.Second
	// readWithin is how long one read may take: a chunk of 32 KiB at the least rate.
	readWithin = 45 * time.Second
	// endWithin is how long the end may take once all bytes are there.
	endWithin = 2 * time.Second
	// openWithin is how long an answer may take to begin: the collector may ask its
	// store and its signer.
	openWithin = 30 * time.Second
	// metadataWithin bounds a file of metadata, all tries together.
	metadataWithin = 2 * time.Minute
	// maxAfter bounds what somebody may tell us to wait.
	maxAfter = 24 * time.Hour
)

// Config of a Client. Open or Page is needed.
type Config struct {
	// Open opens a fetch stream on the present session (link.Fetch), whatever that
	// runs over; nil = there are never any.
	Open func(ctx context.Context, header *hmpb.FetchHeader) (*wire.Framed, error)
	// Page opens a connection for HTTP/1.1 to the collector (path.DialPage) and
	// names its host for the request; nil = there is no second way.
	Page func(ctx context.Context) (conn net.Conn, host string, err error)
	// LeastRate is as above, for tests; 0 = LeastRate.
	LeastRate int64
	// Patience is how long a wait that the collector asks for is waited here;
	// longer ones are the caller's (ComeBack). 0 = 2 minutes.
	Patience time.Duration
	Random   func() float64 // in [0, 1); nil = math/rand
	Log      *slog.Logger   // nil = slog.Default
}

// Client fetches. Its methods may be called by several goroutines, but of targets
// one should come at a time.
type Client struct {
	c Config
	// turn is what this client is called by HTTPS, where it has no name, so that the
	// collector knows who comes when he was told to. It is another after each start.
	turn string
}

// New makes a Client.
func New(c Config) *Client {
	if c.LeastRate <= 0 {
		c.LeastRate = LeastRate
	}
	if c.Patience <= 0 {
		c.Patience = 2 * time.Minute
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Client{c, strconv.FormatUint(rand.Uint64(), 36)}
}

// ask is what is asked for.
type ask struct {
	name   string // of a file of metadata; else:
	sha256 []byte
	nonce  []byte
	root   uint64
	lease  string
	offset int64
}

// body is what is answered.
type body struct {
	io.Reader
	length int64 // of the whole file; -1 = not said
	at     int64 // offset of the first byte
	fresh  []byte
	// expire has reads fail from a time on; close ends all, at the end of the bytes
	// or before.
	expire func(time.Time)
	close  func()
}

// The ways' names.
const session, https = "session", "https"

// way brings bytes.
type way struct {
	name string
	open func(ctx context.Context, a ask) (*body, error)
}

// ways in the order in which they are tried.
func (c *Client) ways() []way {
	var all []way
	if c.c.Open != nil {
		all = append(all, way{session, c.openSession})
	}
	if c.c.Page != nil {
		all = append(all, way{https, c.openPage})
	}
	return all
}

// pull reads a body to its end and hands on what comes, no more than most bytes.
func (c *Client) pull(ctx context.Context, b *body, most int64, take func([]byte) error) error {
	defer b.close()
	defer context.AfterFunc(ctx, func() { b.expire(time.Unix(1, 0)) })()
	buf := make([]byte, 32<<10)
	since, n := time.Now(), int64(0)
	for {
		b.expire(time.Now().Add(readWithin))
		if ctx.Err() != nil { // behind it, so that ctx's own is not lost
			return context.Cause(ctx)
		}
		m, err := b.Read(buf)
		if n += int64(m); int64(m) > most {
			return fmt.Errorf("%w: it is longer", ErrBytes)
		}
		most -= int64(m)
		if m > 0 {
			if err := take(buf[:m]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err == nil && most == 0 && b.length >= 0:
			b.expire(time.Now().Add(endWithin))
			b.Read(buf[:1]) // all is there; its end makes the stream's end an orderly one
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errSlow
		case err != nil:
			return fmt.Errorf("%w: %w", errCut, err)
		}
		if took := time.Since(since); took >= slowOver {
			if n < int64(took.Seconds()*float64(c.c.LeastRate)) {
				return errSlow
			}
			since, n = time.Now(), 0
		}
	}
}

// Metadata is a file of signed metadata as it came.
type Metadata struct {
	Data []byte
	// Freshness is the statement of proto/manifest, where there was a nonce.
	Freshness []byte
}

// Metadata fetches a file such as 3.root.json; nonce and root go with
// timestamp.json. Its errors are those above.
func (c *Client) Metadata(ctx context.Context, name string, nonce []byte, root uint64) (Metadata, error) {
	if name == "" || strings.ContainsAny(name, "/\\?#% ") {
		return Metadata{}, fmt.Errorf("%w: %q is no name", ErrNotFound, name)
	}
	ctx, cancel := context.WithTimeout(ctx, metadataWithin)
	defer cancel()
	var last error
	for try := range 4 {
		ways := c.ways()
		if len(ways) == 0 {
			return Metadata{}, fmt.Errorf("%w: %w", ErrUnreachable, errNoWay)
		}
		w := ways[try%len(ways)]
		m, err := c.metadata(ctx, w, ask{name: name, nonce: nonce, root: root})
		switch {
		case err == nil:
			return m, nil
		case errors.Is(err, ErrNotFound):
			return Metadata{}, fmt.Errorf("%s: %w", name, err)
		case ctx.Err() != nil:
			return Metadata{}, fmt.Errorf("%w: %s by %s: %w", ErrUnreachable, name, w.name, err)
		}
		last = fmt.Errorf("%s by %s: %w", name, w.name, err)
		c.c.Log.Debug("metadata not fetched", "name", name, "way", w.name, "error", err)
		if later := (*ComeBack)(nil); errors.As(err, &later) {
			return Metadata{}, err
		}
		if try%len(ways) == len(ways)-1 && !c.sleep(ctx, c.backoff(try)) {
			break
		}
	}
	return Metadata{}, fmt.Errorf("%w: %w", ErrUnreachable, last)
}

func (c *Client) metadata(ctx context.Context, w way, a ask) (m Metadata, err error) {
	b, err := w.open(ctx, a)
	if err != nil {
		return Metadata{}, err
	}
	if b.length > MaxMetadata {
		b.close()
		return Metadata{}, fmt.Errorf("%w: %d bytes of metadata", errForeign, b.length)
	}
	if err := c.pull(ctx, b, MaxMetadata, func(p []byte) error { m.Data = append(m.Data, p...); return nil }); err != nil {
		return Metadata{}, err
	}
	if b.length >= 0 && int64(len(m.Data)) != b.length {
		return Metadata{}, errCut
	}
	m.Freshness = b.fresh
	return m, nil
}

// later is a wait that was asked for, spread over a quarter more; maxAfter with that.
func (c *Client) later(wait time.Duration) error {
	wait = min(max(wait, time.Second), maxAfter)
	return &ComeBack{min(wait+time.Duration(c.c.Random()*float64(wait)/4), maxAfter)}
}

// backoff is full jitter under a ceiling of 2 s that doubles to 2 minutes.
func (c *Client) backoff(failures int) time.Duration {
	ceiling := min(2*time.Second<<min(failures, 6), 2*time.Minute)
	return 200*time.Millisecond + time.Duration(c.c.Random()*float64(ceiling))
}

func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
