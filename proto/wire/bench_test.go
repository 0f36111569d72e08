package wire_test

import (
	"context"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// BenchmarkHandshake compares sessions with mutual TLS against bare quic-go in
// the same run; both ends are on this machine. ns/op is the inverse of the rate.
func BenchmarkHandshake(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		server := &quic.Transport{Conn: loopbackUDP(b)}
		client := &quic.Transport{Conn: loopbackUDP(b)}
		defer server.Close()
		defer client.Close()
		ln := must(server.Listen(serverTLS(b), nil))(b)
		go func() {
			for {
				if _, err := ln.Accept(context.Background()); err != nil {
					return
				}
			}
		}()
		conf := clientTLS(b)
		conf.NextProtos = []string{wire.ALPN}
		parallel(b, func() error {
			c, err := client.Dial(b.Context(), server.Conn.LocalAddr(), conf, nil)
			if err == nil {
				err = c.CloseWithError(0, "")
			}
			return err
		})
	})
	b.Run("wire", func(b *testing.B) {
		server := wire.NewEndpoint(loopbackUDP(b), wire.EndpointConfig{StatelessResetKey: new([32]byte)})
		client := wire.NewEndpoint(loopbackUDP(b), wire.EndpointConfig{})
		defer server.Close()
		defer client.Close()
		acceptAll(must(server.Listen(serverTLS(b)))(b))
		conf := clientTLS(b)
		parallel(b, func() error {
			s, err := client.Dial(b.Context(), server.LocalAddr(), conf)
			if err == nil {
				err = s.Close(hmpb.Code_CODE_NORMAL, "")
			}
			return err
		})
	})
}

func parallel(b *testing.B, op func() error) {
	var refused atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := op(); err != nil {
				refused.Add(1)
			}
		}
	})
	b.ReportMetric(float64(refused.Load())/float64(b.N), "refused/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
}

func acceptAll(ln wire.Listener) {
	go func() {
		for {
			if _, err := ln.Accept(context.Background()); err != nil {
				return
			}
		}
	}()
}

// BenchmarkMemory holds 1,000 idle connections, client and server in this one
// process, and reports bytes of heap and stacks for both ends of one.
func BenchmarkMemory(b *testing.B) {
	const connections = 1000
	measure := func(b *testing.B, connect func() (end func())) {
		for b.Loop() {
			before := used()
			var mu sync.Mutex
			var ends []func()
			var wg sync.WaitGroup
			places := make(chan struct{}, 16)
			for range connections {
				wg.Go(func() {
					places <- struct{}{}
					end := connect()
					<-places
					mu.Lock()
					ends = append(ends, end)
					mu.Unlock()
				})
			}
			wg.Wait()
			b.ReportMetric(float64(used()-before)/connections, "B/both-ends")
			for _, end := range ends {
				end()
			}
		}
	}
	b.Run("bare", func(b *testing.B) {
		server := &quic.Transport{Conn: loopbackUDP(b)}
		client := &quic.Transport{Conn: loopbackUDP(b)}
		defer server.Close()
		defer client.Close()
		ln := must(server.Listen(serverTLS(b), nil))(b)
		conf := clientTLS(b)
		conf.NextProtos = []string{wire.ALPN}
		measure(b, func() func() {
			c := must(client.Dial(b.Context(), server.Conn.LocalAddr(), conf, nil))(b)
			s := must(ln.Accept(b.Context()))(b)
			return func() { c.CloseWithError(0, ""); s.CloseWithError(0, "") }
		})
	})
	b.Run("wire", func(b *testing.B) {
		server := wire.NewEndpoint(loopbackUDP(b), wire.EndpointConfig{})
		client := wire.NewEndpoint(loopbackUDP(b), wire.EndpointConfig{})
		defer server.Close()
		defer client.Close()
		ln := must(server.Listen(serverTLS(b)))(b)
		measure(b, func() func() {
			c := must(client.Dial(b.Context(), server.LocalAddr(), clientTLS(b)))(b)
			s := must(ln.Accept(b.Context()))(b)
			return func() { c.Close(hmpb.Code_CODE_NORMAL, ""); s.Close(hmpb.Code_CODE_NORMAL, "") }
		})
	})
}

func used() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// meter counts what passes a socket, with IPv4 and UDP headers.
type meter struct {
	*net.UDPConn
	bytes, packets atomic.Int64
}

func (m *meter) count(n int) {
	m.packets.Add(1)
	m.bytes.Add(int64(n) + 28)
}

func (m *meter) ReadFrom(b []byte) (int, net.Addr, error) {
	n, a, err := m.UDPConn.ReadFrom(b)
	m.count(n)
	return n, a, err
}

func (m *meter) WriteTo(b []byte, a net.Addr) (int, error) {
	m.count(len(b))
	return m.UDPConn.WriteTo(b, a)
}

// plain hides the methods by which quic-go would batch packets past the meter.
type plain struct{ net.PacketConn }

// BenchmarkBytes counts all IP bytes of one report with 20 values, and its
// acknowledgement, on a session that is otherwise idle.
func BenchmarkBytes(b *testing.B) {
	m := &meter{UDPConn: loopbackUDP(b)}
	client := wire.NewEndpoint(plain{m}, wire.EndpointConfig{})
	server := wire.NewEndpoint(loopbackUDP(b), wire.EndpointConfig{})
	defer client.Close()
	defer server.Close()
	ln := must(server.Listen(serverTLS(b)))(b)
	agent := must(client.Dial(b.Context(), server.LocalAddr(), clientTLS(b)))(b)
	collector := must(ln.Accept(b.Context()))(b)
	up := must(wire.Open(b.Context(), agent, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{}))(b)
	_, down, err := wire.Accept(b.Context(), collector)
	if err != nil {
		b.Fatal(err)
	}
	if err := down.ReadMsg(&hmpb.ReportHeader{}); err != nil {
		b.Fatal(err)
	}
	var readings []*hmpb.Reading
	for i := range 20 {
		readings = append(readings, hmpb.Reading_builder{Id: ptr(uint32(i + 1)), Number: ptr(int64(8_123_456_789) >> i)}.Build())
	}
	seq := uint64(1_000_000)
	start, packets := m.bytes.Load(), m.packets.Load()
	for b.Loop() {
		seq++
		report(b, up, down, seq, readings)
		// The next report comes a minute later; here: after the peer's late
		// acknowledgement of the packet (max_ack_delay 25 ms) was sent.
		<-time.After(30 * time.Millisecond)
	}
	b.ReportMetric(float64(m.bytes.Load()-start)/float64(b.N), "IP-bytes/report")
	b.ReportMetric(float64(m.packets.Load()-packets)/float64(b.N), "packets/report")
}

func report(b *testing.B, up, down *wire.Framed, seq uint64, readings []*hmpb.Reading) {
	entry := hmpb.Entry_builder{DeviceMs: ptr(time.Now().UnixMilli()), State: hmpb.State_builder{Readings: readings}.Build()}.Build()
	batch := hmpb.Batch_builder{SpoolEpoch: make([]byte, 16), FirstSeq: &seq, Entries: []*hmpb.Entry{entry}}.Build()
	if err := up.WriteBatch(batch); err != nil {
		b.Fatal(err)
	}
	if _, err := down.ReadBatch(); err != nil {
		b.Fatal(err)
	}
	ack := hmpb.ReportDown_builder{Ack: hmpb.Ack_builder{ThroughSeq: &seq, TimeMs: ptr(time.Now().UnixMilli())}.Build()}.Build()
	if err := down.WriteMsg(ack); err != nil {
		b.Fatal(err)
	}
	if err := up.ReadMsg(&hmpb.ReportDown{}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkReport is the cost of a report and its acknowledgement, both ends.
func BenchmarkReport(b *testing.B) {
	client := wire.NewEndpoint(loopbackUDP(b), wire.EndpointConfig{})
	server := wire.NewEndpoint(loopbackUDP(b), wire.EndpointConfig{})
	defer client.Close()
	defer server.Close()
	ln := must(server.Listen(serverTLS(b)))(b)
	agent := must(client.Dial(b.Context(), server.LocalAddr(), clientTLS(b)))(b)
	collector := must(ln.Accept(b.Context()))(b)
	up := must(wire.Open(b.Context(), agent, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{}))(b)
	_, down, err := wire.Accept(b.Context(), collector)
	if err != nil {
		b.Fatal(err)
	}
	if err := down.ReadMsg(&hmpb.ReportHeader{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		report(b, up, down, 1, nil)
	}
}
