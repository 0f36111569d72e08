package netsim_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/testenv/netsim"
)

func TestUDPGoesAsTheWeatherSays(t *testing.T) {
	tests := []struct {
		name  string
		agent netsim.Weather
		there netsim.Weather
		least int // of 1,000 packets from agent to collector
		most  int
	}{
		{"good", netsim.Weather{}, netsim.Weather{}, 1000, 1000},
		{"loss up", netsim.Weather{LossUp: 0.3}, netsim.Weather{}, 620, 780},
		{"loss only the other way", netsim.Weather{LossDown: 0.9}, netsim.Weather{}, 1000, 1000},
		{"loss at the far line", netsim.Weather{}, netsim.Weather{LossDown: 0.3}, 620, 780},
		{"cut up", netsim.Weather{CutUp: true}, netsim.Weather{}, 0, 0},
		{"cut the other way", netsim.Weather{CutDown: true}, netsim.Weather{}, 1000, 1000},
		{"UDP blocked", netsim.Weather{UDPBlocked: true}, netsim.Weather{}, 0, 0},
		{"far end gone", netsim.Weather{}, netsim.Weather{Unreachable: true}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := netsim.New(netsim.Config{Seed: 1, Latency: 20 * time.Millisecond})
				agent, there := n.Host("192.0.2.1"), n.Host("192.0.2.2")
				from, to := listen(t, agent, 0), listen(t, there, 443)
				agent.Set(tt.agent)
				there.Set(tt.there)
				got := 0
				for range 1000 {
					if _, err := from.WriteTo([]byte("x"), there.Addr(443)); err != nil {
						t.Fatal(err)
					}
					to.SetReadDeadline(time.Now().Add(time.Second))
					began := time.Now()
					if _, _, err := to.ReadFrom(make([]byte, 9)); err == nil {
						got++
						if d := time.Since(began); d != 20*time.Millisecond {
							t.Fatalf("packet took %v, want 20ms", d)
						}
					}
				}
				if got < tt.least || got > tt.most {
					t.Errorf("%d of 1000 packets arrived, want %d to %d", got, tt.least, tt.most)
				}
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestSendWithoutNetworkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{})
		defer n.Close()
		h := n.Host("192.0.2.1")
		c := listen(t, h, 0)
		h.Set(netsim.Weather{Unreachable: true})
		if _, err := c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 1}); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("WriteTo = %v, want ENETUNREACH", err)
		}
	})
}

func TestMoveShowsAnotherAddressAndLosesTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{Latency: time.Millisecond})
		defer n.Close()
		agent, there := n.Host("192.0.2.1"), n.Host("192.0.2.2")
		a, b := listen(t, agent, 7), listen(t, there, 443)
		agent.Move("198.51.100.9")
		if _, err := a.WriteTo([]byte("x"), there.Addr(443)); err != nil {
			t.Fatal(err)
		}
		_, from, err := b.ReadFrom(make([]byte, 9))
		if err != nil || from.String() != "198.51.100.9:7" {
			t.Fatalf("ReadFrom = %v, %v, want 198.51.100.9:7", from, err)
		}
		b.WriteTo([]byte("old"), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7})
		b.WriteTo([]byte("new"), from)
		buf := make([]byte, 9)
		if k, _, err := a.ReadFrom(buf); err != nil || string(buf[:k]) != "new" {
			t.Errorf("ReadFrom = %q, %v, want \"new\"", buf[:k], err)
		}
	})
}

func TestTCPStallsWhileCutAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{Latency: 10 * time.Millisecond})
		defer n.Close()
		agent, there := n.Host("192.0.2.1"), n.Host("192.0.2.2")
		ln, err := there.ListenTCP(443)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		got := make(chan []byte, 1)
		go func() {
			c, err := ln.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			all, _ := io.ReadAll(c)
			got <- all
		}()
		c, err := agent.DialTCP(context.Background(), netip.MustParseAddrPort("192.0.2.2:443"))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		agent.Set(netsim.Weather{CutDown: true})
		go func() {
			time.Sleep(time.Hour)
			agent.Set(netsim.Weather{UDPBlocked: true})
		}()
		c.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := c.Write([]byte("no")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write over a cut line = %v, want a deadline", err)
		}
		c.SetWriteDeadline(time.Time{})
		if _, err := c.Write([]byte("yes")); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != time.Hour+10*time.Millisecond {
			t.Errorf("Write took %v, want 1h plus the latency", d)
		}
		c.Close()
		if s := string(<-got); s != "yes" {
			t.Errorf("read %q, want %q", s, "yes")
		}
	})
}

func TestTCPRefusedAndDialThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{})
		defer n.Close()
		agent, there := n.Host("192.0.2.1"), n.Host("192.0.2.2")
		to := netip.MustParseAddrPort("192.0.2.2:443")
		if _, err := agent.DialTCP(context.Background(), to); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("DialTCP without a listener = %v, want ECONNREFUSED", err)
		}
		there.Set(netsim.Weather{CutUp: true})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := agent.DialTCP(ctx, to); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("DialTCP over a cut line = %v, want a deadline", err)
		}
	})
}

func listen(t *testing.T, h *netsim.Host, port uint16) net.PacketConn {
	t.Helper()
	c, err := h.ListenPacket(port)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
