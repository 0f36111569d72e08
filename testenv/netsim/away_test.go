package netsim_test

import (
	"context"
	"encoding/hex"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/spool"
	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/gateway"
	"hausmeister/collector/health"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
	"hausmeister/proto/wire"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/ledger"
	"hausmeister/testenv/need"
	"hausmeister/testenv/netsim"
)

// account is what a collector took in, by spool and sequence.
type account struct {
	mu    sync.Mutex
	pages map[string]*page
}

type page struct {
	entries          map[uint64]*hmpb.Entry
	thinned, dropped map[uint64]bool
	cursor           uint64
	twice            int
}

// accountant notes what its health has stored: the part of a batch above the
// cursor before, up to the one after. In a bubble a database takes no time, so it
// takes what the budget allows (design.md 8: 10,000 reports a second, with fsync).
type accountant struct {
	gateway.Health
	account *account
	commit  chan struct{} // has one place
}

func (a *account) plant(h gateway.Health, _ *db.DB) gateway.Health {
	return &accountant{h, a, make(chan struct{}, 1)}
}

func (a *accountant) Ingest(ctx context.Context, device access.Caller, b *hmpb.Batch) (*hmpb.ReportDown, error) {
	a.commit <- struct{}{}
	time.Sleep(5*time.Millisecond + time.Duration(len(b.GetEntries()))*100*time.Microsecond)
	<-a.commit
	down, err := a.Health.Ingest(ctx, device, b)
	if err == nil {
		a.account.note(b, max(down.GetAck().GetThroughSeq(), down.GetResend().GetFromSeq()-min(1, down.GetResend().GetFromSeq())))
	}
	return down, err
}

func (a *account) note(b *hmpb.Batch, through uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pages[hex.EncodeToString(b.GetSpoolEpoch())]
	if p == nil {
		p = &page{entries: map[uint64]*hmpb.Entry{}, thinned: map[uint64]bool{}, dropped: map[uint64]bool{}}
		a.pages[hex.EncodeToString(b.GetSpoolEpoch())] = p
	}
	// once calls f if the sequence is new to the collector.
	once := func(seq uint64, f func()) {
		switch {
		case seq > through:
		case seq <= p.cursor:
			p.twice++
		default:
			f()
		}
	}
	for _, e := range b.GetEntries() {
		seq := b.GetFirstSeq() + uint64(e.GetOffset())
		once(seq, func() { p.entries[seq] = e })
	}
	for _, r := range b.GetThinned() {
		for seq := r.GetFrom(); seq <= r.GetTo(); seq++ {
			once(seq, func() { p.thinned[seq] = true })
		}
	}
	for _, r := range b.GetDropped() {
		for seq := r.GetFrom(); seq <= r.GetTo(); seq++ {
			once(seq, func() { p.dropped[seq] = true })
		}
	}
	p.cursor = max(p.cursor, through)
}

// thins says that the small spool gets so full that blocks are thinned.
const thins = !need.Race

// away is a laptop that comes back.
type away struct {
	*laptop
	made        map[uint64]*hmpb.Entry
	used        int64 // bytes of its spool
	begin, sent int64
	took        time.Duration
}

// everyday is a device that was there all the time and tells one report after
// the other, which no agent would, to have acknowledgements to measure.
type everyday struct {
	session wire.Session
	reports *wire.Framed
	next    uint64
	took    []time.Duration
}

func newEveryday(t *testing.T, l *laptop, claim string) *everyday {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pc, err := l.host.ListenPacket(0)
	check(err)
	l.endpoint = wire.NewEndpoint(pc, wire.EndpointConfig{})
	k, err := l.keeper()
	check(err)
	id, err := k.Enroll(t.Context(), claim)
	check(err)
	e := &everyday{next: 1}
	e.session, err = l.dial(t.Context(), id.Address, k.TLSConfig())
	check(err)
	control, err := wire.Open(t.Context(), e.session, hmpb.StreamType_STREAM_TYPE_CONTROL, hmpb.Hello_builder{VersionMin: new(uint32(1)), VersionMax: new(uint32(1)),
		AgentVersion: new("test"), ConnectionEpoch: new(uint64(1)), SpoolEpoch: make([]byte, health.EpochSize)}.Build())
	check(err)
	var down hmpb.ControlDown
	if err := control.ReadMsg(&down); err != nil || down.WhichKind() != hmpb.ControlDown_Welcome_case {
		t.Fatalf("answer to Hello %v, %v, want a Welcome", &down, err)
	}
	e.reports, err = wire.Open(t.Context(), e.session, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
	check(err)
	return e
}

// tell goes on until stop is closed.
func (e *everyday) tell(t *testing.T, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		began := time.Now()
		b := hmpb.Batch_builder{SpoolEpoch: make([]byte, health.EpochSize), FirstSeq: &e.next, Entries: []*hmpb.Entry{
			hmpb.Entry_builder{Offset: new(uint32(0)), DeviceMs: new(began.UnixMilli()), State: hmpb.State_builder{Readings: []*hmpb.Reading{
				hmpb.Reading_builder{Id: new(uint32(reading.MemoryUsed)), Number: new(int64(e.next))}.Build()}}.Build()}.Build()}}.Build()
		var down hmpb.ReportDown
		if err := e.reports.WriteBatch(b); err != nil {
			t.Errorf("telling a report: %v", err)
			return
		}
		if err := e.reports.ReadMsg(&down); err != nil || down.GetAck().GetThroughSeq() != e.next {
			t.Errorf("the answer to report %d is %v, %v", e.next, &down, err)
			return
		}
		e.took = append(e.took, time.Since(began))
		e.next++
	}
}

// TestAway: 44 days of use without network, then one evening with it. One
// laptop has the default spool, in which all of it fits, so that it gives up only
// the States of days that are over; the other has one of 1 MB, the least that may
// be set, and three times the cores, and has to thin. Budget (TE-4): at most 1 MB sent per device;
// meanwhile a device that was never away is acknowledged within 250 ms (p99).
// Under the race detector a week does: the small spool does not yet thin by then.
func TestAway(t *testing.T) {
	days := need.Shorter(44, 7)
	synctest.Test(t, func(t *testing.T) {
		home := birth.Add(12 * time.Hour)
		begin := time.Date(2026, 11, 24-days+1, 6, 0, 0, 0, time.UTC)
		time.Sleep(time.Until(begin.Add(-time.Hour)))
		n := netsim.New(netsim.Config{Seed: 44, Latency: 15 * time.Millisecond})
		defer n.Close()
		log := slog.New(slog.DiscardHandler)
		taken := &account{pages: map[string]*page{}}
		s := &site{host: n.Host("192.0.2.1"), dir: t.TempDir(), plant: taken.plant, log: log}
		c := s.start(t)
		owner, err := c.fleet.AddOwner(t.Context(), system, "Landkreis Ahorn")
		if err != nil {
			t.Fatal(err)
		}
		_, claim, err := c.enroll.CreateClaim(t.Context(), system, enroll.NewClaim{Owner: owner.ID, Cap: 10, Expires: home.AddDate(0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		large := &away{laptop: newLaptop(n.Host("10.0.0.1"), 1, 0, log)}
		small := &away{laptop: newLaptop(n.Host("10.0.0.2"), 2, 0, log)}
		small.files.Put(config.SettingsFile, []byte("spool_mb = 1\n"))
		for i, a := range []*away{large, small} {
			a.start(t, claim) // enrolled at school, and then the holidays begin
			time.Sleep(time.Minute)
			a.stop()
			a.spool = fakes.NewDisk()
			a.made, err = fakes.Away{Number: i + 1, Begin: begin, Days: days, Cores: []int{8, 24}[i],
				Spool: spool.Config{Disk: a.spool, MaxBytes: []int64{20, 1}[i] << 20}}.Fill(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			a.used = a.bytes(t)
			a.begin = a.host.Sent()
		}
		other := newLaptop(n.Host("10.0.0.3"), 3, 0, log)
		time.Sleep(time.Until(home))
		there := newEveryday(t, other, claim)
		for _, a := range []*away{large, small} {
			stop, told := make(chan struct{}), make(chan struct{})
			go func() { defer close(told); there.tell(t, stop) }()
			a.start(t, "")
			a.flush(t)
			close(stop)
			<-told
		}
		there.session.Close(hmpb.Code_CODE_NORMAL, "goes home")
		other.endpoint.Close()
		slices.Sort(there.took)
		if len(there.took) < need.Shorter(30, 10) {
			t.Fatalf("only %d reports of another device were acknowledged beside the flush", len(there.took))
		}
		p99 := there.took[(len(there.took)*99+99)/100-1]
		t.Logf("another device: %d reports beside the flush, acknowledged p50 %v, p99 %v", len(there.took), there.took[len(there.took)/2], p99)
		if p99 > 250*time.Millisecond {
			t.Errorf("another device's acknowledgements took %v (p99) beside the flush, want at most 250 ms", p99)
		}
		large.check(t, taken, 20<<20, false)
		small.check(t, taken, 1<<20, true)
		if st := c.health.Stats(); st.Gaps+st.Malformed+st.Duplicates > 0 || st.Thinned == 0 == thins || st.Dropped == 0 {
			t.Errorf("the collector counts %+v", st)
		}
		for _, a := range []*away{large, small} {
			a.rest(t)
		}
		c.stop(t)
		stored := ledger.Book{}
		if err := stored.Stored(context.Background(), s.database().Path); err != nil {
			t.Error(err)
		}
		t.Logf("the collector's database holds %d rows of reports", stored.Count())
	})
}

func (a *away) bytes(t *testing.T) (n int64) {
	names, err := a.spool.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := a.spool.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		n += int64(len(b))
	}
	return n
}

// flush waits until all is told.
func (a *away) flush(t *testing.T) {
	t.Helper()
	began := time.Now()
	for time.Since(began) < 4*time.Hour {
		time.Sleep(100 * time.Millisecond)
		if st := a.agent.Status(); st.SpoolEntries > 0 && st.SpoolWaiting == 0 {
			a.took, a.sent = time.Since(began), a.host.Sent()-a.begin
			return
		}
	}
	t.Fatalf("laptop %d still has %d entries to tell", a.number, a.agent.Status().SpoolWaiting)
}

// check holds what the collector took in against what was made.
func (a *away) check(t *testing.T, taken *account, bound int64, tight bool) {
	t.Helper()
	taken.mu.Lock()
	defer taken.mu.Unlock()
	sp, err := spool.Open(spool.Config{Disk: a.spool})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	p := taken.pages[hex.EncodeToString(sp.Epoch())]
	if p == nil {
		t.Fatalf("nothing of laptop %d arrived", a.number)
	}
	if a.used > bound {
		t.Errorf("laptop %d: spool of %d bytes, bound %d", a.number, a.used, bound)
	}
	if p.twice > 0 {
		t.Errorf("laptop %d: %d sequences came twice", a.number, p.twice)
	}
	hours, told, days, toldDays := map[int64]bool{}, map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
	lost := 0 // of what is no State
	for _, seq := range slices.Sorted(maps.Keys(a.made)) {
		e, got := a.made[seq], p.entries[seq]
		there := 0
		for _, yes := range []bool{got != nil, p.thinned[seq], p.dropped[seq]} {
			if yes {
				there++
			}
		}
		if there != 1 {
			t.Fatalf("laptop %d: sequence %d arrived %v, is named as thinned %v, as dropped %v; want one of them", a.number, seq, got != nil, p.thinned[seq], p.dropped[seq])
		}
		if p.dropped[seq] && !e.HasState() {
			lost++
		}
		switch e.WhichKind() {
		case hmpb.Entry_Block_case:
			hours[e.GetBlock().GetStartMs()/block.Hour] = true
			if got != nil {
				told[e.GetBlock().GetStartMs()/block.Hour] = true
			}
		case hmpb.Entry_State_case:
			days[e.GetDeviceMs()/(24*3600*1000)] = true
			if got != nil {
				toldDays[e.GetDeviceMs()/(24*3600*1000)] = true
			}
		default: // a finding or an inventory
			if got == nil {
				t.Errorf("laptop %d: sequence %d, a finding or inventory, did not arrive", a.number, seq)
			}
		}
	}
	if !maps.Equal(hours, told) || !maps.Equal(days, toldDays) {
		t.Errorf("laptop %d: hours of blocks made %d, told %d; days with a State %d, told %d", a.number, len(hours), len(told), len(days), len(toldDays))
	}
	if (tight && thins) != (len(p.thinned) > 0) || len(p.dropped) == 0 || lost > 0 {
		t.Errorf("laptop %d: %d thinned, %d dropped, of these %d no States", a.number, len(p.thinned), len(p.dropped), lost)
	}
	if a.sent > 1<<20 {
		t.Errorf("laptop %d sent %d bytes, want at most 1 MB", a.number, a.sent)
	}
	for seq := range p.thinned {
		if !a.made[seq].HasBlock() {
			t.Errorf("laptop %d: sequence %d is named as thinned and is no block", a.number, seq)
		}
	}
	t.Logf("laptop %d, spool of at most %d MB: %d entries made in %d days, %d bytes in the spool; told %d entries, %d thinned, %d dropped; flushed in %v, %d bytes sent",
		a.number, bound>>20, len(a.made), len(days), a.used, len(p.entries), len(p.thinned), len(p.dropped), a.took.Round(100*time.Millisecond), a.sent)
}
