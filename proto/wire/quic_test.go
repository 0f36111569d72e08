package wire_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

func unreachable(err error) bool { return errors.Is(err, syscall.ENETUNREACH) }

// Without the wrapper the first failed send ends a session; with it a laptop
// that changes its Wi-Fi only pauses.
func TestTolerantSocket(t *testing.T) {
	for _, tt := range []struct {
		name    string
		wrap    func(net.PacketConn) net.PacketConn
		survive bool
	}{
		{"bare", func(c net.PacketConn) net.PacketConn { return c }, false},
		{"swallows nothing", func(c net.PacketConn) net.PacketConn {
			return wire.TolerantSocket(c, func(error) bool { return false })
		}, false},
		{"tolerant", func(c net.PacketConn) net.PacketConn { return wire.TolerantSocket(c, unreachable) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := netsim.New(netsim.Config{Seed: 1, Latency: 10 * time.Millisecond})
				defer n.Close()
				laptop, server := n.Host("10.0.0.1"), n.Host("10.0.0.2")
				a := wire.NewEndpoint(tt.wrap(must(laptop.ListenPacket(0))(t)), wire.EndpointConfig{})
				defer a.Close()
				c := wire.NewEndpoint(must(server.ListenPacket(port))(t), wire.EndpointConfig{})
				defer c.Close()
				agent, collector := connectQUIC(t, a, must(c.Listen(serverTLS(t)))(t), server.Addr(port))
				p := &pair{agent: agent, collector: collector}
				up, down := p.open(t)
				laptop.Set(netsim.Weather{Unreachable: true})
				up.WriteBatch(&hmpb.Batch{})
				time.Sleep(20 * time.Second)
				laptop.Set(netsim.Weather{})
				if alive := agent.Context().Err() == nil; alive != tt.survive {
					t.Fatalf("after 20 s without a network: alive = %t, want %t (%v)", alive, tt.survive, context.Cause(agent.Context()))
				}
				if tt.survive {
					if _, err := down.ReadBatch(); err != nil {
						t.Errorf("the batch written meanwhile: %v", err)
					}
				}
				agent.Close(hmpb.Code_CODE_NORMAL, "")
				collector.Close(hmpb.Code_CODE_NORMAL, "")
			})
		})
	}
}

// The same wrapper on a kernel socket keeps the methods by which quic-go finds
// its fast paths, and swallows what the predicate says only.
func TestTolerantKernelSocket(t *testing.T) {
	udp := loopbackUDP(t)
	defer udp.Close()
	invalid := func(err error) bool { return errors.Is(err, syscall.EINVAL) }
	type fast interface {
		net.PacketConn
		SyscallConn() (syscall.RawConn, error)
		SetReadBuffer(int) error
		ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
		WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error)
	}
	tolerant, ok := wire.TolerantSocket(udp, invalid).(fast)
	if !ok {
		t.Fatal("quic-go would not use segmentation offload on the wrapped socket")
	}
	strict := wire.TolerantSocket(udp, func(error) bool { return false }).(fast)
	nowhere := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)} // port 0: EINVAL
	if n, err := tolerant.WriteTo([]byte("abc"), nowhere); n != 3 || err != nil {
		t.Errorf("WriteTo = %d, %v, want 3 swallowed bytes", n, err)
	}
	if n, oobn, err := tolerant.WriteMsgUDP([]byte("abc"), nil, nowhere); n != 3 || oobn != 0 || err != nil {
		t.Errorf("WriteMsgUDP = %d, %d, %v, want 3 swallowed bytes", n, oobn, err)
	}
	if _, err := strict.WriteTo([]byte("abc"), nowhere); !invalid(err) {
		t.Errorf("WriteTo without tolerance: %v", err)
	}
	if _, _, err := strict.WriteMsgUDP([]byte("abc"), nil, nowhere); !invalid(err) {
		t.Errorf("WriteMsgUDP without tolerance: %v", err)
	}
}

// A laptop that roams, or whose router forgot it, keeps its session: many
// times, with bytes under way, and the collector follows to the new address.
func TestAddressChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{Seed: 1, Latency: 10 * time.Millisecond})
		defer n.Close()
		laptop := n.Host("10.0.0.1")
		agent, collector, end := simulatedQUIC(t, laptop, n.Host("10.0.0.2"))
		defer end()
		up, down := (&pair{agent: agent, collector: collector}).open(t)
		for i, addr := range []string{"10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.7", "10.1.0.8"} {
			laptop.Move(addr)
			if err := up.WriteBatch(hmpb.Batch_builder{FirstSeq: ptr(uint64(i))}.Build()); err != nil {
				t.Fatalf("move %d: %v", i, err)
			}
			if b, err := down.ReadBatch(); err != nil || b.GetFirstSeq() != uint64(i) {
				t.Fatalf("move %d: %v, %v", i, b, err)
			}
			down.WriteMsg(&hmpb.ReportDown{})
			if err := up.ReadMsg(&hmpb.ReportDown{}); err != nil {
				t.Fatalf("move %d: %v", i, err)
			}
			time.Sleep(time.Minute)
		}
		if got := collector.RemoteAddr().String(); got != laptop.Addr(40000).String() {
			t.Errorf("collector sees %s, the laptop is at %s", got, laptop.Addr(40000))
		}
		agent.Close(hmpb.Code_CODE_NORMAL, "")
		collector.Close(hmpb.Code_CODE_NORMAL, "")
	})
}

// relay is a router between two kernel sockets that can forget its mapping.
type relay struct {
	in     *net.UDPConn
	server net.Addr

	mu     sync.Mutex
	client net.Addr
	out    *net.UDPConn
}

func newRelay(t *testing.T, server net.Addr) *relay {
	r := &relay{in: loopbackUDP(t), server: server}
	r.rebind(t)
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := r.in.ReadFrom(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.client = from
			r.out.WriteTo(buf[:n], server)
			r.mu.Unlock()
		}
	}()
	t.Cleanup(func() { r.in.Close(); r.out.Close() })
	return r
}

// rebind gives the client another port in the server's eyes.
func (r *relay) rebind(t *testing.T) {
	out := loopbackUDP(t)
	r.mu.Lock()
	old := r.out
	r.out = out
	r.mu.Unlock()
	if old != nil {
		old.Close()
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, _, err := out.ReadFrom(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.in.WriteTo(buf[:n], r.client)
			r.mu.Unlock()
		}
	}()
}

func TestRebindingOnKernelSockets(t *testing.T) {
	a := wire.NewEndpoint(wire.TolerantSocket(loopbackUDP(t), unreachable), wire.EndpointConfig{})
	c := wire.NewEndpoint(loopbackUDP(t), wire.EndpointConfig{})
	defer a.Close()
	defer c.Close()
	r := newRelay(t, c.LocalAddr())
	agent, collector := connectQUIC(t, a, must(c.Listen(serverTLS(t)))(t), r.in.LocalAddr())
	up, down := (&pair{agent: agent, collector: collector}).open(t)
	seen := map[string]bool{}
	for i := range 5 {
		up.WriteBatch(hmpb.Batch_builder{FirstSeq: ptr(uint64(i))}.Build())
		if b, err := down.ReadBatch(); err != nil || b.GetFirstSeq() != uint64(i) {
			t.Fatalf("rebinding %d: %v, %v", i, b, err)
		}
		down.WriteMsg(&hmpb.ReportDown{})
		if err := up.ReadMsg(&hmpb.ReportDown{}); err != nil {
			t.Fatalf("rebinding %d: %v", i, err)
		}
		seen[collector.RemoteAddr().String()] = true
		r.rebind(t)
	}
	if len(seen) < 4 {
		t.Errorf("the collector saw only %d addresses: nothing was rebound", len(seen))
	}
	agent.Close(hmpb.Code_CODE_NORMAL, "")
}

// A collector that was killed and came back with its keys tells its former
// peers at their next frame, within a round trip; with other keys they learn it by silence only.
func TestStatelessReset(t *testing.T) {
	for _, tt := range []struct {
		name         string
		before, then *[32]byte
		within       time.Duration
		atLeast      time.Duration
	}{
		{"keys kept", &[32]byte{1}, &[32]byte{1}, 25 * time.Millisecond, 0},
		{"keys lost", &[32]byte{1}, &[32]byte{2}, wire.Idle * 3 / 2, wire.Idle},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := netsim.New(netsim.Config{Seed: 1, Latency: 10 * time.Millisecond})
				defer n.Close()
				server := n.Host("10.0.0.2")
				a := wire.NewEndpoint(must(n.Host("10.0.0.1").ListenPacket(0))(t), wire.EndpointConfig{})
				defer a.Close()
				c := wire.NewEndpoint(must(server.ListenPacket(port))(t), wire.EndpointConfig{StatelessResetKey: tt.before})
				agent, _ := connectQUIC(t, a, must(c.Listen(serverTLS(t)))(t), server.Addr(port))
				control := must(wire.Open(t.Context(), agent, hmpb.StreamType_STREAM_TYPE_CONTROL, &hmpb.Hello{}))(t)
				time.Sleep(time.Minute)
				c.Close() // without a word, as kill -9
				c = wire.NewEndpoint(must(server.ListenPacket(port))(t), wire.EndpointConfig{StatelessResetKey: tt.then})
				defer c.Close()
				must(c.Listen(serverTLS(t)))(t)
				start := time.Now()
				// A bare keep-alive is too small to be answered by a reset.
				still := hmpb.StillHere_builder{Padding: make([]byte, 16)}.Build()
				if err := control.WriteMsg(hmpb.ControlUp_builder{StillHere: still}.Build()); err != nil {
					t.Fatal(err)
				}
				wantError(t, "agent", ended(t, agent), hmpb.Code_CODE_LOST, false, false)
				if d := time.Since(start); d > tt.within || d < tt.atLeast {
					t.Errorf("agent noticed after %v, want %v to %v", d, tt.atLeast, tt.within)
				}
			})
		})
	}
}

// Many devices on one socket, as the fleet simulator has them, do not end each
// other.
func TestManySessionsOnOneSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{Seed: 1, Latency: 10 * time.Millisecond})
		defer n.Close()
		server := n.Host("10.0.0.2")
		a := wire.NewEndpoint(must(n.Host("10.0.0.1").ListenPacket(0))(t), wire.EndpointConfig{})
		defer a.Close()
		c := wire.NewEndpoint(must(server.ListenPacket(port))(t), wire.EndpointConfig{})
		defer c.Close()
		ln := must(c.Listen(serverTLS(t)))(t)
		var agents, collectors []wire.Session
		for range 50 {
			agent, collector := connectQUIC(t, a, ln, server.Addr(port))
			agents, collectors = append(agents, agent), append(collectors, collector)
		}
		agents[0].Close(hmpb.Code_CODE_NORMAL, "")
		collectors[1].Close(hmpb.Code_CODE_REVOKED, "")
		time.Sleep(time.Hour)
		for i := 2; i < len(agents); i++ {
			(&pair{agent: agents[i], collector: collectors[i]}).open(t)
			agents[i].Close(hmpb.Code_CODE_NORMAL, "")
		}
	})
}

// A dial towards silence ends with its context, or with the handshake timeout.
func TestDialTowardsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{Seed: 1, Latency: 10 * time.Millisecond})
		defer n.Close()
		silent := n.Host("10.0.0.2")
		a := wire.NewEndpoint(must(n.Host("10.0.0.1").ListenPacket(0))(t), wire.EndpointConfig{HandshakeTimeout: 5 * time.Second})
		defer a.Close()
		start := time.Now()
		_, err := a.Dial(t.Context(), silent.Addr(port), clientTLS(t))
		wantError(t, "Dial", err, hmpb.Code_CODE_LOST, false, false)
		if d := time.Since(start); d > 11*time.Second {
			t.Errorf("Dial took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Dial(ctx, silent.Addr(port), clientTLS(t)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial: got %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestListenerClose(t *testing.T) {
	c := wire.NewEndpoint(loopbackUDP(t), wire.EndpointConfig{})
	defer c.Close()
	ln := must(c.Listen(serverTLS(t)))(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ln.Accept(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Accept: got %v, want %v", err, context.Canceled)
	}
	ln.Close()
	if _, err := ln.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: got %v, want %v", err, net.ErrClosed)
	}
}

// TestResetWhileAnotherReads: whoever waits in a Read when a stream is reset, and then
// resets it himself, does not take the first one's code away.
func TestResetWhileAnotherReads(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		for range 300 {
			a, c := p.open(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = c.Read(make([]byte, 1))
				c.Reset(hmpb.Code_CODE_NORMAL)
			}()
			c.Reset(hmpb.Code_CODE_REPLACED)
			_, err := a.Read(make([]byte, 1))
			wantError(t, "peer's Read", err, hmpb.Code_CODE_REPLACED, true, true)
			<-done
			a.Reset(hmpb.Code_CODE_NORMAL)
		}
	})
}
