package scenario

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/testenv/child"
	"hausmeister/testenv/site"
)

// BenchmarkAgent is what the real agent costs its device, with all its readings
// and connected to a real collector: memory, CPU, size, and all bytes on the
// wire with their IP headers, both ways and acknowledgements included, counted
// by a relay in between. Budgets (design.md 8): <= 16 MB, <= 0.02 s CPU a minute,
// <= 15 MB of program, <= 500 kB in a day of 8 hours online.
//
// HAUSMEISTER_BENCH_MINUTES=1 is how long it is watched, from the first report on.
func BenchmarkAgent(b *testing.B) {
	minutes := setting(b, "HAUSMEISTER_BENCH_MINUTES", 1)
	for b.Loop() {
		port := freePort(b)
		r := startRelay(b, port)
		s := startSite(b, site.Config{Port: port, Args: []string{"--public", "localhost:" + strconv.Itoa(r.port())}})
		claim, token := claim(b.Context(), b, s, 1)
		dir := b.TempDir()
		program := bin(b, "hausmeister-agent")
		if _, err := child.Output(b.Context(), "", program, "enroll", "--dir", dir, "--json", claim); err != nil {
			b.Fatal(err)
		}
		agent, _ := start(b, nil, "hausmeister-agent", "run", "--dir", dir)
		stored := func() float64 { return metric(b, s, token, "hausmeister_reports_stored_total") }
		until(b, "first report", time.Minute, func() bool { return stored() >= 1 })

		first, reports, ip := usageOf(b, agent.PID()), stored(), r.bytes.Load()
		var most float64
		for range minutes {
			<-time.After(time.Minute)
			u := usageOf(b, agent.PID())
			most = max(most, u.rss)
			b.Logf("%.1f MB, %.1f of them anonymous; %v CPU", u.rss/1e6, u.anonymous/1e6, u.cpu)
		}
		last := usageOf(b, agent.PID())
		perMinute := float64(r.bytes.Load()-ip) / float64(minutes)
		info, err := os.Stat(program)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(most/1e6, "MB-RSS")
		b.ReportMetric((last.cpu-first.cpu).Seconds()/float64(minutes), "cpu-s/min")
		b.ReportMetric(float64(info.Size())/1e6, "MB-program")
		b.ReportMetric((stored()-reports)/float64(minutes), "reports/min")
		b.ReportMetric(perMinute, "IP-bytes/min")
		b.ReportMetric(perMinute*8*60/1000, "kB/day-of-8h")
		b.ReportMetric(float64(valuesIn(b, dir)), "values-in-last-report")
		b.ReportMetric(0, "ns/op") // says nothing here
		end(b, agent)
	}
}

// valuesIn counts what the last report held.
func valuesIn(b *testing.B, dir string) int {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "public", "last-report.json"))
	if err != nil {
		b.Fatal(err)
	}
	var report struct{ Readings []json.RawMessage }
	if err := json.Unmarshal(text, &report); err != nil {
		b.Fatal(err)
	}
	return len(report.Readings)
}

// A relay stands between one agent and the collector and counts what passes.
type relay struct {
	front, back *net.UDPConn
	bytes       atomic.Int64
}

// headers of IPv4 and UDP.
const headers = 20 + 8

func startRelay(b *testing.B, port int) *relay {
	b.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	back, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		b.Fatal(err)
	}
	r := &relay{front: front, back: back}
	b.Cleanup(func() { front.Close(); back.Close() })
	var agent atomic.Pointer[net.UDPAddr]
	go func() { // ends with front
		p := make([]byte, 2048)
		for {
			n, from, err := front.ReadFromUDP(p)
			if err != nil {
				return
			}
			agent.Store(from)
			r.bytes.Add(int64(n) + headers)
			_, _ = back.Write(p[:n]) // lost, as on any network
		}
	}()
	go func() { // ends with back
		p := make([]byte, 2048)
		for {
			n, err := back.Read(p)
			if err != nil {
				if r.gone() {
					return
				}
				continue // refused while the collector starts
			}
			r.bytes.Add(int64(n) + headers)
			_, _ = front.WriteToUDP(p[:n], agent.Load())
		}
	}()
	return r
}

// gone says whether the relay was closed.
func (r *relay) gone() bool { return r.back.SetReadDeadline(time.Time{}) != nil }

func (r *relay) port() int { return r.front.LocalAddr().(*net.UDPAddr).Port }
