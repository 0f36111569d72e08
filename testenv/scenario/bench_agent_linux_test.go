package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/testenv/child"
	"hausmeister/testenv/site"
)

// BenchmarkAgent is what the real agent costs its device, with all its readings
// and connected to a real collector: memory, CPU with that of the programs which
// it runs, size, and all bytes on the wire with their IP headers, both ways and
// acknowledgements included, counted by a relay in between. Budgets (design.md 8):
// <= 16 MB, <= 0.02 s CPU a minute, <= 15 MB of program, <= 500 kB in a day of 8
// hours online.
//
// The start (the handshake, the list of programs, the first look for updates) is
// named apart from what each minute costs after it; a day has both. Beside it runs
// Debian's node-exporter, asked once a minute, as a measure for the machine.
//
// HAUSMEISTER_BENCH_MINUTES=5 is how long it is watched after its start,
// HAUSMEISTER_BENCH_START=10 how many minutes from the first report on the start
// takes: until the list of programs is told, eight.
func BenchmarkAgent(b *testing.B) {
	minutes, start := setting(b, "HAUSMEISTER_BENCH_MINUTES", 5), setting(b, "HAUSMEISTER_BENCH_START", 10)
	for b.Loop() {
		a, peer := startAgent(b), startExporter(b)
		started, most := watch(b, "start", start, a, peer)
		after, steady := watch(b, "after", minutes, a, peer)

		first, then := started, after.since(started)
		per := func(total float64) float64 { return total / float64(minutes) }
		const day = 8 * 60
		b.ReportMetric(steady.agent.rss/1e6, "MB-RSS")
		b.ReportMetric(most.agent.rss/1e6, "MB-RSS-start")
		b.ReportMetric(after.agent.peak/1e6, "MB-RSS-peak")
		b.ReportMetric(steady.agent.anonymous/1e6, "MB-anonymous")
		b.ReportMetric(per((then.agent.cpu + then.agent.children).Seconds()), "cpu-s/min")
		b.ReportMetric(per(then.agent.children.Seconds()), "cpu-s/min-of-children")
		b.ReportMetric(first.agent.cpu.Seconds(), "cpu-s-start")
		b.ReportMetric(first.agent.children.Seconds(), "cpu-s-start-of-children")
		b.ReportMetric(a.size/1e6, "MB-program")
		b.ReportMetric(per(then.reports), "reports/min")
		b.ReportMetric(per(then.wire), "IP-bytes/min")
		b.ReportMetric(first.wire/1000, "kB-start")
		b.ReportMetric((first.wire+per(then.wire)*float64(day-start))/1000, "kB/day-of-8h")
		b.ReportMetric(float64(valuesIn(b, a.dir)), "values-in-last-report")
		if peer != nil {
			b.ReportMetric(steady.peer.rss/1e6, "node-exporter-MB-RSS")
			b.ReportMetric(steady.agent.rss/steady.peer.rss, "RSS/node-exporter")
			b.ReportMetric(per(then.peer.cpu.Seconds()), "node-exporter-cpu-s/min")
			if then.peer.cpu > 0 {
				b.ReportMetric((then.agent.cpu+then.agent.children).Seconds()/then.peer.cpu.Seconds(), "cpu/node-exporter")
			}
		}
		b.ReportMetric(0, "ns/op") // says nothing here
		end(b, a.Child)
		if peer != nil {
			end(b, peer.Child)
		}
	}
}

// watchedAgent is a real agent that a benchmark watches.
type watchedAgent struct {
	*child.Child
	dir    string
	size   float64 // of the program, in bytes
	relay  *relay
	stored func() float64 // reports that its collector has
}

// startAgent enrols an agent and waits for its first report.
func startAgent(b *testing.B) watchedAgent {
	b.Helper()
	port := freePort(b)
	r := startRelay(b, port)
	s := startSite(b, site.Config{Port: port, Args: []string{"--public", "localhost:" + strconv.Itoa(r.port())}})
	claim, token := claim(b.Context(), b, s, 1)
	dir, program := b.TempDir(), bin(b, "hausmeister-agent")
	info, err := os.Stat(program)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := child.Output(b.Context(), "", program, "enroll", "--dir", dir, "--json", claim); err != nil {
		b.Fatal(err)
	}
	r.bytes.Store(0) // enrolment is once in a device's life
	c, _ := start(b, nil, "hausmeister-agent", "run", "--dir", dir)
	a := watchedAgent{c, dir, float64(info.Size()), r, func() float64 { return metric(b, s, token, "hausmeister_reports_stored_total") }}
	until(b, "first report", time.Minute, func() bool { return a.stored() >= 1 })
	return a
}

// exporter is Debian's node-exporter, which tells a machine's metrics to whoever asks.
type exporter struct {
	*child.Child
	url string
}

// startExporter is nil where there is none.
func startExporter(b *testing.B) *exporter {
	b.Helper()
	const program = "prometheus-node-exporter"
	path, err := exec.LookPath(program)
	if err != nil {
		b.Logf("without %s to compare with: testenv/setup.sh bench installs it", program)
		return nil
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(b)))
	c, err := child.Start(child.Config{
		Program: path, Args: []string{"--web.listen-address=" + address}, Log: filepath.Join(b.TempDir(), program+".log"),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Kill)
	e := &exporter{c, "http://" + address + "/metrics"}
	until(b, program, time.Minute, func() bool { return e.ask(b) == nil })
	return e
}

// ask reads all metrics once.
func (e *exporter) ask(b *testing.B) error {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, e.url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("asking node-exporter: %s", answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// watched is what was counted up to a moment.
type watched struct {
	agent, peer   usage
	reports, wire float64 // wire in bytes
}

// since is what was counted from before on, of what adds up.
func (w watched) since(before watched) watched {
	w.agent.cpu -= before.agent.cpu
	w.agent.children -= before.agent.children
	w.peer.cpu -= before.peer.cpu
	w.reports -= before.reports
	w.wire -= before.wire
	return w
}

// watch looks each minute and gives what was counted at its end, and the most
// memory at any look.
func watch(b *testing.B, part string, minutes int, a watchedAgent, peer *exporter) (last, most watched) {
	b.Helper()
	for n := range minutes {
		<-time.After(time.Minute)
		last = watched{agent: usageOf(b, a.PID()), reports: a.stored(), wire: float64(a.relay.bytes.Load())}
		if peer != nil {
			if err := peer.ask(b); err != nil {
				b.Fatal(err)
			}
			last.peer = usageOf(b, peer.PID())
		}
		most.agent.rss = max(most.agent.rss, last.agent.rss)
		most.agent.anonymous = max(most.agent.anonymous, last.agent.anonymous)
		most.peer.rss = max(most.peer.rss, last.peer.rss)
		b.Logf("%s, minute %d: %.1f MB, %.1f of them anonymous; %v CPU and %v of children; %.1f kB on the wire, %.0f reports",
			part, n+1, last.agent.rss/1e6, last.agent.anonymous/1e6, last.agent.cpu, last.agent.children, last.wire/1000, last.reports)
	}
	return last, most
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
