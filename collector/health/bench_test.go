package health_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// BenchmarkIngest measures reports made durable per second: 512 devices that
// each wait for their ack before they send the next report of 22 values, as a
// fleet does. It prints the ratio to the same rows inserted bare, 512 to a
// transaction, in the same run. design.md 8 wants 10,000/s with fsync.
func BenchmarkIngest(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchIngest(b, dbtest.SQLite(b, migrations)) })
	b.Run("postgres", func(b *testing.B) {
		if os.Getenv("HAUSMEISTER_POSTGRES_FSYNC") != "1" {
			b.Skip("set HAUSMEISTER_POSTGRES_FSYNC=1: without fsync this measures nothing")
		}
		benchIngest(b, dbtest.Postgres(b, migrations))
	})
}

const benchDevices = 512

func benchIngest(b *testing.B, cfg db.Config) {
	d, err := db.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	w := newWorld(b, d)
	devices := make([]access.Caller, benchDevices)
	for i := range devices {
		devices[i] = w.device(b, fmt.Sprintf("DEMO%06d", i))
		if _, err := w.Begin(b.Context(), devices[i], 1, epoch("A"), "1.0.0"); err != nil {
			b.Fatal(err)
		}
	}
	readings := fullState()
	b.ResetTimer()
	cpu := cpuTime()
	var next atomic.Int64
	var wg sync.WaitGroup
	for _, device := range devices {
		wg.Go(func() {
			for seq := uint64(1); next.Add(1) <= int64(b.N); seq++ {
				batch := batch(seq)
				batch.SetEntries([]*hmpb.Entry{entry(0, noon.UnixMilli(), readings...)})
				if _, err := w.Ingest(context.Background(), device, batch); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	elapsed := b.Elapsed()
	used := cpuTime() - cpu
	b.StopTimer()
	rate := float64(b.N) / elapsed.Seconds()
	b.ReportMetric(rate, "reports/s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/report")
	b.ReportMetric(rate/bareInserts(b, cfg, b.N), "of-bare-inserts")
}

// bareInserts is the rate of the same rows without any of our work.
func bareInserts(b *testing.B, cfg db.Config, n int) float64 {
	if cfg.Path != "" {
		cfg.Path = filepath.Join(b.TempDir(), "bare.db")
	} else {
		cfg = dbtest.Postgres(b, migrations)
	}
	d, err := db.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	body := make([]byte, 250)
	begin := time.Now()
	for done := 0; done < n; {
		err := d.Write(b.Context(), func(tx *db.Tx) error {
			for range min(benchDevices, n-done) {
				_, err := tx.Exec(b.Context(), `INSERT INTO health_reports (spool, seq, device_ms, collector_ms, marks, body) VALUES ($1, $2, $3, $4, $5, $6)`,
					int64(done%benchDevices), int64(done), int64(1), int64(2), int64(0), body)
				if err != nil {
					return err
				}
				done++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(begin).Seconds()
}

// fullState is about what an agent sends: 22 values.
func fullState() []*hmpb.Reading {
	return []*hmpb.Reading{
		number(reading.CPUUsed, "", 130), number(reading.CPUCores, "", 4), number(reading.Load1, "", 420),
		number(reading.MemoryTotal, "", 8<<30), number(reading.MemoryUsed, "", 5<<30), number(reading.SwapTotal, "", 2<<30), number(reading.SwapUsed, "", 1<<20),
		number(reading.VolumeTotal, "/", 256<<30), number(reading.VolumeFree, "/", 90<<30),
		number(reading.BatteryCharge, "", 870), text(reading.BatteryState, "discharging"), number(reading.BatteryHealth, "", 712), number(reading.BatteryCycles, "", 400),
		text(reading.PowerSource, "battery"), number(reading.Temperature, "cpu", 54_000), text(reading.LinkState, "wlan"), number(reading.LinkSpeed, "wlan", 300_000_000),
		number(reading.BootTime, "", noon.UnixMilli()), text(reading.OSName, "Debian GNU/Linux 12"), text(reading.OSBuild, "6.1.0-28-amd64"),
		number(reading.AgentMemory, "", 11<<20), number(reading.AgentCPU, "", 180),
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
