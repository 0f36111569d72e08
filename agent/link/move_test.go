package link_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/agent/config"
	"hausmeister/agent/link"
	"hausmeister/agent/link/path"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/netsim"
)

// ways are a path.Dialer for the one collector there is.
type ways struct {
	*path.Dialer
	quic atomic.Int32 // calls of DialQUIC
}

const at = "collector.example:8443"

func (w *ways) Dial(ctx context.Context, conf *tls.Config) (wire.Session, error) {
	return w.Dialer.Dial(ctx, at, conf)
}

func (w *ways) DialQUIC(ctx context.Context, conf *tls.Config) (wire.Session, error) {
	w.quic.Add(1)
	return w.Dialer.DialQUIC(ctx, at, conf)
}

func (w *ways) DialAround(ctx context.Context, conf *tls.Config) (wire.Session, error) {
	return w.Dialer.DialAround(ctx, at, conf)
}

// withWays gives the device TCP, and its collector too.
func (w *world) withWays() *ways {
	return w.withEndpoint(w.endpoint)
}

func (w *world) withEndpoint(e path.Endpoint) *ways {
	w.Helper()
	dialer := path.New(path.Config{
		Endpoint: e,
		Connect: func(ctx context.Context, address string) (net.Conn, error) {
			return w.device.DialTCP(ctx, netip.MustParseAddrPort(address))
		},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{w.collector.host.Addr(port).AddrPort().Addr().Unmap()}, nil
		},
		Networks: config.OpenNetworks(fakes.NewDisk()),
		Log:      w.config.Log,
	})
	all := &ways{Dialer: dialer}
	w.config.Dialer, w.config.Ways = all, all
	w.collector.start()
	w.collector.startTCP()
	return all
}

func (w *world) over(transport string) func() bool {
	return func() bool { st := w.link.Status(); return st.State == link.Connected && st.Transport == transport }
}

// once checks that everything is stored, once, in order.
func (w *world) once() {
	w.Helper()
	if d := cmp.Diff(w.all(), w.collector.texts()); d != "" {
		w.Errorf("stored (-want +got):\n%s", d)
	}
}

// TestQuietAfterReports: reports that come close together, as the list of
// programs does with what it raises, leave nothing behind that asks on and on; and
// who reports each minute needs a life sign only in between.
func TestQuietAfterReports(t *testing.T) {
	in(t, func(w *world) {
		w.withWays()
		w.add(1)
		w.run()
		w.until("told over QUIC", 5*time.Second, func() bool { return w.toldAll() && w.over("quic")() })
		for range 5 {
			time.Sleep(100 * time.Millisecond) // four round trips, less than guard's look
			w.add(1)
		}
		w.until("told", 5*time.Second, w.toldAll)
		stills := func(of time.Duration, each func()) (n int) {
			w.collector.set(func() { n = w.collector.stills })
			for range of / time.Minute {
				each()
				time.Sleep(time.Minute)
			}
			before := n
			w.collector.set(func() { n = w.collector.stills })
			return n - before
		}
		// One each 22.5 s: nine tenths of the keep-alive.
		if n := stills(30*time.Minute, func() {}); n < 78 || n > 81 {
			t.Errorf("%d StillHere in half an hour of silence, want 80", n)
		}
		if n := stills(30*time.Minute, func() { w.add(1) }); n < 58 || n > 61 {
			t.Errorf("%d StillHere in half an hour with a report a minute, want 60", n)
		}
	})
}

// TestUDPDies: what a network costs that begins to drop UDP in mid-session. From
// the report that is not answered to its storing over TCP.
func TestUDPDies(t *testing.T) {
	for _, c := range []struct {
		name   string
		begin  func(*world) // as UDP dies
		before time.Duration
	}{
		{"while idle", func(*world) {}, time.Minute},
		{"just as it is told", func(*world) {}, 0},
		{"in the middle of a backlog", func(w *world) { w.add(2000) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(w *world) {
				w.withWays()
				w.add(1)
				w.run()
				w.until("told over QUIC", 5*time.Second, func() bool { return w.toldAll() && w.over("quic")() })
				if p := w.link.Path(); p != (link.Path{Transport: "quic"}) {
					t.Errorf("Path = %+v over QUIC", p)
				}
				c.begin(w)
				w.device.Set(netsim.Weather{UDPBlocked: true})
				time.Sleep(c.before)
				w.add(1)
				took := w.until("told", 30*time.Second, w.toldAll)
				t.Logf("UDP died: session moved to TCP, and the report stored, in %.1f s", took.Seconds())
				if took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				w.once()
				if p := w.link.Path(); p.Transport != "tcp" || p.Obstacle != link.UDPBlocked {
					t.Errorf("Path = %+v, want tcp because of %s", p, link.UDPBlocked)
				}
				if n, h := w.collector.lastHello(); n != 2 || h.GetConnectionEpoch() != 2 {
					t.Errorf("%d sessions, epoch %d; want 2 and 2", n, h.GetConnectionEpoch())
				}
			})
		})
	}
}

// TestNetworkWithoutUDP: where the network is changed for one that drops UDP, the
// probe is what shows it; it asks by a Ping where there is nothing to tell.
func TestNetworkWithoutUDP(t *testing.T) {
	in(t, func(w *world) {
		w.withWays()
		w.add(1)
		w.run()
		w.until("told over QUIC", 5*time.Second, func() bool { return w.toldAll() && w.over("quic")() })
		time.Sleep(time.Second) // the answer to the first Ping says that there are answers
		w.device.Set(netsim.Weather{UDPBlocked: true})
		w.link.Notice(wake.Event{Network: true})
		if took := w.until("in over TCP", 30*time.Second, w.over("tcp")); took > 5*time.Second {
			t.Errorf("the session moved to TCP only after %v", took)
		}
		if n, _ := w.collector.lastHello(); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
		w.add(1)
		w.until("told", 5*time.Second, w.toldAll)
		w.once()
	})
}

// nowhere are ways of a machine that has no network yet: it fails at once.
type nowhere struct{ *ways }

func (nowhere) DialAround(context.Context, *tls.Config) (wire.Session, error) {
	return nil, errors.New("no such host")
}

// TestWakesOnBattery: a laptop wakes, has nothing to tell, and its network takes some
// seconds. Its session lives on, and is not given up until the next beat.
func TestWakesOnBattery(t *testing.T) {
	in(t, func(w *world) {
		w.config.Pulse = new(wake.Pulse)
		w.config.Saving = func() bool { return true }
		w.config.Ways = nowhere{w.withWays()}
		w.add(1)
		w.run()
		w.until("told over QUIC", 5*time.Second, func() bool { return w.toldAll() && w.over("quic")() })
		time.Sleep(time.Second) // the answer to the first Ping says that there are answers
		w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
		w.link.Notice(wake.Event{Slept: time.Hour})
		time.Sleep(4 * time.Second)
		w.device.Set(netsim.Weather{})
		time.Sleep(4 * time.Second)
		if n, _ := w.collector.lastHello(); n != 1 || !w.over("quic")() {
			t.Errorf("%d sessions, %+v; want the one that there was", n, w.link.Status())
		}
	})
}

// TestUDPComesBack: QUIC is used again, without a pause and without a report lost
// or told for nothing.
func TestUDPComesBack(t *testing.T) {
	in(t, func(w *world) {
		all := w.withWays()
		w.device.Set(netsim.Weather{UDPBlocked: true})
		w.run()
		took := w.until("in over TCP", 5*time.Second, w.over("tcp"))
		t.Logf("UDP dropped from the start: in over TCP after %.1f s", took.Seconds())
		for range 20 {
			w.add(1)
			time.Sleep(time.Minute)
		}
		if n := all.quic.Load(); n < 3 || n > 6 {
			t.Errorf("QUIC tried %d times in 20 minutes", n)
		}
		w.device.Set(netsim.Weather{})
		gone := 0
		for began := time.Now(); !w.over("quic")(); time.Sleep(10 * time.Millisecond) {
			if !w.connected() {
				gone++
			}
			if w.n < 20+int(time.Since(began)/time.Second) {
				w.add(1)
			}
			if time.Since(began) > 41*time.Minute {
				t.Fatal("QUIC is not used again")
			}
		}
		w.until("all told", 5*time.Second, w.toldAll)
		w.once()
		if n, _ := w.collector.lastHello(); n != 2 || gone > 0 || w.collector.doubled > 0 {
			t.Errorf("%d sessions, not connected %d times, %d told twice; want 2, 0, 0", n, gone, w.collector.doubled)
		}
		if p := w.link.Path(); p != (link.Path{Transport: "quic"}) {
			t.Errorf("Path = %+v", p)
		}
	})
	t.Run("soon after a change of network", func(t *testing.T) {
		in(t, func(w *world) {
			w.withWays()
			w.device.Set(netsim.Weather{UDPBlocked: true})
			w.add(1)
			w.run()
			w.until("in over TCP", 5*time.Second, w.over("tcp"))
			time.Sleep(2 * time.Hour)
			w.device.Set(netsim.Weather{})
			w.link.Notice(wake.Event{Network: true})
			w.until("QUIC again", 10*time.Second, w.over("quic"))
		})
	})
}

// TestSeekingIsRare: a school that never lets UDP through costs a handshake's
// first packets each half hour.
func TestSeekingIsRare(t *testing.T) {
	in(t, func(w *world) {
		all := w.withWays()
		w.device.Set(netsim.Weather{UDPBlocked: true})
		w.run()
		w.until("in over TCP", 5*time.Second, w.over("tcp"))
		time.Sleep(8 * time.Hour)
		if n := all.quic.Load(); n < 16 || n > 30 {
			t.Errorf("QUIC tried %d times in 8 hours", n)
		}
		if n, _ := w.collector.lastHello(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

// TestFlappingUDP: each time that QUIC is used again, UDP dies a moment later. It
// costs ever fewer moves, and nothing is lost.
func TestFlappingUDP(t *testing.T) {
	in(t, func(w *world) {
		w.withWays()
		w.run()
		moves := 0
		for began := time.Now(); time.Since(began) < 4*time.Hour; {
			w.until("QUIC", 41*time.Minute, w.over("quic"))
			w.device.Set(netsim.Weather{UDPBlocked: true})
			w.add(1)
			w.until("told", 10*time.Second, w.toldAll)
			w.device.Set(netsim.Weather{})
			moves++
		}
		if moves > 16 { // with the jitter of the waits
			t.Errorf("%d moves in 4 hours", moves)
		}
		w.once()
	})
}

// TestHandshakeOnly: UDP that lets a handshake through and drops what follows.
func TestHandshakeOnly(t *testing.T) {
	in(t, func(w *world) {
		w.withEndpoint(afterwards{w.endpoint, func() { w.device.Set(netsim.Weather{UDPBlocked: true}) }})
		w.add(1)
		w.run()
		w.until("in over TCP", 20*time.Second, w.over("tcp"))
		w.until("told", 5*time.Second, w.toldAll)
	})
}

// afterwards does something as a dial has succeeded.
type afterwards struct {
	path.Endpoint
	then func()
}

func (a afterwards) Dial(ctx context.Context, addr net.Addr, conf *tls.Config) (wire.Session, error) {
	s, err := a.Endpoint.Dial(ctx, addr, conf)
	if err == nil {
		a.then()
	}
	return s, err
}

// TestBusyIsNotSilent: a collector that takes half a minute for an answer is left
// alone.
func TestBusyIsNotSilent(t *testing.T) {
	in(t, func(w *world) {
		w.withWays()
		w.collector.onBatch = func(int, wire.Session, *wire.Framed, *hmpb.Batch) bool {
			time.Sleep(30 * time.Second)
			return false
		}
		w.add(1)
		w.run()
		w.until("told", time.Minute, w.toldAll)
		w.add(1)
		w.until("told", time.Minute, w.toldAll)
		if n, _ := w.collector.lastHello(); n != 1 || !w.over("quic")() {
			t.Errorf("%d sessions, status %+v; want the one over QUIC", n, w.link.Status())
		}
		// Two batches of half a minute, and four keep-alives.
		w.collector.set(func() {
			if w.collector.byes > 2*6+4 {
				t.Errorf("a busy collector was asked %d times in a minute", w.collector.byes)
			}
		})
	})
}

// TestRestartKeepsQUIC: a collector that is killed and started again is found
// over QUIC, not over TCP for a minute and then anew.
func TestRestartKeepsQUIC(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 4 * time.Second, 10 * time.Second} {
		t.Run(fmt.Sprint(away), func(t *testing.T) {
			in(t, func(w *world) {
				w.withWays()
				w.run()
				w.until("connected", 5*time.Second, w.connected)
				time.Sleep(10 * time.Minute)
				w.collector.kill()
				w.add(1)
				time.Sleep(away)
				w.collector.start()
				w.collector.startTCP()
				w.until("told", 30*time.Second, w.toldAll)
				if n, _ := w.collector.lastHello(); n != 2 || !w.over("quic")() {
					t.Errorf("%d sessions, status %+v; want 2, over QUIC", n, w.link.Status())
				}
			})
		})
	}
}

// TestLossIsNotSilence: a bad line is not left, since TCP would fare worse.
func TestLossIsNotSilence(t *testing.T) {
	in(t, func(w *world) {
		w.withWays()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		w.device.Set(netsim.Weather{LossUp: 0.15, LossDown: 0.15})
		for range 240 {
			w.add(1)
			time.Sleep(time.Minute)
		}
		w.until("told", time.Minute, w.toldAll)
		w.once()
		if n, _ := w.collector.lastHello(); n > 2 {
			t.Errorf("%d sessions in 4 hours on a line that loses 15 %% each way", n)
		}
	})
}

// TestOutage: the whole network is away for a while, and nobody says so.
func TestOutage(t *testing.T) {
	for _, away := range []time.Duration{5 * time.Second, 30 * time.Second, 3 * time.Minute, time.Hour} {
		t.Run(fmt.Sprint(away), func(t *testing.T) {
			in(t, func(w *world) {
				w.withWays()
				w.add(1)
				w.run()
				w.until("told", 5*time.Second, w.toldAll)
				w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
				for range 5 {
					w.add(1)
					time.Sleep(away / 5)
				}
				w.device.Set(netsim.Weather{})
				w.until("told", 3*time.Minute, w.toldAll)
				w.once()
			})
		})
	}
}

// TestMoveRefused: a collector that sends the second session away keeps the first.
func TestMoveRefused(t *testing.T) {
	in(t, func(w *world) {
		all := w.withWays()
		w.collector.greet = func(n int, _ wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
			if n == 1 || n > 3 {
				return nil
			}
			return hmpb.ControlDown_builder{Refused: hmpb.Refused_builder{
				Code: hmpb.Code_CODE_COME_BACK.Enum(), RetryAfterS: new(uint32(600)),
			}.Build()}.Build()
		}
		w.device.Set(netsim.Weather{UDPBlocked: true})
		w.run()
		w.until("in over TCP", 5*time.Second, w.over("tcp"))
		w.device.Set(netsim.Weather{})
		time.Sleep(5 * time.Minute)
		w.add(1)
		w.until("told over the first", 5*time.Second, w.toldAll)
		if n, _ := w.collector.lastHello(); n != 2 || all.quic.Load() != 1 {
			t.Errorf("%d sessions, %d tries; asked to wait for ten minutes", n, all.quic.Load())
		}
		w.until("QUIC after all", time.Hour, w.over("quic"))
		w.once()
	})
}

// TestStopsWhileMoving: the end of the program does not wait for a better path.
func TestStopsWhileMoving(t *testing.T) {
	in(t, func(w *world) {
		w.withWays()
		w.collector.greet = func(n int, _ wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
			if n > 1 {
				time.Sleep(time.Minute)
			}
			return nil
		}
		w.run()
		w.until("in", 5*time.Second, w.over("quic"))
		w.device.Set(netsim.Weather{UDPBlocked: true})
		w.add(1)
		w.until("says Hello on another path", 10*time.Second, func() bool { n, _ := w.collector.lastHello(); return n == 2 })
		if took := w.stop(); took > 3*time.Second {
			t.Errorf("stopping took %v", took)
		}
		time.Sleep(time.Minute)
	})
}

// TestObstacleIsTheProblem: what the dialler met is what people are told.
func TestObstacleIsTheProblem(t *testing.T) {
	for obstacle, problem := range map[path.Obstacle]link.Problem{
		path.Portal: link.Portal, path.ProxyLogin: link.ProxyLogin, path.ProxyRefused: link.ProxyRefused, path.NoName: link.NoName,
	} {
		in(t, func(w *world) {
			w.config.Dialer = link.DialFunc(func(context.Context, *tls.Config) (wire.Session, error) {
				return nil, fmt.Errorf("dialling: %w", &path.Error{Obstacle: obstacle, Err: fmt.Errorf("so it is")})
			})
			w.run()
			w.until("said", time.Second, func() bool { return w.link.Status().Problem == problem })
			if p := w.link.Path(); p.Obstacle != problem || p.Transport != "" || !strings.Contains(w.link.Status().Detail, "so it is") {
				t.Errorf("Path = %+v, status %+v", p, w.link.Status())
			}
		})
	}
}

func TestChangeOfNetwork(t *testing.T) {
	t.Run("rebinding", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.start()
			w.run()
			w.until("connected", 5*time.Second, w.connected)
			for _, addr := range []string{"198.51.100.7", "198.51.100.8", "192.0.2.9"} {
				w.device.Move(addr)
				w.add(1)
				w.until("told from "+addr, 5*time.Second, w.toldAll)
				time.Sleep(5 * time.Minute)
			}
			if n, _ := w.collector.lastHello(); n != 1 {
				t.Errorf("%d sessions, want 1: the connection survives", n)
			}
		})
	})
	t.Run("path dead and the system says so", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.start()
			w.add(1)
			w.run()
			w.until("told", 5*time.Second, w.toldAll)
			// The collector forgot this session and its reset does not come
			// through either: only silence is left.
			w.device.Set(netsim.Weather{CutDown: true})
			w.link.Notice(wake.Event{Network: true})
			w.until("noticed", 6*time.Second, func() bool { return !w.connected() })
			w.device.Set(netsim.Weather{})
			w.link.Notice(wake.Event{Network: true})
			w.until("back", 25*time.Second, w.connected)
		})
	})
	t.Run("path alive, collector knows no pings", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.deaf = true
			w.collector.start()
			w.add(1)
			w.run()
			w.until("told", 5*time.Second, w.toldAll)
			for range 10 {
				w.link.Notice(wake.Event{Slept: time.Minute})
				time.Sleep(10 * time.Second)
			}
			if n, _ := w.collector.lastHello(); n != 1 || w.collector.doubled != 10 {
				t.Errorf("%d sessions, %d reports again; want 1 and 10", n, w.collector.doubled)
			}
		})
	})
	t.Run("path alive", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.start()
			w.add(1)
			w.run()
			w.until("told", 5*time.Second, w.toldAll)
			time.Sleep(time.Second) // until then nobody knows that this collector answers pings
			for range 10 {
				w.link.Notice(wake.Event{Slept: time.Minute})
				time.Sleep(10 * time.Second)
			}
			if n, _ := w.collector.lastHello(); n != 1 || w.collector.pings != 1+10 || w.collector.doubled != 0 {
				t.Errorf("%d sessions, %d pings, %d reports again; want 1, the first and 10, and none", n, w.collector.pings, w.collector.doubled)
			}
			if d := cmp.Diff(w.all(), w.collector.texts()); d != "" {
				t.Errorf("stored (-want +got):\n%s", d)
			}
		})
	})
	// A new device, one on battery that has nothing new, and one whose last
	// report the disk needed room for: nothing to tell, not even once more.
	empty := func(deaf bool, f func(*world)) func(*testing.T) {
		return func(t *testing.T) {
			in(t, func(w *world) {
				w.collector.deaf = deaf
				w.collector.start()
				w.run()
				w.until("connected", 5*time.Second, w.connected)
				time.Sleep(5 * time.Second)
				f(w)
			})
		}
	}
	notice := func(w *world) {
		for range 10 {
			w.link.Notice(wake.Event{Network: true})
			time.Sleep(10 * time.Second)
		}
		if n, _ := w.collector.lastHello(); n != 1 {
			w.outer.Errorf("%d sessions, want 1: this one lives", n)
		}
	}
	t.Run("empty spool, path alive", empty(false, func(w *world) {
		notice(w)
		if w.collector.pings != 11 {
			w.outer.Errorf("%d pings, want one at the begin and 10", w.collector.pings)
		}
	}))
	t.Run("empty spool, path alive, older collector", empty(true, func(w *world) {
		notice(w)
		w.add(1)
		w.until("told", 5*time.Second, w.toldAll)
	}))
	t.Run("empty spool, path dead", empty(false, func(w *world) {
		w.device.Set(netsim.Weather{CutDown: true})
		w.link.Notice(wake.Event{Network: true})
		w.until("noticed", 6*time.Second, func() bool { return !w.connected() })
		w.device.Set(netsim.Weather{})
		w.link.Notice(wake.Event{Network: true})
		w.until("back", 25*time.Second, w.connected)
	}))
	t.Run("acknowledged report is gone, path alive", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.start()
			w.add(1)
			w.run()
			w.until("told", 5*time.Second, w.toldAll)
			w.stop()
			time.Sleep(45 * 24 * time.Hour)
			w.run()
			w.until("connected", 5*time.Second, w.connected)
			time.Sleep(5 * time.Second)
			if first, last := w.spool.First(), w.spool.Last(); first != 0 || last != 1 {
				t.Errorf("spool holds %d to %d, want nothing of 1: it was too old at the Welcome", first, last)
			}
			w.link.Notice(wake.Event{Slept: time.Hour})
			time.Sleep(10 * time.Second)
			if n, _ := w.collector.lastHello(); n != 2 {
				t.Errorf("%d sessions, want 2: the second lives", n)
			}
		})
	})
	t.Run("nobody says so", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.start()
			w.run()
			w.until("connected", 5*time.Second, w.connected)
			w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
			// A keep-alive that is not answered, then three times its distance.
			w.until("noticed", 101*time.Second, func() bool { return !w.connected() })
		})
	})
	t.Run("while waiting", func(t *testing.T) {
		in(t, func(w *world) {
			w.run()
			time.Sleep(time.Hour)
			w.until("waiting for long", time.Hour, func() bool {
				st := w.link.Status()
				return st.State == link.Waiting && time.Until(st.RetryAt) > time.Minute
			})
			w.collector.start()
			w.link.Notice(wake.Event{Network: true})
			w.until("connected", 3*time.Second, w.connected)
		})
	})
}
