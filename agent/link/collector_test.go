package link_test

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

const port = 8443

// collector is the other end: the real one's duties in a few lines, and faults
// on demand. Its store outlives restarts.
type collector struct {
	t    *testing.T
	host *netsim.Host
	tls  *tls.Config

	mu sync.Mutex
	// below is guarded by mu
	storeID  []byte
	cursors  map[string]uint64
	stored   map[string]map[uint64]string
	dropped  int // sequences that were named as dropped
	doubled  int // sequences that came again
	batches  int
	hellos   []*hmpb.Hello
	byes     int
	pings    int
	stills   int // StillHere, over all sessions
	renewals int
	sessions []wire.Session
	endpoint *wire.Endpoint
	tcp      net.Listener // nil unless startTCP
	welcomed []wire.Session
	running  sync.WaitGroup

	// greet answers a Hello instead of a Welcome, or is nil.
	greet func(n int, s wire.Session, h *hmpb.Hello) *hmpb.ControlDown
	// onBatch may take the answering over; n counts from 1.
	onBatch func(n int, s wire.Session, f *wire.Framed, b *hmpb.Batch) (taken bool)
	welcome func(*hmpb.Welcome)
	// onLive serves live streams.
	onLive func(*wire.Framed)
	// onFetch serves fetch streams.
	onFetch func(*wire.Framed, *hmpb.FetchHeader)
	down    *wire.Framed // control stream of the newest session
	deaf    bool         // to pings, as collectors before them
}

func newCollector(t *testing.T, ca *ident.Authority, host *netsim.Host) *collector {
	cert, err := ca.IssueServer([]string{"collector.example"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &collector{
		t: t, host: host, storeID: []byte("store 0000000001"),
		tls:     ident.CollectorConfig(func() (*tls.Certificate, error) { return cert, nil }),
		cursors: map[string]uint64{}, stored: map[string]map[uint64]string{},
	}
}

var resetKey = [32]byte{1}

// start opens the port and serves until kill or stop.
func (c *collector) start() {
	c.t.Helper()
	pc, err := c.host.ListenPacket(port)
	if err != nil {
		c.t.Fatal(err)
	}
	endpoint := wire.NewEndpoint(pc, wire.EndpointConfig{StatelessResetKey: &resetKey})
	ln, err := endpoint.Listen(c.tls)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.endpoint, c.sessions = endpoint, nil
	c.mu.Unlock()
	c.running.Go(func() {
		for {
			s, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			c.mu.Lock()
			c.sessions = append(c.sessions, s)
			c.mu.Unlock()
			c.running.Go(func() { c.serve(s) })
		}
	})
}

// startTCP opens the TCP port beside it.
func (c *collector) startTCP() {
	c.t.Helper()
	ln, err := c.host.ListenTCP(port)
	if err != nil {
		c.t.Fatal(err)
	}
	c.set(func() { c.tcp = ln })
	c.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c.running.Go(func() {
				tc := tls.Server(conn, c.tls)
				if tc.Handshake() != nil {
					conn.Close()
					return
				}
				s, err := wire.ServeTCP(tc)
				if err != nil {
					return
				}
				c.set(func() { c.sessions = append(c.sessions, s) })
				c.serve(s)
			})
		}
	})
}

// kill is kill -9: nobody is told.
func (c *collector) kill() {
	if c.tcp != nil {
		c.tcp.Close()
		for _, s := range c.sessions {
			if s.Transport() == "tcp" { // the system tells the peers of a process that is gone
				s.Close(hmpb.Code_CODE_SHUTTING_DOWN, "")
			}
		}
	}
	c.endpoint.Close()
	c.running.Wait()
}

func (c *collector) stop() {
	c.mu.Lock()
	sessions := c.sessions
	c.mu.Unlock()
	for _, s := range sessions {
		s.Close(hmpb.Code_CODE_SHUTTING_DOWN, "")
	}
	time.Sleep(time.Second) // for the frames on their way
	c.kill()
}

func (c *collector) serve(s wire.Session) {
	for {
		t, f, err := wire.Accept(context.Background(), s)
		if err != nil {
			return
		}
		c.running.Go(func() {
			switch t {
			case hmpb.StreamType_STREAM_TYPE_CONTROL:
				c.control(s, f)
			case hmpb.StreamType_STREAM_TYPE_REPORT:
				c.report(s, f)
			case hmpb.StreamType_STREAM_TYPE_LIVE:
				c.onLive(f)
			case hmpb.StreamType_STREAM_TYPE_FETCH:
				var header hmpb.FetchHeader
				if f.ReadMsg(&header) == nil {
					c.onFetch(f, &header)
				}
			case hmpb.StreamType_STREAM_TYPE_RENEW:
				c.mu.Lock()
				c.renewals++
				c.mu.Unlock()
				f.CloseWrite()
			}
		})
	}
}

func (c *collector) control(s wire.Session, f *wire.Framed) {
	var hello hmpb.Hello
	if f.ReadMsg(&hello) != nil {
		return
	}
	c.mu.Lock()
	c.hellos, c.down = append(c.hellos, &hello), f
	n := len(c.hellos)
	w := hmpb.Welcome_builder{
		Version: proto.Uint32(1), TimeMs: proto.Int64(time.Now().UnixMilli()),
		StoreId: c.storeID, Cursor: proto.Uint64(c.cursors[string(hello.GetSpoolEpoch())]),
	}.Build()
	if c.welcome != nil {
		c.welcome(w)
	}
	greet := c.greet
	c.mu.Unlock()
	down := hmpb.ControlDown_builder{Welcome: w}.Build()
	if greet != nil {
		if other := greet(n, s, &hello); other != nil {
			down = other
		}
	}
	f.WriteMsg(down)
	if down.GetWelcome() != nil { // the newer session of a device counts, as in collector/gateway
		c.mu.Lock()
		older := c.welcomed
		c.welcomed = []wire.Session{s}
		c.mu.Unlock()
		for _, o := range older {
			c.running.Go(func() { o.Close(hmpb.Code_CODE_REPLACED, "") })
		}
	}
	for {
		var up hmpb.ControlUp
		if f.ReadMsg(&up) != nil {
			f.CloseWrite()
			return
		}
		c.mu.Lock()
		deaf := c.deaf
		switch up.WhichKind() {
		case hmpb.ControlUp_Goodbye_case:
			c.byes++
		case hmpb.ControlUp_Ping_case:
			c.pings++
		case hmpb.ControlUp_StillHere_case:
			c.stills++
		}
		c.mu.Unlock()
		if ping := up.GetPing(); ping != nil && !deaf {
			f.WriteMsg(hmpb.ControlDown_builder{Pong: hmpb.Pong_builder{Id: proto.Uint64(ping.GetId())}.Build()}.Build())
		}
	}
}

func (c *collector) report(s wire.Session, f *wire.Framed) {
	if f.ReadMsg(&hmpb.ReportHeader{}) != nil {
		return
	}
	for {
		b, err := f.ReadBatch()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.batches++
		n, hook := c.batches, c.onBatch
		c.mu.Unlock()
		if hook == nil || !hook(n, s, f, b) {
			f.WriteMsg(c.store(b))
		}
	}
}

// store does as wire.md 8 says.
func (c *collector) store(b *hmpb.Batch) *hmpb.ReportDown {
	c.mu.Lock()
	defer c.mu.Unlock()
	epoch := string(b.GetSpoolEpoch())
	if c.stored[epoch] == nil {
		c.stored[epoch] = map[uint64]string{}
	}
	skip := map[uint64]bool{}
	for _, r := range b.GetDropped() {
		for seq := r.GetFrom(); seq <= r.GetTo(); seq++ {
			skip[seq] = true
		}
	}
	for _, e := range b.GetEntries() {
		seq := b.GetFirstSeq() + uint64(e.GetOffset())
		if seq <= c.cursors[epoch] {
			c.doubled++
			continue
		}
		for c.cursors[epoch]+1 < seq && skip[c.cursors[epoch]+1] {
			c.cursors[epoch]++
			c.dropped++
		}
		if c.cursors[epoch]+1 != seq {
			return hmpb.ReportDown_builder{Resend: hmpb.Resend_builder{
				FromSeq: proto.Uint64(c.cursors[epoch] + 1), TimeMs: proto.Int64(time.Now().UnixMilli()),
			}.Build()}.Build()
		}
		if _, there := c.stored[epoch][seq]; there {
			c.t.Errorf("sequence %d stored twice", seq)
		}
		c.stored[epoch][seq] = e.GetState().GetReadings()[0].GetText()
		c.cursors[epoch] = seq
	}
	return ack(c.cursors[epoch])
}

func ack(through uint64) *hmpb.ReportDown {
	return hmpb.ReportDown_builder{Ack: hmpb.Ack_builder{
		ThroughSeq: proto.Uint64(through), TimeMs: proto.Int64(time.Now().UnixMilli()),
	}.Build()}.Build()
}

// restore takes an older state of the store, as from a backup.
func (c *collector) restore(cursors map[string]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.storeID = []byte("store 0000000002")
	c.cursors = maps.Clone(cursors)
	for epoch, entries := range c.stored {
		maps.DeleteFunc(entries, func(seq uint64, _ string) bool { return seq > cursors[epoch] })
	}
}

// texts are all that is stored, of all epochs, in order.
func (c *collector) texts() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, entries := range c.stored {
		for _, seq := range slices.Sorted(maps.Keys(entries)) {
			all = append(all, entries[seq])
		}
	}
	return all
}

func (c *collector) renewed() (n int) {
	c.set(func() { n = c.renewals })
	return n
}

func (c *collector) lastHello() (n int, h *hmpb.Hello) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.hellos) == 0 {
		return 0, &hmpb.Hello{}
	}
	return len(c.hellos), c.hellos[len(c.hellos)-1]
}

// set changes or reads what mu guards.
func (c *collector) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
