package link_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/agent/link"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// TestCollectorDiesBetweenCommitAndAck: what it stored is not stored again.
func TestCollectorDiesBetweenCommitAndAck(t *testing.T) {
	in(t, func(w *world) {
		w.add(500)
		c := w.collector
		c.onBatch = func(n int, s wire.Session, f *wire.Framed, b *hmpb.Batch) bool {
			if n != 2 {
				return false
			}
			c.store(b)
			s.Close(hmpb.Code_CODE_INTERNAL, "dying")
			return true
		}
		c.start()
		w.run()
		w.until("told", time.Minute, w.toldAll)
		if d := cmp.Diff(w.all(), c.texts()); d != "" || c.doubled != 0 {
			t.Errorf("told %d twice although the Welcome names the cursor; stored (-want +got):\n%s", c.doubled, d)
		}
	})
}

// TestCollectorKilled: the stateless reset is noticed at the next packet and
// not after a minute of silence.
func TestCollectorKilled(t *testing.T) {
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		time.Sleep(10 * time.Minute)
		w.collector.kill()
		w.collector.start()
		w.add(1)
		if took := w.until("told", 2*time.Minute, w.toldAll); took > 5*time.Second {
			t.Errorf("the restarted collector knew after %v", took)
		}
	})
}

// TestKilledCollectorIsNoticedByAnIdleAgent: StillHere is the packet that the
// restarted one answers; without it three keep-alives would pass.
func TestKilledCollectorIsNoticedByAnIdleAgent(t *testing.T) {
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		time.Sleep(10 * time.Minute)
		w.collector.kill()
		w.collector.start()
		w.until("the session's end", wire.DefaultKeepAlive, func() bool { return !w.connected() })
		if p := w.link.Status().Problem; p != link.Lost {
			t.Errorf("problem %q, want %q", p, link.Lost)
		}
	})
}

func TestRestoredCollector(t *testing.T) {
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.add(5)
		w.until("told", 5*time.Second, w.toldAll)
		backup := map[string]uint64{string(w.spool.Epoch()): 2}
		w.add(5)
		w.until("told", 5*time.Second, w.toldAll)
		w.collector.kill()
		w.collector.restore(backup)
		w.collector.start()
		w.add(1)
		w.until("told again", 2*time.Minute, w.toldAll)
		if d := cmp.Diff(w.all(), w.collector.texts()); d != "" {
			t.Errorf("stored (-want +got):\n%s", d)
		}
		if _, h := w.collector.lastHello(); string(h.GetStoreId()) != "store 0000000001" {
			t.Errorf("Hello names store %q, want the one of before", h.GetStoreId())
		}
	})
}

func TestDroppedRangesAreNamed(t *testing.T) {
	in(t, func(w *world) {
		w.add(5000) // more than the spool holds
		w.collector.start()
		w.run()
		last := func() bool {
			texts := w.collector.texts()
			return len(texts) > 0 && texts[len(texts)-1] == "report 5000"
		}
		w.until("told", time.Minute, last)
		if stored := len(w.collector.texts()); w.collector.dropped == 0 || stored+w.collector.dropped != 5000 {
			t.Errorf("%d stored and %d named as dropped, want 5000 together", stored, w.collector.dropped)
		}
	})
}

// TestResend: a collector that lost its place asks again.
func TestResend(t *testing.T) {
	in(t, func(w *world) {
		c := w.collector
		c.start()
		w.run()
		w.add(10)
		w.until("told", 5*time.Second, w.toldAll)
		c.restore(map[string]uint64{string(w.spool.Epoch()): 3}) // behind its back
		w.add(1)
		w.until("told again", 10*time.Second, w.toldAll)
		if n, _ := c.lastHello(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

func TestDiskSetBack(t *testing.T) {
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.add(3)
		w.until("told", 5*time.Second, w.toldAll)
		image := w.disk.Clone()
		w.add(3)
		w.until("told", 5*time.Second, w.toldAll)
		w.stop()
		w.disk = image
		w.openSpool()
		w.add(2)
		w.run()
		w.until("told in a new epoch", 10*time.Second, w.toldAll)
		want, got := w.all(), w.collector.texts()
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("stored (-want +got):\n%s", d)
		}
	})
}

// TestStoreUnavailableWhileReporting: only the stream ends, and is opened again.
func TestStoreUnavailableWhileReporting(t *testing.T) {
	in(t, func(w *world) {
		c := w.collector
		c.onBatch = func(n int, _ wire.Session, f *wire.Framed, _ *hmpb.Batch) bool {
			if n <= 5 {
				f.Reset(hmpb.Code_CODE_STORE_UNAVAILABLE)
			}
			return n <= 5
		}
		c.start()
		w.add(3)
		w.run()
		w.until("told", 2*time.Minute, w.toldAll)
		if n, _ := c.lastHello(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
		if c.batches > 7 {
			t.Errorf("%d batches sent for a store that is away", c.batches)
		}
	})
}

func TestDiskTrouble(t *testing.T) {
	in(t, func(w *world) {
		w.identity.full = errors.New("no space left on device")
		w.collector.start()
		w.add(1)
		w.run()
		time.Sleep(10 * time.Minute)
		if st := w.link.Status(); st.Problem != link.DiskTrouble || !strings.Contains(st.Detail, "no space") {
			t.Errorf("status %+v, want %s", st, link.DiskTrouble)
		}
		if n, _ := w.collector.lastHello(); n != 0 {
			t.Error("a session without a stored connection epoch")
		}
		w.identity.mu.Lock()
		w.identity.full = nil
		w.identity.mu.Unlock()
		w.until("told", 3*time.Minute, w.toldAll)
	})
}
