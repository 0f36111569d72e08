package enroll_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

var (
	migrations = []db.Migrations{audit.Migrations, fleet.Migrations, enroll.Migrations}
	operator   = access.System("test")
)

const day = 24 * time.Hour

// clock is the collector's; a test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

func (c *clock) Add(d time.Duration) { c.Set(c.Now().Add(d)) }

// site is a collector cut down to this package: real database, fleet, authority
// and sessions; of the gateway only the switch.
type site struct {
	// serving is held by each session, and to change what follows.
	serving sync.RWMutex
	*enroll.Enroll
	db     *db.DB
	bus    *bus.Bus
	fleet  *fleet.Fleet
	clock  *clock
	dir    string
	owner  string
	ln     wire.Listener
	agents *wire.Endpoint // of the other ends

	reimaged atomic.Pointer[string] // the last device that was told to be
}

func newSite(t testing.TB, d *db.DB) *site {
	t.Helper()
	s := &site{
		db: d, bus: bus.New(), dir: filepath.Join(t.TempDir(), "ca"), agents: endpoint(t),
		clock: &clock{now: time.Date(2026, 11, 24, 7, 45, 0, 0, time.UTC)},
	}
	var err error
	if s.fleet, err = fleet.New(fleet.Config{DB: d, Now: s.clock.Now}); err != nil {
		t.Fatal(err)
	}
	s.owner = s.addOwner(t, "Landkreis Ahorn")
	s.reopen(t)
	own := endpoint(t)
	if s.ln, err = own.Listen(ident.CollectorConfig(s.certificate)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.serve(ctx, &running) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		s.agents.Close()
		own.Close()
	})
	return s
}

func endpoint(t testing.TB) *wire.Endpoint {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return wire.NewEndpoint(pc, wire.EndpointConfig{})
}

// certificate is that of the authority in use.
func (s *site) certificate() (*tls.Certificate, error) {
	s.serving.RLock()
	defer s.serving.RUnlock()
	return s.TLSConfig().GetCertificate(nil)
}

// reopen is the collector's restart, as far as this package sees it.
func (s *site) reopen(t testing.TB) {
	t.Helper()
	s.serving.Lock()
	defer s.serving.Unlock()
	var err error
	s.Enroll, err = enroll.New(context.Background(), enroll.Config{
		DB: s.db, Bus: s.bus, Records: s.fleet, Dir: s.dir, Address: "localhost:8443", Names: []string{"127.0.0.1"},
		Now: s.clock.Now, Log: slog.New(slog.DiscardHandler),
		Reimaged: func(_ context.Context, _ *db.Tx, device string) error {
			s.reimaged.Store(&device)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) addOwner(t testing.TB, name string) string {
	t.Helper()
	o, err := s.fleet.AddOwner(context.Background(), operator, name)
	if err != nil {
		t.Fatal(err)
	}
	return o.ID
}

func (s *site) claim(t testing.TB, n enroll.NewClaim) (enroll.Claim, ident.Claim) {
	t.Helper()
	if n.Owner == "" {
		n.Owner = s.owner
	}
	if n.Cap == 0 {
		n.Cap = 10
	}
	if n.Expires.IsZero() {
		n.Expires = s.clock.Now().Add(30 * day)
	}
	c, text, err := s.CreateClaim(context.Background(), operator, n)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ident.ParseClaim(text)
	if err != nil {
		t.Fatal(err)
	}
	return c, parsed
}

func (s *site) serve(ctx context.Context, running *sync.WaitGroup) {
	for {
		ws, err := s.ln.Accept(ctx)
		if err != nil {
			return
		}
		running.Go(func() {
			s.serving.RLock()
			defer s.serving.RUnlock()
			code := wire.CodeOf(s.answer(ctx, ws))
			if code == hmpb.Code_CODE_UNSPECIFIED {
				code = hmpb.Code_CODE_NORMAL
			}
			ws.Close(code, "")
		})
	}
}

// answer is the gateway's switch. A control stream gets no Welcome here, only the
// end of the session: what Connect said.
func (s *site) answer(ctx context.Context, ws wire.Session) error {
	peer, err := s.Authenticate(ctx, ws.ConnectionState())
	if err != nil {
		return err
	}
	t, f, err := wire.Accept(ctx, ws)
	if err != nil {
		return err
	}
	switch t {
	case hmpb.StreamType_STREAM_TYPE_ENROLL:
		return s.ServeEnroll(ctx, ws, f)
	case hmpb.StreamType_STREAM_TYPE_RENEW:
		return s.ServeRenew(ctx, ws, f, peer)
	}
	var hello hmpb.Hello
	if err := f.ReadMsg(&hello); err != nil {
		return err
	}
	return s.Connect(ctx, peer, hello.GetConnectionEpoch())
}

// machine is the other end, by hand: it can do what an agent never would.
type machine struct {
	s        *site
	pin      ident.Fingerprint
	key      crypto.Signer
	hardware ident.Hardware
	chain    [][]byte
	device   string
	trusted  time.Time
}

func (s *site) machine(t testing.TB, serial string) *machine {
	t.Helper()
	key, err := ident.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return &machine{s: s, key: key, hardware: ident.Hardware{
		Manufacturer: "LENOVO", Model: "20Y5", Serial: serial, OS: "linux", InstallID: [16]byte([]byte(ident.NewID(time.Now()))[20:36]),
	}}
}

func (m *machine) dial(t testing.TB) wire.Session {
	t.Helper()
	s, err := m.tryDial()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (m *machine) tryDial() (wire.Session, error) {
	var pins []ident.Fingerprint
	if m.pin != (ident.Fingerprint{}) {
		pins = []ident.Fingerprint{m.pin}
	} else {
		var err error
		if pins, err = ident.Pins(m.s.TrustRoots()); err != nil {
			return nil, err
		}
	}
	conf := ident.AgentTLS{Pins: pins, ServerName: "localhost", Trusted: func() time.Time { return m.trusted }}
	if m.chain != nil {
		conf.Certificate = &tls.Certificate{Certificate: m.chain, PrivateKey: m.key}
	}
	return m.s.agents.Dial(context.Background(), m.s.ln.Addr(), ident.AgentConfig(conf))
}

// exchange is header, challenge, request, answer; request gets the challenge.
func exchange(ws wire.Session, t hmpb.StreamType, header proto.Message, request func(challenge string) (proto.Message, error), answered ...func()) (*hmpb.EnrollDown, error) {
	f, err := wire.Open(context.Background(), ws, t, header)
	if err != nil {
		return nil, err
	}
	var down hmpb.EnrollDown
	if err := f.ReadMsg(&down); err != nil {
		return nil, err
	}
	if down.GetChallenge() == nil {
		return &down, nil
	}
	challenge, err := ident.Challenge(down.GetChallenge().GetNonce(), ws.ConnectionState())
	if err != nil {
		return nil, err
	}
	m, err := request(challenge)
	if err != nil {
		return nil, err
	}
	if err := f.WriteMsg(m); err != nil {
		return nil, err
	}
	if err := f.ReadMsg(&down); err != nil {
		return nil, err
	}
	for _, f := range answered {
		f()
	}
	_ = f.Finish(time.Second) // the collector may have closed the session by now
	return &down, nil
}

// said is an answer for a failure's text, without its certificates.
func said(down *hmpb.EnrollDown) string {
	switch {
	case down.GetIssued() != nil:
		return "issued to device " + down.GetIssued().GetDeviceId()
	case down.GetRefused() != nil:
		return "refused with " + down.GetRefused().GetCode().String()
	}
	return "no answer"
}

var (
	enrollHeader = hmpb.EnrollHeader_builder{VersionMin: proto.Uint32(1), VersionMax: proto.Uint32(1)}.Build()
	renewHeader  = hmpb.RenewHeader_builder{VersionMin: proto.Uint32(1), VersionMax: proto.Uint32(1)}.Build()
)

// enroll asks on a session of its own and takes the answer over.
func (m *machine) enroll(secret string) (*hmpb.EnrollDown, error) {
	ws, err := m.tryDial()
	if err != nil {
		return nil, err
	}
	defer ws.Close(hmpb.Code_CODE_NORMAL, "")
	down, err := exchange(ws, hmpb.StreamType_STREAM_TYPE_ENROLL, enrollHeader, func(challenge string) (proto.Message, error) {
		csr, err := ident.CreateCSR(m.key, challenge)
		return hmpb.EnrollRequest_builder{ClaimSecret: &secret, Hardware: m.hardware.Message(), Csr: csr}.Build(), err
	})
	if err == nil && down.GetIssued() != nil {
		m.take(down.GetIssued())
	}
	return down, err
}

func (m *machine) take(i *hmpb.Issued) { m.device, m.chain = i.GetDeviceId(), i.GetChain() }

func (m *machine) mustEnroll(t testing.TB, c ident.Claim) string {
	t.Helper()
	down, err := m.enroll(ident.FormatSecret(c.Secret))
	if err != nil || down.GetIssued() == nil {
		t.Fatalf("enrolling: got %s, %v", said(down), err)
	}
	return m.device
}

// renew asks for a certificate for key on a session of its own.
func (m *machine) renew(key crypto.Signer) (*hmpb.EnrollDown, error) {
	ws, err := m.tryDial()
	if err != nil {
		return nil, err
	}
	defer ws.Close(hmpb.Code_CODE_NORMAL, "")
	down, err := exchange(ws, hmpb.StreamType_STREAM_TYPE_RENEW, renewHeader, func(challenge string) (proto.Message, error) {
		csr, err := ident.CreateCSR(key, challenge)
		return hmpb.RenewRequest_builder{Csr: csr}.Build(), err
	})
	if err == nil && down.GetIssued() != nil {
		m.key = key
		m.take(down.GetIssued())
	}
	return down, err
}

// connect comes in with a connection epoch; NORMAL is in.
func (m *machine) connect(epoch uint64) hmpb.Code {
	ws, err := m.tryDial()
	if err != nil {
		return wire.CodeOf(err)
	}
	defer ws.Close(hmpb.Code_CODE_NORMAL, "")
	hello := hmpb.Hello_builder{ConnectionEpoch: &epoch}.Build()
	if _, err := wire.Open(context.Background(), ws, hmpb.StreamType_STREAM_TYPE_CONTROL, hello); err != nil && ws.Context().Err() == nil {
		return wire.CodeOf(err)
	}
	<-ws.Context().Done()
	var e *wire.Error
	if errors.As(context.Cause(ws.Context()), &e) {
		return e.Code
	}
	return hmpb.Code_CODE_UNSPECIFIED
}

// peer is what Authenticate says of the machine's present certificate.
func (m *machine) peer(t testing.TB) (enroll.Peer, error) {
	t.Helper()
	certs, err := parseChain(m.chain)
	if err != nil {
		t.Fatal(err)
	}
	return m.s.Authenticate(context.Background(), tls.ConnectionState{PeerCertificates: certs})
}

// onBoth runs a suite on SQLite and on PostgreSQL.
func onBoth(t *testing.T, suite func(t *testing.T, s *site)) {
	t.Helper()
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) { suite(t, newSite(t, d)) })
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ident.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// count asks the database how many rows a query counts.
func (s *site) count(t testing.TB, query string, args ...any) (n int64) {
	t.Helper()
	err := s.db.Read(context.Background(), func(tx *db.Tx) error {
		return tx.QueryRow(context.Background(), query, args...).Scan(&n)
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func openSQLite(t testing.TB) *db.DB {
	t.Helper()
	return dbtest.Open(t, migrations)
}
