package health_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

var (
	support = access.Caller{Kind: access.KindUser, ID: "u1", Name: "support", Role: access.RoleSupport}
	reader  = access.Caller{Kind: access.KindUser, ID: "u2", Name: "reader", Role: access.RoleRead}
)

// quarter packs 15 minutes that begin at start; value gives memory_used, and
// volume_free of "/" is a thousand times that.
func quarter(t testing.TB, start time.Time, step int64, count int, value func(i int) int64) *hmpb.Block {
	t.Helper()
	b := block.Block{Start: start.UnixMilli(), Step: step, Count: count}
	for i := range count {
		at := start.UnixMilli() + int64(i)*step
		if err := errors.Join(b.Set(at, block.Key{ID: reading.MemoryUsed}, false, value(i)),
			b.Set(at, block.Key{ID: reading.VolumeFree, Instance: "/"}, false, 1000*value(i)),
			b.Set(at, block.Key{ID: reading.VolumeFree, Instance: "/boot"}, false, 1)); err != nil {
			t.Fatal(err)
		}
	}
	return packed(t, b)
}

func packed(t testing.TB, b block.Block) *hmpb.Block {
	t.Helper()
	body, err := block.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	return hmpb.Block_builder{StartMs: &b.Start, StepS: proto.Uint32(uint32(b.Step / 1000)), Steps: proto.Uint32(uint32(b.Count)), Packed: body}.Build()
}

// sender numbers a device's entries.
type sender struct {
	w      *world
	device access.Caller
	next   uint64
}

func (s *sender) send(t testing.TB, entries ...*hmpb.Entry) {
	t.Helper()
	first := s.next + 1
	for i, e := range entries {
		e.SetOffset(uint32(i))
		if !e.HasDeviceMs() {
			e.SetDeviceMs(s.w.now.UnixMilli())
		}
	}
	s.next += uint64(len(entries))
	ack, _ := s.w.ingest(t, s.device, hmpb.Batch_builder{SpoolEpoch: epoch("A"), FirstSeq: &first, Entries: entries}.Build())
	if ack != s.next {
		t.Fatalf("ack %d, want %d", ack, s.next)
	}
}

func blockEntry(b *hmpb.Block) *hmpb.Entry { return hmpb.Entry_builder{Block: b}.Build() }

func stateEntry(rs ...*hmpb.Reading) *hmpb.Entry {
	return hmpb.Entry_builder{State: hmpb.State_builder{Readings: rs}.Build()}.Build()
}

func TestHistoryByMinutesNeedsALook(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		start := noon.Add(-time.Hour)
		s.send(t, blockEntry(quarter(t, start, block.Minute, 15, func(i int) int64 { return int64(100 + i) })))
		span := health.Span{Reading: "memory_used", From: start, To: noon, Step: 5 * time.Minute}
		for name, caller := range map[string]access.Caller{"support": support, "reader": reader} {
			if _, err := w.History(t.Context(), caller, s.device.ID, span); !errors.Is(err, health.ErrLookNeeded) {
				t.Errorf("as %s without a look: %v, want ErrLookNeeded", name, err)
			}
		}
		// Days are for everybody, without how many minutes the device was on.
		daily := health.Span{Reading: "memory_used", From: start, To: noon, Step: health.Day}
		h, err := w.History(t.Context(), reader, s.device.ID, daily)
		want := []block.Point{{T: noon.Truncate(health.Day).UnixMilli(), Value: block.Value{Min: 100, Mean: 107, Max: 114, N: 1}}}
		if d := cmp.Diff(want, h.Points); err != nil || d != "" {
			t.Errorf("by days: %v (-want +got):\n%s", err, d)
		}

		if _, err := w.OpenLook(t.Context(), support, s.device.ID, " x "); !errors.Is(err, health.ErrReason) {
			t.Errorf("a look without a reason = %v", err)
		}
		asked := w.device(t, "DEMO000009")
		for reason, ok := range map[string]bool{"üä": false, "üäö": true, strings.Repeat("ß", 250): true, strings.Repeat("ß", 251): false, strings.Repeat("日", 250): true, "12345": false} {
			if _, err := w.OpenLook(t.Context(), support, asked.ID, reason); (err == nil) != ok {
				t.Errorf("a look with a reason of %d characters, %.9q = %v, want %v", utf8.RuneCountInString(reason), reason, err, ok)
			}
		}
		if _, err := w.OpenLook(t.Context(), reader, s.device.ID, "curiosity"); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("a look of the role read = %v, want ErrForbidden", err)
		}
		sub := w.bus.Subscribe(bus.Watch)
		defer sub.Close()
		look, err := w.OpenLook(t.Context(), support, s.device.ID, "ticket 17: slow since Monday")
		if err != nil {
			t.Fatal(err)
		}
		if e := <-sub.C; e.Device != s.device.ID || !e.Flush {
			t.Errorf("event %+v, want the running block asked for", e)
		}
		h, err = w.History(t.Context(), support, s.device.ID, span)
		want = []block.Point{
			{T: start.UnixMilli(), Value: block.Value{Min: 100, Mean: 102, Max: 104, N: 5}},
			{T: start.Add(5 * time.Minute).UnixMilli(), Value: block.Value{Min: 105, Mean: 107, Max: 109, N: 5}},
			{T: start.Add(10 * time.Minute).UnixMilli(), Value: block.Value{Min: 110, Mean: 112, Max: 114, N: 5}},
		}
		if d := cmp.Diff(want, h.Points); err != nil || d != "" {
			t.Errorf("by five minutes: %v (-want +got):\n%s", err, d)
		}
		// It is that person's look only, and for that device and that hour only.
		if _, err := w.History(t.Context(), reader, s.device.ID, span); !errors.Is(err, health.ErrLookNeeded) {
			t.Errorf("another person uses the look: %v", err)
		}
		other := w.device(t, "DEMO000002")
		if _, err := w.History(t.Context(), support, other.ID, span); !errors.Is(err, health.ErrLookNeeded) {
			t.Errorf("another device by the same look: %v", err)
		}
		looks, err := w.Looks(t.Context(), reader, s.device.ID)
		if err != nil || len(looks) != 1 || looks[0] != look || looks[0].Name != "support" || looks[0].Reason != "ticket 17: slow since Monday" {
			t.Errorf("who looked: %+v, %v, want %+v", looks, err, look)
		}
		w.now = w.now.Add(health.LookFor)
		if _, err := w.History(t.Context(), support, s.device.ID, span); !errors.Is(err, health.ErrLookNeeded) {
			t.Errorf("after an hour: %v, want ErrLookNeeded", err)
		}
		var log []audit.Entry
		if err := d.Read(t.Context(), func(tx *db.Tx) (err error) { log, err = audit.List(t.Context(), tx, audit.Filter{}); return err }); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(log, func(e audit.Entry) bool {
			return e.Action == "look.opened" && e.Subject == "device:"+s.device.ID && e.Actor == "user:u1" && e.Owner == w.owner
		}) {
			t.Errorf("no audit entry of the look in %+v", log)
		}
	})
}

// TestALookIsOnePersons: what one person of support opened shows the minutes to
// nobody else of support and to no program of theirs, for an hour of 60 minutes.
func TestALookIsOnePersons(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		s.send(t, blockEntry(quarter(t, noon.Add(-time.Hour), block.Minute, 15, func(i int) int64 { return int64(100 + i) })))
		span := health.Span{Reading: "memory_used", From: noon.Add(-time.Hour), To: noon, Step: time.Minute}
		opened := w.now
		look, err := w.OpenLook(t.Context(), support, s.device.ID, "ticket 17: slow since Monday")
		if err != nil {
			t.Fatal(err)
		}
		if !look.Opened.Equal(opened) || !look.Until.Equal(opened.Add(60*time.Minute)) {
			t.Errorf("the look is open from %v until %v, want 60 minutes from %v", look.Opened, look.Until, opened)
		}
		may := func(who string, caller access.Caller, want bool) {
			t.Helper()
			until, err := w.Looking(t.Context(), caller, s.device.ID)
			if err != nil || until.IsZero() == want || want && !until.Equal(look.Until) {
				t.Errorf("%s may look until %v, %v; want %v", who, until, err, want)
			}
			_, err = w.History(t.Context(), caller, s.device.ID, span)
			if want && err != nil || !want && !errors.Is(err, health.ErrLookNeeded) {
				t.Errorf("%s gets minutes: %v, want %v", who, err, want)
			}
		}
		colleague, program, admin := support, support, support
		colleague.ID, colleague.Name = "u2", "another of support"
		program.Kind, program.Name = access.KindToken, "a token with the same id"
		admin.ID, admin.Name, admin.Role = "u3", "an administrator", access.RoleAdmin
		for at, open := range map[time.Duration]bool{0: true, 60*time.Minute - time.Millisecond: true, 60 * time.Minute: false, 61*time.Minute - time.Millisecond: false} {
			w.now = opened.Add(at)
			may("whoever opened it, after "+at.String(), support, open)
			for _, other := range []access.Caller{colleague, program, admin} {
				may(other.Name+", after "+at.String(), other, false)
			}
		}
		// The colleague's own look, over which the first one's does not go on.
		w.now = opened.Add(30 * time.Minute)
		if look, err = w.OpenLook(t.Context(), colleague, s.device.ID, "the same ticket"); err != nil {
			t.Fatal(err)
		}
		w.now = opened.Add(70 * time.Minute)
		may("the colleague with a look of his own", colleague, true)
		may("whoever was first, whose hour is over", support, false)
	})
}

// TestLooksForTheDevice: a device is told who looked at it since it heard of that
// last, whatever happened at the same time, and nothing of another device.
func TestLooksForTheDevice(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device, other := w.device(t, "DEMO000001"), w.device(t, "DEMO000002")
		open := func(id, reason string) health.Look {
			t.Helper()
			l, err := w.OpenLook(t.Context(), support, id, reason)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		after := func(known string, want ...health.Look) {
			t.Helper()
			got, err := w.LooksAfter(t.Context(), device, known)
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || d != "" {
				t.Errorf("looks after %q: %v (-want +got):\n%s", known, err, d)
			}
		}
		after("")
		first := open(device.ID, "ticket 17")
		open(other.ID, "ticket 18")
		w.now = w.now.Add(30 * time.Second)
		second := open(device.ID, "ticket 19")
		w.now = w.now.Add(24 * time.Hour)
		third := open(device.ID, "ticket 20")
		after("", first, second, third)
		after("no id at all", first, second, third)
		// The first again: it is not sure that it was stored before the second.
		after(second.ID, first, third)
		after(third.ID)
		// After a restore the collector may not know the id; its time still counts.
		after(ident.NewID(second.Opened.Add(time.Hour)), third)
		if got, err := w.LooksAfter(t.Context(), support, ""); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("as a person: %v, %v, want ErrForbidden", got, err)
		}
		if got, err := w.LooksAfter(t.Context(), access.ForDevice(device.ID, "another owner"), ""); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("as a device of another owner: %v, %v, want ErrNotFound", got, err)
		}
	})
}

func TestHistoryRefuses(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	device := w.device(t, "DEMO000001")
	if _, err := w.OpenLook(t.Context(), support, device.ID, "a good reason"); err != nil {
		t.Fatal(err)
	}
	for name, span := range map[string]health.Span{
		"unknown":             {Reading: "user_name", From: noon.Add(-time.Hour), To: noon, Step: health.Day},
		"a text":              {Reading: "model", From: noon.Add(-time.Hour), To: noon, Step: health.Day},
		"latest only":         {Reading: "boot_time", From: noon.Add(-time.Hour), To: noon, Step: health.Day},
		"seconds":             {Reading: "cpu_used", From: noon.Add(-time.Hour), To: noon, Step: time.Second},
		"backwards":           {Reading: "cpu_used", From: noon, To: noon.Add(-48 * time.Hour), Step: health.Day},
		"before 1970":         {Reading: "cpu_used", From: time.Unix(-1e6, 0), To: noon, Step: health.Day},
		"too many points":     {Reading: "cpu_used", From: noon.Add(-30 * health.Day), To: noon, Step: time.Minute},
		"an instance of none": {Reading: "cpu_used", Instance: "/", From: noon.Add(-time.Hour), To: noon, Step: health.Day},
	} {
		if _, err := w.History(t.Context(), support, device.ID, span); !errors.Is(err, health.ErrHistory) {
			t.Errorf("%s: %v, want ErrHistory", name, err)
		}
	}
	before := health.Span{Reading: "cpu_used", From: time.Unix(-1e6, 0), To: noon, Step: health.Day}
	if _, err := w.History(t.Context(), support, device.ID, before); err == nil || !strings.Contains(err.Error(), "it begins before 1970") {
		t.Errorf("before 1970: %v, want to be told so", err)
	}
	for hours := range 23 {
		span := health.Span{Reading: "cpu_used", From: noon.Add(-48 * time.Hour), To: noon, Step: time.Duration(hours+1) * time.Hour}
		if _, err := w.History(t.Context(), reader, device.ID, span); !errors.Is(err, health.ErrLookNeeded) {
			t.Errorf("steps of %d h without a look: %v, want ErrLookNeeded", hours+1, err)
		}
	}
	span := health.Span{Reading: "cpu_used", From: noon.Add(-time.Hour), To: noon, Step: health.Day}
	foreign := support
	foreign.Owners = []string{"another"}
	if _, err := w.History(t.Context(), foreign, device.ID, span); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("another owner's device: %v, want ErrNotFound", err)
	}
	if _, err := w.OpenLook(t.Context(), foreign, device.ID, "a good reason"); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("a look at another owner's device: %v, want ErrNotFound", err)
	}
}

// TestHistoryOfWeeks: a week is the same whether its days are blocks, swept, or
// known by their daily rows only, with and without a look.
func TestHistoryOfWeeks(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		first := noon.Truncate(health.Day).Add(-6 * health.Day)
		for n := range 6 { // days of different length, the last one tells nothing
			b := block.Block{Start: first.Add(time.Duration(n)*health.Day + 9*time.Hour).UnixMilli(), Step: block.Minute, Count: 5 * (n + 1)}
			for i := range b.Count {
				at := b.Start + int64(i)*b.Step
				if err := errors.Join(b.Set(at, block.Key{ID: reading.LinkErrors, Instance: "wifi"}, false, int64(n)),
					b.Set(at, block.Key{ID: reading.LinkErrors, Instance: "wired"}, false, 1),
					b.Set(at, block.Key{ID: reading.CPUUsed}, false, int64(100*n+i)),
					b.Set(at, block.Key{ID: reading.VolumeFree, Instance: "/"}, false, int64(1000*(n+1)-i))); err != nil {
					t.Fatal(err)
				}
			}
			s.send(t, blockEntry(packed(t, b)))
		}
		// By day n: 5(n+1) minutes; what its row has of them.
		want := map[string]block.Value{
			"link_errors": {Min: 455, Mean: 455, Max: 455, N: 6}, // sum of 5(n+1)^2
			"cpu_used":    {Min: 2, Mean: 258, Max: 514, N: 6},   // of the days 2 104 207 309 412 514
			"volume_free": {Min: 996, Mean: 3483, Max: 5971, N: 6},
		}
		check := func(source string) {
			t.Helper()
			for name, want := range want {
				for _, caller := range []access.Caller{reader, support} {
					h, err := w.History(t.Context(), caller, s.device.ID, health.Span{Reading: name, From: first, To: first.Add(7 * health.Day), Step: 7 * health.Day})
					if err != nil || len(h.Points) != 1 || h.Points[0].Value != want {
						t.Errorf("%s of a week from %s for %s: %+v, %v; want %+v", name, source, caller.Name, h.Points, err, want)
					}
				}
			}
		}
		if _, err := w.OpenLook(t.Context(), support, s.device.ID, "a good reason"); err != nil {
			t.Fatal(err)
		}
		check("blocks")
		if n, err := w.MergeDays(t.Context()); err != nil || n == 0 {
			t.Fatalf("MergeDays = %d, %v", n, err)
		}
		check("merged blocks")
		for _, before := range []time.Time{first.Add(3 * health.Day), noon.Add(health.Day)} {
			if err := d.Write(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), `DELETE FROM health_blocks WHERE start_ms < $1`, before.UnixMilli())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			check("rows before " + before.Format(time.DateOnly))
		}
	})
}

// day sends one school day of quarters.
func day(t testing.TB, s *sender, begin time.Time, quarters int) {
	t.Helper()
	var entries []*hmpb.Entry
	for q := range quarters {
		e := blockEntry(quarter(t, begin.Add(time.Duration(q)*15*time.Minute), block.Minute, 15, func(i int) int64 { return int64(q*15 + i) }))
		e.SetDeviceMs(begin.Add(time.Duration(q+1) * 15 * time.Minute).UnixMilli())
		entries = append(entries, e)
	}
	state := stateEntry(text(reading.OSName, "Debian 12"), number(reading.MemoryTotal, "", 8<<30), number(reading.BatteryHealth, "", 680), number(reading.SystemCrashes, "", 2),
		text(reading.DiskEncryption, "partly"), number(reading.DiskWear, "disk", 120), number(reading.DiskWear, "disk 2", 310))
	state.SetDeviceMs(begin.Add(time.Hour).UnixMilli())
	s.send(t, append(entries, state)...)
}

// rows counts what is stored of a device.
func (w *world) rows(t testing.TB, table, where string, args ...any) (n int64) {
	t.Helper()
	err := w.db.Read(context.Background(), func(tx *db.Tx) error {
		return tx.QueryRow(context.Background(), `SELECT count(*) FROM `+table+` WHERE `+where, args...).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStandardSoftware(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		device := w.device(t, "DEMO000001")
		sub := w.bus.Subscribe(bus.Settings)
		defer sub.Close()
		firefox := health.Standard{Label: "Firefox", Names: []string{"firefox-esr", "Mozilla Firefox"}, LeastVersion: "140"}
		if err := w.SetStandard(t.Context(), system, w.owner, firefox); err != nil {
			t.Fatal(err)
		}
		if e := <-sub.C; e.Owner != w.owner {
			t.Errorf("event %+v, want the owner's devices told", e)
		}
		set, err := w.Settings(t.Context(), device)
		if err != nil || len(set.GetStandardSoftware()) != 1 || !slices.Equal(set.GetStandardSoftware()[0].GetNames(), []string{"Firefox", "firefox-esr", "Mozilla Firefox"}) || set.GetStandardSoftware()[0].GetLeastVersion() != "140" {
			t.Errorf("settings of the device: %v, %v", set, err)
		}
		for name, s := range map[string]health.Standard{
			"no name": {}, "long": {Names: []string{strings.Repeat("x", 200)}}, "control": {Names: []string{"a\x07"}}, "too many": {Names: make([]string, 9)}, "no version": {Names: []string{"a"}, LeastVersion: "neu"},
		} {
			if err := w.SetStandard(t.Context(), system, w.owner, s); !errors.Is(err, health.ErrStandard) {
				t.Errorf("%s: %v, want ErrStandard", name, err)
			}
		}
		for i := range health.MaxStandard - 1 {
			if err := w.SetStandard(t.Context(), system, w.owner, health.Standard{Names: []string{fmt.Sprint("p", i)}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.SetStandard(t.Context(), system, w.owner, health.Standard{Names: []string{"one more"}}); !errors.Is(err, health.ErrStandard) {
			t.Errorf("one too many: %v", err)
		}
		if err := w.SetStandard(t.Context(), support, w.owner, firefox); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("set by support: %v, want ErrForbidden", err)
		}
		if err := w.RemoveStandard(t.Context(), system, w.owner, "Firefox"); err != nil {
			t.Error(err)
		}
		if err := w.RemoveStandard(t.Context(), system, w.owner, "Firefox"); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}
	})
}

// Days of one volume are not told as those of another that is asked for by its name, nor
// the errors of all links as those of one.
func TestHistoryOfAnInstance(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		first := noon.Truncate(health.Day).Add(-6 * health.Day)
		for n := range 5 {
			b := block.Block{Start: first.Add(time.Duration(n)*health.Day + 9*time.Hour).UnixMilli(), Step: block.Minute, Count: 15}
			values := map[block.Key]int64{{ID: reading.VolumeFree, Instance: "/"}: 500_000, {ID: reading.LinkErrors, Instance: "wifi"}: 7}
			if n == 4 { // the stick came on the last day
				values[block.Key{ID: reading.VolumeFree, Instance: "/media/stick"}] = 1
			}
			for key, v := range values {
				for i := range b.Count {
					if err := b.Set(b.Start+int64(i)*b.Step, key, false, v); err != nil {
						t.Fatal(err)
					}
				}
			}
			s.send(t, blockEntry(packed(t, b)))
		}
		if _, err := w.MergeDays(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			reading, instance string
			days              int
		}{
			{"volume_free", "", 5}, {"volume_free", "/", 5}, {"volume_free", "/media/stick", 1}, {"volume_free", "never", 0},
			{"link_errors", "", 5}, {"link_errors", "wifi", 5}, {"link_errors", "wired", 0},
		} {
			for _, step := range []time.Duration{health.Day, 7 * health.Day} {
				h, err := w.History(t.Context(), reader, s.device.ID, health.Span{Reading: c.reading, Instance: c.instance, From: first, To: first.Add(7 * health.Day), Step: step})
				n := 0
				for _, p := range h.Points {
					n += p.Value.N
				}
				if err != nil || n != c.days {
					t.Errorf("%s of %q in steps of %v: %d days, %v; want %d", c.reading, c.instance, step, n, err, c.days)
				}
			}
		}
	})
}

// Whatever minute a history ends at, without a look it is of whole days, and no step slides
// over their borders.
func TestHistoryWithoutALookIsOfWholeDays(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		first := noon.Truncate(health.Day).Add(-2 * health.Day)
		s.send(t, blockEntry(quarter(t, first.Add(9*time.Hour), block.Minute, 15, func(i int) int64 { return int64(i) })))
		span := func(to time.Time, step time.Duration) health.Span {
			return health.Span{Reading: "memory_used", From: first, To: to, Step: step}
		}
		for _, to := range []time.Duration{time.Hour, 9*time.Hour + 5*time.Minute, 12 * time.Hour} {
			h, err := w.History(t.Context(), reader, s.device.ID, span(first.Add(to), health.Day))
			if err != nil || len(h.Points) != 1 || h.Points[0].Value.Max != 14 {
				t.Errorf("the day up to %v: %+v, %v; want the whole day", to, h.Points, err)
			}
		}
		for _, step := range []time.Duration{health.Day + time.Minute, 25 * time.Hour, 36 * time.Hour} {
			if _, err := w.History(t.Context(), reader, s.device.ID, span(noon, step)); !errors.Is(err, health.ErrLookNeeded) {
				t.Errorf("steps of %v without a look: %v, want ErrLookNeeded", step, err)
			}
		}
	})
}
