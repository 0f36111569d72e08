package agent_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/agent"
	"hausmeister/agent/config"
	"hausmeister/agent/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/testenv/fakes"
)

// tellLooks tells the newest session of looks that begin now and a minute apart.
func (w *world) tellLooks(reasons ...string) (ids []string) {
	w.Helper()
	var looks []*hmpb.Look
	for i, reason := range reasons {
		at := time.Now().Add(time.Duration(i) * time.Minute)
		id := ident.NewID(at)
		ids = append(ids, id)
		looks = append(looks, hmpb.Look_builder{Id: &id, Name: new("petra"), Role: new("support"), Reason: &reason,
			OpenedMs: new(at.UnixMilli()), UntilMs: new(at.Add(time.Hour).UnixMilli())}.Build())
	}
	w.sayLooks(looks...)
	return ids
}

func (w *world) sayLooks(looks ...*hmpb.Look) {
	w.Helper()
	w.mu.Lock()
	f := w.control
	w.mu.Unlock()
	if err := f.WriteMsg(hmpb.ControlDown_builder{Looks: hmpb.Looks_builder{Looks: looks}.Build()}.Build()); err != nil {
		w.Fatal(err)
	}
}

// shownLooks reads the public file.
func (w *world) shownLooks() (out []agent.Look) {
	w.Helper()
	var l agent.Looks
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.Unmarshal(w.public[agent.LooksFile], &l); err != nil {
		w.Fatalf("%s: %v", agent.LooksFile, err)
	}
	return l.Looks
}

func (w *world) lastLook() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastLooks[len(w.lastLooks)-1]
}

// TestShowsWhoLooked: the list is there from the start, is shown within a minute
// of being told, the latest first, and outlives the agent.
func TestShowsWhoLooked(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(20 * time.Second)
		if got := w.shownLooks(); len(got) != 0 || w.lastLook() != "" {
			t.Fatalf("looks at first: %+v, last told %q", got, w.lastLook())
		}
		now := time.Now()
		ids := w.tellLooks("ticket 17", "ticket 18")
		time.Sleep(time.Minute)
		got := w.shownLooks()
		if len(got) != 2 || got[0].ID != ids[1] || got[1].Reason != "ticket 17" || got[1].Name != "petra" || got[1].Role != "support" ||
			got[1].Opened.UnixMilli() != now.UnixMilli() || got[1].Until.Sub(got[1].Opened) != time.Hour {
			t.Fatalf("the file shows %+v", got)
		}
		w.stop()
		w.mu.Lock()
		delete(w.public, agent.LooksFile) // a crash came between the list and its file
		w.mu.Unlock()
		w.run()
		time.Sleep(20 * time.Second)
		if again := w.shownLooks(); !slices.Equal(again, got) {
			t.Errorf("after a restart the file shows %+v", again)
		}
		if w.lastLook() != ids[1] {
			t.Errorf("the Hello names %q, want the newest look %q", w.lastLook(), ids[1])
		}
		for name, text := range w.public {
			if name != agent.LooksFile && strings.Contains(string(text), "petra") {
				t.Errorf("%s names who looked", name)
			}
		}
	})
}

// TestStrangeLooks: what a terminal or the list could not bear is not in the file.
func TestStrangeLooks(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(20 * time.Second)
		w.sayLooks(
			hmpb.Look_builder{Reason: new("no id")}.Build(),
			hmpb.Look_builder{Id: new(ident.NewID(time.Now())), Name: new("a\x1b[2Jb\u202e"), Reason: new(strings.Repeat("ü", 700))}.Build(),
		)
		time.Sleep(time.Minute)
		got := w.shownLooks()
		if len(got) != 1 || got[0].Name != "a\ufffd[2Jb\ufffd" || got[0].Reason != strings.Repeat("ü", 500) {
			t.Errorf("the file shows %+v", got)
		}
	})
}

// TestLooksNotStored: what the disk did not take is not shown as kept, and the
// Hello does not name it.
func TestLooksNotStored(t *testing.T) {
	in(t, func(w *world) {
		w.config.Files = noLooks{w.files}
		w.enrol()
		w.run()
		time.Sleep(20 * time.Second)
		w.tellLooks("ticket 17")
		time.Sleep(time.Minute)
		w.stop()
		w.run()
		time.Sleep(20 * time.Second)
		if got := w.shownLooks(); len(got) != 0 || w.lastLook() != "" || !strings.Contains(w.logged(), "who looked at this device is not stored") {
			t.Errorf("the file shows %+v, the Hello names %q", got, w.lastLook())
		}
	})
}

// noLooks is a state folder that takes everything but looks.
type noLooks struct{ config.Files }

func (f noLooks) Write(name string, data []byte) error {
	if name == "looks" {
		return &fs.PathError{Op: "write", Path: name, Err: errors.New("no space left on device")}
	}
	return f.Files.Write(name, data)
}

// TestLastReportShowsSamples: the file has the last sample that somebody watched,
// and how many there were; not only the reports that are stored.
func TestLastReportShowsSamples(t *testing.T) {
	in(t, func(w *world) {
		w.config.Live = func() health.Source { return fakes.NewMachine(1, time.Now) }
		w.enrol()
		w.run()
		time.Sleep(8*time.Minute + 20*time.Second)
		w.watch(30, false)
		begin := time.Now()
		time.Sleep(7 * time.Minute) // the file is written every five minutes at the most
		r := w.report()
		w.mu.Lock()
		samples := w.samples
		w.mu.Unlock()
		if r.Live == nil || len(samples) < 28 || r.Live.Samples != len(samples) {
			t.Fatalf("%d samples arrived, the file shows %+v", len(samples), r.Live)
		}
		last := samples[len(samples)-1]
		if r.Live.DeviceTime.UnixMilli() != last.GetDeviceMs() || len(r.Live.Readings) != len(last.GetReadings()) || r.Live.SentAt.Sub(begin) > 31*time.Second {
			t.Errorf("the file's last sample is %+v, sent was %v", r.Live, last)
		}
		for i, m := range last.GetReadings() {
			if shown := r.Live.Readings[i]; m.HasNumber() && (shown.Number == nil || *shown.Number != m.GetNumber()) {
				t.Errorf("the file shows %+v, sent was %v", shown, m)
			}
		}
		first := r.Live.Since
		// Another while begins anew.
		w.watch(10, false)
		time.Sleep(5 * time.Minute)
		if r := w.report(); r.Live.Samples < 8 || r.Live.Samples > 10 || !r.Live.Since.After(first) {
			t.Errorf("of the second while the file shows %d samples since %v", r.Live.Samples, r.Live.Since)
		}
	})
}

// report reads the public file.
func (w *world) report() (r agent.Report) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.Unmarshal(w.public[agent.LastReportFile], &r); err != nil {
		w.Fatal(err)
	}
	return r
}
