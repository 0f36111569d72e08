package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent"
	"hausmeister/agent/enroll"
	"hausmeister/agent/link"
	"hausmeister/agent/spool"
	"hausmeister/platform/sysinfo"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/netsim"
)

func TestTellsAndShowsWhatItTold(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(20 * time.Second)
		if w.told() != 1 {
			t.Fatalf("%d reports after 20 s, want 1", w.told())
		}
		st := w.status()
		if st.State != link.Connected || st.Device != device || st.Collector != "collector.example:443" || st.SpoolWaiting != 0 || st.SpoolEntries != 1 || st.Version != "1.2.3" {
			t.Errorf("status %+v", st)
		}
		time.Sleep(time.Hour)
		sent := w.stored()
		i := len(sent) - 1
		for !sent[i].HasState() {
			i--
		}
		checkLastReport(t, w, sent[i])
		w.stop()
		if st := w.status(); st.State != link.Stopped {
			t.Errorf("status after the end: %+v", st)
		}
	})
}

// checkLastReport compares the public file with what arrived, value by value.
func checkLastReport(t *testing.T, w *world, e *hmpb.Entry) {
	t.Helper()
	var r agent.Report
	w.mu.Lock()
	err := json.Unmarshal(w.public[agent.LastReportFile], &r)
	w.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	readings := e.GetState().GetReadings()
	if len(readings) != len(r.Readings) || len(readings) < 10 || r.State.DeviceTime.UnixMilli() != e.GetDeviceMs() {
		t.Fatalf("file has %d readings of %v, sent were %d of %d", len(r.Readings), r.State.DeviceTime, len(readings), e.GetDeviceMs())
	}
	for i, m := range readings {
		got := r.Readings[i]
		row, _ := reading.ByID(m.GetId())
		if got.Name != row.Name || got.Instance != m.GetInstance() || got.Unit != row.Unit || got.WordDE != row.Word.DE || got.WordEN == "" {
			t.Errorf("reading %d: %+v, sent was %s", i, got, row.Name)
		}
		switch {
		case m.HasNumber() && (got.Number == nil || *got.Number != m.GetNumber()),
			m.HasText() && (got.Text == nil || *got.Text != m.GetText()),
			m.HasAbsent() && got.Absent != m.GetAbsent().String():
			t.Errorf("reading %s: file says %+v, sent was %v", row.Name, got, m)
		}
	}
}

func TestWaitsForIdentity(t *testing.T) {
	in(t, func(w *world) {
		ready := make(chan struct{}, 2)
		w.config.Ready = func() { ready <- struct{}{} }
		w.run()
		<-ready
		time.Sleep(time.Hour)
		if st := w.status(); st.State != agent.StateNotEnrolled {
			t.Errorf("status %+v, want %s", st, agent.StateNotEnrolled)
		}
		writes, reads, _ := w.numbers()
		if reads != 0 || writes != 1 || w.disk.Bytes() != 0 {
			t.Errorf("before enrolment: %d readings, %d public writes, %d bytes in the spool; want 0, 1, 0", reads, writes, w.disk.Bytes())
		}
		if n := strings.Count(w.logged(), "not enrolled"); n != 1 {
			t.Errorf("%d log lines about it, want 1", n)
		}
		w.enrol()
		time.Sleep(time.Minute)
		if w.told() == 0 {
			t.Error("no report after the device was enrolled")
		}
	})
}

func TestWaitEndsWithContext(t *testing.T) {
	in(t, func(w *world) {
		w.run()
		time.Sleep(time.Second)
		w.stop()
	})
}

// TestFullDisk: the agent goes on, says so, and names what was lost.
func TestFullDisk(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(10 * time.Minute)
		before := w.told()
		for range 120 {
			w.disk.Space(0) // what the spool frees, somebody else takes
			time.Sleep(30 * time.Second)
		}
		st := w.agent.Status()
		if !st.SpoolFailing || st.State != link.Connected {
			t.Errorf("status on a full disk: %+v", st)
		}
		if !strings.Contains(w.logged(), "no space left") {
			t.Error("the log does not say that the disk is full")
		}
		w.disk.Space(-1)
		time.Sleep(10 * time.Minute)
		if st := w.agent.Status(); st.SpoolFailing || st.SpoolDropped == 0 {
			t.Errorf("status after space was made: %+v", st)
		}
		_, _, lost := w.numbers()
		if w.told() <= before || lost != w.agent.Status().SpoolDropped {
			t.Errorf("%d reports before and %d after; collector knows of %d lost, agent of %d", before, w.told(), lost, w.agent.Status().SpoolDropped)
		}
	})
}

// TestStateFolderFull: no connection epoch, no session; but nothing ends.
func TestStateFolderFull(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		full := &fullFiles{Disk: w.files}
		w.config.Files = full
		w.config.Open = func() (*enroll.Keeper, error) {
			return enroll.Open(enroll.Config{Files: full, Keys: w.keys, Log: slog.New(slog.DiscardHandler)})
		}
		w.run()
		time.Sleep(5 * time.Minute)
		full.set(true)
		w.server.Close()
		w.serving.Wait()
		time.Sleep(time.Hour)
		if p := w.agent.Status().Problem; p != link.DiskTrouble {
			t.Errorf("problem %q, want %q", p, link.DiskTrouble)
		}
		w.serve()
		full.set(false)
		before := w.told()
		time.Sleep(5 * time.Minute)
		if w.told() <= before || w.agent.Status().SpoolWaiting != 0 {
			t.Errorf("%d reports before, %d after; status %+v", before, w.told(), w.agent.Status())
		}
	})
}

type fullFiles struct {
	*fakes.Disk
	mu   sync.Mutex
	full bool
}

func (f *fullFiles) set(full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = full
}

func (f *fullFiles) Write(name string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return errors.New("no space left on device")
	}
	return f.Disk.Write(name, data)
}

func TestWrongClock(t *testing.T) {
	for _, year := range []int{1970, 2099} {
		t.Run(fmt.Sprint(year), func(t *testing.T) {
			in(t, func(w *world) {
				off := time.Until(time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC))
				w.config.Now = func() time.Time { return time.Now().Add(off) }
				w.enrol()
				w.run()
				time.Sleep(2 * time.Hour)
				entries := w.stored()
				if len(entries) < 4 {
					t.Fatalf("%d reports in two hours", len(entries))
				}
				if got := time.UnixMilli(entries[0].GetDeviceMs()).UTC().Year(); got != year {
					t.Errorf("report bears the year %d, want the device's own %d", got, year)
				}
				st := w.agent.Status()
				if got := time.Duration(st.ClockOffset) * time.Millisecond; (got+off).Abs() > time.Second || st.SpoolDropped != 0 {
					t.Errorf("status %+v; clock is off by %v", st, off)
				}
			})
		})
	}
}

func TestNewerSpool(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		f, err := w.disk.Open("0000000000000001.seg", true)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt(append([]byte("HMSPOOL\n\x09\x00"), make([]byte, 100)...), 0)
		f.Close()
		w.run()
		if err := <-w.ended; !errors.Is(err, spool.ErrNewer) {
			t.Errorf("Run = %v, want %v", err, spool.ErrNewer)
		}
		w.cancel()
		w.cancel = nil
	})
}

// TestPublicFilesWearNothingOut: a day of flapping network.
func TestPublicFilesWearNothingOut(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		for range 8 * 60 {
			w.host.Set(netsim.Weather{CutUp: true, CutDown: true})
			w.events <- wake.Event{Network: true}
			time.Sleep(30 * time.Second)
			w.host.Set(netsim.Weather{})
			w.events <- wake.Event{Network: true}
			time.Sleep(30 * time.Second)
		}
		writes, _, _ := w.numbers()
		if most := 2*(8*60+6) + 1; writes > most {
			t.Errorf("%d writes in 8 hours, want %d at most: two files a minute", writes, most)
		}
		time.Sleep(time.Minute)
		if st := w.status(); st.State != link.Connected {
			t.Errorf("status %+v", st)
		}
	})
}

// TestPublicFolderBroken: it is for people; the agent goes on.
func TestPublicFolderBroken(t *testing.T) {
	in(t, func(w *world) {
		w.config.Publish = func(string, []byte) error { return errors.New("read-only file system") }
		w.enrol()
		w.run()
		time.Sleep(time.Hour)
		if w.told() < 2 {
			t.Errorf("%d reports", w.told())
		}
		if n := strings.Count(w.logged(), "public files not written"); n != 1 {
			t.Errorf("%d log lines about it, want 1", n)
		}
	})
}

// power makes the machine run on battery or not, whatever it invents.
func (w *world) power(from sysinfo.PowerSource) {
	read := w.config.Source
	w.config.Source = source(func(ctx context.Context) sysinfo.Snapshot {
		s := read.Read(ctx)
		s.Power.Source = sysinfo.Some(from)
		return s
	})
}

// TestEvents: what happens to the machine reaches the link, which finds out
// whether its session lives, and health, which looks before its time.
func TestEvents(t *testing.T) {
	t.Run("link", func(t *testing.T) {
		in(t, func(w *world) {
			w.enrol()
			w.run()
			time.Sleep(5 * time.Minute)
			w.host.Set(netsim.Weather{CutDown: true})
			w.events <- wake.Event{Network: true}
			time.Sleep(6 * time.Second)
			if st := w.agent.Status(); st.State == link.Connected {
				t.Errorf("6 s after a change of network without answers: %s", st.State)
			}
		})
	})
	t.Run("health", func(t *testing.T) {
		in(t, func(w *world) {
			w.power(sysinfo.Battery)
			w.enrol()
			w.run()
			time.Sleep(30 * time.Second)
			_, before, _ := w.numbers()
			w.events <- wake.Event{Slept: time.Hour}
			time.Sleep(50 * time.Second)
			if _, after, _ := w.numbers(); after != before+1 {
				t.Errorf("%d looks within 50 s after waking up on battery, want 1", after-before)
			}
		})
	})
}

// TestIdentityReplaced: enroll --replace beside a running agent.
func TestIdentityReplaced(t *testing.T) {
	in(t, func(w *world) {
		w.enrol()
		w.run()
		time.Sleep(5 * time.Minute)
		const next = "01890a5d-ac96-774b-bcce-b302099a8058"
		w.enrolAs(next, "device-2")
		time.Sleep(65 * time.Second)
		w.mu.Lock()
		got := w.devices
		w.mu.Unlock()
		if want := []string{"urn:uuid:" + device, "urn:uuid:" + next}; !slices.Equal(got, want) {
			t.Errorf("sessions of %v, want %v", got, want)
		}
		if st := w.agent.Status(); st.Device != next || st.State != link.Connected {
			t.Errorf("status %+v, want %s connected", st, next)
		}
	})
}

// TestPolicy: what the Welcome says holds for health.
func TestPolicy(t *testing.T) {
	in(t, func(w *world) {
		w.settings = hmpb.Settings_builder{StateIntervalS: proto.Uint32(600)}.Build()
		w.power(sysinfo.Mains)
		w.enrol()
		w.run()
		time.Sleep(time.Minute)
		states := func() (n int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, e := range w.entries {
				if e.HasState() {
					n++
				}
			}
			return n
		}
		before := states()
		time.Sleep(time.Hour)
		if n := states() - before; n < 2 || n > 6 {
			t.Errorf("%d States in an hour, want at most one each 600 s and one each half hour", n)
		}
	})
}
