package link_test

import (
	"testing"
	"time"

	"hausmeister/agent/link"
	"hausmeister/platform/wake"
	"hausmeister/testenv/netsim"
)

// TestSignsOnBattery: over either transport the device sends in the moment of a
// beat and in none besides, and back on mains at each keep-alive again.
func TestSignsOnBattery(t *testing.T) {
	for _, transport := range []string{"quic", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			in(t, func(w *world) {
				saving := false // guarded by the collector's lock
				w.config.Pulse = new(wake.Pulse)
				w.config.Saving = func() (is bool) {
					w.collector.set(func() { is = saving })
					return is
				}
				w.withWays()
				if transport == "tcp" {
					w.device.Set(netsim.Weather{UDPBlocked: true})
				}
				w.run()
				w.until("connected", 20*time.Second, w.over(transport))
				signs := func() (n int) {
					w.collector.set(func() { n = w.collector.stills + w.collector.pings })
					return n
				}
				// minute is one without anything to tell; it ends with a beat.
				minute := func() (sent, sentAtBeat int) {
					before := signs()
					time.Sleep(59 * time.Second)
					sent = signs() - before
					w.config.Pulse.Beat()
					time.Sleep(time.Second)
					return sent, signs() - before - sent
				}
				if sent, _ := minute(); sent < 2 {
					t.Errorf("%d signs in a minute on mains, want 2", sent)
				}
				w.collector.set(func() { saving = true })
				minute() // the sign that was due is still said
				for i := range 30 {
					if sent, sentAtBeat := minute(); sent != 0 || sentAtBeat != 1 {
						t.Errorf("minute %d on battery: %d signs, and %d at the beat", i, sent, sentAtBeat)
					}
				}
				w.collector.set(func() { saving = false })
				minute()
				if sent, _ := minute(); sent < 2 {
					t.Errorf("%d signs in a minute back on mains, want 2", sent)
				}
				if !w.over(transport)() {
					t.Errorf("status %+v", w.link.Status())
				}
			})
		})
	}
}

// TestDeadTCP: nobody sees what TCP itself hears, so that a path over it that has
// died is noticed by three signs that bring nothing.
func TestDeadTCP(t *testing.T) {
	in(t, func(w *world) {
		w.withWays()
		w.device.Set(netsim.Weather{UDPBlocked: true})
		w.run()
		w.until("connected", 20*time.Second, w.over("tcp"))
		time.Sleep(time.Hour)
		if !w.over("tcp")() {
			t.Fatalf("an idle session did not last: %+v", w.link.Status())
		}
		w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
		took := w.until("the session's end", 5*time.Minute, func() bool { return w.link.Status().State != link.Connected })
		if took > 95*time.Second {
			t.Errorf("noticed after %v, want four keep-alives at most", took)
		}
	})
}

// TestNobodyAnswersOnBattery: while no collector can be reached the device sends
// only in the seconds after a beat, those of one attempt, whether its session died
// or there never was one. What lasts so long is one wake of the machine.
func TestNobodyAnswersOnBattery(t *testing.T) {
	for _, test := range []struct {
		name, transport string // of the session that dies; "" = there is none
		dies            time.Duration
	}{
		{"from the start", "", 0},
		{"QUIC dies", "quic", 0},
		// That TCP is dead shows by three life signs; its own repetitions until then
		// are the system's.
		{"TCP dies", "tcp", 4 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				const attempt = 15 * time.Second
				w.config.Pulse = new(wake.Pulse)
				w.config.Saving = func() bool { return true }
				w.withWays()
				switch test.transport {
				case "tcp":
					w.device.Set(netsim.Weather{UDPBlocked: true})
				case "":
					w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
				}
				w.run()
				minute := func() (atBeat, later int64) {
					w.config.Pulse.Beat()
					before := w.device.Sent()
					time.Sleep(attempt)
					first := w.device.Sent()
					if st := w.link.Status().State; st == link.Dialing || st == link.Greeting {
						t.Errorf("still %s %v after the beat", st, attempt)
					}
					time.Sleep(time.Minute - attempt)
					return first - before, w.device.Sent() - first
				}
				if test.transport != "" {
					w.until("connected", 20*time.Second, w.over(test.transport))
					w.add(1)
					minute()
				}
				w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
				w.add(1)
				minute() // at the report, which goes with no beat
				for range int(test.dies / time.Minute) {
					minute()
				}
				attempts := 0
				for i := range 120 {
					atBeat, later := minute()
					if later > 0 {
						t.Errorf("minute %d: %d packets at the beat and %d more than %v after it", i, atBeat, later, attempt)
					}
					if atBeat > 0 {
						attempts++
					}
				}
				if attempts < 50 {
					t.Errorf("%d attempts in two hours: who comes back is not found", attempts)
				}
				w.device.Set(netsim.Weather{})
				for range 4 {
					minute()
				}
				if !w.connected() || !w.toldAll() {
					t.Errorf("not back after four beats: %+v", w.link.Status())
				}
			})
		})
	}
}
