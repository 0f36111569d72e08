package health_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/finding"
	"hausmeister/agent/health"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/block"
	table "hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

// judge is a fake of the rules: it gives what it is told to give.
type judge struct {
	mu    sync.Mutex
	give  []*hmpb.Finding
	looks []finding.Input
	snaps int
	want  [][]*hmpb.StandardSoftware
	kept  []time.Time
}

func (j *judge) Look(_ time.Time, in finding.Input) []*hmpb.Finding {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.looks = append(j.looks, in)
	out := j.give
	j.give = nil
	return out
}

func (j *judge) Require(list []*hmpb.StandardSoftware) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.want = append(j.want, list)
}

func (j *judge) Snapshot() ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.snaps++
	return []byte{byte(j.snaps)}, nil
}

// keep takes what is to be remembered.
func (j *judge) keep([]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kept = append(j.kept, time.Now())
	return nil
}

func (j *judge) set(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f()
}

func raise(code, instance string) *hmpb.Finding {
	return hmpb.Finding_builder{Code: &code, Raised: proto.Bool(false), Instance: &instance, Severity: hmpb.Severity_SEVERITY_WARNING.Enum()}.Build()
}

// sound finds a code whose clear passes the table's check.
func sound(t *testing.T) *hmpb.Finding {
	for f := range table.All() {
		if m := raise(f.Code, ""); table.Check(m) == nil {
			return m
		}
	}
	t.Fatal("no finding without an instance in the table")
	return nil
}

func TestFindingsAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &judge{}
		r := startWith(t, &machine{snap: desktop()}, func(c *health.Config) {
			c.Findings, c.KeepFindings = j, j.keep
		})
		time.Sleep(s10 + 10*time.Second)
		j.set(func() { j.give = []*hmpb.Finding{sound(t)} })
		r.Require([]*hmpb.StandardSoftware{{}})
		time.Sleep(min)
		synctest.Wait()
		if n := len(r.s.entries((*hmpb.Entry).HasFinding)); n != 1 {
			t.Fatalf("%d findings told within a minute", n)
		}
		j.set(func() {
			if len(j.want) != 1 || len(j.looks) != 2 || len(j.looks[0].Readings) < 20 {
				t.Errorf("%d requirements, %d looks", len(j.want), len(j.looks))
			}
		})
		// A full disk: kept in order, and nothing is remembered as told.
		r.s.fail(errors.New("no space left on device"))
		j.set(func() { j.give = []*hmpb.Finding{sound(t)} })
		time.Sleep(time.Hour)
		synctest.Wait()
		j.set(func() {
			if len(j.kept) > 1 {
				t.Errorf("remembered %d times while a finding was not told", len(j.kept))
			}
		})
		r.s.fail(nil)
		time.Sleep(time.Hour)
		r.stop()
		if n := len(r.s.entries((*hmpb.Entry).HasFinding)); n != 2 {
			t.Errorf("%d findings told in the end", n)
		}
		// Each 10 minutes, at the end, and once for what was told an hour later: the
		// disk took it at the first look of the second hour.
		kept, soon := j.kept, 0
		for i := 1; i < len(kept)-1; i++ {
			if kept[i].Sub(kept[i-1]) < 10*min {
				soon++
			}
		}
		if n := len(kept); soon > 0 || n < 7 || n > 9 || time.Since(kept[n-1]) > time.Second {
			t.Errorf("remembered %d times, %d of them within 10 minutes", n, soon)
		}
	})
}

// TestPowerCut: what was told is remembered at once, so that after the power was
// cut a finding is cleared or raised as if it had not been.
func TestPowerCut(t *testing.T) {
	full := func(s *sysinfo.Snapshot) { s.Memory.Used = sysinfo.Some[int64](8<<30 - 1<<20) }
	free := func(s *sysinfo.Snapshot) { s.Memory.Used = sysinfo.Some[int64](2 << 30) }
	for _, c := range []struct {
		name   string
		days   []func(*sysinfo.Snapshot) // a day of each, the power is cut once it was told
		after  func(*sysinfo.Snapshot)
		raised bool
	}{
		{"raised, well after it", []func(*sysinfo.Snapshot){full}, free, false},
		{"cleared, bad again after it", []func(*sysinfo.Snapshot){full, free}, full, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var kept []byte // what is on the disk
				findings := func(w *finding.Watcher) func(*health.Config) {
					return func(c *health.Config) {
						c.Findings, c.KeepFindings = w, func(b []byte) error { kept = bytes.Clone(b); return nil }
					}
				}
				s := desktop()
				s.BootTime = sysinfo.Some(time.Now().Add(-time.Hour))
				m := &machine{snap: s}
				r := startWith(t, m, findings(finding.New(finding.Config{})))
				time.Sleep(13 * min) // away from what is kept each 10 minutes
				for i, day := range c.days {
					m.set(day)
					for range 24 * 60 {
						time.Sleep(min)
						synctest.Wait()
						if len(r.s.entries((*hmpb.Entry).HasFinding)) > i {
							break
						}
					}
				}
				atCut := kept
				r.stop()
				if n := len(r.s.entries((*hmpb.Entry).HasFinding)); n != len(c.days) {
					t.Fatalf("%d findings told before the cut, want %d", n, len(c.days))
				}
				w := finding.New(finding.Config{})
				if err := w.Restore(atCut); err != nil {
					t.Fatal(err)
				}
				m = &machine{snap: s}
				m.set(c.after)
				m.set(func(s *sysinfo.Snapshot) { s.BootTime = sysinfo.Some(time.Now()) })
				r = startWith(t, m, findings(w))
				time.Sleep(2 * 24 * time.Hour)
				r.stop()
				told := r.s.entries((*hmpb.Entry).HasFinding)
				if len(told) != 1 || told[0].GetFinding().GetRaised() != c.raised {
					t.Errorf("told after the cut: %v, want one, raised: %v", told, c.raised)
				}
			})
		})
	}
}

// TestWhatTheTablesDoNotHoldStays: whatever source, list and rules try, in
// States, blocks, findings and inventories there is only what the tables allow.
func TestWhatTheTablesDoNotHoldStays(t *testing.T) {
	const canary = "anna.schmidt"
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(2)
		s.list = append(s.list, sysinfo.Program{Name: canary + "\n"}, sysinfo.Program{Name: "x\u202e" + canary}, sysinfo.Program{Name: strings.Repeat(canary, 50)},
			sysinfo.Program{Name: "fine", Version: canary + "\x00"}, sysinfo.Program{Name: "", Version: canary})
		s.set(func(s *shelf) {
			s.snap = whole()
			s.snap.CPU.Used = sysinfo.Some[int64](1001)
			s.snap.Temperatures = sysinfo.Some([]sysinfo.Temperature{{Place: canary + "\n", MilliCelsius: 1}, {Place: "cpu", MilliCelsius: 1 << 50}})
			s.snap.Fans = sysinfo.Some([]sysinfo.Fan{{Name: strings.Repeat(canary, 20), Speed: 1}})
			s.snap.Pressure = sysinfo.Some([]sysinfo.Pressure{{Name: "", Stalled: 1}})
			s.snap.Printers = sysinfo.Some([]sysinfo.Printer{{Name: "printer", State: canary}})
			s.snap.Protection.Firewall = sysinfo.Some(sysinfo.Guard(canary))
			s.snap.CutOff = []string{canary}
			s.snap.CouldNot = map[string]error{"links": errors.New("/home/" + canary + ": permission denied")}
		})
		j := &judge{give: []*hmpb.Finding{raise("no_such_code", ""), raise(canary, canary), sound(t)}}
		r := startWith(t, s.machine, func(c *health.Config) {
			c.Source, c.Findings = s, j
			c.About = func() health.Facts {
				return health.Facts{Path: canary, Trouble: canary, InspectionIssuer: canary + "\x1b", SpoolWaiting: 1 << 40}
			}
		})
		time.Sleep(40 * min)
		r.stop()
		kinds := map[string]int{}
		for _, e := range r.s.all {
			raw, err := proto.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(raw, []byte(canary)) {
				t.Errorf("the canary left in %v", e)
			}
			check(t, e, kinds, canary)
		}
		for _, kind := range []string{"state", "block", "finding", "inventory"} {
			if kinds[kind] == 0 {
				t.Errorf("no %s was told", kind)
			}
		}
	})
}

func check(t *testing.T, e *hmpb.Entry, kinds map[string]int, canary string) {
	t.Helper()
	switch e.WhichKind() {
	case hmpb.Entry_State_case:
		kinds["state"]++
		for _, m := range e.GetState().GetReadings() {
			if err := reading.Check(m); err != nil {
				t.Errorf("%v left: %v", m, err)
			}
		}
	case hmpb.Entry_Block_case:
		kinds["block"]++
		b, err := block.Decode(e.GetBlock().GetPacked())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range b.Series {
			row, ok := reading.ByID(s.ID)
			if !ok || row.Retain != reading.Fine || strings.Contains(s.Instance, canary) {
				t.Errorf("series %v left", s.Key)
			}
			for _, v := range s.Values {
				if v.N > 0 && (v.Min < row.Min || v.Max > row.Max) {
					t.Errorf("series %v has %d", s.Key, v.Mean)
				}
			}
		}
	case hmpb.Entry_Finding_case:
		kinds["finding"]++
		if err := table.Check(e.GetFinding()); err != nil {
			t.Errorf("%v left: %v", e, err)
		}
	case hmpb.Entry_Inventory_case:
		kinds["inventory"]++
		list, err := inventory.Unpack(e.GetInventory())
		if err != nil || len(list) != 2 {
			t.Errorf("list %v, %v", list, err)
		}
	default:
		t.Errorf("an entry of no known kind: %v", e)
	}
}

// TestLive: samples come from a source of their own, and are what blocks hold.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := &machine{snap: whole()}
		r := startWith(t, &machine{snap: whole()}, func(c *health.Config) { c.Live = func() health.Source { return own } })
		time.Sleep(5 * min)
		sample := r.Live()
		reads := len(r.m.looks())
		for range 30 {
			rs := sample(t.Context())
			if len(rs) < 15 {
				t.Fatalf("%d readings in a sample", len(rs))
			}
			for _, m := range rs {
				if row, _ := reading.ByID(m.GetId()); row.Retain != reading.Fine || reading.Check(m) != nil || row.ID == reading.SpoolWaiting {
					t.Errorf("%s is in a sample: %v", row.Name, m)
				}
			}
		}
		if len(r.m.looks()) != reads || len(own.looks()) != 30 {
			t.Errorf("the minutes' source was read %d times for samples, the other one %d times", len(r.m.looks())-reads, len(own.looks()))
		}
		r.stop()
		if startNothing() != nil {
			t.Error("samples without a source")
		}
	})
}

func startNothing() func(context.Context) []*hmpb.Reading {
	return health.New(health.Config{Source: &machine{}, Sink: &sink{}, Memory: &memory{}}).Live()
}
