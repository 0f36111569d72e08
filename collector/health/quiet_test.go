package health_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

const (
	warning  = hmpb.Severity_SEVERITY_WARNING
	critical = hmpb.Severity_SEVERITY_CRITICAL
)

func diskLow(raised bool, severity hmpb.Severity) *hmpb.Entry {
	if !raised {
		return findingEntry(finding.DiskLow, "C:", false, severity)
	}
	return findingEntry(finding.DiskLow, "C:", true, severity, argument("free", 4e9), argument("total", 256e9))
}

// worst is what lists say of a device.
func (w *world) worst(t *testing.T, device string) (worst int64) {
	t.Helper()
	err := w.db.Read(t.Context(), func(tx *db.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT worst FROM health_devices WHERE device_id = $1`, device).Scan(&worst)
	})
	if err != nil {
		t.Fatal(err)
	}
	return worst
}

// entries are the actions of the audit record about findings, the oldest first.
func (w *world) entries(t *testing.T) (actions []string) {
	t.Helper()
	err := w.db.Read(t.Context(), func(tx *db.Tx) error {
		all, err := audit.List(t.Context(), tx, audit.Filter{Action: "finding"})
		actions = nil
		for _, e := range slices.Backward(all) {
			actions = append(actions, e.Action+" "+e.Owner+" "+e.Details["devices"])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return actions
}

// TestQuietFinding: an acknowledged finding does not count, until it gets worse,
// is raised anew, or somebody undoes it; a snoozed one until its time.
func TestQuietFinding(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		id := s.device.ID
		s.send(t, diskLow(true, warning))
		quiet := func(until time.Time) {
			t.Helper()
			if _, err := w.QuietFinding(t.Context(), support, id, finding.DiskLow, "C:", health.NewQuiet{Reason: " SSD ist bestellt ", Until: until}); err != nil {
				t.Fatal(err)
			}
		}
		is := func(what string, worst int64, loud bool) {
			t.Helper()
			all, err := w.Findings(t.Context(), reader, id)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.worst(t, id); got != worst || all[0].Loud() != loud {
				t.Errorf("%s: worst %d, loud %v; want %d, %v", what, got, all[0].Loud(), worst, loud)
			}
		}
		is("raised", 2, true)
		quiet(time.Time{})
		is("acknowledged", 0, false)
		all, err := w.Findings(t.Context(), reader, id)
		if err != nil || len(all) != 1 || all[0].Quiet == nil || all[0].Quiet.Reason != "SSD ist bestellt" || all[0].Quiet.Name != support.Name || !all[0].Quiet.Until.IsZero() {
			t.Fatalf("who and why: %+v, %v", all, err)
		}
		s.send(t, diskLow(true, warning))
		is("told again", 0, false)
		s.send(t, diskLow(true, critical))
		is("worse than acknowledged", 3, true)
		quiet(time.Time{})
		is("acknowledged as it is now", 0, false)
		s.send(t, diskLow(false, critical), diskLow(true, warning))
		is("raised anew", 2, true)

		until := w.now.Add(24 * time.Hour)
		quiet(until)
		is("snoozed", 0, false)
		w.now = until.Add(-time.Second)
		if n, err := w.WakeFindings(t.Context()); n != 0 || err != nil {
			t.Errorf("WakeFindings before the time = %d, %v; want 0", n, err)
		}
		w.now = until
		if n, err := w.WakeFindings(t.Context()); n != 1 || err != nil {
			t.Errorf("WakeFindings = %d, %v; want 1", n, err)
		}
		is("after the time", 2, true)
		if n, err := w.WakeFindings(t.Context()); n != 0 || err != nil {
			t.Errorf("WakeFindings twice = %d, %v; want 0", n, err)
		}

		quiet(w.now.Add(time.Hour))
		if err := w.LoudFinding(t.Context(), support, id, finding.DiskLow, "C:"); err != nil {
			t.Fatal(err)
		}
		is("undone", 2, true)
		if got, want := len(w.entries(t)), 5; got != want {
			t.Errorf("%d entries in the record (%v), want %d", got, w.entries(t), want)
		}
		if n := w.rows(t, "health_quieted", "ended_ms IS NULL"); n != 1 {
			t.Errorf("%d acts without an end, want the one whose finding was cleared", n)
		}
	})
}

// TestQuietRefused: who may not, what is not there, and what cannot be.
func TestQuietRefused(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		s.send(t, diskLow(true, warning))
		stranger := support
		stranger.Owners = []string{"somebody else"}
		good := health.NewQuiet{Reason: "SSD ist bestellt"}
		for name, tt := range map[string]struct {
			caller         access.Caller
			code, instance string
			n              health.NewQuiet
			want           error
		}{
			"a reader":      {reader, finding.DiskLow, "C:", good, access.ErrForbidden},
			"another owner": {stranger, finding.DiskLow, "C:", good, access.ErrNotFound},
			"not open":      {support, finding.DiskLow, "D:", good, access.ErrNotFound},
			"no such code":  {support, "none", "C:", good, access.ErrNotFound},
			"no reason":     {support, finding.DiskLow, "C:", health.NewQuiet{Reason: " . "}, health.ErrReason},
			"over":          {support, finding.DiskLow, "C:", health.NewQuiet{Reason: good.Reason, Until: w.now}, health.ErrUntil},
			"too far":       {support, finding.DiskLow, "C:", health.NewQuiet{Reason: good.Reason, Until: w.now.Add(health.MaxSnooze + 1)}, health.ErrUntil},
		} {
			if _, err := w.QuietFinding(t.Context(), tt.caller, s.device.ID, tt.code, tt.instance, tt.n); !errors.Is(err, tt.want) {
				t.Errorf("%s: QuietFinding = %v, want %v", name, err, tt.want)
			}
		}
		if err := w.LoudFinding(t.Context(), reader, s.device.ID, finding.DiskLow, "C:"); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("LoudFinding by a reader = %v, want forbidden", err)
		}
		if err := w.LoudFinding(t.Context(), stranger, s.device.ID, finding.DiskLow, "C:"); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("LoudFinding of another owner = %v, want not found", err)
		}
		if _, err := w.EndQuiet(t.Context(), support, "none"); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("EndQuiet of none = %v, want not found", err)
		}
		if w.worst(t, s.device.ID) != 2 || len(w.entries(t)) != 0 || w.rows(t, "health_quiets", "1 = 1") != 0 {
			t.Error("what was refused left something")
		}
	})
}

// quieten makes a finding quiet as a job does, 300 devices in a transaction.
func (w *world) quieten(caller access.Caller, code string, devices []string, n health.NewQuiet) (q health.Quiet, err error) {
	ctx := context.Background()
	if err := w.db.Write(ctx, func(tx *db.Tx) (err error) {
		q.ID, err = w.BeginQuiet(ctx, tx, caller, code, n.Reason, n.Until)
		return err
	}); err != nil {
		return q, err
	}
	for part := range slices.Chunk(devices, 300) {
		var changed []string
		if err := w.db.Write(ctx, func(tx *db.Tx) (err error) {
			changed, err = w.SetQuiet(ctx, tx, q.ID, part, true)
			return err
		}); err != nil {
			return q, err
		}
		w.Told(changed)
		q.Devices += int64(len(changed))
	}
	return q, nil
}

// TestQuietMany: one act over more devices than a transaction takes, and undone as one.
func TestQuietMany(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		const many = 520
		var ids []string
		for i := range many {
			s := &sender{w: w, device: w.device(t, fmt.Sprintf("DEMO%06d", i))}
			ids = append(ids, s.device.ID)
			s.send(t, diskLow(true, warning))
		}
		first, o := w.owner, "Landkreis Kiefer"
		other, err := w.fleet.AddOwner(t.Context(), system, o)
		if err != nil {
			t.Fatal(err)
		}
		w.owner = other.ID
		foreign := &sender{w: w, device: w.device(t, "DEMO900000")}
		foreign.send(t, diskLow(true, warning))

		mine := support
		mine.Owners = []string{first}
		n := health.NewQuiet{Reason: "Bekannt: neues Abbild kommt am Montag"}
		reader := access.Caller{Kind: access.KindUser, ID: "x", Role: access.RoleRead}
		for want, try := range map[error]func() error{
			access.ErrForbidden: func() error { return second(w.quieten(reader, finding.DiskLow, ids, n)) },
			health.ErrReason:    func() error { return second(w.quieten(mine, finding.DiskLow, ids, health.NewQuiet{Reason: " "})) },
			health.ErrUntil: func() error {
				return second(w.quieten(mine, finding.DiskLow, ids, health.NewQuiet{Reason: n.Reason, Until: w.now}))
			},
			access.ErrNotFound: func() error { return second(w.quieten(mine, "none", ids, n)) },
		} {
			if err := try(); !errors.Is(err, want) || w.worst(t, ids[0]) != 2 {
				t.Errorf("BeginQuiet = %v, want %v", err, want)
			}
		}
		if q, err := w.quieten(mine, finding.FirewallOff, ids, n); err != nil || q.Devices != 0 {
			t.Errorf("a finding that nobody has is quiet at %d devices, %v", q.Devices, err)
		}
		q, err := w.quieten(mine, finding.DiskLow, ids, n)
		if err != nil || q.Devices != many {
			t.Fatalf("quiet at %+v, %v; want %d devices", q, err, many)
		}
		if w.worst(t, foreign.device.ID) != 2 || w.rows(t, "health_state", "worst = 0") != many {
			t.Error("another owner's device is quiet, or one's own is not")
		}
		list, err := w.Quiets(t.Context(), mine, finding.DiskLow)
		if err != nil || len(list) != 1 || list[0].Devices != many || list[0].Reason != n.Reason {
			t.Errorf("Quiets = %+v, %v", list, err)
		}
		if list, err := w.Quiets(t.Context(), access.Caller{Kind: access.KindUser, ID: "x", Role: access.RoleRead, Owners: []string{other.ID}}, finding.DiskLow); err != nil || len(list) != 0 {
			t.Errorf("Quiets of another owner = %+v, %v; want none", list, err)
		}
		// One of them alone, then the rest.
		if err := w.LoudFinding(t.Context(), mine, ids[7], finding.DiskLow, "C:"); err != nil {
			t.Fatal(err)
		}
		stranger := mine
		stranger.Owners = []string{other.ID}
		if _, err := w.EndQuiet(t.Context(), stranger, q.ID); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("EndQuiet by another owner's = %v, want not found", err)
		}
		if q, err := w.EndQuiet(t.Context(), mine, q.ID); !errors.Is(err, health.ErrMany) || q.Devices != many-1 || w.rows(t, "health_state", "worst = 2") != 2 {
			t.Errorf("EndQuiet at %d devices at once = %v, %v; want ErrMany, and none loud", many-1, q, err)
		}
		const few = 30
		err = w.db.Write(t.Context(), func(tx *db.Tx) error { return second(w.SetQuiet(t.Context(), tx, q.ID, ids[20:20+few], false)) })
		if err != nil {
			t.Fatal(err)
		}
		end, err := w.EndQuiet(t.Context(), mine, q.ID)
		if err != nil || end.Devices != many-1-few || w.rows(t, "health_state", "worst = 2") != many+1 {
			t.Errorf("EndQuiet = %+v, %v; want %d devices, and all loud", end, err, many-1-few)
		}
		want := []string{"finding.reopened " + first + " ",
			"finding.reopened " + first + " 489"}
		if got := w.entries(t); !slices.Equal(got, want) {
			t.Errorf("record: %q, want %q", got, want)
		}
		// When the findings are forgotten, so are the acts.
		for _, id := range ids {
			if err := w.db.Write(t.Context(), func(tx *db.Tx) error { return w.Reimaged(t.Context(), tx, id) }); err != nil {
				t.Fatal(err)
			}
		}
		w.now = w.now.Add(366 * 24 * time.Hour)
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a, b := w.rows(t, "health_quieted", "1 = 1"), w.rows(t, "health_quiets", "1 = 1"); a != 0 || b != 0 {
			t.Errorf("%d and %d rows of acts after their time, want none", a, b)
		}
	})
}

func second[T any](_ T, err error) error { return err }
