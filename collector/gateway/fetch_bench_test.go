package gateway_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"hausmeister/collector/bus"
	"hausmeister/collector/enroll"
	"hausmeister/collector/gateway"
	"hausmeister/collector/pace"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// A report is acknowledged no later while bytes of an update come on the same
// session: as quickly as a school's line may have them, and as quickly as loopback
// can, which no setting allows. Nothing is stored, so that what is measured is the
// order of our own writes. The fetch stops for a moment between samples.
func BenchmarkAckBesideFetch(b *testing.B) {
	for _, transport := range []string{"quic", "tcp"} {
		for name, rate := range map[string]int64{"school": 4 * pace.DefaultRate, "unbounded": 1 << 40} {
			b.Run(transport+"/"+name, func(b *testing.B) { ackBesideFetch(b, transport, rate) })
		}
	}
}

func ackBesideFetch(b *testing.B, transport string, rate int64) {
	r := newRepository(64 << 20)
	r.line.Rate = rate
	s := benchSession(b, transport, gateway.Config{Updates: r, Pace: pace.New(pace.Config{Rate: 1 << 40})})
	reports, err := wire.Open(b.Context(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
	if err != nil {
		b.Fatal(err)
	}
	seq := uint64(1)
	sample := func() time.Duration {
		begun := time.Now()
		var down hmpb.ReportDown
		if err := reports.WriteBatch(batch(seq, 1)); err != nil {
			b.Fatal(err)
		}
		if err := reports.ReadMsg(&down); err != nil {
			b.Fatal(err)
		}
		seq++
		return time.Since(begun)
	}
	const samples = 300 // a device's pace of entries lets so many through without waiting
	measure := func() (p50, p99 time.Duration) {
		took := make([]time.Duration, samples)
		for i := range took {
			took[i] = sample()
			time.Sleep(10 * time.Millisecond)
		}
		slices.Sort(took)
		return took[samples/2], took[samples*99/100]
	}
	for b.Loop() {
		alone50, alone99 := measure()
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		var n int64
		begun := time.Now()
		wg.Go(func() {
			for ctx.Err() == nil {
				f, err := wire.Open(ctx, s, hmpb.StreamType_STREAM_TYPE_FETCH, r.header(0))
				if err != nil {
					return
				}
				end := context.AfterFunc(ctx, func() { f.Reset(hmpb.Code_CODE_NORMAL) })
				m, _ := io.Copy(io.Discard, f)
				n += m
				end()
				f.CloseWrite()
			}
		})
		time.Sleep(300 * time.Millisecond)
		beside50, beside99 := measure()
		stop()
		wg.Wait()
		b.ReportMetric(float64(alone50.Microseconds()), "alone-p50-us")
		b.ReportMetric(float64(alone99.Microseconds()), "alone-p99-us")
		b.ReportMetric(float64(beside50.Microseconds()), "beside-p50-us")
		b.ReportMetric(float64(beside99.Microseconds()), "beside-p99-us")
		b.ReportMetric(float64(beside99)/float64(alone99), "p99-ratio")
		b.ReportMetric(float64(n)/time.Since(begun).Seconds()/1e6, "fetch-MB/s")
	}
}

// benchSession is a welcomed session on loopback with a gateway whose subjects
// store nothing.
func benchSession(b *testing.B, transport string, cfg gateway.Config) wire.Session {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	ca, err := ident.NewAuthority(time.Now())
	check(err)
	collector := ident.CollectorConfig(sync.OnceValues(func() (*tls.Certificate, error) { return ca.IssueServer([]string{"c"}, time.Now()) }))
	device := ident.AgentConfig(ident.AgentTLS{Pins: []ident.Fingerprint{ident.FingerprintOf(ca.Root)}, ServerName: "c", Trusted: time.Now})
	f := &subjects{may: enroll.MayAll}
	cfg.Enroll, cfg.Health, cfg.Bus, cfg.StoreID, cfg.Now, cfg.Log = f, f, bus.New(), []byte("store"), time.Now, slog.New(slog.DiscardHandler)
	g, err := gateway.New(cfg)
	check(err)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	endpoint := func() *wire.Endpoint {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		check(err)
		e := wire.NewEndpoint(pc, wire.EndpointConfig{})
		b.Cleanup(func() { e.Close() })
		return e
	}
	var s wire.Session
	if transport == "quic" {
		ln, err := endpoint().Listen(collector)
		check(err)
		wg.Go(func() { g.Serve(ctx, ln) })
		s, err = endpoint().Dial(ctx, ln.Addr(), device)
		check(err)
	} else {
		collector = collector.Clone()
		collector.NextProtos = []string{wire.ALPN}
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		wg.Go(func() { g.Serve(ctx, &tcpListener{ln: tcp, conf: collector}) })
		conn, err := net.Dial("tcp", tcp.Addr().String())
		check(err)
		s, err = wire.DialTCP(ctx, conn, device)
		check(err)
	}
	b.Cleanup(func() { s.Close(hmpb.Code_CODE_NORMAL, ""); stop(); wg.Wait() })
	hello := hmpb.Hello_builder{VersionMin: new(uint32(1)), VersionMax: new(uint32(1)), SpoolEpoch: epochA}.Build()
	control, err := wire.Open(ctx, s, hmpb.StreamType_STREAM_TYPE_CONTROL, hello)
	check(err)
	var down hmpb.ControlDown
	check(control.ReadMsg(&down))
	if !down.HasWelcome() {
		b.Fatalf("answer to Hello %v", &down)
	}
	return s
}
