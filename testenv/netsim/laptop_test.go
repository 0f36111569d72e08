package netsim_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"hausmeister/agent"
	"hausmeister/agent/enroll"
	"hausmeister/agent/link"
	"hausmeister/platform/wake"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/ledger"
	"hausmeister/testenv/netsim"
)

// laptop is a device with the real agent; only what it is made of is invented.
type laptop struct {
	host    *netsim.Host
	number  int
	offset  time.Duration // its clock minus the true one
	log     *slog.Logger
	machine *fakes.Machine
	files   *fakes.Disk
	keys    *fakes.Keys
	spool   *fakes.Disk
	spent   []*fakes.Disk // spools of before the machine was made anew
	device  string

	// of the present run
	agent    *agent.Agent
	endpoint *wire.Endpoint
	cancel   context.CancelFunc
	events   chan wake.Event
	running  sync.WaitGroup
}

func newLaptop(host *netsim.Host, number int, offset time.Duration, log *slog.Logger) *laptop {
	l := &laptop{host: host, number: number, offset: offset, log: log.With("laptop", number),
		files: fakes.NewDisk(), keys: fakes.NewKeys(), spool: fakes.NewDisk()}
	l.machine = fakes.NewMachine(number, l.now)
	return l
}

func (l *laptop) now() time.Time { return time.Now().Add(l.offset) }

func (l *laptop) dial(ctx context.Context, address string, conf *tls.Config) (wire.Session, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return l.endpoint.Dial(ctx, net.UDPAddrFromAddrPort(to), conf)
}

func (l *laptop) keeper() (*enroll.Keeper, error) {
	id := l.machine.Identity()
	return enroll.Open(enroll.Config{
		Files: l.files, Keys: l.keys, Dial: l.dial, Log: l.log,
		Hardware: func(context.Context) ident.Hardware {
			return ident.Hardware{Manufacturer: id.Manufacturer.Value, Model: id.Model.Value, Serial: id.Serial.Value, OS: id.OS}
		},
		BuildTime: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	})
}

// start switches the agent on; with a claim it enrols first.
func (l *laptop) start(t *testing.T, claim string) {
	t.Helper()
	pc, err := l.host.ListenPacket(0)
	if err != nil {
		t.Fatal(err)
	}
	l.endpoint = wire.NewEndpoint(wire.TolerantSocket(pc, wake.Transient), wire.EndpointConfig{})
	if claim != "" {
		k, err := l.keeper()
		if err != nil {
			t.Fatal(err)
		}
		id, err := k.Enroll(t.Context(), claim)
		if err != nil {
			t.Fatalf("enrolling: %v", err)
		}
		if l.device != "" && l.device != id.Device {
			t.Fatalf("enrolled as %s, was %s", id.Device, l.device)
		}
		l.device = id.Device
	}
	l.events = make(chan wake.Event, 8)
	random := rand.New(rand.NewPCG(7, uint64(l.number)))
	var mu sync.Mutex
	l.agent = agent.New(agent.Config{
		Version: "1.0.0", Hash: make([]byte, 32), Disk: l.spool, Files: l.files, Open: l.keeper, Dial: l.dial,
		Source: l.machine, Watcher: watcher(l.events), Now: l.now, Log: l.log,
		Random: func() float64 { mu.Lock(); defer mu.Unlock(); return random.Float64() },
	})
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.running.Go(func() {
		if err := l.agent.Run(ctx); err != nil {
			t.Errorf("agent %d ended: %v", l.number, err)
		}
	})
}

type watcher chan wake.Event

func (w watcher) Run(ctx context.Context, ready func()) error { ready(); <-ctx.Done(); return nil }
func (w watcher) Events() <-chan wake.Event                   { return w }

// stop switches it off in good order, crash without a word.
func (l *laptop) stop() {
	l.cancel()
	l.running.Wait()
	l.endpoint.Close()
}

func (l *laptop) crash(t *testing.T) {
	t.Helper()
	l.endpoint.Close()
	// What the agent writes at its end, a crash does not.
	left := fakes.NewDisk()
	names, err := l.spool.Names()
	for _, name := range names {
		var data []byte
		if data, err = l.spool.Read(name); err != nil {
			break
		}
		left.Put(name, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.stop()
	l.spool = left
}

// roam gives it another address, and tells it so as the system would.
func (l *laptop) roam(addr string) {
	l.host.Move(addr)
	l.events <- wake.Event{Network: true}
}

// rest waits until all that the laptop made is acknowledged, switches it off,
// and returns how much is not. A report that is made in its last moment needs
// another start.
func (l *laptop) rest(t *testing.T) (waiting uint64) {
	for range 5 {
		for limit := time.Now().Add(10 * time.Minute); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
			st := l.agent.Status()
			if waiting = st.SpoolWaiting; waiting == 0 && st.State == link.Connected {
				break
			}
		}
		l.stop()
		if waiting > 0 {
			return waiting
		}
		if waiting = l.agent.Status().SpoolWaiting; waiting == 0 {
			return 0
		}
		l.start(t, "")
	}
	l.stop()
	return waiting
}

// renew makes the machine anew with the same serial: key, certificate and
// spool are gone.
func (l *laptop) renew() {
	l.spent = append(l.spent, l.spool)
	l.files, l.keys, l.spool = fakes.NewDisk(), fakes.NewKeys(), fakes.NewDisk()
}

// produced adds all that the laptop ever made; it must be off.
func (l *laptop) produced(t *testing.T, b ledger.Book) {
	t.Helper()
	for _, disk := range append(l.spent, l.spool) {
		if err := b.Produced(disk); err != nil {
			t.Fatalf("laptop %d: %v", l.number, err)
		}
	}
}
