package health_test

import (
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// TestWrongClocks: what a device tells stands under the day on which it was made by
// the collector's clock, whatever the device's says.
func TestWrongClocks(t *testing.T) {
	const days = 24 * time.Hour
	clockOff := func(offset time.Duration) *hmpb.Entry {
		return findingEntry(finding.ClockOff, "", true, hmpb.Severity_SEVERITY_CRITICAL, argument("offset", offset.Milliseconds()))
	}
	disk := func() *hmpb.Entry {
		return findingEntry(finding.DiskLow, "C:", true, hmpb.Severity_SEVERITY_WARNING, argument("free", 1e9), argument("total", 256e9))
	}
	state := func(offset time.Duration) *hmpb.Entry {
		return stateEntry(used(1), number(reading.ClockOffset, "", offset.Milliseconds()))
	}
	at := func(e *hmpb.Entry, device time.Time) *hmpb.Entry { e.SetDeviceMs(device.UnixMilli()); return e }
	today := noon.Add(60 * days)
	tests := map[string]struct {
		send []*hmpb.Entry
		want time.Time // of each finding
	}{
		"180 days behind, said by the state before":  {[]*hmpb.Entry{at(state(180*days), today.Add(-180*days)), at(disk(), today.Add(-180*days))}, today},
		"180 days behind, said by the state after":   {[]*hmpb.Entry{at(disk(), today.Add(-180*days)), at(state(180*days), today.Add(-180*days))}, today},
		"180 days behind, said by the finding":       {[]*hmpb.Entry{at(clockOff(180*days), today.Add(-180*days))}, today},
		"20 days behind, said by nobody, seen later": {[]*hmpb.Entry{at(disk(), today.Add(-25*days))}, today},
		"four years behind, said by nobody":          {[]*hmpb.Entry{at(disk(), today.AddDate(-4, 0, 0))}, today},
		"ten years ahead":                            {[]*hmpb.Entry{at(state(-3650*days), today.Add(3650*days)), at(disk(), today.Add(3650*days))}, today},
		"ten years ahead, made four days ago":        {[]*hmpb.Entry{at(state(-3650*days), today.Add(3646*days)), at(disk(), today.Add(3646*days))}, today.Add(-4 * days)},
		"right, and waited for 15 days":              {[]*hmpb.Entry{at(disk(), today.Add(-15*days)), at(state(0), today)}, today.Add(-15 * days)},
		"right, then set back before it came":        {[]*hmpb.Entry{at(disk(), today.Add(-15*days)), at(state(180*days), today.Add(-180*days))}, today.Add(-15 * days)},
		"right without a word, and waited":           {[]*hmpb.Entry{at(disk(), today.Add(-15*days))}, today.Add(-15 * days)},
		"no time at all":                             {[]*hmpb.Entry{at(disk(), time.UnixMilli(1<<62))}, today},
	}
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for name, tt := range tests {
			w.now = noon
			s := &sender{w: w, device: w.device(t, name)}
			w.now = today.Add(-20 * days)
			s.send(t, state(0)) // the last contact
			w.now = today
			s.send(t, tt.send...)
			all, err := w.Findings(t.Context(), reader, s.device.ID)
			if err != nil || len(all) != 1 || !all[0].Raised.Equal(tt.want.Truncate(health.Day)) {
				t.Errorf("%s: %+v, %v; want a finding of %v", name, all, err, tt.want.Format(time.DateOnly))
			}
			events, err := w.Events(t.Context(), reader, s.device.ID, time.Time{}, 10)
			if err != nil || len(events.Items) != 1 || !events.Items[0].Day.Equal(tt.want.Truncate(health.Day)) {
				t.Errorf("%s: events %+v, %v; want one of %v", name, events.Items, err, tt.want.Format(time.DateOnly))
			}
		}
	})
}

// TestMomentsOpenWithALook: who has a look open knows when a device was started and
// last told its state; everybody else knows days.
func TestMomentsOpenWithALook(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		booted := noon.Add(-90 * time.Minute)
		const session = 1
		if _, err := w.Begin(t.Context(), s.device, session, epoch("A"), "1.0.0"); err != nil {
			t.Fatal(err)
		}
		w.now = noon.Add(time.Minute)
		s.send(t, stateEntry(number(reading.BootTime, "", booted.UnixMilli())))
		if _, err := w.OpenLook(t.Context(), support, s.device.ID, "a good reason"); err != nil {
			t.Fatal(err)
		}
		if l, err := w.Latest(t.Context(), support, s.device.ID); err != nil || !l.Booted.Equal(booted) || !l.Began.Equal(noon) || !l.Contact.Equal(w.now) {
			t.Errorf("with a look: %+v, %v; want booted %v, began %v and contact %v", l, err, booted, noon, w.now)
		}
		w.now = noon.Add(5 * time.Minute)
		if err := w.End(t.Context(), s.device, session); err != nil {
			t.Fatal(err)
		}
		if l, err := w.Latest(t.Context(), support, s.device.ID); err != nil || l.Connected || !l.Began.Equal(noon) || !l.Contact.Equal(w.now) {
			t.Errorf("after the session: %+v, %v; want began %v and contact %v", l, err, noon, w.now)
		}
		if l, err := w.Latest(t.Context(), reader, s.device.ID); err != nil || !l.Booted.IsZero() || !l.Began.IsZero() || !l.Contact.IsZero() || l.Values[0].Number%health.Day.Milliseconds() != 0 {
			t.Errorf("for somebody else: %+v, %v; want days", l, err)
		}
		w.now = noon.Add(health.LookFor + time.Minute)
		if l, err := w.Latest(t.Context(), support, s.device.ID); err != nil || !l.Booted.IsZero() || !l.Began.IsZero() || !l.Contact.IsZero() {
			t.Errorf("after the look: %+v, %v; want days", l, err)
		}
		// The times go when values by the minute go; the day stays.
		w.now = noon.Add(reading.KeepBlocks + time.Hour)
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.OpenLook(t.Context(), support, s.device.ID, "a good reason"); err != nil {
			t.Fatal(err)
		}
		if l, err := w.Latest(t.Context(), support, s.device.ID); err != nil || !l.Began.IsZero() || !l.Contact.IsZero() || !l.Day.Equal(noon.Truncate(health.Day)) {
			t.Errorf("a month later: %+v, %v; want the day of the last contact only", l, err)
		}
	})
}
