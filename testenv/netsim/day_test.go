package netsim_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/testenv/ledger"
	"hausmeister/testenv/need"
	"hausmeister/testenv/netsim"
)

// day is 24 hours of three laptops and a collector, with everything that can
// go wrong between them.
type day struct {
	t         *testing.T
	began     time.Time
	site      *site
	collector *collector
	claim     string
	// laptop is the one that things happen to; the clocks of the other two say
	// 1970 and 2099.
	laptop, past, future *laptop
	produced, stored     ledger.Book
	strange              []string // what should not happen on any day
	waiting              uint64   // reports that the day's end left unacknowledged
	resent               uint64   // reports that the collector wanted again after the restore
	overlapped           uint64   // reports that came by an old and by a new session
}

func (d *day) all() []*laptop { return []*laptop{d.laptop, d.past, d.future} }

var (
	lossy      = netsim.Weather{LossUp: 0.02, LossDown: 0.02}
	stormy     = netsim.Weather{LossUp: 0.3, LossDown: 0.1}
	deaf       = netsim.Weather{CutDown: true}
	noNetwork  = netsim.Weather{Unreachable: true}
	onlyTCP    = netsim.Weather{UDPBlocked: true}
	birth      = time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)
	sickClocks = []time.Time{time.Unix(0, 0), time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC)}
)

// live plays the day in a bubble of its own. plant puts a fault into the
// collector; nil is the collector as it is.
func live(t *testing.T, plant plant) (d *day) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(birth)) // a bubble begins in 2000
		n := netsim.New(netsim.Config{Seed: 24, Latency: 15 * time.Millisecond})
		defer n.Close()
		log := slog.New(slog.DiscardHandler)
		if os.Getenv("DAY_LOG") != "" {
			log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		d = &day{t: t, began: time.Now(), produced: ledger.Book{}, stored: ledger.Book{},
			site: &site{host: n.Host("192.0.2.1"), dir: t.TempDir(), plant: plant, log: log}}
		d.laptop = newLaptop(n.Host("10.0.0.1"), 1, 0, log)
		d.past = newLaptop(n.Host("10.0.0.2"), 2, time.Until(sickClocks[0]), log)
		d.future = newLaptop(n.Host("10.0.0.3"), 3, time.Until(sickClocks[1]), log)
		d.collector = d.site.start(t)
		d.enrol()
		d.morning()
		d.night()
		d.end()
	})
	return d
}

// at waits for a time of the day.
func (d *day) at(hours, minutes int) {
	time.Sleep(time.Until(d.began.Add(time.Duration(hours-6)*time.Hour + time.Duration(minutes)*time.Minute)))
}

func (d *day) weather(w netsim.Weather) {
	for _, l := range d.all() {
		l.host.Set(w)
	}
}

func (d *day) enrol() {
	ctx, t := d.t.Context(), d.t
	owner, err := d.collector.fleet.AddOwner(ctx, system, "Landkreis Ahorn")
	if err != nil {
		t.Fatal(err)
	}
	_, d.claim, err = d.collector.enroll.CreateClaim(ctx, system, enroll.NewClaim{Owner: owner.ID, Cap: 10, Expires: d.began.Add(48 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	d.weather(lossy)
	for _, l := range d.all() {
		l.start(t, d.claim)
	}
}

// morning: bad lines, roaming, a crash, and no network from 11 to 19.
func (d *day) morning() {
	d.at(7, 0)
	d.weather(stormy)
	d.at(8, 0)
	d.weather(deaf) // reports arrive, acknowledgements do not
	d.at(8, 10)
	d.weather(lossy)
	for i := range 8 {
		d.at(9, 2*i)
		d.laptop.roam(fmt.Sprintf("10.0.1.%d", i+1))
	}
	d.at(10, 0)
	d.overlap()
	d.at(11, 0)
	d.weather(noNetwork)
	d.at(19, 0)
	d.weather(lossy)
	d.at(19, 30)
	d.weather(onlyTCP)
	d.at(19, 50)
	d.weather(lossy)
}

// overlap: while a batch of a laptop's session is on its way into the store, its
// agent crashes and comes back. Its new session learns the cursor, then the old
// batch is stored, and then the new session sends the same reports again.
func (d *day) overlap() {
	o := newOverlap()
	d.site.stage.overlap.Store(o)
	defer d.site.stage.overlap.Store(nil)
	select {
	case <-o.held:
	case <-time.After(40 * time.Minute):
		d.strange = append(d.strange, "nobody reported for 40 minutes")
		return
	}
	before := d.collector.health.Stats().Duplicates
	time.Sleep(time.Second)
	for _, l := range d.all() {
		if l.device == o.device {
			l.crash(d.t)
			l.start(d.t, "")
		}
	}
	select {
	case <-o.stored:
	case <-time.After(5 * time.Minute):
		d.strange = append(d.strange, "no second session of a laptop within 5 minutes")
		return
	}
	time.Sleep(10 * time.Second)
	d.overlapped = d.collector.health.Stats().Duplicates - before
}

// night: the collector dies three times, and is set back once.
func (d *day) night() {
	d.at(20, 0)
	committed := make(chan struct{}, 1)
	d.site.stage.committed.Store(&committed)
	select {
	case <-committed: // stored, and the acknowledgement is never sent
	case <-time.After(time.Hour):
		d.strange = append(d.strange, "nobody reported for an hour")
	}
	d.collector.kill(d.t)
	time.Sleep(2 * time.Minute)
	d.collector = d.site.start(d.t)

	d.at(21, 0)
	if d.afterAcknowledgement(); len(d.strange) > 0 {
		return // the day has failed already
	}
	d.collector.kill(d.t)
	d.laptop.crash(d.t)
	d.laptop.renew() // it may: all that it told was acknowledged
	time.Sleep(time.Minute)
	d.collector = d.site.start(d.t)
	d.laptop.start(d.t, d.claim)

	d.at(22, 0)
	backup := filepath.Join(d.site.dir, "backup.db")
	if err := d.collector.db.Backup(d.t.Context(), backup); err != nil {
		d.t.Fatalf("Backup: %v", err)
	}
	d.at(24, 0)
	d.restore(backup)
}

// afterAcknowledgement returns in the moment after a report of the laptop was
// acknowledged, with none waiting.
func (d *day) afterAcknowledgement() {
	last := d.laptop.agent.Status().SpoolEntries
	for limit := time.Now().Add(40 * time.Minute); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		if st := d.laptop.agent.Status(); st.SpoolEntries > last && st.SpoolWaiting == 0 {
			return
		}
	}
	d.strange = append(d.strange, "no report of the laptop was acknowledged for 40 minutes")
}

func (d *day) restore(backup string) {
	before := d.collector.db.StoreID()
	d.collector.kill(d.t)
	if err := db.Restore(d.t.Context(), d.site.database(), backup, func(*db.DB) error { return nil }); err != nil {
		d.t.Fatalf("Restore: %v", err)
	}
	d.collector = d.site.start(d.t)
	if string(before) == string(d.collector.db.StoreID()) {
		d.t.Error("the store id is the same after a restore")
	}
	time.Sleep(10 * time.Minute)
	d.resent = d.collector.health.Stats().Stored
}

// end waits for the last acknowledgements, switches all off and takes stock.
func (d *day) end() {
	if len(d.strange) == 0 {
		d.at(30, 0)
	}
	d.weather(netsim.Weather{})
	for _, l := range d.all() {
		d.waiting += l.rest(d.t)
	}
	d.collector.stop(d.t)
	for _, l := range d.all() {
		l.produced(d.t, d.produced)
	}
	if err := d.stored.Stored(context.Background(), d.site.database().Path); err != nil {
		d.t.Fatal(err)
	}
}

// faults says what is wrong at the end of the day.
func (d *day) faults() []string {
	out := append(d.strange, ledger.Differences(d.produced, d.stored)...)
	if d.waiting > 0 {
		out = append(out, fmt.Sprintf("%d reports still wait", d.waiting))
	}
	return out
}

func TestDay(t *testing.T) {
	d := live(t, nil)
	for _, fault := range d.faults() {
		t.Error(fault)
	}
	t.Logf("%d reports; %d sessions, %d replaced by a newer one of the same device; %d reports came twice and were stored once, %d of them by two sessions at once; %d came again after the restore",
		d.produced.Count(), d.site.welcomed, d.site.replaced, d.site.duplicates, d.overlapped, d.resent)
	// A day in which nothing happened shows nothing. Since a State needs more to
	// move there are some 830 reports; the faults of TestDayNoticesFaults show in them.
	if d.produced.Count() < 700 || d.site.replaced == 0 || d.site.duplicates == 0 || d.overlapped == 0 || d.resent < 50 {
		t.Error("the day was too quiet")
	}
}

// Each of these faults in the collector makes the day fail: what keeps reports
// from being lost or doubled is not only there, it is needed. TestDay shows the
// race detector the same day.
func TestDayNoticesFaults(t *testing.T) {
	need.Plain(t)
	for _, tt := range []struct {
		name  string
		plant plant
	}{
		{"deduplication off", withoutDeduplication()},
		{"acknowledged before the commit", withEarlyAck()},
		{"cursor not stored", withoutCursor()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			faults := live(t, tt.plant).faults()
			if len(faults) == 0 {
				t.Fatal("nobody noticed")
			}
			t.Logf("%d faults: %s", len(faults), faults[0])
		})
	}
}
