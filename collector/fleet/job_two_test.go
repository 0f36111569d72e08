package fleet_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
)

// TestJobsOfTwoCollectors: of two collectors on a database one runs the jobs. When
// it stops in the middle of one, the other goes on after LeaseFor, and does no
// device twice; the first, should it wake again, changes nothing any more.
func TestJobsOfTwoCollectors(t *testing.T) {
	dbtest.Each(t, migrations, func(t *testing.T, cfg db.Config) {
		ctx := t.Context()
		// The first stops when it reads the devices of its second job, between
		// what it has written of it and what it will write.
		var once sync.Once
		stopped, wake := make(chan struct{}), make(chan struct{})
		pausing := cfg
		pausing.Asked = func(query string, args []any) {
			if strings.HasPrefix(query, "SELECT d.id, d.owner_id FROM devices d") && slices.Contains(args, any("demo")) {
				once.Do(func() { close(stopped); <-wake })
			}
		}
		d, err := db.Open(ctx, pausing)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		first := newWorld(t, d)
		o := first.owner(t, "Landkreis Ahorn")
		for i := range 250 {
			first.device(t, o, "", serial(i))
		}
		admin := user(access.RoleAdmin)
		var jobs []fleet.Job
		for label, query := range map[string]string{"Rückruf": "lifebook", "Inventur": "demo"} {
			j, err := first.StartJob(ctx, admin, fleet.NewJob{Act: fleet.ActLabel, Label: label, Filter: &fleet.Filter{Query: query}})
			if err != nil {
				t.Fatal(err)
			}
			jobs = append(jobs, j)
		}
		ended := make(chan error, 1)
		go func() { ended <- first.RunJobs(ctx) }()
		select {
		case <-stopped:
		case err := <-ended:
			t.Fatalf("the first came through: %v", err)
		}
		now := first.now

		other := dbtest.Second(t, cfg)
		second, err := fleet.New(fleet.Config{DB: other, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(db.LeaseFor - time.Second)
		if err := second.RunJobs(ctx); !errors.Is(err, db.ErrLeased) {
			t.Errorf("the second runs jobs before the first's lease is over: %v", err)
		}
		now = now.Add(2 * time.Second)
		if err := second.RunJobs(ctx); err != nil {
			t.Fatal(err)
		}
		check := func(when string) {
			t.Helper()
			for _, j := range jobs {
				got, err := first.Job(ctx, admin, j.ID)
				if want := []int64{250, 250, 250, 0, 0, 0, 0}; err != nil || !slices.Equal(tallies(got), want) || got.State != fleet.JobDone {
					t.Errorf("%s the job for %q is %v %s, %v; want %v done", when, j.Label, tallies(got), got.State, err, want)
				}
				if got, want := first.actions(t, "job:"+j.ID), []string{"job.started", "job.finished"}; !slices.Equal(got, want) {
					t.Errorf("%s the record of the job for %q has %v, want %v", when, j.Label, got, want)
				}
			}
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		close(wake)
		if err := <-ended; !errors.Is(err, db.ErrLeaseLost) {
			t.Errorf("the first woke and ended with %v, want ErrLeaseLost", err)
		}
		check("after the first woke")
		if err := first.RunJobs(ctx); err != nil {
			t.Errorf("the first runs jobs again: %v", err)
		}
		check("at the end")
	})
}

// TestJobsAreSharedOut: two collectors that both look for jobs all the time do each
// device once.
func TestJobsAreSharedOut(t *testing.T) {
	cfg := dbtest.SQLite(t, migrations)
	d := dbtest.Second(t, cfg)
	w := newWorld(t, d)
	o := w.owner(t, "Landkreis Ahorn")
	for i := range 120 {
		w.device(t, o, "", serial(i))
	}
	other, err := fleet.New(fleet.Config{DB: dbtest.Second(t, cfg), Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	admin := user(access.RoleAdmin)
	var ids []string
	for _, label := range []string{"a", "b", "c", "d"} {
		j, err := w.StartJob(t.Context(), admin, fleet.NewJob{Act: fleet.ActLabel, Label: label, Filter: &fleet.Filter{}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID)
	}
	var wg sync.WaitGroup
	for _, f := range []*fleet.Fleet{w.Fleet, other} {
		wg.Go(func() {
			for {
				// One step each time, so that the lease goes to and fro.
				err := f.StepJobs(t.Context(), 1)
				if err != nil && !errors.Is(err, db.ErrLeased) && !errors.Is(err, db.ErrLeaseLost) {
					t.Error(err)
					return
				}
				open := slices.ContainsFunc(ids, func(id string) bool {
					j, err := f.Job(t.Context(), admin, id)
					if err != nil {
						t.Error(err)
					}
					return err == nil && j.Open()
				})
				if !open {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		j, err := w.Job(t.Context(), admin, id)
		if want := []int64{120, 120, 120, 0, 0, 0, 0}; err != nil || !slices.Equal(tallies(j), want) {
			t.Errorf("job = %v, %v, want %v", tallies(j), err, want)
		}
		if got, want := w.actions(t, "job:"+id), []string{"job.started", "job.finished"}; !slices.Equal(got, want) {
			t.Errorf("the record has %v, want %v", got, want)
		}
	}
}
