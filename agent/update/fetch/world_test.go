package fetch_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

// memPart is a Part in memory whose disk may fail.
type memPart struct {
	data, state []byte
	synced      []byte // what a power cut leaves
	room        int64  // of data; 0 = as much as one likes
	fail        string // the operation that fails
	calls       int
}

var errBroken = errors.New("input/output error")

func (p *memPart) op(name string) error {
	p.calls++
	if p.fail == name {
		return errBroken
	}
	return nil
}

func (p *memPart) ReadAt(b []byte, off int64) (int, error) {
	if err := p.op("read"); err != nil {
		return 0, err
	}
	return bytes.NewReader(p.data).ReadAt(b, off)
}

func (p *memPart) WriteAt(b []byte, off int64) (int, error) {
	if err := p.op("write"); err != nil {
		return 0, err
	}
	if p.room > 0 && off+int64(len(b)) > p.room {
		return 0, errBroken
	}
	if need := int(off) + len(b); need > len(p.data) {
		p.data = append(p.data, make([]byte, need-len(p.data))...)
	}
	return copy(p.data[off:], b), nil
}

func (p *memPart) Size() (int64, error) { return int64(len(p.data)), p.op("size") }
func (p *memPart) Truncate(n int64) error {
	if err := p.op("truncate"); err != nil {
		return err
	}
	p.data = p.data[:min(n, int64(len(p.data)))]
	return nil
}
func (p *memPart) Sync() error {
	if err := p.op("sync"); err != nil {
		return err
	}
	p.synced = bytes.Clone(p.data)
	return nil
}
func (p *memPart) State() ([]byte, error) { return p.state, p.op("state") }
func (p *memPart) SetState(s []byte) error {
	if err := p.op("set"); err != nil {
		return err
	}
	p.state = bytes.Clone(s)
	return nil
}

// reply is the other end of one request, whichever way it came.
type reply struct {
	w      *world
	page   net.Conn // one of these
	stream *wire.Framed
	lease  string
}

// begin says how long the file is and that bytes from offset on come.
func (r *reply) begin(offset, length int64) {
	if r.stream != nil {
		r.stream.WriteMsg(hmpb.FetchDown_builder{Begin: hmpb.FetchBegin_builder{Length: new(uint64(length))}.Build()}.Build())
		return
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", length)
	if offset > 0 {
		head = fmt.Sprintf("HTTP/1.1 206 Partial Content\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n", length-offset, offset, length-1, length)
	}
	io.WriteString(r.page, head)
}

func (r *reply) send(b []byte) error {
	if r.stream != nil {
		return r.stream.WriteMsg(hmpb.FetchDown_builder{Chunk: b}.Build())
	}
	_, err := r.page.Write(b)
	return err
}

// end ends well, cut does not.
func (r *reply) end() {
	if r.stream != nil {
		r.stream.Finish(time.Minute)
		return
	}
	r.page.Close()
}

func (r *reply) cut() {
	if r.stream != nil {
		time.Sleep(50 * time.Millisecond) // a reset overtakes what is on its way
		r.stream.Reset(hmpb.Code_CODE_COME_BACK)
		return
	}
	r.page.Close()
}

// always is more often than anybody asks.
const always = 1 << 30

// world is a client with another end that does as a test says.
type world struct {
	*testing.T
	file    []byte
	config  fetch.Config
	net     *netsim.Network
	session wire.Session
	serving sync.WaitGroup

	mu sync.Mutex
	// below is guarded by mu
	asked  []int64 // offsets
	via    []string
	serve  func(n int, offset int64, r *reply)
	raw    func(n int, conn net.Conn, req *http.Request) // answers HTTP in the place of serve
	frames func(n int, f *wire.Framed, h *hmpb.FetchHeader)
	away   int      // so many times there is no session
	files  [][]byte // served by HTTPS under their hashes; nil = serve answers
}

func in(outer *testing.T, f func(*world)) {
	outer.Helper()
	synctest.Test(outer, func(t *testing.T) {
		w := &world{T: t, file: random(1000)}
		w.serve = func(_ int, offset int64, r *reply) { w.good(offset, r) }
		r := rand.New(rand.NewPCG(1, 2))
		w.config = fetch.Config{Page: w.page, Random: r.Float64, Log: slog.New(slog.DiscardHandler)}
		defer func() {
			if w.session != nil {
				w.session.Close(hmpb.Code_CODE_NORMAL, "")
				time.Sleep(time.Second)
				w.net.Close()
			}
			w.serving.Wait()
		}()
		f(w)
	})
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

// good sends the file from offset on.
func (w *world) good(offset int64, r *reply) {
	r.begin(offset, int64(len(w.file)))
	for rest := w.file[min(offset, int64(len(w.file))):]; len(rest) > 0; {
		n := min(len(rest), 8<<10)
		if r.send(rest[:n]) != nil {
			break
		}
		rest = rest[n:]
	}
	r.end()
}

func (w *world) target() fetch.Target {
	sum := sha256.Sum256(w.file)
	return fetch.Target{SHA256: sum[:], Length: int64(len(w.file)), Lease: "lease"}
}

func (w *world) request(way string, offset int64) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.via = append(w.asked, offset), append(w.via, way)
	return len(w.asked) - 1
}

// page is the second way: HTTP without TLS, which is path's.
func (w *world) page(context.Context) (net.Conn, string, error) {
	here, there := net.Pipe()
	w.serving.Go(func() {
		defer there.Close()
		req, err := http.ReadRequest(bufio.NewReader(there))
		if err != nil {
			return
		}
		if req.Header.Get("Cookie")+req.Header.Get("Authorization") != "" || req.Host != "collector.example:443" {
			w.Errorf("request %v to %s", req.Header, req.Host)
		}
		var offset int64
		fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &offset)
		n := w.request("https", offset)
		switch {
		case w.raw != nil:
			w.raw(n, there, req)
			return
		case w.files != nil:
			w.published(there, req, offset)
			return
		}
		w.serve(n, offset, &reply{w: w, page: there})
	})
	return here, "collector.example:443", nil
}

// published serves files under the hashes that they have.
func (w *world) published(conn net.Conn, req *http.Request, offset int64) {
	for _, file := range w.files {
		if sum := sha256.Sum256(file); strings.HasSuffix(req.URL.Path, "/"+hex.EncodeToString(sum[:])) {
			r := &reply{w: w, page: conn}
			r.begin(offset, int64(len(file)))
			r.send(file[offset:])
			return
		}
	}
	io.WriteString(conn, "HTTP/1.1 404 X\r\nContent-Type: application/problem+json\r\nContent-Length: 0\r\n\r\n")
}

// withSession adds the first way, over TCP so that frames arrive as they are sent.
func (w *world) withSession() {
	w.Helper()
	w.net = netsim.New(netsim.Config{Latency: time.Millisecond})
	ca, err := ident.NewAuthority(time.Now())
	if err != nil {
		w.Fatal(err)
	}
	collector, device := w.net.Host("192.0.2.1"), w.net.Host("192.0.2.2")
	ln, err := collector.ListenTCP(8443)
	if err != nil {
		w.Fatal(err)
	}
	conf := ident.CollectorConfig(sync.OnceValues(func() (*tls.Certificate, error) { return ca.IssueServer([]string{"c"}, time.Now()) }))
	conf.NextProtos = []string{wire.ALPN}
	w.serving.Go(func() {
		conn, err := ln.Accept()
		ln.Close()
		if err != nil {
			return
		}
		tc := tls.Server(conn, conf)
		if err := tc.Handshake(); err != nil {
			w.Errorf("handshake: %v", err)
			return
		}
		s, err := wire.ServeTCP(tc)
		if err != nil {
			w.Error(err)
			return
		}
		defer s.Close(hmpb.Code_CODE_NORMAL, "")
		for {
			_, f, err := wire.Accept(context.Background(), s)
			if err != nil {
				return
			}
			w.serving.Go(func() { w.stream(f) })
		}
	})
	conn, err := device.DialTCP(w.Context(), collector.Addr(8443).AddrPort())
	if err != nil {
		w.Fatal(err)
	}
	w.session, err = wire.DialTCP(w.Context(), conn, ident.AgentConfig(ident.AgentTLS{Pins: []ident.Fingerprint{ident.FingerprintOf(ca.Root)}, ServerName: "c", Trusted: time.Now}))
	if err != nil {
		w.Fatal(err)
	}
	w.config.Open = func(ctx context.Context, h *hmpb.FetchHeader) (*wire.Framed, error) {
		if w.away > 0 {
			w.away--
			return nil, errors.New("no session")
		}
		return wire.Open(ctx, w.session, hmpb.StreamType_STREAM_TYPE_FETCH, h)
	}
}

func (w *world) stream(f *wire.Framed) {
	h := &hmpb.FetchHeader{}
	if f.ReadMsg(h) != nil {
		return
	}
	n := w.request("session", int64(h.GetOffset()))
	if w.frames != nil {
		w.frames(n, f, h)
		return
	}
	w.serve(n, int64(h.GetOffset()), &reply{w: w, stream: f, lease: h.GetLease()})
}

// eachWay runs a test with one way only.
func eachWay(t *testing.T, f func(*world)) {
	t.Run("https", func(t *testing.T) { in(t, f) })
	t.Run("session", func(t *testing.T) {
		in(t, func(w *world) {
			w.withSession()
			w.config.Page = nil
			f(w)
		})
	})
}

// get fetches the file and says what it cost.
func (w *world) get(ctx context.Context, part fetch.Part) (int64, time.Duration, error) {
	begun := time.Now()
	n, err := fetch.New(w.config).Target(ctx, w.target(), part)
	return n, time.Since(begun), err
}

func (w *world) requests() (offsets []int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(offsets, w.asked...)
}

func (w *world) hex() string {
	sum := sha256.Sum256(w.file)
	return hex.EncodeToString(sum[:])
}
