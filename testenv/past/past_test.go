package past_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/config"
	"hausmeister/agent/finding"
	"hausmeister/agent/spool"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/need"
	"hausmeister/testenv/past"
)

// today is a Tuesday at half past eleven in Berlin.
var today = time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC)

const days = 30

// lived is a machine with its past.
type lived struct {
	*fakes.Machine
	told    past.Told
	entries []*hmpb.Entry
	files   *fakes.Disk
}

var known = map[int]lived{} // tests here run one after another

// live gives the n-th machine with its past, which is the same for all tests.
func live(t *testing.T, n int) lived {
	t.Helper()
	l, ok := known[n]
	if !ok {
		l = anew(t, n)
		known[n] = l
	}
	return l
}

// anew makes it.
func anew(t *testing.T, n int) lived {
	t.Helper()
	clock := fakes.ClockOf(n, func() time.Time { return today })
	l := lived{Machine: fakes.NewMachine(n, clock), files: fakes.NewDisk()}
	disk := fakes.NewDisk()
	var err error
	if l.told, err = (past.History{Machine: l.Machine, Days: days, Now: today, Spool: disk, Files: l.files}).Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Config{Disk: disk, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	for from := uint64(0); ; {
		b, err := sp.Batch(from, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return l
		}
		for _, e := range b.GetEntries() {
			from = b.GetFirstSeq() + uint64(e.GetOffset())
			l.entries = append(l.entries, e)
		}
	}
}

// judged are a device's findings: what was raised, how badly and so many days
// ago, and whether it still is; by code, the first raise of each severity.
func (l lived) judged() map[string]string {
	out := map[string]string{}
	open := map[string]bool{}
	for _, e := range l.entries {
		if !e.HasFinding() {
			continue
		}
		f := e.GetFinding()
		open[f.GetCode()] = f.GetRaised()
		if f.GetRaised() && !strings.Contains(out[f.GetCode()], word(f)) {
			ago := today.Truncate(24*time.Hour).Sub(time.UnixMilli(e.GetDeviceMs()).Truncate(24*time.Hour)) / (24 * time.Hour)
			out[f.GetCode()] += fmt.Sprintf("%s -%d ", word(f), ago)
		}
	}
	for code, is := range open {
		if is {
			out[code] += "open"
		} else {
			out[code] += "over"
		}
	}
	return out
}

func word(f *hmpb.Finding) string {
	return strings.ToLower(strings.TrimPrefix(f.GetSeverity().String(), "SEVERITY_"))
}

// TestStories: each story ends in the findings that it is about, from when on
// it happened, and in no others.
func TestStories(t *testing.T) {
	need.Plain(t)
	want := map[fakes.Story]map[string]string{
		fakes.Filling:        {"disk_full_soon": "warning -11 open"},
		fakes.NearlyFull:     {"disk_full_soon": "warning -20 critical -0 open", "disk_low": "warning -0 open"},
		fakes.FullDisk:       {"disk_low": "warning -29 critical -14 open", "disk_full_soon": "warning -23 critical -13 over"},
		fakes.AgingBattery:   {"battery_worn": "notice -20 open"},
		fakes.WornBattery:    {"battery_worn": "notice -30 warning -15 open"},
		fakes.SwappedBattery: {"battery_worn": "warning -30 over"},
		fakes.Crashing:       {"system_crashes": "warning -9 open", "hard_power_offs": "notice -8 open"},
		fakes.WrongClock:     {"clock_off": "warning -9 open"},
		fakes.MendedClock:    {"clock_off": "warning -29 over"},
		fakes.HeavyProgram:   {"memory_pressure": "notice -30 open"},
		fakes.DustyFan:       {"hot": "warning -15 open", "throttled": "notice -15 open"},
		fakes.SlowStart:      {"slow_boot": "notice -12 open"},
		fakes.WornDisk:       {"disk_wear": "notice -30 warning -14 open"},
		fakes.NoEncryption:   {"encryption_off": "warning -29 open"},
		fakes.NoFirewall:     {"firewall_off": "warning -6 open"},
		fakes.NeverRestarts:  {"restart_pending": "notice -4 open"},
		fakes.OldSystem:      {"os_unsupported": "critical -29 open"},
	}
	seen := map[fakes.Story]int{}
	for n := 1; n <= 50; n++ {
		story := fakes.StoryOf(n)
		seen[story]++
		if story == fakes.Healthy {
			continue // TestHealthyDevices
		}
		t.Run(fmt.Sprintf("%d %s", n, story), func(t *testing.T) {
			if d := cmp.Diff(want[story], live(t, n).judged()); d != "" {
				t.Errorf("findings (-want +got):\n%s", d)
			}
		})
	}
	for story := range want {
		if seen[story] != 1 {
			t.Errorf("%d of fifty devices are %s, want one", seen[story], story)
		}
	}
	if healthy := seen[fakes.Healthy] + seen[fakes.SwappedBattery] + seen[fakes.MendedClock]; healthy < 35 || healthy > 38 {
		t.Errorf("%d of fifty devices have nothing open", healthy)
	}
}

// TestSameTwice: a device's past follows from its number.
func TestSameTwice(t *testing.T) {
	a, b := live(t, 11), anew(t, 11)
	if a.told != b.told || len(a.entries) != len(b.entries) {
		t.Fatalf("told %+v and %+v", a.told, b.told)
	}
	for i := range a.entries {
		if !proto.Equal(a.entries[i], b.entries[i]) {
			t.Fatalf("entry %d is %v and %v", i, a.entries[i], b.entries[i])
		}
	}
}

// blocks are the minutes that were told.
func (l lived) blocks(t *testing.T) (all []block.Block) {
	t.Helper()
	for _, e := range l.entries {
		if !e.HasBlock() {
			continue
		}
		b, err := block.Decode(e.GetBlock().GetPacked())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// TestPastAndPresentJoin: the machine's next look is where its past ended, in
// all that a block holds; and its last block is of now.
func TestPastAndPresentJoin(t *testing.T) {
	for _, n := range []int{1, 2, 5, 17, 25, 27, 33, 41} {
		l := live(t, n)
		blocks := l.blocks(t)
		b := blocks[len(blocks)-1]
		if behind := today.Sub(time.UnixMilli(b.Head().End())); behind.Abs() > 2*time.Minute {
			t.Errorf("machine %d: the last block ends %v before now", n, behind)
		}
		last := map[block.Key]int64{}
		for _, s := range b.Series {
			last[s.Key] = s.Values[len(s.Values)-1].Mean
		}
		s := l.Read(t.Context())
		for what, v := range map[string]struct {
			id          uint32
			instance    string
			now, within int64
		}{
			"free space":  {reading.VolumeFree, s.Volumes.Value[0].Name, s.Volumes.Value[0].Free.Value, 32 << 20},
			"memory":      {reading.MemoryUsed, "", s.Memory.Used.Value, 512 << 20},
			"charge":      {reading.BatteryCharge, "", s.Power.Charge.Value, 20},
			"battery":     {reading.BatteryHealth, "", s.Power.Health.Value, 0},
			"temperature": {reading.Temperature, "cpu", s.Temperatures.Value[0].MilliCelsius, 6000},
			"signal":      {reading.LinkSignal, "wifi", s.Links.Value[0].Signal.Value, 8},
		} {
			was, ok := last[block.Key{ID: v.id, Instance: v.instance}]
			if !ok || max(was-v.now, v.now-was) > v.within {
				t.Errorf("machine %d: %s was %d (told: %v) and is %d", n, what, was, ok, v.now)
			}
		}
	}
}

// TestFindingsGoOn: the agent in the present knows what is open from the past,
// so that it does not raise it again.
func TestFindingsGoOn(t *testing.T) {
	for _, n := range []int{2, 36, 41} {
		l := live(t, n)
		w := finding.New(finding.Config{})
		if err := w.Restore(config.OpenMemory(l.files).Findings()); err != nil {
			t.Fatal(err)
		}
		kept, err := w.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		for code, how := range l.judged() {
			if strings.HasSuffix(how, "open") && !strings.Contains(string(kept), `"code":"`+code+`"`) {
				t.Errorf("machine %d: %s is open and forgotten: %s", n, code, kept)
			}
		}
	}
}

// TestInventories: programs are updated in the past, each list another than the
// one before, and the last is what is installed now.
func TestInventories(t *testing.T) {
	l := live(t, 2)
	var last []inventory.Program
	lists, changes := 0, map[string]bool{}
	for _, e := range l.entries {
		if !e.HasInventory() {
			continue
		}
		list, err := inventory.Unpack(e.GetInventory())
		if err != nil {
			t.Fatal(err)
		}
		if lists++; lists > 1 {
			diff := inventory.Diff(last, list)
			if len(diff) == 0 {
				t.Error("the same list was told twice")
			}
			for _, c := range diff {
				changes[c.Name] = true
			}
		}
		last = list
	}
	if lists < 5 || !changes["Google Chrome"] || !changes["LibreOffice 25.8.3.2"] {
		t.Errorf("%d lists, changes of %v", lists, slices.Sorted(maps.Keys(changes)))
	}
	now, err := l.Software(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clean := make([]inventory.Program, len(now))
	for i, p := range now {
		clean[i] = inventory.Program(p)
	}
	if d := cmp.Diff(inventory.Clean(clean), last); d != "" {
		t.Errorf("installed now (-is +told):\n%s", d)
	}
}

// TestDaysAreWhole: on each day that it was used the device told minutes and a
// State, nothing of the future, and no minute twice.
func TestDaysAreWhole(t *testing.T) {
	dayOf := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateOnly) }
	for _, n := range []int{1, 11, 25, 33} {
		l := live(t, n)
		minutes, used, states := map[int64]bool{}, map[string]bool{}, map[string]bool{}
		for _, e := range l.entries {
			if e.HasState() {
				states[dayOf(e.GetDeviceMs())] = true
			}
		}
		for _, b := range l.blocks(t) {
			if b.Head().End() > today.Add(time.Minute).UnixMilli() || b.Start < today.AddDate(0, 0, -days-1).UnixMilli() {
				t.Errorf("machine %d: a block of %v", n, time.UnixMilli(b.Start).UTC())
			}
			used[dayOf(b.Start)] = true
			for i, v := range b.Series[0].Values {
				at := b.Start + int64(i)*b.Step
				if v.N > 0 && minutes[at] {
					t.Errorf("machine %d: the minute of %v is told twice", n, time.UnixMilli(at).UTC())
				}
				minutes[at] = minutes[at] || v.N > 0
			}
		}
		if len(used) != l.told.Days || len(used) < 15 {
			t.Errorf("machine %d: minutes of %d days, %d counted", n, len(used), l.told.Days)
		}
		for day := range used {
			if !states[day] {
				t.Errorf("machine %d: no State on %s", n, day)
			}
		}
	}
}

// TestHealthyDevices: nobody without a story has anything to find.
func TestHealthyDevices(t *testing.T) {
	need.Plain(t)
	for n := 1; n < 110; n += 6 {
		if fakes.StoryOf(n) != fakes.Healthy {
			continue
		}
		if got := live(t, n).judged(); len(got) > 0 {
			t.Errorf("machine %d has no story and the findings %v", n, got)
		}
	}
}
