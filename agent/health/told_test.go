package health_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
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
	give  []*hmpb.Finding
	looks []finding.Input
	snaps int
	want  [][]*hmpb.StandardSoftware
}

func (j *judge) Look(_ time.Time, in finding.Input) []*hmpb.Finding {
	j.looks = append(j.looks, in)
	out := j.give
	j.give = nil
	return out
}
func (j *judge) Require(list []*hmpb.StandardSoftware) { j.want = append(j.want, list) }
func (j *judge) Snapshot() ([]byte, error)             { j.snaps++; return []byte{byte(j.snaps)}, nil }

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
		var kept []time.Time
		r := startWith(t, &machine{snap: desktop()}, func(c *health.Config) {
			c.Findings = j
			c.KeepFindings = func([]byte) error { kept = append(kept, time.Now()); return nil }
		})
		time.Sleep(s10 + 10*time.Second)
		j.give = []*hmpb.Finding{sound(t)}
		r.Require([]*hmpb.StandardSoftware{{}})
		time.Sleep(min)
		synctest.Wait()
		if n := len(r.s.entries((*hmpb.Entry).HasFinding)); n != 1 {
			t.Fatalf("%d findings told within a minute", n)
		}
		if len(j.want) != 1 || len(j.looks) != 2 || len(j.looks[0].Readings) < 20 {
			t.Errorf("%d requirements, %d looks", len(j.want), len(j.looks))
		}
		// A full disk: kept in order, and nothing is remembered as told.
		r.s.fail(errors.New("no space left on device"))
		j.give = []*hmpb.Finding{sound(t)}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(kept) > 1 {
			t.Errorf("remembered %d times while a finding was not told", len(kept))
		}
		r.s.fail(nil)
		time.Sleep(time.Hour)
		r.stop()
		if n := len(r.s.entries((*hmpb.Entry).HasFinding)); n != 2 {
			t.Errorf("%d findings told in the end", n)
		}
		for i := 1; i < len(kept)-1; i++ {
			if gap := kept[i].Sub(kept[i-1]); gap < 10*min {
				t.Errorf("remembered after %v", gap)
			}
		}
		if n := len(kept); n < 6 || n > 8 || time.Since(kept[n-1]) > time.Second {
			t.Errorf("remembered %d times", n)
		}
	})
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
		reads := len(r.m.reads)
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
		if len(r.m.reads) != reads || len(own.reads) != 30 {
			t.Errorf("the minutes' source was read %d times for samples, the other one %d times", len(r.m.reads)-reads, len(own.reads))
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
