package scenario

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/ledger"
	"hausmeister/testenv/swarm"
)

// TestCollectorKilledUnderLoad kills the collector twenty times with -9 while 50
// devices empty full spools into it, and then compares report by report.
func TestCollectorKilledUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		devices = 50
		kills   = 20
	)
	holiday := 600 // reports that wait in each spool at the start
	if os.Getenv("HAUSMEISTER_LONG") == "1" {
		holiday = 3000
	}
	ctx := t.Context()
	s := newSite(t, "")
	claim := newClaim(t, s, devices)

	var frozen frozen
	// Kills are so close that every agent would soon wait for minutes between them.
	patience := func() float64 { return rand.Float64() / 20 }
	now := pastMidnight()
	conf := swarm.Config{Now: now, Random: patience, Log: slog.New(slog.DiscardHandler), Source: frozen.source, Settings: []byte("state_interval_s = 10\nstate_interval_battery_s = 60\n")}
	for n := range devices {
		conf.Devices = append(conf.Devices, swarm.Device{Number: n + 1, Claim: claim})
	}
	fleet := swarm.New(conf)
	for i := range devices {
		fill(t, fleet.Spool(i), holiday, fakes.ClockOf(i+1, now))
	}
	fleetCtx, stop := context.WithCancel(ctx)
	defer stop()
	ended, enrolled := make(chan error, 1), make(chan struct{})
	go func() { ended <- fleet.Run(fleetCtx, func() { close(enrolled) }) }()
	select {
	case <-enrolled:
	case err := <-ended:
		t.Fatalf("the fleet ended: %v", err)
	case <-time.After(5 * time.Minute):
		t.Fatalf("after five minutes %+v", fleet.Count())
	}

	underLoad := 0
	for left := uint64(kills); left > 0; left-- {
		// By what was told and not by the clock, so that on any machine the
		// reports last for all kills: each may take this share of what is left.
		before := fleet.Count().Waiting
		share := before / (left + 1)
		eventually(t, 3*time.Minute, "a quarter of the fleet connected", func() (bool, error) {
			n := fleet.Count()
			return n.Connected >= devices/4 || n.Waiting+share < before, nil
		})
		// Not at the same moment of its life each time.
		waiting := fleet.Count().Waiting
		target := waiting - rand.Uint64N(min(share, waiting/2)+1)
		eventually(t, 3*time.Minute, "some more reports acknowledged", func() (bool, error) { return fleet.Count().Waiting <= target, nil })
		n := fleet.Count()
		s.Kill()
		t.Logf("killed with %d connected and %d reports waiting", n.Connected, n.Waiting)
		if n.Waiting > 0 {
			underLoad++
		}
		must(t, s.Start(ctx))
	}
	t.Logf("%d of %d kills came while reports waited", underLoad, kills)
	if underLoad < kills*3/4 {
		t.Errorf("only %d of %d kills came under load: give the spools more", underLoad, kills)
	}

	frozen.freeze()
	eventually(t, 5*time.Minute, "all reports acknowledged", func() (bool, error) {
		n := fleet.Count()
		return n.Waiting == 0 && n.Connected == devices, nil
	})
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the fleet ended: %v", err)
	}
	must(t, s.Stop(10*time.Second))

	produced, stored := ledger.Book{}, ledger.Book{}
	for i := range devices {
		must(t, produced.Produced(fleet.Spool(i)))
	}
	must(t, stored.Stored(ctx, database(s)))
	for _, d := range ledger.Differences(produced, stored) {
		t.Error(d)
	}
	if produced.Count() < devices*holiday {
		t.Errorf("only %d reports were produced", produced.Count())
	}
	t.Logf("%d reports produced, %d stored", produced.Count(), stored.Count())
}

// pastMidnight is a clock on which the day, which is UTC's, does not change during the
// test for any device, also for those whose clock is wrong: spools give up the States of a
// day that is over.
func pastMidnight() func() time.Time {
	const lasts = 10 * time.Minute
	for ahead := time.Duration(0); ; ahead += lasts {
		clock := func() time.Time { return time.Now().Add(ahead) }
		meets := false
		for n := range 100 {
			now := fakes.ClockOf(n+1, clock)()
			meets = meets || !now.Truncate(24*time.Hour).Equal(now.Add(lasts).Truncate(24*time.Hour))
		}
		if !meets {
			return clock
		}
	}
}

// fill puts reports into a spool as if the device had been away.
func fill(t *testing.T, disk *fakes.Disk, reports int, now func() time.Time) {
	t.Helper()
	sp, err := spool.Open(spool.Config{Disk: disk, Now: now})
	must(t, err)
	begin := now().Add(-24 * time.Hour).UnixMilli()
	for i := range reports {
		e := hmpb.Entry_builder{
			DeviceMs: proto.Int64(begin + int64(i)*1000),
			State: hmpb.State_builder{Readings: []*hmpb.Reading{
				hmpb.Reading_builder{Id: proto.Uint32(reading.MemoryUsed), Number: proto.Int64(1<<30 + rand.Int64N(1<<30))}.Build(),
				hmpb.Reading_builder{Id: proto.Uint32(reading.CPUUsed), Number: proto.Int64(rand.Int64N(1000))}.Build(),
				// As long as a whole State, and no zstd makes it short.
				hmpb.Reading_builder{Id: proto.Uint32(reading.OSBuild), Text: proto.String(random(120))}.Build(),
				hmpb.Reading_builder{Id: proto.Uint32(reading.OSName), Text: proto.String(random(120))}.Build(),
				hmpb.Reading_builder{Id: proto.Uint32(reading.Model), Text: proto.String(random(120))}.Build(),
			}}.Build(),
		}.Build()
		_, err := sp.Append(t.Context(), e)
		must(t, err)
	}
	must(t, sp.Close())
}

func random(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}

// frozen lets all machines stand still at one moment, so that they report
// nothing more and the books can be closed.
type frozen struct {
	mu sync.Mutex
	is bool
}

func (f *frozen) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.is = true
}

func (f *frozen) source(_ swarm.Device, m *fakes.Machine) swarm.Source {
	return &frozenMachine{all: f, machine: m}
}

type frozenMachine struct {
	all     *frozen
	machine *fakes.Machine
	last    sysinfo.Snapshot
}

func (f *frozenMachine) Read(ctx context.Context) sysinfo.Snapshot {
	f.all.mu.Lock()
	is := f.all.is
	f.all.mu.Unlock()
	if !is || f.last.Time.IsZero() {
		f.last = f.machine.Read(ctx)
	}
	return f.last
}
