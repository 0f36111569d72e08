package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Fetcher opens a file of the repository's metadata. Names are as they stand in
// an address, already escaped: timestamp.json, 7.root.json. It returns
// ErrNotFound for a file that the repository says it does not have; every other
// answer that is not the file (403, a login page's redirect, no line) is
// another error. Closing the reader must end a Read that hangs.
type Fetcher interface {
	Fetch(ctx context.Context, name string) (io.ReadCloser, error)
}

// Pace bounds how slow a file may come: in each Window at least Bytes, or its
// end. One that trickles would otherwise hold up updating for as long as it
// likes. All files of one refresh together have Total.
type Pace struct {
	Window time.Duration // 20 s when 0
	Bytes  int64         // 4096 when 0
	Total  time.Duration // 10 min when 0
}

var (
	errTooSlow = errors.New("too slow")
	errTooLong = errors.New("too long")
)

func (p Pace) filled() Pace {
	if p.Window <= 0 {
		p.Window = 20 * time.Second
	}
	if p.Bytes <= 0 {
		p.Bytes = 4096
	}
	if p.Total <= 0 {
		p.Total = 10 * time.Minute
	}
	return p
}

// read takes a whole file of at most limit bytes.
func (p Pace) read(ctx context.Context, f Fetcher, name string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// window begins a new one; the file is given up when it ends.
	window := func() (end func()) {
		w, over := context.WithTimeout(ctx, p.Window)
		stop := context.AfterFunc(w, func() { cancel(errTooSlow) })
		return func() { stop(); over() }
	}
	end := window()
	defer func() { end() }()

	fail := func(err error) ([]byte, error) {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // closing the reader made the other one
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrTransport, name, err)
	}
	r, err := f.Fetch(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %s: %w", ErrTransport, name, ErrNotFound)
	}
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	defer context.AfterFunc(ctx, func() { r.Close() })()

	var data []byte
	var fresh int64
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		data = append(data, buf[:n]...)
		if int64(len(data)) > limit {
			return fail(errTooLong)
		}
		if fresh += int64(n); fresh >= p.Bytes {
			fresh = 0
			end()
			end = window()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fail(err)
		}
	}
	// A page where metadata should be is a captive portal or a proxy: not the
	// repository's answer, so nothing to accuse it of.
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return fail(errors.New("something else answered"))
	}
	return data, nil
}
