package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

func TestTarget(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 3<<20 + 17} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			eachWay(t, func(w *world) {
				w.file = random(size)
				p := &memPart{}
				n, _, err := w.get(w.Context(), p)
				if err != nil || n != int64(size) || !bytes.Equal(p.data, w.file) {
					w.Fatalf("Target = %d, %v; part has %d bytes, want %d", n, err, len(p.data), size)
				}
				if !bytes.Equal(p.synced, w.file) && size > 0 {
					w.Error("not durable")
				}
				if n, _, err := w.get(w.Context(), p); n != 0 || err != nil {
					w.Errorf("again = %d, %v; want nothing fetched", n, err)
				}
			})
		})
	}
}

// Somebody in the middle breaks the session and brings garbage by HTTPS: whatever the
// session brings after that, the update is not refused for it, nor is the session avoided.
func TestAttack19GarbageByHTTPS(t *testing.T) {
	for name, c := range map[string]struct {
		broken  int  // of the first tries, all by the session
		garbage int  // bytes by HTTPS, then cut
		again   bool // the session breaks for good in the second run
		want    error
	}{
		"some, and the session brings the rest": {3, 64 << 10, false, nil},
		"all of it, and the session comes back": {3, 200 << 10, false, nil},
		"and no session any more":               {3, 200 << 10, true, fetch.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				w.file = random(200 << 10)
				w.withSession()
				lied := false
				w.serve = func(n int, offset int64, r *reply) {
					switch {
					case r.stream == nil:
						lied = true
						r.begin(offset, int64(len(w.file)))
						r.send(bytes.Repeat([]byte("x"), min(c.garbage, len(w.file)-int(offset))))
						r.cut()
					case n < c.broken, lied && c.again:
						r.stream.Reset(hmpb.Code_CODE_NORMAL)
					default:
						w.good(offset, r)
					}
				}
				p := &memPart{}
				n, _, err := w.get(w.Context(), p)
				if !errors.Is(err, c.want) || c.want == nil && !bytes.Equal(p.data, w.file) || n > 2*int64(len(w.file)) {
					w.Errorf("Target = %d, %v by %v; want %v and one full download more at most", n, err, w.via, c.want)
				}
				if asked := slices.DeleteFunc(slices.Clone(w.via), func(way string) bool { return way != "https" }); len(asked) != 1 {
					w.Errorf("asked by %v, want the session alone behind what was wrong", w.via)
				}
			})
		})
	}
	in(t, func(w *world) { // it came in an earlier call
		w.file = random(200 << 10)
		w.withSession()
		p := &memPart{}
		w.away = always
		w.serve = func(n int, offset int64, r *reply) {
			if n > 0 {
				r.cut()
				return
			}
			r.begin(offset, int64(len(w.file)))
			r.send(bytes.Repeat([]byte("x"), 64<<10))
			r.cut()
		}
		if n, _, err := w.get(w.Context(), p); !errors.Is(err, fetch.ErrUnreachable) || n != 64<<10 {
			w.Fatalf("Target = %d, %v; want 64 KiB of it", n, err)
		}
		w.away, w.via = 0, nil
		w.serve = func(_ int, offset int64, r *reply) { w.good(offset, r) }
		if _, _, err := w.get(w.Context(), p); err != nil || !slices.Equal(w.via, []string{"session", "session"}) {
			w.Errorf("the next call: %v by %v; want it whole by the session", err, w.via)
		}
	})
}

// pages are what comes instead of the collector.
var pages = map[string]string{
	"portal":             "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("<p>sign in", 100),
	"portal as anything": "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
	"redirect":           "HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n",
	"403":                "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
	"404 of a proxy":     "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
	"503 for a year":     "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n",
	"511":                "HTTP/1.1 511 Network Authentication Required\r\nContent-Length: 0\r\n\r\n",
	"no HTTP":            "<html>",
	"nothing":            "",
	"half a head":        "HTTP/1.1 200 OK\r\nContent-Le",
	"compressed":         "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000),
	"a part unasked":     "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-999/1000\r\nContent-Length: 995\r\n\r\n" + strings.Repeat("x", 995),
	"another length":     "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 999\r\n\r\n" + strings.Repeat("x", 999),
	"a terabyte":         "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1099511627776\r\n\r\nxxx",
	"1xx for ever":       strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100),
}

// A captive portal, a proxy's no, inspection: passing trouble, and nothing of it is
// kept or believed.
func TestAttack11CaptivePortal(t *testing.T) {
	for name, page := range pages {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				w.raw = func(_ int, conn net.Conn, _ *http.Request) { io.WriteString(conn, page) }
				p := &memPart{}
				_, took, err := w.get(w.Context(), p)
				if !errors.Is(err, fetch.ErrUnreachable) || errors.Is(err, fetch.ErrNotFound) || took > 30*time.Minute {
					w.Errorf("Target = %v after %v, want ErrUnreachable", err, took)
				}
				if len(p.data) != 0 || p.state != nil {
					w.Errorf("%d bytes of it are kept", len(p.data))
				}
				_, err = fetch.New(w.config).Metadata(w.Context(), "2.root.json", nil, 0)
				if bounded := name == "portal as anything" || name == "a part unasked" || name == "another length"; !bounded &&
					(!errors.Is(err, fetch.ErrUnreachable) || errors.Is(err, fetch.ErrNotFound)) {
					w.Errorf("Metadata = %v, want ErrUnreachable", err)
				}
				// Once signed in, it goes on by itself.
				w.raw = nil
				if _, _, err := w.get(w.Context(), p); err != nil || !bytes.Equal(p.data, w.file) {
					w.Errorf("after signing in: Target = %v", err)
				}
			})
		})
	}
}

// Streams and answers that do not end, bring a byte a second or say nothing: over in
// minutes, and without memory.
func TestAttack10EndlessAndSlow(t *testing.T) {
	endless := func(r io.Writer, b []byte, every time.Duration) {
		for {
			if _, err := r.Write(b); err != nil {
				return
			}
			time.Sleep(every)
		}
	}
	heads := map[string]func(conn net.Conn){
		"endless head":     func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n"); endless(c, []byte("X: y\r\n"), 0) },
		"head of one line": func(c net.Conn) { endless(c, bytes.Repeat([]byte("x"), 4096), 0) },
		"no answer":        func(c net.Conn) { time.Sleep(24 * time.Hour) },
		"a byte a second":  func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); endless(c, []byte("x"), time.Second) },
		"endless body":     func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); endless(c, make([]byte, 8192), 0) },
		"endless chunks": func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			endless(c, []byte("1;"+strings.Repeat("x", 100)+"\r\nx\r\n"), 0)
		},
		"stops in the middle": func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
			time.Sleep(24 * time.Hour)
		},
	}
	for name, serve := range heads {
		t.Run("https/"+name, func(t *testing.T) {
			in(t, func(w *world) {
				w.raw = func(_ int, conn net.Conn, _ *http.Request) { serve(conn) }
				w.bounded()
			})
		})
	}
	begin := func(length uint64) *hmpb.FetchDown {
		return hmpb.FetchDown_builder{Begin: hmpb.FetchBegin_builder{Length: &length}.Build()}.Build()
	}
	chunk := func(n int) *hmpb.FetchDown { return hmpb.FetchDown_builder{Chunk: make([]byte, n)}.Build() }
	streams := map[string]func(f *wire.Framed){
		"no answer":       func(f *wire.Framed) { time.Sleep(24 * time.Hour) },
		"chunk first":     func(f *wire.Framed) { f.WriteMsg(chunk(10)); f.CloseWrite() },
		"a great length":  func(f *wire.Framed) { f.WriteMsg(begin(1 << 63)); f.CloseWrite() },
		"another length":  func(f *wire.Framed) { f.WriteMsg(begin(1001)); f.CloseWrite() },
		"a byte a second": func(f *wire.Framed) { f.WriteMsg(begin(1000)); w1(f, chunk(1), time.Second) },
		"endless":         func(f *wire.Framed) { f.WriteMsg(begin(1000)); w1(f, chunk(8192), 0) },
		"empty chunks":    func(f *wire.Framed) { f.WriteMsg(begin(1000)); w1(f, chunk(0), 10*time.Millisecond) },
		"unknown refusal": func(f *wire.Framed) {
			f.WriteMsg(hmpb.FetchDown_builder{Refused: hmpb.FetchRefused_builder{Code: new(uint32(4711))}.Build()}.Build())
			f.CloseWrite()
		},
		"nothing": func(f *wire.Framed) { f.CloseWrite() },
	}
	for name, serve := range streams {
		t.Run("session/"+name, func(t *testing.T) {
			in(t, func(w *world) {
				w.withSession()
				w.config.Page = nil
				w.frames = func(_ int, f *wire.Framed, _ *hmpb.FetchHeader) { serve(f) }
				w.bounded()
			})
		})
	}
}

func w1(f *wire.Framed, m *hmpb.FetchDown, every time.Duration) {
	for f.WriteMsg(m) == nil {
		time.Sleep(every)
	}
}

// bounded wants neither a target nor metadata, in bounded time and memory.
func (w *world) bounded() {
	w.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := &memPart{}
	n, took, err := w.get(w.Context(), p)
	if err == nil || took > 20*time.Minute || len(p.data) > len(w.file) {
		w.Errorf("Target = %d, %v after %v with %d bytes kept", n, err, took, len(p.data))
	}
	if n > 16*int64(len(w.file)) {
		w.Errorf("%d bytes taken for a file of %d", n, len(w.file))
	}
	begun := time.Now()
	m, err := fetch.New(w.config).Metadata(w.Context(), "timestamp.json", make([]byte, 32), 1)
	if took := time.Since(begun); took > 3*time.Minute || len(m.Data) > fetch.MaxMetadata {
		w.Errorf("Metadata = %d bytes, %v after %v", len(m.Data), err, took)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		w.Errorf("memory grew by %d MB", grown>>20)
	}
}

// Each operation of the disk fails, at each of its times: the error says so, what
// lies there is given back, and it works once there is room.
func TestAttack20DiskFull(t *testing.T) {
	in(t, func(w *world) {
		w.file = random(2<<20 + 5)
		p := &memPart{room: 1<<20 + 100_000}
		_, _, err := w.get(w.Context(), p)
		if !errors.Is(err, fetch.ErrDisk) || !errors.Is(err, errBroken) {
			w.Errorf("full disk: Target = %v, want ErrDisk and what the disk said", err)
		}
		if len(p.data) != 0 || p.state != nil {
			w.Errorf("full disk: %d bytes are left on it", len(p.data))
		}
		p.room = 0
		if _, _, err := w.get(w.Context(), p); err != nil || !bytes.Equal(p.data, w.file) {
			w.Errorf("with room again: Target = %v", err)
		}
		for _, op := range []string{"write", "sync", "set", "truncate", "size", "state"} {
			p := &memPart{fail: op}
			if _, took, err := w.get(w.Context(), p); !errors.Is(err, fetch.ErrDisk) || took > time.Minute {
				w.Errorf("%s fails: Target = %v after %v, want ErrDisk", op, err, took)
			}
			p.fail = ""
			if _, _, err := w.get(w.Context(), p); err != nil || !bytes.Equal(p.data, w.file) {
				w.Errorf("%s works again: Target = %v", op, err)
			}
		}
		// A part that cannot be read any more is begun anew.
		w.serve = func(_ int, offset int64, r *reply) { w.good(offset, r) }
		p = &memPart{data: bytes.Clone(w.file[:100])}
		p.fail = "read"
		if _, _, err := w.get(w.Context(), p); err != nil {
			w.Errorf("unreadable part: Target = %v", err)
		}
	})
}

// The collector's words, by either way.
func TestAttack22ComeBack(t *testing.T) {
	problem := func(code int, more string) string {
		return fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Type: application/problem+json\r\n%sContent-Length: 2\r\n\r\n{}", code, more)
	}
	in(t, func(w *world) { // a short wait is waited here
		w.raw = func(n int, conn net.Conn, _ *http.Request) {
			if n < 2 {
				io.WriteString(conn, problem(503, "Retry-After: 60\r\n"))
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(w.file))
			conn.Write(w.file)
		}
		if _, took, err := w.get(w.Context(), &memPart{}); err != nil || took < 2*time.Minute || took > 3*time.Minute {
			w.Errorf("Target = %v after %v, want it after two waits of a minute and a little", err, took)
		}
	})
	for asked, want := range map[string]time.Duration{"3600": time.Hour, "99999999": 24 * time.Hour} {
		in(t, func(w *world) { // a long one is not
			w.raw = func(_ int, conn net.Conn, _ *http.Request) {
				io.WriteString(conn, problem(503, "Retry-After: "+asked+"\r\n"))
			}
			_, took, err := w.get(w.Context(), &memPart{})
			var later *fetch.ComeBack
			if !errors.As(err, &later) || later.After < want || later.After > min(want*5/4, 24*time.Hour) || took > time.Second {
				w.Errorf("asked for %s s: Target = %v after %v", asked, err, took)
			}
		})
	}
	in(t, func(w *world) {
		w.withSession()
		w.config.Page = nil
		var code hmpb.Code
		w.frames = func(_ int, f *wire.Framed, h *hmpb.FetchHeader) {
			f.WriteMsg(hmpb.FetchDown_builder{Refused: hmpb.FetchRefused_builder{Code: new(uint32(code)), RetryAfterS: new(uint32(90_000_000))}.Build()}.Build())
			f.Finish(time.Second)
		}
		var later *fetch.ComeBack
		code = hmpb.Code_CODE_COME_BACK
		if _, _, err := w.get(w.Context(), &memPart{}); !errors.As(err, &later) || later.After != 24*time.Hour {
			w.Errorf("told to come back in a thousand days: Target = %v, want a day", err)
		}
		code = hmpb.Code_CODE_NOT_FOUND
		if _, took, err := w.get(w.Context(), &memPart{}); !errors.Is(err, fetch.ErrNotFound) || took > time.Second {
			w.Errorf("not found: Target = %v", err)
		}
		if _, err := fetch.New(w.config).Metadata(w.Context(), "2.root.json", nil, 1); !errors.Is(err, fetch.ErrNotFound) {
			w.Errorf("not found: Metadata = %v", err)
		}
		code = hmpb.Code_CODE_STREAM_NOT_ALLOWED
		if _, took, err := w.get(w.Context(), &memPart{}); !errors.Is(err, fetch.ErrLease) || took > time.Second {
			w.Errorf("no lease: Target = %v", err)
		}
	})
	in(t, func(w *world) {
		w.raw = func(_ int, conn net.Conn, _ *http.Request) { io.WriteString(conn, problem(404, "")) }
		if _, _, err := w.get(w.Context(), &memPart{}); !errors.Is(err, fetch.ErrNotFound) {
			w.Errorf("not found by HTTPS: Target = %v", err)
		}
	})
}

// A device that had its turn, or that a lesson came upon, is sent away in the middle:
// what is missing it asks of the collector that knows its school, which says when.
// HTTPS would be past the pace and the lessons.
func TestAttack22SentAwayInTheMiddle(t *testing.T) {
	onlySession := func(w *world) {
		w.Helper()
		if slices.Contains(w.via, "https") {
			w.Errorf("asked by %v from %v, want the session alone", w.via, w.asked)
		}
	}
	refuse := func(r *reply, after uint32) {
		r.stream.WriteMsg(hmpb.FetchDown_builder{Refused: hmpb.FetchRefused_builder{Code: new(uint32(hmpb.Code_CODE_COME_BACK)), RetryAfterS: &after}.Build()}.Build())
		r.stream.Finish(time.Second)
	}
	some := func(w *world, offset int64, r *reply) {
		r.begin(offset, int64(len(w.file)))
		r.send(w.file[offset : offset+40<<10])
		r.cut() // CODE_COME_BACK
	}
	in(t, func(w *world) { // its turn
		w.withSession()
		w.file = random(200 << 10)
		w.serve = func(n int, offset int64, r *reply) {
			switch {
			case r.stream == nil || n == 6:
				w.good(offset, r)
			case n%2 == 0:
				some(w, offset, r)
			default:
				refuse(r, 60)
			}
		}
		p := &memPart{}
		n, took, err := w.get(w.Context(), p)
		if err != nil || n != 200<<10 || !bytes.Equal(p.data, w.file) || took < 3*time.Minute || took > 4*time.Minute {
			w.Errorf("Target = %d, %v after %v; want each byte once, after three waits of a minute and a little", n, err, took)
		}
		onlySession(w)
	})
	in(t, func(w *world) { // a lesson
		w.withSession()
		w.file = random(200 << 10)
		w.serve = func(n int, offset int64, r *reply) {
			switch {
			case r.stream == nil:
				w.good(offset, r)
			case n == 0:
				some(w, offset, r)
			default:
				refuse(r, 45*60)
			}
		}
		var later *fetch.ComeBack
		if n, _, err := w.get(w.Context(), &memPart{}); !errors.As(err, &later) || later.After < 45*time.Minute || n != 40<<10 {
			w.Errorf("Target = %d, %v; want what came, and the end of the lesson", n, err)
		}
		onlySession(w)
	})
	in(t, func(w *world) { // for ever, and nothing comes
		w.withSession()
		w.serve = func(_ int, offset int64, r *reply) { r.cut() }
		if _, took, err := w.get(w.Context(), &memPart{}); !errors.Is(err, fetch.ErrUnreachable) || took > 20*time.Minute {
			w.Errorf("Target = %v after %v, want it given up", err, took)
		}
		onlySession(w)
	})
}

// A target without a lease has no times of its school with it, as an offer has; so it
// comes by the session alone, whatever becomes of that.
func TestAttack49UnleasedBySessionAlone(t *testing.T) {
	tests := map[string]struct {
		away  int
		serve func(w *world, r *reply)
		want  error
	}{
		"a lesson":             {0, func(_ *world, r *reply) { r.cut() }, fetch.ErrUnreachable},
		"another collector":    {0, func(_ *world, r *reply) { r.stream.Reset(hmpb.Code_CODE_UNKNOWN_STREAM_TYPE) }, fetch.ErrUnreachable},
		"no session":           {always, nil, fetch.ErrUnreachable},
		"a session that broke": {5, func(w *world, r *reply) { w.good(0, r) }, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				w.withSession()
				w.away = tt.away
				w.serve = func(_ int, offset int64, r *reply) {
					if r.stream == nil {
						w.good(offset, r)
						return
					}
					tt.serve(w, r)
				}
				unleased := w.target()
				unleased.Lease = ""
				if _, err := fetch.New(w.config).Target(w.Context(), unleased, &memPart{}); !errors.Is(err, tt.want) {
					w.Errorf("Target = %v, want %v", err, tt.want)
				}
				if slices.Contains(w.via, "https") {
					w.Errorf("asked by %v, want the session alone", w.via)
				}
			})
		})
	}
}

// Each way takes over from the other: a collector of before knows no fetch streams,
// a session may be away, a port closed.
func TestWays(t *testing.T) {
	in(t, func(w *world) {
		w.withSession()
		if _, _, err := w.get(w.Context(), &memPart{}); err != nil || !slices.Equal(w.via, []string{"session"}) {
			w.Errorf("%v by %v, want the session", err, w.via)
		}
		if _, err := fetch.New(w.config).Metadata(w.Context(), "1.root.json", nil, 1); err != nil || !slices.Equal(w.via, []string{"session", "session"}) {
			w.Errorf("metadata: %v by %v, want the session", err, w.via)
		}
		w.via, w.away = nil, 2
		if _, _, err := w.get(w.Context(), &memPart{}); err != nil || !slices.Equal(w.via, []string{"session"}) {
			w.Errorf("a session that broke: %v by %v, want the next one", err, w.via)
		}
		w.via, w.file = nil, random(200<<10)
		w.serve = func(_ int, offset int64, r *reply) {
			if r.stream == nil || len(w.file)-int(offset) <= 40<<10 {
				w.good(offset, r)
				return
			}
			r.begin(offset, int64(len(w.file)))
			r.send(w.file[offset : offset+40<<10])
			time.Sleep(50 * time.Millisecond)
			r.stream.Reset(hmpb.Code_CODE_TIMEOUT)
		}
		if _, _, err := w.get(w.Context(), &memPart{}); err != nil || !slices.Equal(w.via, slices.Repeat([]string{"session"}, 5)) {
			w.Errorf("a session that brings some each time: %v by %v, want nothing else", err, w.via)
		}
		w.serve = func(_ int, offset int64, r *reply) { w.good(offset, r) }
		w.via, w.away = nil, always
		if _, took, err := w.get(w.Context(), &memPart{}); err != nil || !slices.Equal(w.via, []string{"https"}) || took > time.Minute {
			w.Errorf("without a session: %v by %v after %v, want HTTPS", err, w.via, took)
		}
		w.via, w.away = nil, 0
		w.frames = func(_ int, f *wire.Framed, _ *hmpb.FetchHeader) { f.Reset(hmpb.Code_CODE_UNKNOWN_STREAM_TYPE) }
		if _, took, err := w.get(w.Context(), &memPart{}); err != nil || !slices.Equal(w.via, []string{"session", "https"}) || took > time.Second {
			w.Errorf("a collector of before: %v by %v after %v, want HTTPS at once", err, w.via, took)
		}
		w.config.Page = nil
		if _, took, err := w.get(w.Context(), &memPart{}); !errors.Is(err, fetch.ErrUnreachable) || took > time.Second {
			w.Errorf("no way at all: %v after %v, want ErrUnreachable at once", err, took)
		}
		w.config.Open = nil
		if _, err := fetch.New(w.config).Metadata(w.Context(), "x.json", nil, 0); !errors.Is(err, fetch.ErrUnreachable) {
			w.Errorf("no way set up: Metadata = %v", err)
		}
	})
}

func TestMetadata(t *testing.T) {
	in(t, func(w *world) {
		w.withSession()
		nonce := random(32)
		w.frames = func(_ int, f *wire.Framed, h *hmpb.FetchHeader) {
			m := h.GetMetadata()
			f.WriteMsg(hmpb.FetchDown_builder{Begin: hmpb.FetchBegin_builder{Length: new(uint64(5)), Freshness: append([]byte(fmt.Sprint(m.GetRootVersion(), " ")), m.GetNonce()...)}.Build()}.Build())
			f.WriteMsg(hmpb.FetchDown_builder{Chunk: []byte("he")}.Build())
			f.WriteMsg(hmpb.FetchDown_builder{Chunk: []byte("llo")}.Build())
			f.Finish(time.Second)
		}
		m, err := fetch.New(w.config).Metadata(w.Context(), "timestamp.json", nonce, 3)
		if err != nil || string(m.Data) != "hello" || string(m.Freshness) != "3 "+string(nonce) {
			w.Errorf("Metadata = %q, %q, %v", m.Data, m.Freshness, err)
		}
		w.away = always
		w.raw = func(_ int, conn net.Conn, req *http.Request) {
			if req.URL.Path != "/updates/metadata/timestamp.json" || req.URL.Query().Get("root") != "3" || req.URL.Query().Get("nonce") != fmt.Sprintf("%x", nonce) {
				w.Errorf("asked for %s", req.URL)
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nHausmeister-Freshness: aGk=\r\nContent-Length: 5\r\n\r\nhello")
		}
		m, err = fetch.New(w.config).Metadata(w.Context(), "timestamp.json", nonce, 3)
		if err != nil || string(m.Data) != "hello" || string(m.Freshness) != "hi" {
			w.Errorf("Metadata by HTTPS = %q, %q, %v", m.Data, m.Freshness, err)
		}
		for _, name := range []string{"", "../x", "a?b", "a b"} {
			if _, err := fetch.New(w.config).Metadata(w.Context(), name, nil, 0); !errors.Is(err, fetch.ErrNotFound) {
				w.Errorf("Metadata(%q) = %v", name, err)
			}
		}
	})
}

// A part in real files goes on in another process.
func TestFilePart(t *testing.T) {
	in(t, func(w *world) {
		w.file = random(3 << 20)
		name := filepath.Join(w.TempDir(), "x.part")
		w.serve = func(n int, offset int64, r *reply) {
			if n == 0 {
				r.begin(0, int64(len(w.file)))
				r.send(w.file[:2_500_000])
				time.Sleep(time.Hour)
				r.cut()
				return
			}
			w.good(offset, r)
		}
		ctx, stop := context.WithTimeout(w.Context(), time.Second)
		defer stop()
		p, err := fetch.OpenPart(name)
		if err != nil {
			w.Fatal(err)
		}
		if _, _, err := w.get(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("Target = %v", err)
		}
		p.Close()
		if p, err = fetch.OpenPart(name); err != nil {
			w.Fatal(err)
		}
		n, _, err := w.get(w.Context(), p)
		if got, _ := os.ReadFile(name); err != nil || n != int64(len(w.file))-2_500_000 || !bytes.Equal(got, w.file) {
			w.Errorf("going on: Target = %d, %v", n, err)
		}
		if err := p.Remove(); err != nil {
			w.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), "*")); len(left) > 0 {
			w.Errorf("left behind: %v", left)
		}
	})
}
