package scenario

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/agent/spool"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/site"
	"hausmeister/testenv/swarm"
)

// BenchmarkAway lets devices come back that were away for 44 days, each with a
// spool of what is left of that, while others report as on any day. Budget (design.md 8): the
// others' acknowledgements p99 <= 250 ms. The collector is a process of its own;
// the devices are all in this one, so that their own work is in the numbers.
//
// Those others look each ten seconds instead of each minute, so that there is
// something to count.
//
// HAUSMEISTER_BENCH_AWAY=200, HAUSMEISTER_BENCH_OTHERS=500,
// HAUSMEISTER_BENCH_SETTLE=120 (seconds that are measured).
func BenchmarkAway(b *testing.B) {
	devices, others := setting(b, "HAUSMEISTER_BENCH_AWAY", 200), setting(b, "HAUSMEISTER_BENCH_OTHERS", 500)
	settle := time.Duration(setting(b, "HAUSMEISTER_BENCH_SETTLE", 120)) * time.Second
	image := fakes.NewDisk()
	_, err := fakes.Away{Number: 1, Begin: time.Now().AddDate(0, 0, -44).Truncate(24 * time.Hour), Days: 44, Spool: spool.Config{Disk: image}}.Fill(b.Context())
	must(b, err)
	for b.Loop() {
		s := startSite(b, site.Config{Port: freePort(b)})
		claim, _ := claim(b.Context(), b, s, devices+others)
		var here, away latencies
		there := join(b, claim, 1, others, &here, nil)
		until(b, "others connected", 5*time.Minute, func() bool { return there.Count().Connected == others })
		here.reset()
		<-time.After(settle / 2)
		alone := here.reset()
		back := join(b, claim, others+1, devices, &away, image)
		until(b, "devices back", 5*time.Minute, func() bool { return back.Count().Connected == devices })
		here.reset()
		away.reset()
		waiting := back.Count().Waiting
		cpu := usageOf(b, s.Server().PID()).cpu
		began := time.Now()
		<-time.After(settle)
		with, flushing := here.reset(), away.reset()
		told := float64(waiting) - float64(back.Count().Waiting)
		rate := told / time.Since(began).Seconds()
		b.ReportMetric(milli(alone.p(0.99)), "ms-p99-alone")
		b.ReportMetric(milli(with.p(0.5)), "ms-p50")
		b.ReportMetric(milli(with.p(0.9)), "ms-p90")
		b.ReportMetric(milli(with.p(0.99)), "ms-p99")
		b.ReportMetric(milli(with.p(1)), "ms-max")
		b.ReportMetric(milli(flushing.p(0.99)), "ms-p99-of-those-back")
		b.ReportMetric(rate, "entries/s")
		b.ReportMetric(float64(waiting)/rate/60, "minutes-to-flush-all")
		b.ReportMetric((usageOf(b, s.Server().PID()).cpu-cpu).Seconds()/time.Since(began).Seconds(), "collector-cpus")
		b.ReportMetric(0, "ns/op") // says nothing here
		load, _ := os.ReadFile("/proc/loadavg")
		b.Logf("%d acknowledgements of the others alone, %d with %d devices back; these had %d entries waiting; load of the machine %s",
			len(alone), len(with), devices, waiting, strings.TrimSpace(string(load)))
		s.Kill()
	}
}

// join lets devices live until the benchmark is over, with a spool like image.
func join(b *testing.B, claim string, first, devices int, acked *latencies, image *fakes.Disk) *swarm.Swarm {
	b.Helper()
	c := swarm.Config{Log: slog.New(slog.DiscardHandler), Acked: acked.add, Settings: []byte("state_interval_s = 10\nstate_interval_battery_s = 60\n")}
	for n := range devices {
		c.Devices = append(c.Devices, swarm.Device{Number: first + n, Claim: claim})
	}
	s := swarm.New(c)
	for i := range devices {
		if image != nil {
			s.Spool(i).Fill(image)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	ended, enrolled := make(chan error, 1), make(chan struct{})
	go func() { ended <- s.Run(ctx, func() { close(enrolled) }) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	select {
	case <-enrolled:
	case <-time.After(5 * time.Minute):
		b.Fatal(fmt.Sprint("after five minutes ", s.Count()))
	}
	return s
}

// latencies collects.
type latencies struct {
	mu  sync.Mutex
	all sample
}

func (l *latencies) add(_ swarm.Device, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, took)
}

// reset gives what came since the last time.
func (l *latencies) reset() sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	slices.Sort(all)
	return all
}

// sample is in order.
type sample []time.Duration

func (s sample) p(part float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s[int(math.Ceil(part*float64(len(s))))-1]
}
