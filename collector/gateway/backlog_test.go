package gateway_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/gateway"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// slowStore commits one batch after the other, long ones slowly.
type slowStore struct {
	subjects
	commit chan struct{} // has one place

	mu sync.Mutex
	// below is guarded by mu
	long, most int // batches of a backlog that are here, and were at one time
}

const longBatch = 100 // entries

func (s *slowStore) Ingest(ctx context.Context, c access.Caller, b *hmpb.Batch) (*hmpb.ReportDown, error) {
	took := time.Millisecond
	if len(b.GetEntries()) >= longBatch {
		took = 50 * time.Millisecond
		s.count(1)
		defer s.count(-1)
	}
	s.commit <- struct{}{}
	time.Sleep(took)
	<-s.commit
	return s.subjects.Ingest(ctx, c, b)
}

func (s *slowStore) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.long += n
	s.most = max(s.most, s.long)
}

func newSlowStore() *slowStore {
	return &slowStore{subjects: subjects{device: func(n int) string { return fmt.Sprint("device ", n) }}}
}

// open is called in the bubble, which a channel must be of.
func (s *slowStore) open() *slowStore {
	s.commit = make(chan struct{}, 1)
	return s
}

// report opens a session of a device with so much to tell, and its report stream.
func (b *bubble) report(waiting uint64) *wire.Framed {
	b.t.Helper()
	s := b.dial()
	hello := hmpb.Hello_builder{VersionMin: new(uint32(1)), VersionMax: new(uint32(1)), SpoolEpoch: epochA, SpoolLast: &waiting}.Build()
	control, err := wire.Open(context.Background(), s, hmpb.StreamType_STREAM_TYPE_CONTROL, hello)
	if err != nil {
		b.t.Fatal(err)
	}
	var down hmpb.ControlDown
	if err := control.ReadMsg(&down); err != nil || down.WhichKind() != hmpb.ControlDown_Welcome_case {
		b.t.Fatalf("answer to Hello %v, %v, want a Welcome", &down, err)
	}
	f, err := wire.Open(context.Background(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

// tell sends a batch and says how long its acknowledgement took.
func tell(t *testing.T, f *wire.Framed, first uint64, n int) time.Duration {
	began := time.Now()
	if err := f.WriteBatch(batch(first, n)); err != nil {
		t.Errorf("sending a batch: %v", err)
	}
	if err := f.ReadMsg(&hmpb.ReportDown{}); err != nil {
		t.Errorf("reading an acknowledgement: %v", err)
	}
	return time.Since(began)
}

// TestBacklogLeavesRoom: forty devices come back from their holidays, and one
// that was there all the time waits for no more than one batch of theirs.
func TestBacklogLeavesRoom(t *testing.T) {
	store := newSlowStore()
	change := func(c *gateway.Config) { c.Health = store.open() }
	inBubble(t, &store.subjects, change, func(t *testing.T, b *bubble) {
		const devices, batches = 40, 5
		everyday := b.report(1)
		var wg sync.WaitGroup
		for range devices {
			f := b.report(batches * longBatch)
			wg.Go(func() {
				for i := range batches {
					tell(t, f, uint64(i*longBatch+1), longBatch)
				}
			})
		}
		began := time.Now()
		flushed := make(chan time.Duration, 1)
		go func() { wg.Wait(); flushed <- time.Since(began) }()
		var worst time.Duration
		n := 0
		for took := time.Duration(0); took == 0; n++ {
			worst = max(worst, tell(t, everyday, uint64(n+1), 1))
			select {
			case took = <-flushed:
				t.Logf("backlog told in %v; %d reports beside it, the slowest took %v", took, n, worst)
				// 200 batches of 50 ms, if the place is never empty for long.
				if took > 20*time.Second {
					t.Errorf("backlog told in %v, want 10 s and a little", took)
				}
			case <-time.After(37 * time.Millisecond):
			}
		}
		if worst > 100*time.Millisecond || n < 100 {
			t.Errorf("the slowest of %d reports took %v, want 50 ms and a round trip", n, worst)
		}
		if store.most > 1 {
			t.Errorf("%d long batches at one time, want 1", store.most)
		}
	})
}

// TestBacklogThatSaysNothing: who has a place and sends nothing loses it soon,
// and who is gone does not wait for one.
func TestBacklogThatSaysNothing(t *testing.T) {
	store := newSlowStore()
	change := func(c *gateway.Config) { c.Health = store.open() }
	inBubble(t, &store.subjects, change, func(t *testing.T, b *bubble) {
		for range 3 {
			b.report(1000)
		}
		if took := tell(t, b.report(1000), 1, longBatch); took > 2500*time.Millisecond {
			t.Errorf("behind three silent ones it took %v, want half a second for each", took)
		}
	})
}

// TestBacklogRate: a device alone is read at the rate of all.
func TestBacklogRate(t *testing.T) {
	store := newSlowStore()
	change := func(c *gateway.Config) { c.Health, c.BacklogRate = store.open(), 100 }
	inBubble(t, &store.subjects, change, func(t *testing.T, b *bubble) {
		f := b.report(1000)
		began := time.Now()
		for i := range 5 {
			tell(t, f, uint64(i*longBatch+1), longBatch)
		}
		if took := time.Since(began); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("500 entries at 100 a second took %v, the first and last of which wait for nobody", took)
		}
		synctest.Wait()
	})
}
