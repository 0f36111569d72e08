package enroll_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		Files: d, Keys: d, Dial: dial, BuildTime: begin.Add(-30 * day), Log: slog.New(slog.DiscardHandler),
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

func TestIdentityOutlivesTheProgram(t *testing.T) {
	c, dir := newCollector(t), t.TempDir()
	cfg := config(nil)
	cfg.Files, cfg.Keys = enroll.Dir(dir), keystore.Open(filepath.Join(dir, "keys"))
	k, err := enroll.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, enrolled := k.Enrolled(); enrolled || k.TLSConfig() != nil || k.NeedsRenewal() {
		t.Error("enrolled before enrolment")
	}
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	if !ident.ValidID(id.Device) || id.ServerName != "localhost" || id.NotAfter.Sub(id.NotBefore) != 180*day {
		t.Errorf("identity: %+v", id)
	}
	again, err := enroll.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, enrolled := again.Enrolled(); !enrolled || got != id {
		t.Errorf("after a restart: %+v, %v", got, enrolled)
	}
	if got := again.Trusted(); got.Before(begin) {
		t.Errorf("trusted time after a restart: %v, want the collector's %v", got, begin)
	}
	for _, name := range []string{"identity", "install"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want 0600", name, info.Mode(), err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "identity"))
	if err != nil || bytes.Contains(text, []byte(ident.FormatSecret(c.secret)[:9])) || !bytes.HasPrefix(text, []byte("hausmeister identity 1\n")) {
		t.Errorf("identity file: %v, %s", err, text)
	}
}

// Power may go before any change to the disk. Whatever is left, the next start
// with the same claim leads to the same record, and no key is left over.
func TestCrashBetweenAnyTwoSteps(t *testing.T) {
	for left := range 12 {
		c, d := newCollector(t), newDisk()
		d.left = left
		var first enroll.Identity
		k, err := enroll.Open(config(d))
		if err == nil {
			first, err = k.Enroll(t.Context(), c.claim())
		}
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatalf("power cut before change %d: %v", left, err)
		}
		crashed := err != nil
		d.left = -1
		id, err := open(t, d).Enroll(t.Context(), c.claim())
		if err != nil {
			t.Fatalf("after a power cut before change %d: %v", left, err)
		}
		if !crashed && id != first {
			t.Errorf("after a power cut before change %d: %+v, had %+v", left, id, first)
		}
		if len(c.records) != 1 {
			t.Errorf("after a power cut before change %d: the collector has %d records", left, len(c.records))
		}
		if len(d.keys) != 1 {
			t.Errorf("after a power cut before change %d: %d keys", left, len(d.keys))
		}
		if left > 6 && crashed {
			t.Errorf("an enrolment takes more than %d changes: let this test count further", left)
		}
	}
}

func TestCrashBetweenAnyTwoStepsOfARenewal(t *testing.T) {
	for left := range 8 {
		c, d := newCollector(t), newDisk()
		id, err := open(t, d).Enroll(t.Context(), c.claim())
		if err != nil {
			t.Fatal(err)
		}
		c.advance(t, c.ca, begin.Add(100*day))
		renew := func() error {
			k, err := enroll.Open(config(d))
			if err != nil {
				return err
			}
			s, err := dial(t.Context(), id.Address, k.TLSConfig())
			if err != nil {
				return err
			}
			defer s.Close(hmpb.Code_CODE_NORMAL, "")
			return k.Renew(t.Context(), s)
		}
		d.left = left
		err = renew()
		crashed := errors.Is(err, errCrash)
		if err != nil && !crashed {
			t.Fatalf("power cut before change %d: %v", left, err)
		}
		d.left = -1
		if crashed {
			if err := renew(); err != nil {
				t.Fatalf("after a power cut before change %d: %v", left, err)
			}
		}
		k := open(t, d)
		if now, _ := k.Enrolled(); now.Device != id.Device || !now.NotBefore.Equal(begin.Add(100*day)) {
			t.Errorf("after a power cut before change %d: %+v", left, now)
		}
		if c.renewed != 1 {
			t.Errorf("after a power cut before change %d: %d keys for one renewal", left, c.renewed)
		}
	}
}

func TestLostAnswers(t *testing.T) {
	c, d := newCollector(t), newDisk()
	k := open(t, d)
	for _, lost := range []string{"challenge", "certificate", "certificate"} {
		c.set(func(down *hmpb.EnrollDown) *hmpb.EnrollDown {
			if (down.GetChallenge() != nil) == (lost == "challenge") {
				return nil
			}
			return down
		})
		_, err := k.Enroll(t.Context(), c.claim())
		var e *enroll.Error
		if !errors.As(err, &e) || e.Word != enroll.WordLost || !e.Again() {
			t.Errorf("%s lost: got %v, want connection_lost", lost, err)
		}
	}
	c.set(nil)
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil {
		t.Fatal(err)
	}
	if len(c.records) != 1 {
		t.Errorf("%d records, want 1", len(c.records))
	}
	asked := c.asked
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil || c.asked != asked {
		t.Errorf("enrolled again with the same claim: %v, asked %d times more", err, c.asked-asked)
	}
}

func TestAnswersThatAreNotInOrder(t *testing.T) {
	other, err := ident.NewAuthority(begin)
	if err != nil {
		t.Fatal(err)
	}
	issued := func(change func(*hmpb.Issued)) func(*hmpb.EnrollDown) *hmpb.EnrollDown {
		return func(down *hmpb.EnrollDown) *hmpb.EnrollDown {
			if down.GetIssued() != nil {
				change(down.GetIssued())
			}
			return down
		}
	}
	refused := func(code hmpb.Code, after uint32) func(*hmpb.EnrollDown) *hmpb.EnrollDown {
		return func(down *hmpb.EnrollDown) *hmpb.EnrollDown {
			if down.GetIssued() == nil {
				return down
			}
			return hmpb.EnrollDown_builder{Refused: hmpb.Refused_builder{Code: &code, RetryAfterS: &after}.Build()}.Build()
		}
	}
	for name, test := range map[string]struct {
		answer func(*hmpb.EnrollDown) *hmpb.EnrollDown
		want   enroll.Word
		after  time.Duration
	}{
		"other root":       {issued(func(i *hmpb.Issued) { i.SetTrustRoots([][]byte{other.Root.Raw}) }), enroll.WordFault, 0},
		"no roots":         {issued(func(i *hmpb.Issued) { i.SetTrustRoots(nil) }), enroll.WordFault, 0},
		"no chain":         {issued(func(i *hmpb.Issued) { i.SetChain(nil) }), enroll.WordFault, 0},
		"other device":     {issued(func(i *hmpb.Issued) { i.SetDeviceId(ident.NewID(begin)) }), enroll.WordFault, 0},
		"empty frames":     {func(*hmpb.EnrollDown) *hmpb.EnrollDown { return &hmpb.EnrollDown{} }, enroll.WordFault, 0},
		"claim refused":    {refused(hmpb.Code_CODE_CLAIM_REFUSED, 0), enroll.WordRefused, 0},
		"request refused":  {refused(hmpb.Code_CODE_CSR_REFUSED, 0), enroll.WordCSR, 0},
		"come back":        {refused(hmpb.Code_CODE_COME_BACK, 90), enroll.WordLater, 90 * time.Second},
		"store is away":    {refused(hmpb.Code_CODE_STORE_UNAVAILABLE, 30), enroll.WordLater, 30 * time.Second},
		"version too old":  {refused(hmpb.Code_CODE_VERSION_TOO_OLD, 0), enroll.WordVersion, 0},
		"an unknown code":  {refused(hmpb.Code(999), 0), enroll.WordFault, 0},
		"short nonce":      {func(d *hmpb.EnrollDown) *hmpb.EnrollDown { d.GetChallenge().SetNonce([]byte{1}); return d }, enroll.WordFault, 0},
		"device is banned": {refused(hmpb.Code_CODE_REVOKED, 0), enroll.WordRevoked, 0},
	} {
		c, d := newCollector(t), newDisk()
		c.set(test.answer)
		k := open(t, d)
		_, err := k.Enroll(t.Context(), c.claim())
		var e *enroll.Error
		if !errors.As(err, &e) || e.Word != test.want || e.RetryAfter != test.after {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
		if _, enrolled := k.Enrolled(); enrolled || d.files["identity"] != nil {
			t.Errorf("%s: an identity was stored", name)
		}
	}
}

func TestWhatStandsInTheWay(t *testing.T) {
	c, stranger := newCollector(t), newCollector(t)
	typo := []byte(c.claim())
	if last := &typo[len(typo)-1]; *last == '0' {
		*last = '1'
	} else {
		*last = '0'
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	swap := func(text, from, to string) string { return strings.Replace(text, from, to, 1) }
	inspected := swap(c.claim(), ident.FingerprintOf(c.ca.Root).String(), ident.FingerprintOf(stranger.ca.Root).String())
	for name, test := range map[string]struct {
		claim string
		want  enroll.Word
	}{
		"no claim":         {"https://hausmeister.example/", enroll.WordUnreadable},
		"typo":             {string(typo), enroll.WordTypo},
		"newer":            {swap(c.claim(), "v=1", "v=2"), enroll.WordNewer},
		"wrong CA":         {inspected, enroll.WordInspected},
		"other name":       {swap(c.claim(), "localhost", "127.0.0.1"), enroll.WordName},
		"nobody listening": {swap(c.claim(), c.ln.Addr().String()[len("127.0.0.1"):], closed.Addr().String()[len("127.0.0.1"):]), enroll.WordUnreachable},
	} {
		k := open(t, newDisk())
		if _, err := k.Enroll(t.Context(), test.claim); wordOf(err) != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	_, err = open(t, newDisk()).Enroll(t.Context(), inspected)
	var box *ident.InspectionError
	if !errors.As(err, &box) || box.Issuer != "CN=Hausmeister intermediate" {
		t.Errorf("the issuer's name is lost: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, newDisk()).Enroll(ctx, c.claim()); !errors.Is(err, context.Canceled) || wordOf(err) != "" {
		t.Errorf("our own end: got %v, want context.Canceled", err)
	}
}

func TestOnlyReenrolReplacesAnIdentity(t *testing.T) {
	c, next, d := newCollector(t), newCollector(t), newDisk()
	k := open(t, d)
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Enroll(t.Context(), next.claim()); wordOf(err) != enroll.WordEnrolled {
		t.Errorf("another claim: got %v, want already_enrolled", err)
	}
	next.set(func(*hmpb.EnrollDown) *hmpb.EnrollDown { return nil })
	if _, err := k.Reenroll(t.Context(), next.claim()); err == nil {
		t.Fatal("Reenroll succeeded without an answer")
	}
	if got, ok := open(t, d).Enrolled(); !ok || got != id {
		t.Errorf("a failed Reenroll lost the identity: %+v, %v", got, ok)
	}
	next.set(nil)
	got, err := k.Reenroll(t.Context(), next.claim())
	if err != nil || got.Device == id.Device {
		t.Errorf("Reenroll: got %+v, %v", got, err)
	}
	if len(d.keys) != 1 {
		t.Errorf("%d keys, want 1", len(d.keys))
	}
}

func TestDamagedStateIsToldAndMended(t *testing.T) {
	for name, spoil := range map[string]func(d *disk){
		"identity cut": func(d *disk) { d.files["identity"] = d.files["identity"][:40] },
		"identity of the future": func(d *disk) {
			d.files["identity"] = bytes.Replace(d.files["identity"], []byte(" 1\n"), []byte(" 2\n"), 1)
		},
		"identity empty":      func(d *disk) { d.files["identity"] = nil },
		"identity incomplete": func(d *disk) { d.files["identity"] = []byte("hausmeister identity 1\n{}") },
		"key gone":            func(d *disk) { clear(d.keys) },
		"another's key": func(d *disk) {
			for name := range d.keys {
				d.keys[name], _ = ident.NewKey()
			}
		},
		"connection cut": func(d *disk) { d.files["connection"] = []byte("hausm") },
		"install cut":    func(d *disk) { d.files["install"] = []byte("hausm") },
	} {
		c, d := newCollector(t), newDisk()
		k := open(t, d)
		if _, err := k.Enroll(t.Context(), c.claim()); err != nil {
			t.Fatal(err)
		}
		if _, err := k.RaiseEpoch(); err != nil {
			t.Fatal(err)
		}
		spoil(d)
		k = open(t, d)
		if _, enrolled := k.Enrolled(); enrolled || k.Damage() == nil || k.TLSConfig() != nil {
			t.Errorf("%s: enrolled %v, damage %v", name, enrolled, k.Damage())
		}
		c.secret = ident.NewSecret()
		if _, err := k.Enroll(t.Context(), c.claim()); wordOf(err) != enroll.WordDamaged {
			t.Errorf("%s: Enroll: got %v, want state_damaged", name, err)
		}
		if _, err := k.Reenroll(t.Context(), c.claim()); err != nil {
			t.Errorf("%s: Reenroll: %v", name, err)
		}
		if _, enrolled := k.Enrolled(); !enrolled || k.Damage() != nil {
			t.Errorf("%s: after Reenroll: enrolled %v, damage %v", name, enrolled, k.Damage())
		}
		if _, enrolled := open(t, d).Enrolled(); !enrolled {
			t.Errorf("%s: after Reenroll and a restart: %v", name, open(t, d).Damage())
		}
	}
}

func TestExposedPendingKeyIsReplaced(t *testing.T) {
	c, dir := newCollector(t), t.TempDir()
	keys := filepath.Join(dir, "keys")
	cfg := config(nil)
	cfg.Files, cfg.Keys = enroll.Dir(dir), keystore.Open(keys)
	k, err := enroll.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.set(func(*hmpb.EnrollDown) *hmpb.EnrollDown { return nil })
	if _, err := k.Enroll(t.Context(), c.claim()); err == nil {
		t.Fatal("enrolled without an answer")
	}
	found, _ := filepath.Glob(filepath.Join(keys, "*.key"))
	if len(found) != 1 {
		t.Fatalf("pending keys: %v", found)
	}
	before, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(found[0], 0o644); err != nil {
		t.Fatal(err)
	}
	c.set(nil)
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(found[0]); err != nil || bytes.Equal(before, after) {
		t.Errorf("a key that others could read is in use: %v", err)
	}
}

func TestConnectionEpochIsStoredBeforeItIsUsed(t *testing.T) {
	d := newDisk()
	k := open(t, d)
	for want := uint64(1); want <= 3; want++ {
		got, err := k.RaiseEpoch()
		if err != nil || got != want {
			t.Errorf("RaiseEpoch: got %d, %v, want %d", got, err, want)
		}
	}
	d.left = 0
	if _, err := k.RaiseEpoch(); wordOf(err) != enroll.WordState {
		t.Errorf("RaiseEpoch on a full disk: got %v", err)
	}
	d.left = -1
	if got, err := open(t, d).RaiseEpoch(); err != nil || got != 4 {
		t.Errorf("after a restart: got %d, %v, want 4", got, err)
	}
}

func TestTrustedTimeOnlyRises(t *testing.T) {
	d := newDisk()
	k := open(t, d)
	if got := k.Trusted(); !got.Equal(begin.Add(-30 * day)) {
		t.Errorf("at first: got %v, want the build's time", got)
	}
	writes := func() int { d.left = 1000; return 1000 }
	start := writes()
	k.Trust(begin)
	k.Trust(begin.Add(-day))
	k.Trust(time.Unix(0, 0))
	for i := range 100 {
		k.Trust(begin.Add(time.Duration(i) * time.Second))
	}
	if got, want := k.Trusted(), begin.Add(99*time.Second); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := start - d.left; n != 1 {
		t.Errorf("%d writes in 100 seconds, want 1", n)
	}
	d.left = 0
	k.Trust(begin.Add(3 * time.Hour)) // a full disk makes the time no less true
	if got := k.Trusted(); !got.Equal(begin.Add(3 * time.Hour)) {
		t.Errorf("with a full disk: got %v", got)
	}
	d.left = -1
	if _, err := k.RaiseEpoch(); err != nil {
		t.Fatal(err)
	}
	if got := open(t, d).Trusted(); !got.Equal(begin.Add(3 * time.Hour)) {
		t.Errorf("after a restart: got %v", got)
	}
	older := config(d)
	older.BuildTime = begin.Add(100 * day)
	k, err := enroll.Open(older)
	if err != nil || !k.Trusted().Equal(begin.Add(100*day)) {
		t.Errorf("with a later build: got %v, %v", k.Trusted(), err)
	}
}

// A clock of 1970 or 2099 plays no part: neither does the agent ask for renewal
// because of it, nor does it refuse its collector.
func TestRenewalIsByTrustedTime(t *testing.T) {
	c, d := newCollector(t), newDisk()
	k := open(t, d)
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	if k.NeedsRenewal() || !k.RenewAt().Equal(begin.Add(90*day)) {
		t.Errorf("fresh: needs renewal %v, at %v", k.NeedsRenewal(), k.RenewAt())
	}
	later := begin.Add(90 * day)
	c.advance(t, c.ca, later)
	k.Trust(later)
	if !k.NeedsRenewal() {
		t.Error("at half-life: no renewal")
	}
	s, err := dial(t.Context(), id.Address, k.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(hmpb.Code_CODE_NORMAL, "")
	before := k.TLSConfig()
	if err := k.Renew(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	now, _ := k.Enrolled()
	if now.Device != id.Device || !now.NotBefore.Equal(later) || k.NeedsRenewal() {
		t.Errorf("renewed: %+v, needs renewal %v", now, k.NeedsRenewal())
	}
	old, err := before.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := k.TLSConfig().GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if old.PrivateKey.(crypto.Signer).Public().(*ecdsa.PublicKey).Equal(fresh.PrivateKey.(crypto.Signer).Public()) {
		t.Error("renewed with the old key")
	}
	if err := open(t, newDisk()).Renew(t.Context(), s); wordOf(err) != enroll.WordNotEnrolled {
		t.Errorf("renewing nothing: got %v", err)
	}
}

func TestAnnouncedRoots(t *testing.T) {
	c, d := newCollector(t), newDisk()
	k := open(t, d)
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	next, err := ident.NewAuthority(begin)
	if err != nil {
		t.Fatal(err)
	}
	session := func() tls.ConnectionState {
		s, err := dial(t.Context(), id.Address, k.TLSConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(hmpb.Code_CODE_NORMAL, "")
		return s.ConnectionState()
	}
	cs := session()
	for name, roots := range map[string][][]byte{
		"none": nil, "garbage": {{1}}, "only the next one": {next.Root.Raw},
	} {
		if err := k.SetRoots(roots, cs); err == nil {
			t.Errorf("%s: taken", name)
		}
		session() // still gets in
	}
	if err := k.SetRoots([][]byte{c.ca.Root.Raw, next.Root.Raw}, cs); err != nil {
		t.Fatal(err)
	}
	k = open(t, d)
	session()
	// The collector changes over; the old root may go only then.
	c.advance(t, next, begin)
	if err := k.SetRoots([][]byte{next.Root.Raw}, session()); err != nil {
		t.Error(err)
	}
	d.left = 0
	if err := k.SetRoots([][]byte{next.Root.Raw}, session()); err != nil {
		t.Errorf("the same set again was written again: %v", err)
	}
}

// A running agent and `enroll --replace` in the same folder: the agent finds the
// other identity, and writes neither over it nor deletes its key.
func TestAnotherProcessReplacesTheIdentity(t *testing.T) {
	c, next, d := newCollector(t), newCollector(t), newDisk()
	k := open(t, d)
	id, err := k.Enroll(t.Context(), c.claim())
	if err != nil {
		t.Fatal(err)
	}
	c.advance(t, c.ca, begin.Add(90*day))
	s, err := dial(t.Context(), id.Address, k.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(hmpb.Code_CODE_NORMAL, "")
	if changed, err := k.Reload(); changed || err != nil {
		t.Errorf("Reload of what is there = %v, %v", changed, err)
	}

	want, err := open(t, d).Reenroll(t.Context(), next.claim())
	if err != nil {
		t.Fatal(err)
	}
	file := d.files["identity"]
	if err := k.Renew(t.Context(), s); !errors.Is(err, enroll.ErrReplaced) {
		t.Errorf("Renew of the former identity = %v, want %v", err, enroll.ErrReplaced)
	}
	other, err := ident.NewAuthority(begin)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.SetRoots([][]byte{c.ca.Root.Raw, other.Root.Raw}, s.ConnectionState()); !errors.Is(err, enroll.ErrReplaced) {
		t.Errorf("SetRoots of the former identity = %v, want %v", err, enroll.ErrReplaced)
	}
	if !bytes.Equal(d.files["identity"], file) {
		t.Fatal("the new identity was overwritten")
	}
	if got, ok := open(t, d).Enrolled(); !ok || got != want {
		t.Errorf("after that a start finds %+v, %v, want %+v", got, ok, want)
	}
	if got, ok := k.Enrolled(); !ok || got != id {
		t.Errorf("before Reload the agent is %+v, %v, want %+v", got, ok, id)
	}

	d.files["identity"] = []byte("hausm")
	if changed, err := k.Reload(); changed || wordOf(err) != enroll.WordDamaged {
		t.Errorf("Reload of a damaged file = %v, %v, want state_damaged", changed, err)
	}
	d.files["identity"] = file
	if changed, err := k.Reload(); !changed || err != nil {
		t.Errorf("Reload = %v, %v, want true", changed, err)
	}
	if got, ok := k.Enrolled(); !ok || got != want {
		t.Errorf("after Reload the agent is %+v, %v, want %+v", got, ok, want)
	}
	next.advance(t, next.ca, begin.Add(90*day)) // by now the agent knows that this time has come
	n, err := dial(t.Context(), want.Address, k.TLSConfig())
	if err != nil {
		t.Fatalf("dialling with the new identity: %v", err)
	}
	n.Close(hmpb.Code_CODE_NORMAL, "")
}

// While another process enrols, nothing is written.
func TestExclusive(t *testing.T) {
	c, d := newCollector(t), newDisk()
	busy := errors.New("somebody enrols")
	var held, released int
	cfg := config(d)
	cfg.Exclusive = func() (func() error, error) {
		if busy != nil {
			return nil, busy
		}
		held++
		return func() error { released++; return nil }, nil
	}
	k, err := enroll.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Enroll(t.Context(), c.claim()); !errors.Is(err, busy) || d.files["identity"] != nil {
		t.Errorf("Enroll = %v, identity %q; want %v and none", err, d.files["identity"], busy)
	}
	busy = nil
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil || held != 1 || released != 1 {
		t.Errorf("Enroll = %v, lock taken %d times and released %d times; want once", err, held, released)
	}
}

// Neither number of the connection file goes back, whoever wrote it last.
func TestConnectionFileOfTwoProcesses(t *testing.T) {
	c, d := newCollector(t), newDisk()
	k := open(t, d)
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil {
		t.Fatal(err)
	}
	raise := func(k *enroll.Keeper, want uint64) {
		t.Helper()
		if got, err := k.RaiseEpoch(); err != nil || got != want {
			t.Errorf("RaiseEpoch = %d, %v, want %d", got, err, want)
		}
	}
	raise(k, 1)
	other := open(t, d)
	raise(k, 2)
	raise(k, 3)
	other.Trust(begin.Add(9 * time.Hour)) // stores what it read before
	raise(open(t, d), 4)
	raise(k, 5)
	if got := k.Trusted(); got.Before(begin.Add(9 * time.Hour)) {
		t.Errorf("trusted time %v, want that of the other process", got)
	}
}

// Two first starts at once, each before the other has written anything: there is
// one id of the installation.
func TestOneInstallID(t *testing.T) {
	c, d := newCollector(t), newDisk()
	first, second := open(t, d), open(t, d)
	if d.files["install"] != nil {
		t.Error("an id is drawn by a start that does not enrol")
	}
	if _, err := first.Enroll(t.Context(), c.claim()); err != nil {
		t.Fatal(err)
	}
	id := d.files["install"]
	if _, err := second.Reenroll(t.Context(), c.claim()); err != nil {
		t.Fatal(err)
	}
	if id == nil || !bytes.Equal(d.files["install"], id) {
		t.Errorf("id of the installation %q, was %q", d.files["install"], id)
	}
}

func FuzzState(f *testing.F) {
	f.Add("identity", []byte("hausmeister identity 1\n{\"device\":\"x\",\"chain\":[\"AQ==\"]}"))
	f.Add("connection", []byte("hausmeister connection 1\n{\"epoch\":1}"))
	f.Add("install", []byte("hausmeister install 1\n{\"id\":[1]}"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		d := newDisk()
		d.files[name] = data
		k, err := enroll.Open(config(d))
		if err != nil {
			return
		}
		if _, enrolled := k.Enrolled(); enrolled {
			t.Fatalf("%s %q is an identity without a key", name, data)
		}
	})
}
