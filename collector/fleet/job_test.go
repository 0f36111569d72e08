package fleet_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
)

// runs starts a job and carries it out.
func (w *world) runs(t testing.TB, caller access.Caller, n fleet.NewJob) fleet.Job {
	t.Helper()
	w.now = w.now.Add(time.Second)
	j, err := w.StartJob(t.Context(), caller, n)
	if err == nil {
		err = w.RunJobs(t.Context())
	}
	if err == nil {
		j, err = w.Job(t.Context(), caller, j.ID)
	}
	if err != nil {
		t.Fatalf("job %+v: %v", n, err)
	}
	return j
}

func (w *world) undoes(t testing.TB, caller access.Caller, id string) fleet.Job {
	t.Helper()
	j, err := w.UndoJob(t.Context(), caller, id)
	if err == nil {
		err = w.RunJobs(t.Context())
	}
	if err == nil {
		j, err = w.Job(t.Context(), caller, id)
	}
	if err != nil {
		t.Fatalf("undoing job %s: %v", id, err)
	}
	return j
}

// tallies are the numbers of a job.
func tallies(j fleet.Job) []int64 {
	return []int64{j.Total, j.Done, j.Changed, j.Same, j.Skipped, j.Restored, j.Kept}
}

func (w *world) holders(t testing.TB, label string) []string {
	t.Helper()
	p, err := w.List(t.Context(), system, fleet.Filter{Label: label, Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	if int(p.Total) != len(p.Items) {
		t.Errorf("the list of label %q counts %d, shows %d", label, p.Total, len(p.Items))
	}
	return labels(p)
}

func (w *world) actions(t testing.TB, subject string) (out []string) {
	t.Helper()
	err := w.db.Read(t.Context(), func(tx *db.Tx) error {
		out = nil
		entries, err := audit.List(t.Context(), tx, audit.Filter{Subject: subject})
		for _, e := range slices.Backward(entries) {
			out = append(out, e.Action)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestJobLabels: a job labels what a filter says, is undone but for what
// somebody else changed since, and is audited once at each turn.
func TestJobLabels(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		o := w.owner(t, "Landkreis Ahorn")
		var ids []string
		for i := range 7 {
			ids = append(ids, w.device(t, o, "", serial(i)))
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		support := user(access.RoleSupport, o)
		must(w.SetLabel(t.Context(), support, ids[0], "Rückruf", true))
		must(w.SetLabel(t.Context(), support, ids[0], "RUECKRUF", true)) // the same
		first := w.runs(t, support, fleet.NewJob{Act: fleet.ActLabel, Label: "Rückruf", Filter: &fleet.Filter{Query: "DEMO"}})
		if got, want := tallies(first), []int64{7, 7, 6, 1, 0, 0, 0}; !slices.Equal(got, want) || first.State != fleet.JobDone || first.UndoUntil.IsZero() {
			t.Errorf("job = %v %s, want %v done", got, first.State, want)
		}
		if got := w.holders(t, "rueckruf"); len(got) != 7 {
			t.Errorf("%v hold the label, want all", got)
		}
		counts, err := w.Counts(t.Context(), support, fleet.Filter{Label: "Rückruf"})
		if err != nil || counts.Total != 7 {
			t.Errorf("Counts = %+v, %v, want 7", counts, err)
		}
		one, err := w.Device(t.Context(), support, ids[3])
		if diff := cmp.Diff([]string{"Rückruf"}, one.Labels); err != nil || diff != "" {
			t.Errorf("labels of the device: %v %s", err, diff)
		}
		all, err := w.Labels(t.Context(), support)
		if diff := cmp.Diff([]fleet.LabelCount{{Label: "Rückruf", Devices: 7}}, all); err != nil || diff != "" {
			t.Errorf("Labels: %v %s", err, diff)
		}
		// One is taken away by hand, one taken and given again, one by another job.
		must(w.SetLabel(t.Context(), support, ids[1], "Rückruf", false))
		must(w.SetLabel(t.Context(), support, ids[2], "Rückruf", false))
		must(w.SetLabel(t.Context(), support, ids[2], "Rückruf", true))
		second := w.runs(t, support, fleet.NewJob{Act: fleet.ActUnlabel, Label: "rückruf", Devices: []string{ids[5], ids[1], ids[5]}})
		if got, want := tallies(second), []int64{2, 2, 1, 1, 0, 0, 0}; !slices.Equal(got, want) {
			t.Errorf("second job = %v, want %v", got, want)
		}
		undone := w.undoes(t, support, first.ID)
		if got, want := tallies(undone), []int64{7, 7, 6, 1, 0, 3, 3}; !slices.Equal(got, want) || undone.State != fleet.JobUndone || !undone.UndoUntil.IsZero() {
			t.Errorf("undone = %v %s, want %v undone", got, undone.State, want)
		}
		if diff := cmp.Diff([]string{serial(0), serial(2)}, w.holders(t, "Rückruf")); diff != "" {
			t.Errorf("who holds the label after the undo:\n%s", diff)
		}
		kept, err := w.JobDevices(t.Context(), support, first.ID, fleet.OutcomeKept, 0, 10)
		var names []string
		for _, k := range kept {
			names = append(names, k.Name)
		}
		if diff := cmp.Diff([]string{serial(1), serial(2), serial(5)}, names); err != nil || diff != "" {
			t.Errorf("what the undo names as changed since: %v\n%s", err, diff)
		}
		if _, err := w.UndoJob(t.Context(), support, first.ID); !errors.Is(err, fleet.ErrUndo) {
			t.Errorf("undoing twice = %v, want ErrUndo", err)
		}
		// The undo of the second brings back what the first had given.
		w.undoes(t, support, second.ID)
		if diff := cmp.Diff([]string{serial(0), serial(2), serial(5)}, w.holders(t, "Rückruf")); diff != "" {
			t.Errorf("who holds the label after both undos:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"job.started", "job.finished", "job.undone"}, w.actions(t, "job:"+first.ID)); diff != "" {
			t.Errorf("audit of the job:\n%s", diff)
		}
		told, err := w.DeviceJobs(t.Context(), user(access.RoleRead, o), ids[5], 10)
		var outcomes []string
		for _, j := range told {
			outcomes = append(outcomes, j.Act+" "+string(j.Outcome))
		}
		if diff := cmp.Diff([]string{"unlabel restored", "label kept"}, outcomes); err != nil || diff != "" {
			t.Errorf("what the device's page tells: %v\n%s", err, diff)
		}
	})
}

// TestJobSchool: devices move within their owner only, are found by the new
// school's name, and come back.
func TestJobSchool(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		_, err := w.ImportSchools(t.Context(), system, strings.NewReader("schul_id;schultraeger;name\nS1;Ahorn;Alte Schule\nS2;Ahorn;Neue Schule\nS3;Kiefer;Fremde Schule\n"))
		if err != nil {
			t.Fatal(err)
		}
		place := func(owner, school string) (string, string) {
			o, s, err := w.Place(t.Context(), system, owner, school)
			if err != nil {
				t.Fatal(err)
			}
			return o, s
		}
		o, s1 := place("Ahorn", "S1")
		_, s2 := place("Ahorn", "S2")
		foreign, s3 := place("Kiefer", "S3")
		ids := []string{w.device(t, o, s1, serial(0)), w.device(t, o, "", serial(1)), w.device(t, o, s2, serial(2)), w.device(t, foreign, s3, serial(3))}
		j := w.runs(t, system, fleet.NewJob{Act: fleet.ActSchool, School: s2, Filter: &fleet.Filter{}})
		if got, want := tallies(j), []int64{4, 4, 2, 1, 1, 0, 0}; !slices.Equal(got, want) || j.SchoolName != "Neue Schule" {
			t.Errorf("job = %v %q, want %v", got, j.SchoolName, want)
		}
		found := func(query string) []string {
			p, err := w.List(t.Context(), system, fleet.Filter{Query: query})
			if err != nil {
				t.Fatal(err)
			}
			return labels(p)
		}
		if diff := cmp.Diff([]string{serial(0), serial(1), serial(2)}, found("neue schule")); diff != "" {
			t.Errorf("found by the new school:\n%s", diff)
		}
		if err := w.SetSchool(t.Context(), system, ids[1], s1); err != nil {
			t.Fatal(err)
		}
		if got, want := tallies(w.undoes(t, system, j.ID)), []int64{4, 4, 2, 1, 1, 1, 1}; !slices.Equal(got, want) {
			t.Errorf("undone = %v, want %v", got, want)
		}
		if diff := cmp.Diff([]string{serial(0), serial(1)}, found("alte schule")); diff != "" {
			t.Errorf("found by the old school after the undo:\n%s", diff)
		}
		others, err := w.JobDevices(t.Context(), system, j.ID, fleet.OutcomeOtherOwner, 0, 5)
		if err != nil || len(others) != 1 || others[0].ID != ids[3] {
			t.Errorf("of another owner: %+v, %v", others, err)
		}
		// To no school at all.
		w.runs(t, system, fleet.NewJob{Act: fleet.ActSchool, Devices: []string{ids[3]}})
		if d, err := w.Device(t.Context(), system, ids[3]); err != nil || d.School != "" {
			t.Errorf("school = %q, %v, want none", d.School, err)
		}
	})
}

// TestJobGoesOnAfterACrash: wherever the program ends, the next one finishes what
// was begun, and each device is done once.
func TestJobGoesOnAfterACrash(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		o := w.owner(t, "Landkreis Ahorn")
		const devices = 180 // of 20 each step
		w.together(devices, func(i int) { w.device(t, o, "", serial(i)) })
		start := func() fleet.Job {
			j, err := w.StartJob(t.Context(), system, fleet.NewJob{Act: fleet.ActLabel, Label: "Austausch", Filter: &fleet.Filter{}})
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		job := start()
		if job.State != fleet.JobGathering {
			t.Errorf("a job begins as %s", job.State)
		}
		// What the first program left of its writing down is begun anew.
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO job_devices (job_id, seq, device_id, outcome, before, undo) VALUES ($1, 1, 'half written', 0, '', 0)`, job.ID)
			return err
		})
		for steps := 0; err == nil && job.Open(); steps++ {
			next := newWorld(t, d) // a new program each time
			if err = next.StepJobs(t.Context(), 1); err == nil {
				job, err = next.Job(t.Context(), system, job.ID)
			}
			if steps == 8 && (job.Done != 160 || job.State != fleet.JobRunning) {
				t.Errorf("after nine steps: %d %s, want 160 running", job.Done, job.State)
			}
		}
		if got, want := tallies(job), []int64{devices, devices, devices, 0, 0, 0, 0}; err != nil || !slices.Equal(got, want) {
			t.Fatalf("job = %v, %v, want %v", got, err, want)
		}
		if c, err := w.Counts(t.Context(), system, fleet.Filter{Label: "Austausch"}); err != nil || c.Total != devices {
			t.Errorf("%d hold the label, %v, want all", c.Total, err)
		}
		// An undo stops a job under way and puts back what it has done.
		job = w.runs(t, system, fleet.NewJob{Act: fleet.ActUnlabel, Label: "Austausch", Filter: &fleet.Filter{Query: serial(1)}})
		job, err = w.StartJob(t.Context(), system, fleet.NewJob{Act: fleet.ActUnlabel, Label: "Austausch", Filter: &fleet.Filter{}})
		if err == nil {
			err = w.StepJobs(t.Context(), 5) // gathered, and the first 80
		}
		if err != nil {
			t.Fatal(err)
		}
		job = w.undoes(t, system, job.ID)
		if got, want := tallies(job), []int64{devices, 80, 79, 1, 0, 79, 0}; !slices.Equal(got, want) {
			t.Errorf("stopped job = %v, want %v", got, want)
		}
		if c, err := w.Counts(t.Context(), system, fleet.Filter{Label: "Austausch"}); err != nil || c.Total != devices-1 {
			t.Errorf("%d hold the label, %v, want all but one", c.Total, err)
		}
		// Before anything was done there is nothing to put back.
		job = w.undoes(t, system, start().ID)
		if job.State != fleet.JobUndone || job.Total != 0 {
			t.Errorf("a job undone at once = %+v", job)
		}
	})
}

// TestJobsAreWithinScope: a job changes what its maker sees, and is seen by whoever
// sees all that it changed.
func TestJobsAreWithinScope(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ahorn, kiefer := w.owner(t, "Ahorn"), w.owner(t, "Kiefer")
		mine, foreign := w.device(t, ahorn, "", serial(0)), w.device(t, kiefer, "", serial(1))
		own, other, both := user(access.RoleSupport, ahorn), user(access.RoleAdmin, kiefer), user(access.RoleAdmin, ahorn, kiefer)
		label := fleet.NewJob{Act: fleet.ActLabel, Label: "x", Filter: &fleet.Filter{}}
		j := w.runs(t, own, label)
		if got := w.holders(t, "x"); !slices.Equal(got, []string{serial(0)}) {
			t.Errorf("a job of one owner's support labelled %v", got)
		}
		ctx := t.Context()
		fail := func(what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s = %v, want %v", what, err, want)
			}
		}
		_, err := w.Job(ctx, other, j.ID)
		fail("another owner's job", err, access.ErrNotFound)
		_, err = w.UndoJob(ctx, other, j.ID)
		fail("undoing another owner's job", err, access.ErrNotFound)
		_, err = w.JobDevices(ctx, other, j.ID, "", 0, 10)
		fail("devices of another owner's job", err, access.ErrNotFound)
		if jobs, err := w.Jobs(ctx, other, "", 10); err != nil || len(jobs) != 0 {
			t.Errorf("jobs of another owner: %+v, %v", jobs, err)
		}
		wide := w.runs(t, both, label)
		_, err = w.Job(ctx, own, wide.ID)
		fail("a job of more owners than one sees", err, access.ErrNotFound)
		told, err := w.DeviceJobs(ctx, own, mine, 10)
		if err != nil || len(told) != 1 || !told[0].Seen {
			t.Errorf("jobs of one's own device: %+v, %v", told, err)
		}
		if jobs, err := w.Jobs(ctx, both, "", 10); err != nil || len(jobs) != 2 || jobs[0].ID != wide.ID {
			t.Errorf("jobs of who sees both: %d, %v, want 2, the latest first", len(jobs), err)
		}
		for what, c := range map[string]struct {
			caller access.Caller
			want   int64
		}{"own": {own, 1}, "another owner's": {other, 0}, "both": {both, 2}} {
			if n, err := w.CountJobs(ctx, c.caller); err != nil || n != c.want {
				t.Errorf("CountJobs of %s = %d, %v, want %d", what, n, err, c.want)
			}
		}
		// The list is for who starts jobs; one job is for whoever sees its devices.
		_, err = w.Jobs(ctx, user(access.RoleRead, ahorn), "", 10)
		fail("the list of who may only read", err, access.ErrForbidden)
		_, err = w.CountJobs(ctx, user(access.RoleRead, ahorn))
		fail("counting jobs of who may only read", err, access.ErrForbidden)
		_, err = w.Job(ctx, user(access.RoleRead, ahorn), j.ID)
		fail("a job of who may only read", err, nil)
		counted, err := w.Job(ctx, own, j.ID)
		fail("a job", err, nil)
		for _, o := range append(slices.Clone(fleet.Outcomes), "") {
			devices, err := w.JobDevices(ctx, own, j.ID, o, 0, 10)
			if err != nil || int64(len(devices)) != counted.Of(o) {
				t.Errorf("devices with outcome %q: %d, %v; the job says %d", o, len(devices), err, counted.Of(o))
			}
		}
		_, err = w.StartJob(ctx, own, fleet.NewJob{Act: fleet.ActLabel, Label: "x", Devices: []string{mine, foreign}})
		fail("naming a foreign device", err, access.ErrNotFound)
		_, err = w.StartJob(ctx, user(access.RoleRead), label)
		fail("a job of who may only read", err, access.ErrForbidden)
		_, err = w.UndoJob(ctx, user(access.RoleRead), j.ID)
		fail("an undo of who may only read", err, access.ErrForbidden)
		fail("a label of who may only read", w.SetLabel(ctx, user(access.RoleRead), mine, "x", true), access.ErrForbidden)
		fail("labelling a foreign device", w.SetLabel(ctx, own, foreign, "x", true), access.ErrNotFound)
		for _, n := range []fleet.NewJob{{Act: "burn", Devices: []string{mine}}, {Act: fleet.ActLabel, Label: " ", Devices: []string{mine}}, {Act: fleet.ActLabel, Label: "a,b", Devices: []string{mine}},
			{Act: fleet.ActLabel, Label: strings.Repeat("x", 41), Devices: []string{mine}}, {Act: fleet.ActLabel, Label: "x"}, {Act: fleet.ActLabel, Label: "x", Filter: &fleet.Filter{State: "odd"}}} {
			_, err := w.StartJob(ctx, own, n)
			fail("job "+string(n.Act)+" "+n.Label, err, fleet.ErrInvalid)
		}
		_, err = w.StartJob(ctx, own, fleet.NewJob{Act: fleet.ActSchool, School: "none", Devices: []string{mine}})
		fail("an unknown school", err, access.ErrNotFound)
		// In a week it is too late to undo, in three months it is forgotten.
		w.now = w.now.Add(7*24*time.Hour + time.Minute)
		_, err = w.UndoJob(ctx, own, j.ID)
		fail("undoing after a week", err, fleet.ErrUndo)
		w.now = w.now.Add(90 * 24 * time.Hour)
		ctx, stop := context.WithCancel(t.Context())
		swept := make(chan error)
		go func() { swept <- w.Run(ctx, func() {}) }()
		for err = nil; !errors.Is(err, access.ErrNotFound); {
			if _, err = w.Job(t.Context(), both, wide.ID); err != nil && !errors.Is(err, access.ErrNotFound) {
				t.Fatal(err)
			}
		}
		stop()
		if err := <-swept; err != nil {
			t.Error(err)
		}
	})
}

// TestQuietJob makes a finding quiet at a group, goes on after a crash, tells what
// was so already, and undoes it but for what somebody else decided since.
func TestQuietJob(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ahorn, kiefer := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Landkreis Kiefer")
		var ids []string
		for i := range 100 {
			id := w.device(t, ahorn, "", serial(i))
			w.finds(t, ahorn, id, warning, true)
			ids = append(ids, id)
		}
		foreign := w.device(t, kiefer, "", serial(200))
		w.finds(t, kiefer, foreign, warning, true)
		why := health.NewQuiet{Reason: "SSD ist bestellt"}
		if _, err := w.health.QuietFinding(t.Context(), system, ids[0], "disk_low", warning.String(), why); err != nil {
			t.Fatal(err)
		}
		warnings := func() (n int64) {
			err := d.Read(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT count(*) FROM health_devices WHERE worst >= 2`).Scan(&n)
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		support := user(access.RoleSupport, ahorn)
		p, err := w.List(t.Context(), system, fleet.Filter{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		model := p.Items[0].Model
		n := fleet.NewJob{Act: fleet.ActQuiet, Filter: &fleet.Filter{Finding: "disk_low", Model: model}, Reason: why.Reason}
		for want, try := range map[error]fleet.NewJob{
			fleet.ErrInvalid: {Act: fleet.ActQuiet, Filter: &fleet.Filter{}, Reason: why.Reason},
			health.ErrReason: {Act: fleet.ActQuiet, Filter: n.Filter},
			health.ErrUntil:  {Act: fleet.ActQuiet, Filter: n.Filter, Reason: why.Reason, Until: w.now},
		} {
			if _, err := w.StartJob(t.Context(), support, try); !errors.Is(err, want) {
				t.Errorf("StartJob(%+v) = %v, want %v", try, err, want)
			}
		}
		if _, err := w.StartJob(t.Context(), user(access.RoleRead), n); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("a reader's: %v, want ErrForbidden", err)
		}
		if j := w.runs(t, support, fleet.NewJob{Act: fleet.ActQuiet, Filter: &fleet.Filter{Finding: "disk_low", Model: "another"}, Reason: why.Reason}); j.Total != 0 || warnings() != 100 {
			t.Errorf("another model's: %+v", j)
		}
		if j := w.runs(t, support, fleet.NewJob{Act: fleet.ActQuiet, Filter: &fleet.Filter{Finding: "disk_low", Build: "1.2.3"}, Reason: why.Reason}); j.Total != 0 || warnings() != 100 {
			t.Errorf("another build's: %+v", j)
		}
		before := warnings()
		j, err := w.StartJob(t.Context(), support, n)
		if err != nil || j.State != fleet.JobGathering || warnings() != before {
			t.Fatalf("starting did some of the work: %+v, %v", j, err)
		}
		if err := w.StepJobs(t.Context(), 2); err != nil { // gathered, one step done
			t.Fatal(err)
		}
		if j, err = w.Job(t.Context(), support, j.ID); err != nil || j.Done == 0 || j.Done == j.Total || j.Finding != "disk_low" {
			t.Fatalf("after two steps: %+v, %v", j, err)
		}
		if err := w.RunJobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		j, err = w.Job(t.Context(), support, j.ID)
		if got, want := tallies(j), []int64{100, 100, 99, 1, 0, 0, 0}; err != nil || !slices.Equal(got, want) || warnings() != 1 {
			t.Fatalf("job = %v, %v, want %v; %d warnings are left, want the other owner's", got, err, want, warnings())
		}
		acts, err := w.health.Quiets(t.Context(), support, "disk_low")
		if err != nil || len(acts) != 2 || max(acts[0].Devices, acts[1].Devices) != 99 {
			t.Fatalf("acts: %+v, %v, want one of 99 devices", acts, err)
		}
		of := acts[0].ID
		if acts[1].Devices == 99 {
			of = acts[1].ID
		}
		// At one device it is loud again, at one it was made quiet anew by somebody.
		if err := w.health.LoudFinding(t.Context(), support, ids[1], "disk_low", warning.String()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.health.QuietFinding(t.Context(), support, ids[2], "disk_low", warning.String(), why); err != nil {
			t.Fatal(err)
		}
		if _, err := w.UndoQuiet(t.Context(), user(access.RoleSupport, kiefer), of); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("another owner's person undoes it: %v, want ErrNotFound", err)
		}
		if _, err := w.UndoQuiet(t.Context(), support, "none"); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("undoing none: %v, want ErrNotFound", err)
		}
		if _, err := w.UndoQuiet(t.Context(), user(access.RoleRead, ahorn), of); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("a reader undoes it: %v, want ErrForbidden", err)
		}
		if _, err := w.UndoQuiet(t.Context(), support, of); err != nil {
			t.Fatal(err)
		}
		if err := w.RunJobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		j, err = w.Job(t.Context(), support, j.ID)
		if got, want := tallies(j), []int64{100, 100, 99, 1, 0, 97, 2}; err != nil || !slices.Equal(got, want) || j.State != fleet.JobUndone || warnings() != 99 {
			t.Errorf("undone = %v %s, %v, want %v; %d warnings, want 99", got, j.State, err, want, warnings())
		}
		if got, want := w.actions(t, "job:"+j.ID), []string{"job.started", "job.finished", "job.undone"}; !slices.Equal(got, want) {
			t.Errorf("the record says %q, want %q", got, want)
		}
	})
}

// TestLoudJob: an act on a finding is undone by a job of its own when its first is too
// old for that, at the devices of the caller's where it still holds, and back again.
func TestLoudJob(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ahorn, kiefer := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Landkreis Kiefer")
		support, everywhere := user(access.RoleSupport, ahorn), user(access.RoleSupport)
		everywhere.Owners = nil
		var ids []string
		for i := range 30 {
			owner := ahorn
			if i >= 25 {
				owner = kiefer
			}
			id := w.device(t, owner, "", serial(i))
			w.report(t, owner, id, int64(i+1), 500, 1<<30)
			w.finds(t, owner, id, warning, true)
			ids = append(ids, id)
		}
		warnings := func() int64 {
			c, err := w.Counts(t.Context(), system, fleet.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			return c.States[fleet.StateWarning]
		}
		w.runs(t, everywhere, fleet.NewJob{Act: fleet.ActQuiet, Filter: &fleet.Filter{Finding: "disk_low"}, Reason: "Neue Platten sind bestellt"})
		acts, err := w.health.Quiets(t.Context(), everywhere, "disk_low")
		if err != nil || len(acts) != 1 || warnings() != 0 {
			t.Fatalf("acts = %+v, %v; %d warnings", acts, err, warnings())
		}
		w.now = w.now.AddDate(0, 0, 8)
		if _, err := w.UndoQuiet(t.Context(), everywhere, acts[0].ID); !errors.Is(err, fleet.ErrUndo) {
			t.Errorf("UndoQuiet after 8 days = %v, want ErrUndo", err)
		}
		loud := fleet.NewJob{Act: fleet.ActLoud, Quiet: acts[0].ID}
		for want, try := range map[error]fleet.NewJob{
			access.ErrNotFound: {Act: fleet.ActLoud, Quiet: "none"},
			fleet.ErrInvalid:   {Act: fleet.ActLoud, Quiet: acts[0].ID, Devices: ids[:1]},
		} {
			if _, err := w.StartJob(t.Context(), support, try); !errors.Is(err, want) {
				t.Errorf("StartJob(%+v) = %v, want %v", try, err, want)
			}
		}
		if _, err := w.StartJob(t.Context(), user(access.RoleRead, ahorn), loud); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("a reader's = %v, want forbidden", err)
		}
		if err := w.health.LoudFinding(t.Context(), support, ids[0], "disk_low", warning.String()); err != nil {
			t.Fatal(err)
		}
		loudBefore := warnings()
		j := w.runs(t, support, loud)
		if got, want := tallies(j), []int64{24, 24, 24, 0, 0, 0, 0}; !slices.Equal(got, want) || j.Finding != "disk_low" || warnings()-loudBefore != 24 {
			t.Errorf("job = %v, want %v; %d more warnings, want those of Ahorn", got, want, warnings()-loudBefore)
		}
		if got, want := w.actions(t, "job:"+j.ID), []string{"job.started", "job.finished"}; !slices.Equal(got, want) {
			t.Errorf("the record says %q, want %q", got, want)
		}
		if _, err := w.StartJob(t.Context(), support, loud); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("once more = %v, want not found: none is left in Ahorn", err)
		}
		if _, err := w.UndoJob(t.Context(), support, j.ID); err != nil {
			t.Fatal(err)
		}
		if err := w.RunJobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if j, err = w.Job(t.Context(), support, j.ID); err != nil || j.Restored != 24 || warnings() != loudBefore {
			t.Errorf("undone = %v, %v; %d warnings, want %d", tallies(j), err, warnings(), loudBefore)
		}
	})
}
