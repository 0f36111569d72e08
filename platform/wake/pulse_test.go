package wake_test

import (
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/platform/wake"
)

// TestPulse: followers tick in the very moment of a beat, one for each that is
// due, and by themselves once the beats stay away.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(wake.Pulse)
		minute, three := p.Timer(time.Minute), p.Timer(3*time.Minute)
		defer minute.Stop()
		defer three.Stop()
		ticks := func(tick *wake.Timer) bool {
			synctest.Wait()
			select {
			case <-tick.C:
				tick.Again()
				return true
			default:
				return false
			}
		}
		threes := 0
		for i := 1; i <= 60; i++ {
			time.Sleep(time.Minute + time.Duration(i%7-3)*3*time.Second) // looks are not exact
			if ticks(minute) {
				t.Fatalf("a tick before beat %d", i)
			}
			p.Beat()
			if !ticks(minute) {
				t.Errorf("no tick at beat %d", i)
			}
			if ticks(three) {
				threes++
			}
			p.Beat() // a look that somebody wanted
			if ticks(minute) {
				t.Errorf("two ticks at beat %d", i)
			}
		}
		if threes < 19 || threes > 21 {
			t.Errorf("%d ticks of three minutes in an hour", threes)
		}
		for range 3 {
			time.Sleep(90*time.Second - 1)
			if ticks(minute) {
				t.Error("a tick before the beat is overdue")
			}
			time.Sleep(time.Nanosecond)
			if !ticks(minute) {
				t.Error("no tick though the beats stay away")
			}
		}
		minute.Stop()
		time.Sleep(time.Hour)
		p.Beat()
		if ticks(minute) {
			t.Error("a tick after Stop")
		}
	})
}

// TestBetween: a beat ends the wait from its least on, and nothing but its most
// else.
func TestBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(wake.Pulse)
		for _, beats := range []struct{ every, fires time.Duration }{{20 * time.Second, 40 * time.Second}, {time.Hour, 2 * time.Minute}} {
			timer, began := p.Between(30*time.Second, 2*time.Minute), time.Now()
			var at time.Duration
			for n := time.Duration(1); at == 0; n++ {
				select {
				case <-timer.C:
					at = time.Since(began)
				case <-time.After(n*beats.every - time.Since(began)):
					p.Beat()
				}
			}
			timer.Stop()
			if at != beats.fires {
				t.Errorf("with a beat each %v it fires after %v, want %v", beats.every, at, beats.fires)
			}
		}
		var none *wake.Pulse
		began := time.Now()
		<-none.Between(30*time.Second, 2*time.Minute).C
		if at := time.Since(began); at != 30*time.Second {
			t.Errorf("without a pulse it fires after %v", at)
		}
	})
}

// TestNoPulse: without one a ticker keeps its own time.
func TestNoPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *wake.Pulse
		p.Beat()
		tick := p.Timer(time.Minute)
		defer tick.Stop()
		began := time.Now()
		for i := 1; i <= 5; i++ {
			<-tick.C
			tick.Again()
			if d := time.Since(began); d != time.Duration(i)*time.Minute {
				t.Errorf("tick %d after %v", i, d)
			}
		}
	})
}
