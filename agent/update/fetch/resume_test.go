package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"hausmeister/agent/update/fetch"
)

// Cut at each byte: what came counts, and the next try asks for the rest only.
func TestAttack19CutAtAnyByte(t *testing.T) {
	eachWay(t, func(w *world) {
		w.file = random(200)
		for cut := range int64(len(w.file)) {
			w.mu.Lock()
			w.asked = nil
			w.mu.Unlock()
			w.serve = func(n int, offset int64, r *reply) {
				if n > 0 {
					w.good(offset, r)
					return
				}
				r.begin(offset, int64(len(w.file)))
				if cut > 0 {
					r.send(w.file[:cut])
				}
				r.cut()
			}
			p := &memPart{}
			n, _, err := w.get(w.Context(), p)
			if err != nil || n != int64(len(w.file)) || !bytes.Equal(p.data, w.file) {
				w.Fatalf("cut at %d: Target = %d, %v", cut, n, err)
			}
			if got := w.requests(); !slices.Equal(got, []int64{0, cut}) {
				w.Fatalf("cut at %d: asked from %v, want 0 and %d", cut, got, cut)
			}
		}
	})
}

// The program is ended at each byte and begins anew: nothing is fetched twice.
func TestAttack19RestartAtAnyByte(t *testing.T) {
	eachWay(t, func(w *world) {
		w.file = random(120)
		for cut := range int64(len(w.file)) {
			ctx, stop := context.WithCancel(w.Context())
			w.serve = func(_ int, offset int64, r *reply) {
				if ctx.Err() != nil {
					w.good(offset, r)
					return
				}
				r.begin(offset, int64(len(w.file)))
				if cut > 0 {
					r.send(w.file[:cut])
				}
				time.Sleep(time.Second)
				stop()
				r.cut()
			}
			p := &memPart{}
			first, took, err := w.get(ctx, p)
			if !errors.Is(err, context.Canceled) || first != cut || took > 2*time.Second {
				w.Fatalf("ended at %d: Target = %d, %v after %v", cut, first, err, took)
			}
			p = &memPart{data: p.synced, state: p.state} // another process, or another boot
			second, _, err := w.get(w.Context(), p)
			if err != nil || first+second != int64(len(w.file)) || !bytes.Equal(p.data, w.file) {
				w.Fatalf("ended at %d: then Target = %d, %v", cut, second, err)
			}
		}
	})
}

// What a power cut or a bad disk may leave of part and state: the file comes out
// right, with at most one full download more.
func TestAttack19WhatAPowerCutLeaves(t *testing.T) {
	in(t, func(w *world) {
		w.file = random(3 << 20)
		half := func() *memPart {
			p := &memPart{}
			w.serve = func(n int, offset int64, r *reply) {
				r.begin(offset, int64(len(w.file)))
				r.send(w.file[offset : 2<<20+100])
				r.cut()
			}
			ctx, stop := context.WithTimeout(w.Context(), 10*time.Millisecond)
			defer stop()
			if _, _, err := w.get(ctx, p); err == nil {
				w.Fatal("half a file is whole")
			}
			w.serve = func(_ int, offset int64, r *reply) { w.good(offset, r) }
			return p
		}
		const there = 2<<20 + 100
		tests := map[string]struct {
			damage func(*memPart)
			most   int
		}{
			"nothing":            {func(p *memPart) {}, len(w.file) - there},
			"more than is known": {func(p *memPart) { p.data = append(p.data, make([]byte, 5000)...) }, len(w.file) - there},
			"as long, NUL":       {func(p *memPart) { clear(p.data[1<<20:]) }, len(w.file)},
			"one bit":            {func(p *memPart) { p.data[there-1] ^= 1 }, len(w.file)},
			"shorter":            {func(p *memPart) { p.data = p.data[:there-1] }, len(w.file)},
			"empty":              {func(p *memPart) { p.data = nil }, len(w.file)},
			"no state":           {func(p *memPart) { p.state = nil }, len(w.file)},
			"torn state":         {func(p *memPart) { p.state = p.state[:40] }, len(w.file)},
			"NUL state":          {func(p *memPart) { clear(p.state) }, len(w.file)},
			"longer state":       {func(p *memPart) { p.state = append(p.state, 0) }, len(w.file)},
			"state of another": {func(p *memPart) {
				was := w.file
				w.file = random(3<<20 + 1)
				q := half()
				w.file, p.state = was, q.state
			}, len(w.file)},
		}
		for name, tt := range tests {
			p := half()
			tt.damage(p)
			n, _, err := w.get(w.Context(), p)
			if err != nil || !bytes.Equal(p.data, w.file) {
				w.Errorf("%s: Target = %v", name, err)
			}
			if n > int64(tt.most) {
				w.Errorf("%s: %d bytes fetched, want at most %d", name, n, tt.most)
			}
		}
	})
}

// A proxy that ignores ranges costs one full download more and not one each time.
func TestAttack19RangeIgnored(t *testing.T) {
	in(t, func(w *world) {
		w.file = random(100 << 10)
		w.serve = func(n int, offset int64, r *reply) {
			r.begin(0, int64(len(w.file)))
			if n == 0 {
				r.send(w.file[:60<<10])
				r.cut()
				return
			}
			r.send(w.file)
			r.end()
		}
		p := &memPart{}
		n, _, err := w.get(w.Context(), p)
		if err != nil || !bytes.Equal(p.data, w.file) || n != 160<<10 {
			w.Errorf("Target = %d, %v; want the file for 60 + 100 kB", n, err)
		}
	})
	in(t, func(w *world) {
		w.file = random(100 << 10)
		w.serve = func(n int, offset int64, r *reply) { // and cuts each time at the same place
			r.begin(0, int64(len(w.file)))
			r.send(w.file[:60<<10])
			r.cut()
		}
		n, took, err := w.get(w.Context(), &memPart{})
		if !errors.Is(err, fetch.ErrUnreachable) || n > 2*int64(len(w.file))+60<<10 || took > time.Hour {
			w.Errorf("Target = %d, %v after %v; want it given up after one full download more", n, err, took)
		}
	})
	in(t, func(w *world) { // with another way that works again
		w.withSession()
		w.away = 3
		w.file = random(100 << 10)
		w.serve = func(n int, offset int64, r *reply) {
			if r.stream != nil {
				w.good(offset, r)
				return
			}
			r.begin(0, int64(len(w.file)))
			r.send(w.file[:60<<10])
			r.cut()
		}
		p := &memPart{}
		if n, _, err := w.get(w.Context(), p); err != nil || n != 100<<10 || !slices.Equal(w.via, []string{"https", "session"}) {
			w.Errorf("Target = %d, %v by %v; want the rest by the session", n, err, w.via)
		}
	})
}

// Another file under the same name, from the middle on: whole once more, and right.
func TestAttack19ChangedFile(t *testing.T) {
	eachWay(t, func(w *world) {
		w.file = random(100 << 10)
		other := random(100<<10 + 1)[:100<<10]
		w.serve = func(n int, offset int64, r *reply) {
			r.begin(offset, int64(len(w.file)))
			switch n {
			case 0:
				r.send(other[:60<<10])
				r.cut()
			default:
				r.send(w.file[offset : offset+40<<10])
				if offset+40<<10 < 100<<10 {
					r.send(w.file[offset+40<<10:])
				}
				r.end()
			}
		}
		p := &memPart{}
		n, _, err := w.get(w.Context(), p)
		if err != nil || !bytes.Equal(p.data, w.file) || n != 200<<10 {
			w.Errorf("Target = %d, %v; want the file for one full download more", n, err)
		}
	})
	eachWay(t, func(w *world) { // for ever
		other := random(1001)[:1000]
		w.serve = func(_ int, offset int64, r *reply) {
			r.begin(offset, 1000)
			r.send(other[offset:])
			r.end()
		}
		p := &memPart{}
		n, took, err := w.get(w.Context(), p)
		if !errors.Is(err, fetch.ErrBytes) || n != 2000 || len(p.data) != 0 || p.state != nil || took > time.Minute {
			w.Errorf("Target = %d, %v after %v, %d bytes left; want ErrBytes after two downloads, and nothing kept", n, err, took, len(p.data))
		}
	})
	in(t, func(w *world) { // a cache that lies, and a session that does not
		w.withSession()
		w.away = 3
		w.serve = func(_ int, offset int64, r *reply) {
			if r.stream != nil {
				w.good(offset, r)
				return
			}
			r.begin(offset, 1000)
			r.send(random(1001)[offset:1000])
			r.end()
		}
		p := &memPart{}
		if n, _, err := w.get(w.Context(), p); err != nil || n != 2000 || !bytes.Equal(p.data, w.file) {
			w.Errorf("Target = %d, %v; want it by the way that did not lie", n, err)
		}
	})
	in(t, func(w *world) { // an ETag says so
		w.raw = func(n int, conn net.Conn, _ *http.Request) {
			if n == 0 {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nETag: \"other\"\r\nContent-Length: 1000\r\n\r\n")
				conn.Write(w.file)
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nETag: \"%s\"\r\nContent-Length: 1000\r\n\r\n", w.hex())
			conn.Write(w.file)
		}
		if n, _, err := w.get(w.Context(), &memPart{}); err != nil || n != 1000 {
			w.Errorf("Target = %d, %v; want the one with its own tag", n, err)
		}
	})
}
