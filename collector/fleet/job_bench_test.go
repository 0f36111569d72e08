package fleet_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
)

// BenchmarkJob70000 labels, moves and undoes all of Hesse while devices go on
// telling, and prints how long each of those waited, and how many times as long as
// without a job right after it: a job must not hold up reports for more than some
// 100 ms.
func BenchmarkJob70000(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchJob(b, dbtest.SQLite(b, migrations)) })
	b.Run("postgres", func(b *testing.B) {
		if os.Getenv("HAUSMEISTER_NO_POSTGRES") == "1" {
			b.Skip("HAUSMEISTER_NO_POSTGRES=1 is set")
		}
		benchJob(b, dbtest.Postgres(b, migrations))
	})
}

func benchJob(b *testing.B, cfg db.Config) {
	d, err := db.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	w := newWorld(b, d)
	_, schools := w.hesse(b)
	began := time.Now()
	w.Fleet, err = fleet.New(fleet.Config{DB: d, Now: func() time.Time { return noon.Add(time.Since(began)) }}) // whose clock goes
	if err != nil {
		b.Fatal(err)
	}
	admin := user(access.RoleAdmin)
	for _, c := range []struct {
		name string
		job  fleet.NewJob
	}{
		{"label", fleet.NewJob{Act: fleet.ActLabel, Label: "Rückruf", Filter: &fleet.Filter{}}},
		{"school", fleet.NewJob{Act: fleet.ActSchool, School: schools[7], Filter: &fleet.Filter{}}},
	} {
		for _, undo := range []bool{false, true} {
			name := c.name
			if undo {
				name += "_undone"
			}
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					job, err := w.StartJob(b.Context(), admin, c.job)
					if err == nil && undo {
						if err = w.RunJobs(b.Context()); err == nil {
							_, err = w.UndoJob(b.Context(), admin, job.ID)
						}
					}
					if err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					waits := w.whileTelling(b, func() error { return w.RunJobs(b.Context()) })
					b.StopTimer()
					slices.Sort(waits)
					// A baseline next to it: other work on the machine comes and goes.
					alone := w.whileTelling(b, func() error { <-time.After(b.Elapsed()); return nil })
					slices.Sort(alone)
					ratio := func(rank int) float64 {
						return float64(waits[min(len(waits)-1, len(waits)*rank/1000)]) / float64(alone[min(len(alone)-1, len(alone)*rank/1000)])
					}
					b.ReportMetric(float64(alone[len(alone)-1].Microseconds())/1000, "max-alone-ms")
					b.ReportMetric(ratio(990), "p99-of-alone")
					b.ReportMetric(ratio(1000), "max-of-alone")
					b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "p99-wait-ms")
					b.ReportMetric(float64(waits[len(waits)-1].Microseconds())/1000, "max-wait-ms")
					b.ReportMetric(float64(len(waits)), "writes")
					if !undo {
						if _, err := w.UndoJob(b.Context(), admin, job.ID); err != nil {
							b.Fatal(err)
						}
						if err := w.RunJobs(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
					b.StartTimer()
				}
			})
		}
	}
}

// whileTelling runs f while writes as those of a report come every few
// milliseconds, and gives how long each of them took.
func (w *world) whileTelling(b *testing.B, f func() error) (waits []time.Duration) {
	ctx, stop := context.WithCancel(b.Context())
	told := make(chan struct{})
	go func() {
		defer close(told)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			begin := time.Now()
			err := w.db.Write(b.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(b.Context(), `UPDATE health_state SET last_contact_day = last_contact_day WHERE device_id = $1`, w.made[i%len(w.made)])
				return err
			})
			if err != nil {
				b.Error(err)
				return
			}
			waits = append(waits, time.Since(begin))
		}
	}()
	err := f()
	stop()
	<-told
	if err != nil || len(waits) == 0 {
		b.Fatal(len(waits), err)
	}
	return waits
}
