package enroll_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/enroll"
	"hausmeister/platform/keystore"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

const day = 24 * time.Hour

var begin = time.Date(2026, 11, 24, 7, 45, 0, 0, time.UTC)

// collector answers enrolments and renewals as its owner tells it to. It keeps
// what the real one keeps: which key has which record.
type collector struct {
	ca     *ident.Authority
	server *tls.Certificate
	secret ident.Secret

	mu      sync.Mutex
	now     time.Time
	records map[ident.Fingerprint]string
	asked   int
	renewed int
	// answer changes or drops (nil) what would be sent.
	answer func(*hmpb.EnrollDown) *hmpb.EnrollDown
	ln     net.Listener
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	ca, err := ident.NewAuthority(begin)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.IssueServer([]string{"localhost"}, begin)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{ca: ca, server: server, secret: ident.NewSecret(), now: begin, records: map[ident.Fingerprint]string{}, ln: ln}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { c.session(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return c
}

func (c *collector) claim() string {
	addr := c.ln.Addr().(*net.TCPAddr)
	return ident.FormatClaim(ident.Claim{Host: "localhost", Port: uint16(addr.Port), CA: ident.FingerprintOf(c.ca.Root), Secret: c.secret})
}

func (c *collector) set(answer func(*hmpb.EnrollDown) *hmpb.EnrollDown) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// advance moves the clock and makes the server's certificate anew.
func (c *collector) advance(t *testing.T, signer *ident.Authority, now time.Time) {
	t.Helper()
	server, err := signer.IssueServer([]string{"localhost"}, now)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.server = now, server
}

func (c *collector) certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server, nil
}

func (c *collector) session(conn net.Conn) {
	tc := tls.Server(conn, ident.CollectorConfig(c.certificate))
	if tc.Handshake() != nil {
		conn.Close()
		return
	}
	s, err := wire.ServeTCP(tc)
	if err != nil {
		return
	}
	defer s.Close(hmpb.Code_CODE_NORMAL, "")
	typ, f, err := wire.Accept(context.Background(), s)
	if err != nil {
		return
	}
	nonce := bytes.Repeat([]byte{7}, ident.NonceLen)
	c.mu.Lock()
	now, answer := c.now, c.answer
	c.asked++
	c.mu.Unlock()
	send := func(down *hmpb.EnrollDown) bool {
		if answer != nil {
			down = answer(down)
		}
		return down != nil && f.WriteMsg(down) == nil
	}
	challenge := hmpb.Challenge_builder{Nonce: nonce, TimeMs: proto.Int64(now.UnixMilli()), Version: proto.Uint32(1)}.Build()
	want, err := ident.Challenge(nonce, s.ConnectionState())
	if err != nil {
		return
	}
	var csr []byte
	if typ == hmpb.StreamType_STREAM_TYPE_ENROLL {
		var header hmpb.EnrollHeader
		var request hmpb.EnrollRequest
		if f.ReadMsg(&header) != nil || !send(hmpb.EnrollDown_builder{Challenge: challenge}.Build()) || f.ReadMsg(&request) != nil {
			return
		}
		csr = request.GetCsr()
	} else {
		var header hmpb.RenewHeader
		var request hmpb.RenewRequest
		if f.ReadMsg(&header) != nil || !send(hmpb.EnrollDown_builder{Challenge: challenge}.Build()) || f.ReadMsg(&request) != nil {
			return
		}
		csr = request.GetCsr()
	}
	pub, key, err := ident.CheckCSR(csr, want)
	if err != nil {
		return
	}
	device := c.record(key, s.ConnectionState())
	leaf, err := c.ca.IssueDevice(pub, device, now)
	if err != nil {
		return
	}
	if send(hmpb.EnrollDown_builder{Issued: hmpb.Issued_builder{
		Chain: c.ca.Chain(leaf), DeviceId: &device, TrustRoots: [][]byte{c.ca.Root.Raw}, TimeMs: proto.Int64(now.UnixMilli()),
	}.Build()}.Build()) {
		f.Finish(time.Second)
	}
}

// record is what the collector makes durable before it answers.
func (c *collector) record(key ident.Fingerprint, cs tls.ConnectionState) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok := c.records[key]; ok {
		return id
	}
	id := ident.NewID(c.now)
	if len(cs.PeerCertificates) > 0 {
		id = c.records[ident.FingerprintOf(cs.PeerCertificates[0])]
		c.renewed++
	}
	c.records[key] = id
	return id
}

// dial is what agent/link will do, over TCP only.
func dial(ctx context.Context, address string, conf *tls.Config) (wire.Session, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return wire.DialTCP(ctx, conn, conf)
}

// disk is a state folder and key store in memory that fails when told to.
type disk struct {
	files map[string][]byte
	keys  map[string]crypto.Signer
	// left is how many further changes succeed; negative = all.
	left int
}

var errCrash = errors.New("power cut")

func newDisk() *disk {
	return &disk{files: map[string][]byte{}, keys: map[string]crypto.Signer{}, left: -1}
}

func (d *disk) change() error {
	if d.left == 0 {
		return errCrash
	}
	d.left--
	return nil
}

func (d *disk) Read(name string) ([]byte, error) {
	data, ok := d.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (d *disk) Write(name string, data []byte) error {
	if err := d.change(); err != nil {
		return err
	}
	d.files[name] = bytes.Clone(data)
	return nil
}

func (d *disk) Create(name string) (crypto.Signer, error) {
	if err := d.change(); err != nil {
		return nil, err
	}
	k, err := ident.NewKey()
	d.keys[name] = k
	return k, err
}

func (d *disk) Signer(name string) (crypto.Signer, error) {
	k, ok := d.keys[name]
	if !ok {
		return nil, keystore.ErrNoKey
	}
	return k, nil
}

func (d *disk) Delete(name string) error {
	if err := d.change(); err != nil {
		return err
	}
	delete(d.keys, name)
	return nil
}

func (d *disk) Names() ([]string, error) { return slices.Sorted(maps.Keys(d.keys)), nil }

func config(d *disk) enroll.Config {
	return enroll.Config{
		Files: d, Keys: d, Dial: dial, BuildTime: begin.Add(-30 * day), Now: func() time.Time { return begin.Add(1000 * day) }, Log: slog.New(slog.DiscardHandler),
		Hardware: func(context.Context) ident.Hardware {
			return ident.Hardware{Manufacturer: "LENOVO", Model: "20Y5", Serial: "PF3ABCDE", OS: "linux"}
		},
	}
}

func open(t *testing.T, d *disk) *enroll.Keeper {
	t.Helper()
	k, err := enroll.Open(config(d))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wordOf(err error) enroll.Word {
	var e *enroll.Error
	if errors.As(err, &e) {
		return e.Word
	}
	return ""
}
