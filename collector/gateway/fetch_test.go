package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/gateway"
	"hausmeister/collector/pace"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// repository stands for collector/rollout.
type repository struct {
	mu sync.Mutex
	// below is guarded by mu
	files   map[string][]byte
	target  []byte
	line    pace.Line
	lasts   time.Duration
	lease   string // the only one that holds; empty = none
	offered int
	asked   []string // what offers were asked with
	fails   error
	opened  int // files that are open
	version uint64
}

func newRepository(size int) *repository {
	r := &repository{files: map[string][]byte{"timestamp.json": []byte(`{"signed":{}}`), "1.root.json": bytes.Repeat([]byte("r"), 100_000)},
		target: make([]byte, size), lease: "lease 1", line: pace.Line{Key: "school", Rate: 1 << 30}, version: 7}
	for i := range r.target {
		r.target[i] = byte(i * i >> 8)
	}
	return r
}

func (r *repository) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *repository) open() (n int) {
	r.set(func() { n = r.opened })
	return n
}

func (r *repository) hash() []byte {
	h := sha256.Sum256(r.target)
	return h[:]
}

func (r *repository) Repository(context.Context) (*hmpb.Repository, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return hmpb.Repository_builder{RootVersion: new(uint64(3)), TimestampVersion: new(r.version)}.Build(), r.fails
}

func (r *repository) Offer(_ context.Context, d access.Caller, version string, hash []byte, capabilities []string) (*hmpb.Offer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, fmt.Sprint(d.ID, " ", version, " ", len(hash), " ", capabilities))
	if r.fails != nil || r.lease == "" {
		return nil, r.fails
	}
	r.offered++
	return hmpb.Offer_builder{Lease: new(r.lease), Version: new("2.0.0"), Sha256: r.hash()}.Build(), nil
}

func (r *repository) Metadata(_ context.Context, _ access.Caller, name string, nonce []byte, root uint64) (data, fresh []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, ok := r.files[name]
	if !ok || r.fails != nil {
		return nil, nil, errors.Join(r.fails, fmt.Errorf("file %s: %w", name, access.ErrNotFound))
	}
	if len(nonce) > 0 {
		fresh = fmt.Appendf(nil, "fresh %x %d", nonce[:2], root)
	}
	return data, fresh, nil
}

func (r *repository) Target(_ context.Context, _ access.Caller, lease string, hash []byte) (pace.Content, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.fails != nil:
		return pace.Content{}, r.fails
	case lease != r.lease:
		return pace.Content{}, fmt.Errorf("lease: %w", access.ErrForbidden)
	case !bytes.Equal(hash, r.hash()):
		return pace.Content{}, fmt.Errorf("target: %w", access.ErrNotFound)
	}
	r.opened++
	return pace.Content{ReaderAt: bytes.NewReader(r.target), Size: int64(len(r.target)), Line: r.line, Lasts: r.lasts, Close: func() { r.set(func() { r.opened-- }) }}, nil
}

// fetched is what came over a fetch stream.
type fetched struct {
	begin *hmpb.FetchBegin
	data  []byte
	code  hmpb.Code // of a refusal, or of the reset
	reset bool
	after time.Duration
}

func fetch(t *testing.T, s wire.Session, h *hmpb.FetchHeader) (got fetched) {
	t.Helper()
	f, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_FETCH, h)
	if err != nil {
		t.Fatal(err)
	}
	return readFetch(t, f)
}

func readFetch(t *testing.T, f *wire.Framed) (got fetched) {
	t.Helper()
	for {
		var down hmpb.FetchDown
		f.SetReadDeadline(time.Now().Add(20 * time.Minute))
		if err := f.ReadMsg(&down); err != nil {
			if errors.Is(err, io.EOF) {
				f.CloseWrite()
				return got
			}
			got.code, got.reset = wire.CodeOf(err), true
			return got
		}
		switch down.WhichKind() {
		case hmpb.FetchDown_Begin_case:
			got.begin = down.GetBegin()
		case hmpb.FetchDown_Chunk_case:
			if n := len(down.GetChunk()); n > 32<<10 {
				t.Errorf("chunk of %d bytes", n)
			}
			got.data = append(got.data, down.GetChunk()...)
		case hmpb.FetchDown_Refused_case:
			got.code, got.after = hmpb.Code(down.GetRefused().GetCode()), time.Duration(down.GetRefused().GetRetryAfterS())*time.Second
		}
	}
}

func metadata(name string) *hmpb.FetchHeader {
	return hmpb.FetchHeader_builder{Metadata: hmpb.MetadataFile_builder{Name: &name}.Build()}.Build()
}

func (r *repository) header(offset uint64) *hmpb.FetchHeader {
	return hmpb.FetchHeader_builder{Sha256: r.hash(), Offset: &offset, Lease: new("lease 1")}.Build()
}

func TestFetch(t *testing.T) {
	r := newRepository(300_001)
	w := newWorld(t, dbtest.Open(t, migrations), func(c *gateway.Config) { c.Updates = r })
	both(t, func(t *testing.T, transport string) {
		dev := w.enrol(t, transport, "DEMO-"+transport)
		hello := dev.hello()
		hash := bytes.Repeat([]byte{7}, 32)
		hello.SetAgentHash(hash)
		s, _, down, err := dev.open(transport, hello)
		if err != nil {
			t.Fatal(err)
		}
		welcome := down.GetWelcome()
		if welcome.GetAgentVersion() != "test" || !bytes.Equal(welcome.GetAgentHash(), hash) || welcome.GetRepository().GetTimestampVersion() != 7 || welcome.GetRepository().GetRootVersion() != 3 {
			t.Errorf("Welcome %v, want what the Hello said and the versions of the metadata", welcome)
		}
		nonce := hmpb.FetchHeader_builder{Metadata: hmpb.MetadataFile_builder{Name: new("timestamp.json"), Nonce: hash, RootVersion: new(uint64(3))}.Build()}.Build()
		if got := fetch(t, s, nonce); string(got.data) != `{"signed":{}}` || string(got.begin.GetFreshness()) != "fresh 0707 3" || got.begin.GetLength() != 13 {
			t.Errorf("timestamp.json = %q, %v", got.data, got.begin)
		}
		if got := fetch(t, s, metadata("1.root.json")); !bytes.Equal(got.data, r.files["1.root.json"]) {
			t.Errorf("1.root.json: %d bytes", len(got.data))
		}
		if got := fetch(t, s, metadata("2.root.json")); got.code != hmpb.Code_CODE_NOT_FOUND || got.reset || got.begin != nil {
			t.Errorf("2.root.json = %+v, want a refusal with CODE_NOT_FOUND", got)
		}
		for _, offset := range []uint64{0, 1, 8191, 8192, 250_000, 300_000, 300_001, 400_000, math.MaxInt64} {
			got := fetch(t, s, r.header(offset))
			if want := r.target[min(offset, 300_001):]; !bytes.Equal(got.data, want) || got.begin.GetLength() != 300_001 || got.reset {
				t.Errorf("from %d: %d bytes of %d, want %d of 300001", offset, len(got.data), got.begin.GetLength(), len(want))
			}
		}
		if s.Context().Err() != nil {
			t.Errorf("the session ended: %v", context.Cause(s.Context()))
		}
	})
	if n := r.open(); n != 0 {
		t.Errorf("%d files are still open", n)
	}
	if got := w.gateway.Stats().Fetched; got < 600_000 {
		t.Errorf("%d bytes counted", got)
	}
}

// TestFetchEndsWithTheBreak: a file that was begun before the lessons does not come on in
// them.
func TestFetchEndsWithTheBreak(t *testing.T) {
	r := newRepository(3_000_000)
	r.line.Rate, r.lasts = 1_000_000, 500*time.Millisecond
	w := newWorld(t, dbtest.Open(t, migrations), func(c *gateway.Config) { c.Updates = r })
	both(t, func(t *testing.T, transport string) {
		dev := w.enrol(t, transport, "DEMO-"+transport)
		s, _, _, err := dev.open(transport, dev.hello())
		if err != nil {
			t.Fatal(err)
		}
		got := fetch(t, s, r.header(0))
		if !got.reset || got.code != hmpb.Code_CODE_COME_BACK || len(got.data) == 0 || len(got.data) > 2_000_000 {
			t.Errorf("%d bytes of %d, %v, want the stream reset with CODE_COME_BACK on the way", len(got.data), len(r.target), got.code)
		}
	})
}

func TestFetchRefused(t *testing.T) {
	r := newRepository(100)
	inBubble(t, &subjects{}, func(c *gateway.Config) { c.Updates = r }, func(t *testing.T, b *bubble) {
		s, _ := b.in()
		other := r.header(0)
		other.SetLease("lease 2")
		if got := fetch(t, s, other); got.code != hmpb.Code_CODE_STREAM_NOT_ALLOWED || got.reset {
			t.Errorf("another lease = %+v, want CODE_STREAM_NOT_ALLOWED", got)
		}
		unknown := r.header(0)
		unknown.SetSha256(make([]byte, 32))
		if got := fetch(t, s, unknown); got.code != hmpb.Code_CODE_NOT_FOUND || got.reset {
			t.Errorf("unknown target = %+v, want CODE_NOT_FOUND", got)
		}
		r.set(func() { r.fails = db.ErrUnavailable })
		if got := fetch(t, s, r.header(0)); got.code != hmpb.Code_CODE_COME_BACK || got.after < 30*time.Second || got.after > 91*time.Second {
			t.Errorf("without a store = %+v, want CODE_COME_BACK with a time", got)
		}
		r.set(func() { r.fails = errors.New("disk on fire") })
		if got := fetch(t, s, r.header(0)); got.code != hmpb.Code_CODE_INTERNAL || got.reset {
			t.Errorf("broken = %+v, want CODE_INTERNAL", got)
		}
		if s.Context().Err() != nil {
			t.Errorf("the session ended: %v", context.Cause(s.Context()))
		}
	})
}

// Headers that are none cost their stream and not the session; nothing of them
// gets to the store of files.
func TestAttack10FetchHeaders(t *testing.T) {
	r := newRepository(100)
	nonce := func(n int) *hmpb.FetchHeader {
		return hmpb.FetchHeader_builder{Metadata: hmpb.MetadataFile_builder{Name: new("timestamp.json"), Nonce: make([]byte, n)}.Build()}.Build()
	}
	hash := func(n int) *hmpb.FetchHeader { return hmpb.FetchHeader_builder{Sha256: make([]byte, n)}.Build() }
	lease, far := r.header(0), r.header(math.MaxInt64+1)
	lease.SetLease(strings.Repeat("x", 65))
	bad := []*hmpb.FetchHeader{{}, nonce(1), nonce(31), nonce(33), hash(0), hash(31), hash(33), lease, far}
	for _, name := range []string{"", "..", "../1.root.json", "a/b.json", `a\b`, ".hidden", "a..b", "Root.json", "1.root.json\x00", "ü.json", strings.Repeat("a", 129), "a b", "c:d"} {
		bad = append(bad, metadata(name))
	}
	inBubble(t, &subjects{}, func(c *gateway.Config) { c.Updates = r }, func(t *testing.T, b *bubble) {
		s, _ := b.in()
		for _, h := range bad {
			time.Sleep(time.Second) // the pace of streams
			if got := fetch(t, s, h); !got.reset || got.code != hmpb.Code_CODE_MALFORMED_FRAME {
				t.Errorf("header %v = %+v, want a reset with CODE_MALFORMED_FRAME", h, got)
			}
		}
		if got := fetch(t, s, metadata("timestamp.json")); len(got.data) == 0 {
			t.Errorf("a good header after them = %+v", got)
		}
		f, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_FETCH, metadata("timestamp.json"))
		if err != nil {
			t.Fatal(err)
		}
		if got := readFetch(t, f); len(got.data) == 0 {
			t.Errorf("fetched %+v", got)
		}
	})
}

func TestNoUpdatesHere(t *testing.T) {
	inBubble(t, &subjects{}, nil, func(t *testing.T, b *bubble) {
		s, _, down := b.open()
		if down.GetWelcome() == nil || down.GetWelcome().HasRepository() {
			t.Errorf("answer to Hello %v, want a Welcome without repository", down)
		}
		if got := fetch(t, s, metadata("timestamp.json")); !got.reset || got.code != hmpb.Code_CODE_STREAM_NOT_ALLOWED {
			t.Errorf("fetched %+v, want a reset with CODE_STREAM_NOT_ALLOWED", got)
		}
	})
}

func TestThreeFetchesAtATime(t *testing.T) {
	r := newRepository(1 << 20)
	r.line.Rate = 20_000
	inBubble(t, &subjects{}, func(c *gateway.Config) { c.Updates = r }, func(t *testing.T, b *bubble) {
		s, _ := b.in()
		var open []*wire.Framed
		for range 3 {
			f, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_FETCH, r.header(0))
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, f)
			time.Sleep(time.Second)
		}
		if got := fetch(t, s, metadata("timestamp.json")); !got.reset || got.code != hmpb.Code_CODE_TOO_MANY_STREAMS {
			t.Errorf("a fourth = %+v, want a reset with CODE_TOO_MANY_STREAMS", got)
		}
		open[0].Reset(hmpb.Code_CODE_NORMAL)
		time.Sleep(2 * time.Second) // its goroutine finds out with the next chunk
		if got := fetch(t, s, metadata("timestamp.json")); len(got.data) == 0 {
			t.Errorf("after one of them ended = %+v", got)
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
		time.Sleep(time.Minute)
		if r.open() != 0 {
			t.Errorf("%d files are open after the session", r.open())
		}
	})
}

// What a device may install is told behind its Welcome, and again when that
// changes; nobody begins with what was taken back while he was away.
func TestOffers(t *testing.T) {
	r := newRepository(100)
	inBubble(t, &subjects{}, func(c *gateway.Config) { c.Updates = r }, func(t *testing.T, b *bubble) {
		_, control := b.in()
		read := func() *hmpb.ControlDown {
			t.Helper()
			var down hmpb.ControlDown
			control.SetReadDeadline(time.Now().Add(time.Minute))
			if err := control.ReadMsg(&down); err != nil {
				t.Fatal(err)
			}
			return &down
		}
		quiet := func() {
			t.Helper()
			var down hmpb.ControlDown
			control.SetReadDeadline(time.Now().Add(time.Minute))
			if err := control.ReadMsg(&down); err == nil {
				t.Errorf("told %v, want nothing", &down)
			}
		}
		if got := read(); got.GetOffer().GetLease() != "lease 1" || got.GetOffer().GetVersion() != "2.0.0" {
			t.Errorf("behind the Welcome: %v, want the offer", got)
		}
		r.set(func() { r.lease = "lease 2" })
		b.bus.Publish(bus.Event{Kind: bus.Offers, Device: "device"})
		if got := read(); got.GetOffer().GetLease() != "lease 2" {
			t.Errorf("after a change: %v, want the new offer", got)
		}
		b.bus.Publish(bus.Event{Kind: bus.Offers, Device: "another"})
		b.bus.Publish(bus.Event{Kind: bus.Offers, Owner: "another"})
		quiet()
		r.set(func() { r.lease = "" })
		halted := time.Now()
		b.bus.Publish(bus.Event{Kind: bus.Offers, Owner: "owner"})
		if got := read(); !got.HasWithdrawn() || got.GetWithdrawn().GetLease() != "lease 2" {
			t.Errorf("after it was taken back: %v, want Withdrawn", got)
		}
		if took := time.Since(halted); took > time.Second {
			t.Errorf("a halt took %v", took)
		}
		b.bus.Publish(bus.Event{Kind: bus.Offers})
		quiet()
		r.set(func() { r.version = 8 })
		b.bus.Publish(bus.Event{Kind: bus.Repository})
		if got := read(); got.GetRepository().GetTimestampVersion() != 8 {
			t.Errorf("after new metadata: %v, want its version", got)
		}
		_, control = b.in()
		if got := read(); !got.HasWithdrawn() || got.GetWithdrawn().GetLease() != "" {
			t.Errorf("behind the Welcome without a lease: %v, want Withdrawn of whatever it was", got)
		}
		r.set(func() { r.fails = errors.New("away") })
		_, control = b.in()
		quiet()
		r.set(func() {
			if !slices.Contains(r.asked, "device  0 []") {
				t.Errorf("offers were asked for %q", r.asked)
			}
		})
	})
}

// A halt reaches who holds a lease at once, though thousands are told something
// else one after the other.
func TestAttack42HaltBeforeTheOthers(t *testing.T) {
	r := newRepository(100)
	r.lease = ""
	f := &subjects{device: func(n int) string { return fmt.Sprint(n) }}
	inBubble(t, f, func(c *gateway.Config) { c.Updates = r }, func(t *testing.T, b *bubble) {
		var last *wire.Framed
		for range 40 {
			_, last = b.in()
		}
		r.set(func() { r.lease = "lease 1" })
		b.bus.Publish(bus.Event{Kind: bus.Offers, Device: "40"})
		next := func() *hmpb.ControlDown {
			var down hmpb.ControlDown
			last.SetReadDeadline(time.Now().Add(time.Minute))
			if err := last.ReadMsg(&down); err != nil {
				t.Fatal(err)
			}
			return &down
		}
		for !next().HasOffer() {
		}
		r.set(func() { r.lease = "" })
		begun := time.Now()
		b.bus.Publish(bus.Event{Kind: bus.Offers})
		if got := next(); !got.HasWithdrawn() || time.Since(begun) > 15*time.Millisecond {
			t.Errorf("after a halt %v within %v, want Withdrawn before the first tick", got, time.Since(begun))
		}
		time.Sleep(time.Second)
		r.set(func() {
			if len(r.asked) != 40+1+40 {
				t.Errorf("%d offers were asked for, want 40, one, and 40 after the halt", len(r.asked))
			}
		})
	})
}

// A peer that takes a byte now and then has no seat for long, nor a file open.
func TestAttack10SlowReader(t *testing.T) {
	r := newRepository(4 << 20)
	r.line.Parallel = 1
	inBubble(t, &subjects{device: func(n int) string { return fmt.Sprint(n) }}, func(c *gateway.Config) { c.Updates = r }, func(t *testing.T, b *bubble) {
		slow, _ := b.in()
		f, err := wire.Open(t.Context(), slow, hmpb.StreamType_STREAM_TYPE_FETCH, r.header(0))
		if err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1)
		for begun := time.Now(); time.Since(begun) < 50*time.Second; time.Sleep(time.Second) {
			f.SetReadDeadline(time.Now().Add(time.Second))
			f.Read(one)
		}
		other, _ := b.in()
		got := fetch(t, other, r.header(0))
		if !bytes.Equal(got.data, r.target) {
			t.Errorf("another device of the school got %d bytes, %+v", len(got.data), got.code)
		}
		slow.Close(hmpb.Code_CODE_NORMAL, "")
		time.Sleep(time.Minute)
		if r.open() != 0 {
			t.Errorf("%d files are open", r.open())
		}
	})
}

// While a batch is on its way to its acknowledgement, an update's bytes of the same
// session hardly come; they do not stand still though, for a store may be slow all
// day, and are back at once.
func TestReportsGoFirst(t *testing.T) {
	r := newRepository(64 << 20)
	f := &subjects{ingest: func(int) error { time.Sleep(2 * time.Second); return nil }}
	inBubble(t, f, func(c *gateway.Config) {
		c.Updates = r
		c.Pace = pace.New(pace.Config{Rate: 1 << 30})
		r.line.Rate = 1_000_000
	}, func(t *testing.T, b *bubble) {
		s, _ := b.in()
		stream, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_FETCH, r.header(0))
		if err != nil {
			t.Fatal(err)
		}
		var came atomic.Int64
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := stream.Read(buf)
				came.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
		during := func(what func()) float64 {
			before, begun := came.Load(), time.Now()
			what()
			return float64(came.Load()-before) / time.Since(begun).Seconds()
		}
		time.Sleep(5 * time.Second)
		alone := during(func() { time.Sleep(5 * time.Second) })
		reports, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
		if err != nil {
			t.Fatal(err)
		}
		beside := during(func() {
			if err := reports.WriteBatch(batch(1, 1)); err != nil {
				t.Fatal(err)
			}
			var down hmpb.ReportDown
			if err := reports.ReadMsg(&down); err != nil {
				t.Fatal(err)
			}
		})
		after := during(func() { time.Sleep(5 * time.Second) })
		t.Logf("bytes a second: %.0f alone, %.0f beside a batch, %.0f after it", alone, beside, after)
		if beside > alone/5 || beside < 50_000 || after < alone*9/10 {
			t.Errorf("bytes a second: %.0f alone, %.0f beside a batch, %.0f after it; want a tenth beside it and all after", alone, beside, after)
		}
		stream.Reset(hmpb.Code_CODE_NORMAL)
	})
}

// Who finds his school's seats taken is told when to come, and gets his bytes then.
func TestAttack22ComeBack(t *testing.T) {
	r := newRepository(1 << 20)
	r.line.Rate, r.line.Parallel = 50_000, 1
	inBubble(t, &subjects{device: func(n int) string { return fmt.Sprint(n) }}, func(c *gateway.Config) { c.Updates = r }, func(t *testing.T, b *bubble) {
		first, _ := b.in()
		done := make(chan fetched)
		go func() { done <- fetch(t, first, r.header(0)) }()
		time.Sleep(time.Second)
		begun := time.Now()
		second, _ := b.in()
		got := fetch(t, second, r.header(0))
		if got.code != hmpb.Code_CODE_COME_BACK || got.after < 15*time.Second || got.after > time.Minute {
			t.Errorf("second of the school = %+v, want CODE_COME_BACK after the 22 s that the first needs", got)
		}
		time.Sleep(got.after)
		for tries := 0; ; tries++ {
			if got = fetch(t, second, r.header(0)); got.code != hmpb.Code_CODE_COME_BACK || tries == 5 {
				break
			}
			time.Sleep(got.after)
		}
		if !bytes.Equal(got.data, r.target) {
			t.Errorf("second = %+v", got.code)
		}
		if took := time.Since(begun); took < 40*time.Second || took > 90*time.Second {
			t.Errorf("both took %v, want 44 s and a little", took)
		}
		if f := <-done; !bytes.Equal(f.data, r.target) {
			t.Errorf("first = %+v", f.code)
		}
	})
}
