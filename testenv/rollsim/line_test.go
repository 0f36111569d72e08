package rollsim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/collector/access"
	"hausmeister/collector/pace"
)

// lines count what goes to schools, by the second.
type lines struct {
	mu sync.Mutex
	// below is guarded by mu
	all map[string]*line
}

type line struct {
	rate    int64
	seconds map[int64]int64 // bytes with their headers
	bytes   int64
	here    int // who fetches now
	most    int
}

const chunk = 8 << 10 // as collector/gateway sends

func (l *lines) of(p pace.Line) *line {
	if l.all[p.Key] == nil {
		l.all[p.Key] = &line{seconds: map[int64]int64{}}
	}
	l.all[p.Key].rate = p.Rate
	if p.Rate == 0 {
		l.all[p.Key].rate = pace.DefaultRate
	}
	return l.all[p.Key]
}

func (l *lines) sent(p pace.Line, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.of(p)
	of.bytes += n
	of.seconds[time.Now().Unix()] += n + n/16
}

func (l *lines) seat(p pace.Line, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.of(p)
	of.here += n
	of.most = max(of.most, of.here)
}

// load is how full a line was at most over spans of so many seconds: permille of its
// rate, with the burst of a tenth of a second and the chunk that was begun allowed.
func (l *line) load(span int64) (permille int64) {
	for at := range l.seconds {
		sum := int64(0)
		for s := at; s < at+span; s++ {
			sum += l.seconds[s]
		}
		allowed := l.rate*span + l.rate/10 + chunk + chunk/16
		permille = max(permille, sum*1000/allowed)
	}
	return permille
}

// Metadata is update.Fetcher's; lookups do without.
func (d *device) Metadata(context.Context, string, []byte, uint64) (fetch.Metadata, error) {
	return fetch.Metadata{}, errors.New("fetched by lookups only")
}

// Program is update.Fetcher's: by the patch if there is one for what is here.
func (d *device) Program(ctx context.Context, p fetch.Plan) (s fetch.Stats, err error) {
	t := p.Full
	if p.Delta != nil {
		if _, err := p.Base(); err != nil {
			return s, err
		}
		t, s.Patched = p.Delta.Target, true
	}
	if s.Fetched, err = d.target(ctx, t); err != nil {
		return s, err
	}
	out, err := p.Out()
	if err != nil {
		return s, err
	}
	b := text(newVersion)
	if !bytes.Equal(p.Program.SHA256, v2.Sum[:]) {
		b = text(oldVersion)
	}
	_, err = out.Write(b)
	return s, errors.Join(err, out.Close())
}

// Target is how what needs no lease comes; nothing of that kind is signed here.
func (d *device) Target(ctx context.Context, t fetch.Target, _ fetch.Part) (int64, error) {
	return d.target(ctx, t)
}

// target fetches as agent/update/fetch does, going on where it was cut.
func (d *device) target(ctx context.Context, t fetch.Target) (fetched int64, err error) {
	defer func() {
		d.mu.Lock()
		d.fetchedBytes += fetched
		d.mu.Unlock()
	}()
	for tries := 0; ; tries++ {
		at := d.disk.had(t.SHA256)
		if at == t.Length {
			return fetched, nil
		}
		n, wait, err := d.once(ctx, t, at)
		fetched += n
		switch {
		case ctx.Err() != nil:
			return fetched, context.Cause(ctx)
		case wait > 2*time.Minute:
			return fetched, &fetch.ComeBack{After: wait + time.Duration(d.random()*float64(wait)/4)}
		case errors.Is(err, fetch.ErrLease), errors.Is(err, fetch.ErrNotFound):
			return fetched, err
		case err != nil && tries >= 8:
			return fetched, fmt.Errorf("%w: %w", fetch.ErrUnreachable, err)
		case wait == 0:
			wait = time.Second
		}
		select {
		case <-time.After(wait + time.Duration(d.random()*float64(wait)/4)):
		case <-ctx.Done():
			return fetched, context.Cause(ctx)
		}
	}
}

// once is one fetch stream; wait says when to come back.
func (d *device) once(ctx context.Context, t fetch.Target, at int64) (n int64, wait time.Duration, err error) {
	var content pace.Content
	var from *running
	if !d.connected() {
		return 0, 0, errAway
	}
	err = d.w.c.call(func(r *running) (err error) {
		from = r
		content, err = r.gate.Target(context.Background(), d.caller, t.Lease, t.SHA256)
		return err
	})
	var later *pace.LaterError
	switch {
	case errors.As(err, &later):
		return 0, min(later.After, pace.MaxWait), nil
	case errors.Is(err, access.ErrForbidden):
		return 0, 0, fetch.ErrLease
	case errors.Is(err, access.ErrNotFound):
		return 0, 0, fetch.ErrNotFound
	case err != nil:
		return 0, 0, err
	}
	defer content.Close()
	seat, wait := from.pace.Enter(content.Line, d.id, content.Size-at)
	if seat == nil {
		return 0, wait, nil
	}
	defer seat.Leave()
	d.w.lines.seat(content.Line, 1)
	defer d.w.lines.seat(content.Line, -1)
	buf := make([]byte, chunk)
	for at < content.Size {
		if seat.Over() {
			return n, 0, nil
		}
		m, err := content.ReadAt(buf[:min(chunk, content.Size-at)], at)
		if m == 0 {
			return n, 0, err
		}
		if err := seat.Take(ctx, m); err != nil {
			return n, 0, err
		}
		if !d.w.c.is(from) || !d.connected() {
			return n, 0, errAway
		}
		d.w.lines.sent(content.Line, int64(m))
		at, n = at+int64(m), n+int64(m)
		d.disk.came(t.SHA256, at)
	}
	return n, 0, nil
}
