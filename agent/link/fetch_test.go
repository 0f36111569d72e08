package link_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/link"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// updateLog keeps what it is told.
type updateLog struct {
	w    *world
	told []string
}

func (l *updateLog) say(format string, args ...any) {
	l.w.collector.set(func() { l.told = append(l.told, fmt.Sprintf(format, args...)) })
}

func (l *updateLog) Heard(version string, hash []byte) { l.say("heard %s %d", version, len(hash)) }
func (l *updateLog) Repository(r *hmpb.Repository) {
	if r == nil {
		l.say("no repository")
		return
	}
	l.say("repository %d %d", r.GetRootVersion(), r.GetTimestampVersion())
}
func (l *updateLog) Offered(o *hmpb.Offer) { l.say("offer %s", o.GetLease()) }
func (l *updateLog) Withdrawn(s string)    { l.say("withdrawn %q", s) }

// What the collector says of updates gets there in its order, with each Welcome
// before it.
func TestUpdatesArePassedOn(t *testing.T) {
	in(t, func(w *world) {
		log := &updateLog{w: w}
		w.config.Updates = log
		repository := hmpb.Repository_builder{RootVersion: proto.Uint64(2), TimestampVersion: proto.Uint64(9)}.Build()
		w.collector.welcome = func(m *hmpb.Welcome) {
			hello := w.collector.hellos[len(w.collector.hellos)-1]
			m.SetAgentVersion(hello.GetAgentVersion())
			m.SetAgentHash(hello.GetAgentHash())
			m.SetRepository(repository)
		}
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		for _, m := range []*hmpb.ControlDown{
			hmpb.ControlDown_builder{Withdrawn: &hmpb.Withdrawn{}}.Build(),
			hmpb.ControlDown_builder{Offer: hmpb.Offer_builder{Lease: proto.String("a")}.Build()}.Build(),
			hmpb.ControlDown_builder{Repository: repository}.Build(),
			hmpb.ControlDown_builder{Withdrawn: hmpb.Withdrawn_builder{Lease: proto.String("a")}.Build()}.Build(),
		} {
			if err := w.collector.down.WriteMsg(m); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		w.collector.set(func() { w.collector.welcome = nil }) // an older collector
		w.link.Reconnect()
		w.until("connected again", 5*time.Minute, func() bool { n, _ := w.collector.lastHello(); return n > 1 && w.connected() })
		time.Sleep(time.Second)
		want := []string{"heard 1.2.3 32", "repository 2 9", `withdrawn ""`, "offer a", "repository 2 9", `withdrawn "a"`, "heard  0", "no repository"}
		if d := cmp.Diff(want, log.told); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
	})
}

// An agent that cannot be updated goes on when it is told of updates.
func TestNobodyHearsOfUpdates(t *testing.T) {
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		for range 3 {
			if err := w.collector.down.WriteMsg(hmpb.ControlDown_builder{Offer: &hmpb.Offer{}}.Build()); err != nil {
				t.Fatal(err)
			}
		}
		w.add(3)
		w.until("told", 5*time.Second, w.toldAll)
		if n, _ := w.collector.lastHello(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

// A fetch stream is one of the session that there is; it ends with it, and the next
// is one of the next.
func TestFetchStreams(t *testing.T) {
	in(t, func(w *world) {
		w.collector.onFetch = func(f *wire.Framed, h *hmpb.FetchHeader) {
			f.WriteMsg(hmpb.FetchDown_builder{Chunk: fmt.Appendf(nil, "from %d", h.GetOffset())}.Build())
			if h.GetOffset() > 0 {
				f.CloseWrite()
			} // else it goes on for ever
		}
		w.config.Spool = w.spool
		if _, err := link.New(w.config).Fetch(w.Context(), &hmpb.FetchHeader{}); !errors.Is(err, link.ErrNoSession) {
			t.Errorf("Fetch before there is a session = %v, want ErrNoSession", err)
		}
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		f, err := w.link.Fetch(w.Context(), &hmpb.FetchHeader{})
		if err != nil {
			t.Fatal(err)
		}
		var down hmpb.FetchDown
		if err := f.ReadMsg(&down); err != nil || string(down.GetChunk()) != "from 0" {
			t.Errorf("fetched %v, %v", &down, err)
		}
		w.link.Reconnect()
		if err := f.ReadMsg(&down); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("reading on after the session = %v, want an error", err)
		}
		w.until("connected again", time.Minute, func() bool { n, _ := w.collector.lastHello(); return n == 2 && w.connected() })
		time.Sleep(time.Second)
		f, err = w.link.Fetch(w.Context(), hmpb.FetchHeader_builder{Offset: proto.Uint64(7)}.Build())
		if err != nil {
			t.Fatal(err)
		}
		if err := f.ReadMsg(&down); err != nil || string(down.GetChunk()) != "from 7" {
			t.Errorf("fetched %v, %v", &down, err)
		}
		if err := f.ReadMsg(&down); !errors.Is(err, io.EOF) {
			t.Errorf("end of the stream = %v, want io.EOF", err)
		}
		f.CloseWrite()
		w.stop()
		if _, err := w.link.Fetch(w.Context(), &hmpb.FetchHeader{}); !errors.Is(err, link.ErrNoSession) {
			t.Errorf("Fetch after the end = %v, want ErrNoSession", err)
		}
	})
}
