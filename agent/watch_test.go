package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent"
	"hausmeister/agent/health"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
	"hausmeister/proto/wire"
	"hausmeister/testenv/fakes"
)

// live takes the samples of a live stream.
func (w *world) live(f *wire.Framed) {
	if f.ReadMsg(&hmpb.LiveHeader{}) != nil {
		return
	}
	for {
		up := &hmpb.LiveUp{}
		if f.ReadMsg(up) != nil {
			f.CloseWrite()
			return
		}
		w.mu.Lock()
		w.samples = append(w.samples, up)
		w.mu.Unlock()
	}
}

func (w *world) watch(seconds uint32, flush bool) {
	w.Helper()
	w.mu.Lock()
	f := w.control
	w.mu.Unlock()
	if err := f.WriteMsg(hmpb.ControlDown_builder{Watch: hmpb.Watch_builder{LiveS: &seconds, Flush: &flush}.Build()}.Build()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) storedOf(kind func(*hmpb.Entry) bool) (out []*hmpb.Entry) {
	for _, e := range w.stored() {
		if kind(e) {
			out = append(out, e)
		}
	}
	return out
}

// TestSomebodyLooks: within ten seconds the collector has the minutes so far,
// and samples come by the second until they end; none of them is a report.
func TestSomebodyLooks(t *testing.T) {
	in(t, func(w *world) {
		w.config.Live = func() health.Source { return fakes.NewMachine(1, time.Now) }
		w.enrol()
		w.run()
		time.Sleep(8*time.Minute + 20*time.Second)
		if n := len(w.storedOf((*hmpb.Entry).HasBlock)); n != 0 {
			t.Fatalf("%d blocks after eight minutes", n)
		}
		w.watch(60, true)
		time.Sleep(10 * time.Second)
		blocks := w.storedOf((*hmpb.Entry).HasBlock)
		if len(blocks) != 1 {
			t.Fatalf("%d blocks 10 s after a flush", len(blocks))
		}
		b, err := block.Decode(blocks[0].GetBlock().GetPacked())
		if err != nil || b.Count != 9 || time.Since(time.UnixMilli(b.Head().End())) > time.Minute {
			t.Errorf("block %+v, %v", b.Head(), err)
		}
		before := w.told()
		time.Sleep(52 * time.Second)
		w.mu.Lock()
		samples := w.samples
		w.mu.Unlock()
		if n := len(samples); n < 58 || n > 60 {
			t.Errorf("%d samples in a minute", n)
		}
		for _, up := range samples {
			for _, m := range up.GetReadings() {
				if reading.Check(m) != nil {
					t.Errorf("sample %v", m)
				}
			}
		}
		if n := w.told() - before; n > 2 {
			t.Errorf("%d reports came of a minute's samples", n)
		}
		for i, e := range w.storedOf((*hmpb.Entry).HasBlock) {
			if got := e.GetBlock().GetPacked(); i > 0 && bytes.Equal(got, blocks[0].GetBlock().GetPacked()) {
				t.Error("a block came twice")
			}
		}
	})
}

// TestLastReportShowsEachKind compares the public file with what arrived.
func TestLastReportShowsEachKind(t *testing.T) {
	in(t, func(w *world) {
		machine := fakes.NewMachine(1, time.Now)
		w.config.Source = machine
		w.settings = hmpb.Settings_builder{StandardSoftware: []*hmpb.StandardSoftware{
			hmpb.StandardSoftware_builder{Names: []string{"Nobody Has This"}, LeastVersion: proto.String("2")}.Build(),
		}}.Build()
		w.enrol()
		w.run()
		time.Sleep(26 * time.Hour)
		var r agent.Report
		w.mu.Lock()
		text := w.public[agent.LastReportFile]
		w.mu.Unlock()
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		blocks, lists, findings := w.storedOf((*hmpb.Entry).HasBlock), w.storedOf((*hmpb.Entry).HasInventory), w.storedOf((*hmpb.Entry).HasFinding)
		if len(blocks) < 100 || len(lists) != 1 || len(findings) == 0 {
			t.Fatalf("%d blocks, %d lists, %d findings stored", len(blocks), len(lists), len(findings))
		}
		last := blocks[len(blocks)-1].GetBlock()
		b, err := block.Decode(last.GetPacked())
		if err != nil {
			t.Fatal(err)
		}
		if r.Block == nil || r.Block.Start.UnixMilli() != last.GetStartMs() || len(r.Block.Series) != len(b.Series) || len(r.Block.Series[0].Values) != b.Count {
			t.Fatalf("the file's block is %+v", r.Block)
		}
		for i, s := range b.Series {
			shown := r.Block.Series[i]
			if row, _ := reading.ByID(s.ID); shown.Name != row.Name || shown.Instance != s.Instance || shown.WordDE == "" {
				t.Errorf("series %+v, sent was %v", shown, s.Key)
			}
			for j, v := range s.Values {
				if got, ok := shown.Values[j].(float64); !ok || int64(got) != v.Mean {
					t.Errorf("%s in step %d = %v, sent was %d", shown.Name, j, shown.Values[j], v.Mean)
				}
			}
		}
		if r.Inventory == nil || int(r.Inventory.Count) != len(r.Inventory.Programs) || r.Inventory.Count < 39 || r.Inventory.Programs[0].Name == "" {
			t.Errorf("the file's list is %+v", r.Inventory)
		}
		missing := 0
		for _, f := range findings {
			if f.GetFinding().GetInstance() == "Nobody Has This" {
				missing++
			}
		}
		if missing != 1 || len(r.Findings) == 0 || r.Findings[0].TitleDE == "" {
			t.Errorf("%d findings about the missing program; the file's are %+v", missing, r.Findings)
		}
		// Nothing is raised again by the next run, and what it requires is known
		// before it hears of it.
		w.stop()
		before := len(findings)
		w.run()
		time.Sleep(time.Hour)
		for _, f := range w.storedOf((*hmpb.Entry).HasFinding)[before:] {
			for _, old := range findings {
				if old.GetFinding().GetCode() == f.GetFinding().GetCode() && old.GetFinding().GetInstance() == f.GetFinding().GetInstance() {
					t.Errorf("after a restart, again: %v", f.GetFinding())
				}
			}
		}
		if n := len(w.storedOf((*hmpb.Entry).HasInventory)); n != 1 {
			t.Errorf("%d lists told", n)
		}
	})
}

// TestAnotherStore: a collector whose store is another one is told what is open and
// what is installed, once, though all of it was told long ago.
func TestAnotherStore(t *testing.T) {
	in(t, func(w *world) {
		w.config.Source = fakes.NewMachine(1, time.Now)
		w.settings = hmpb.Settings_builder{StandardSoftware: []*hmpb.StandardSoftware{
			hmpb.StandardSoftware_builder{Names: []string{"Nobody Has This"}}.Build(),
		}}.Build()
		w.enrol()
		missing := func() (n int) {
			for _, e := range w.storedOf((*hmpb.Entry).HasFinding) {
				if f := e.GetFinding(); f.GetInstance() == "Nobody Has This" && f.GetRaised() {
					n++
				}
			}
			return n
		}
		for i, restored := range []string{"", "", " restored", " restored"} {
			w.mu.Lock()
			w.restored = restored
			w.mu.Unlock()
			w.run()
			time.Sleep(26 * time.Hour)
			w.stop()
			want := 1 + i/2
			if n, lists := missing(), len(w.storedOf((*hmpb.Entry).HasInventory)); n != want || lists != want {
				t.Errorf("run %d, store %q: told of the missing program %d times and %d lists, want %d of each", i, restored, n, lists, want)
			}
		}
	})
}

// TestLastMinutesArrive: an agent that is stopped tells the minutes so far
// before it says goodbye.
func TestLastMinutesArrive(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(22 * time.Minute)
		w.stop()
		steps := uint32(0)
		for _, e := range w.storedOf((*hmpb.Entry).HasBlock) {
			steps += e.GetBlock().GetSteps()
		}
		if steps != 22 {
			t.Errorf("%d minutes of 22 arrived", steps)
		}
	})
}

// TestOfflineInTheSameBoot: a device with a wrong clock heard the collector, was
// restarted without a network, and still packs by the right time.
func TestOfflineInTheSameBoot(t *testing.T) {
	in(t, func(w *world) {
		off := 100 * 24 * time.Hour
		w.config.Now = func() time.Time { return time.Now().Add(off) }
		machine := fakes.NewMachine(1, w.config.Now)
		w.config.Source = machine
		w.enrol()
		w.run()
		time.Sleep(10 * time.Minute)
		w.stop()
		w.server.Close()
		w.serving.Wait()
		w.run()
		time.Sleep(2 * time.Hour)
		w.stop()
		w.serve()
		w.run()
		time.Sleep(2 * time.Minute)
		blocks := w.storedOf((*hmpb.Entry).HasBlock)
		if len(blocks) < 9 {
			t.Fatalf("%d blocks", len(blocks))
		}
		for i, e := range blocks {
			at := time.UnixMilli(e.GetBlock().GetStartMs())
			// The first begins before the collector was heard.
			if age := time.Since(at); i > 0 && (age < 0 || age > 3*time.Hour) {
				t.Errorf("block %d begins at %v, %v ago", i, at.UTC(), age)
			}
			if made := time.UnixMilli(e.GetDeviceMs()); time.Until(made) < 99*24*time.Hour {
				t.Errorf("block %d bears %v, want the device's own clock", i, made)
			}
		}
	})
}

// TestNothingPersonalLeaves: what a machine knows of people (TE-2) is in no
// message, be it reported or live, and in no file that everybody may read.
func TestNothingPersonalLeaves(t *testing.T) {
	in(t, func(w *world) {
		canaries := []string{"CANARY-HOST", "canary.user", "CANARY-WLAN"}
		w.config.Source = tattler{fakes.NewMachine(1, time.Now), canaries}
		w.config.Live = func() health.Source { return tattler{fakes.NewMachine(1, time.Now), canaries} }
		w.enrol()
		w.run()
		time.Sleep(20 * time.Minute)
		w.watch(60, true)
		time.Sleep(2 * time.Minute)
		w.stop()
		var all []proto.Message
		for _, e := range w.stored() {
			all = append(all, e)
		}
		for _, up := range w.samples {
			all = append(all, up)
		}
		if len(w.samples) == 0 || len(all) < 10 {
			t.Fatalf("%d messages, %d samples", len(all), len(w.samples))
		}
		for _, c := range canaries {
			for _, m := range all {
				if raw, err := proto.Marshal(m); err != nil || bytes.Contains(raw, []byte(c)) {
					t.Errorf("%s left in %v (%v)", c, m, err)
				}
			}
			for name, text := range w.public {
				if strings.Contains(string(text), c) {
					t.Errorf("%s is in %s", c, name)
				}
			}
		}
	})
}

// tattler is a machine whose errors say more than they should.
type tattler struct {
	*fakes.Machine
	words []string
}

func (m tattler) Read(ctx context.Context) sysinfo.Snapshot {
	s := m.Machine.Read(ctx)
	s.CouldNot = map[string]error{"links": fmt.Errorf("connection %s of %s on %s: denied", m.words[2], m.words[1], m.words[0])}
	s.CutOff = m.words
	s.Links.Value = append(s.Links.Value, sysinfo.Link{Name: "wifi\x00" + m.words[2], Up: true})
	s.Printers = sysinfo.Some([]sysinfo.Printer{{Name: "printer", State: sysinfo.PrinterState(m.words[1])}})
	return s
}
