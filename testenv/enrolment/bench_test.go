package enrolment

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/enroll"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// agents at once: enough that both processors are busy whatever one waits for.
const agents = 64

// BenchmarkEnrolment measures handshakes with both certificates and nothing
// behind them, then whole enrolments (handshake, key, certificate, record,
// audit entry, fsync), in turns in the same run. Budget: design.md section 8.
func BenchmarkEnrolment(b *testing.B) {
	w := newWorld(b, dbtest.Open(b, migrations))
	claim := w.claim(b, enroll.NewClaim{Cap: enroll.MaxCap})
	bare := newBare(b, w)
	var bareTime, enrolTime, bareCPU, enrolCPU time.Duration
	total := 0
	for b.Loop() {
		const batch = 500
		total += batch
		t, c := each(b, batch, func(int) error { return bare.handshake() })
		bareTime, bareCPU = bareTime+t, bareCPU+c
		t, c = each(b, batch, func(int) error {
			_, err := w.device(b, "quic", "").Enroll(context.Background(), claim)
			return err
		})
		enrolTime, enrolCPU = enrolTime+t, enrolCPU+c
	}
	perSecond := func(d time.Duration) float64 { return float64(total) / d.Seconds() }
	b.ReportMetric(perSecond(bareTime), "bare/s")
	b.ReportMetric(perSecond(enrolTime), "enrolments/s")
	b.ReportMetric(perSecond(enrolTime)/perSecond(bareTime), "of-bare")
	b.ReportMetric(float64(bareCPU.Microseconds())/float64(total), "bare-µs-CPU-both-ends")
	b.ReportMetric(float64(enrolCPU.Microseconds())/float64(total), "enrolment-µs-CPU-both-ends")
	b.ReportMetric(0, "ns/op") // a turn of both is no figure
}

// each runs n tries in agents goroutines and returns time and processor time.
func each(b *testing.B, n int, try func(int) error) (time.Duration, time.Duration) {
	b.Helper()
	began, cpu := time.Now(), cpuTime(b)
	var next atomic.Int64
	var all sync.WaitGroup
	for range agents {
		all.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := try(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(began), cpuTime(b) - cpu
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bare is a listener that only says one byte to who has a certificate: with it the
// client knows that its own was taken.
type bare struct {
	w    *world
	to   *wire.Endpoint
	ln   wire.Listener
	conf *tls.Config
}

func newBare(b *testing.B, w *world) *bare {
	b.Helper()
	v := w.device(b, "quic", "")
	v.mustEnroll(b, w.claim(b, enroll.NewClaim{}))
	x := &bare{w: w, to: endpoint(b), conf: v.TLSConfig()}
	var err error
	if x.ln, err = x.to.Listen(w.enroll.TLSConfig()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			s, err := x.ln.Accept(ctx)
			if err != nil {
				return
			}
			running.Go(func() {
				if st, err := s.OpenStream(ctx); err == nil && len(s.ConnectionState().PeerCertificates) > 0 {
					st.Write([]byte{1})
				}
				<-s.Context().Done()
			})
		}
	})
	b.Cleanup(func() {
		cancel()
		running.Wait()
		x.to.Close()
	})
	return x
}

func (x *bare) handshake() error {
	s, err := x.w.quic.Dial(context.Background(), x.ln.Addr(), x.conf)
	if err != nil {
		return err
	}
	defer s.Close(hmpb.Code_CODE_NORMAL, "")
	st, err := s.AcceptStream(context.Background())
	if err != nil {
		return err
	}
	one := make([]byte, 1)
	if _, err := st.Read(one); err != nil || one[0] != 1 {
		return fmt.Errorf("welcome byte %d: %w", one[0], err)
	}
	return nil
}

// BenchmarkRenewedKey is what of an enrolment is not the handshake and not the
// store: key, request, check, certificate.
func BenchmarkRenewedKey(b *testing.B) {
	ca, err := ident.NewAuthority(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	device := ident.NewID(time.Now())
	for b.Loop() {
		key, err := ident.NewKey()
		if err != nil {
			b.Fatal(err)
		}
		csr, err := ident.CreateCSR(key, "c")
		if err != nil {
			b.Fatal(err)
		}
		pub, _, err := ident.CheckCSR(csr, "c")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ca.IssueDevice(pub, device, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
