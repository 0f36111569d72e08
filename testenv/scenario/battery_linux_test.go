package scenario

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// onBattery counts what wakes the machine: moments at which any thread of the
// agent ran after a while in which none did, be it for a timer of our own, of a
// library or of Go's. On mains there are many, which shows that they are seen.
func onBattery(t *testing.T, w *networks) {
	p := w.place(t)
	power := p.power()
	power("Mains")
	p.enroll()
	p.run()
	p.logged("connected transport=quic ")
	if n := len(p.wakes(40*time.Second, 0)); n < 4 {
		t.Errorf("%d wakes in 40 s on mains with a keep-alive of 5 s: they are not seen", n)
	}
	power("Battery")
	time.Sleep(75 * time.Second) // the look that sees it, and the first by the new rule
	p.oncePerMinute("connected", 0)
	p.until("still connected", func(s status) bool { return s.State == "connected" && s.Problem == "" })
}

// onBatteryAlone is onBattery in a network that swallows all, as on a train: each
// attempt to reach the collector falls into the wake of a look.
func onBatteryAlone(t *testing.T, w *networks) {
	p := w.place(t)
	p.power()("Battery")
	p.enroll()
	p.run()
	p.logged("connected transport=quic ")
	p.udp.drop(true)
	p.tcp.serve(func(conn net.Conn) { // takes what comes, and is silent
		io.Copy(io.Discard, conn)
		conn.Close()
	})
	eventually(t, 100*time.Second, "the session is over", func() (bool, error) { return p.line("session over") != "", nil })
	time.Sleep(75 * time.Second)
	p.oncePerMinute("collector unreachable", 15*time.Second)
	p.until("unreachable", func(s status) bool { return s.State != "connected" && s.Problem == "collector_unreachable" })
}

// oncePerMinute wants one wake a minute.
func (p *place) oncePerMinute(how string, attempt time.Duration) {
	p.Helper()
	const minutes = 3
	wakes := p.wakes(minutes*time.Minute, attempt)
	p.Logf("measured: on battery: %d wakes in %d minutes, %s: %v", len(wakes), minutes, how, wakes)
	if len(wakes) > minutes+1 || len(wakes) < minutes-1 {
		p.Errorf("%d wakes in %d minutes on battery, want one a minute", len(wakes), minutes)
	}
	for i := 1; i < len(wakes); i++ {
		if gap := wakes[i] - wakes[i-1]; gap < 50*time.Second {
			p.Errorf("wakes %v apart", gap)
		}
	}
}

// power lays supplies of ours over the machine's; what it gives says which one
// feeds the device.
func (p *place) power() (from func(source string)) {
	p.Helper()
	dir := filepath.Join(p.dir, "power_supply")
	file := func(name, text string) {
		must(p.T, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(p.T, os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644))
	}
	from = func(source string) {
		online, status := "1", "Charging"
		if source == "Battery" {
			online, status = "0", "Discharging"
		}
		file("AC/type", "Mains")
		file("AC/online", online)
		file("BAT0/type", "Battery")
		file("BAT0/scope", "System")
		file("BAT0/status", status)
		file("BAT0/capacity", "80")
	}
	from("Mains")
	run(p.T, "nsenter", p.inside("mount", "--bind", dir, "/sys/class/power_supply")...)
	return from
}

// wakes watches the agent for a while: when it began to run after two seconds of
// rest, counted from the begin. An attempt to reach the collector waits in between
// for answers, and no machine goes to sleep for that: pieces less than attempt after
// the begin of a wake belong to it.
func (p *place) wakes(of, attempt time.Duration) (at []time.Duration) {
	p.Helper()
	const step, rest = 100 * time.Millisecond, 2 * time.Second
	began, last := time.Now(), p.switches()
	busy := began
	for time.Since(began) < of {
		time.Sleep(step)
		n := p.switches()
		if n == last {
			continue
		}
		last = n
		now := time.Now()
		if len(at) == 0 || now.Sub(busy) >= rest && now.Sub(began)-at[len(at)-1] >= attempt {
			at = append(at, now.Sub(began).Round(step))
		}
		busy = now
	}
	return at
}

// switches is how often threads of the agent gave the processor away.
func (p *place) switches() (n int) {
	p.Helper()
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(p.agentPID) + "/task/*/status")
	if len(files) == 0 {
		p.Fatal("the agent does not run")
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		for line := range bytes.Lines(data) {
			if key, value, ok := bytes.Cut(line, []byte("ctxt_switches:")); ok && len(key) > 0 {
				v, _ := strconv.Atoi(string(bytes.TrimSpace(value)))
				n += v
			}
		}
	}
	return n
}
