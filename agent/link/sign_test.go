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
