package collector

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/admin"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/platform/layout"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/wire"
)

// Verdict is what the doctor says of one thing.
type Verdict string

const (
	Good    Verdict = "ok"
	Warning Verdict = "warn" // works now, will not for ever
	Bad     Verdict = "bad"
)

// Check is one thing that the doctor looked at.
type Check struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
}

const (
	lowSpace  = 2 << 30   // bytes: warn
	noSpace   = 200 << 20 // bytes: bad
	certSoon  = 21 * 24 * time.Hour
	probeTime = 3 * time.Second
	// firstRelease is a time before which no clock of ours can stand.
	firstRelease = "2026-01-01"
)

// examination is one visit of the doctor.
type examination struct {
	cfg    Config
	checks []Check
	live   *admin.Status // of the running collector, nil without one
}

// Doctor looks at everything that a collector needs, whether one is running or
// not, and changes nothing.
func Doctor(ctx context.Context, cfg Config) ([]Check, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	e := &examination{cfg: cfg}
	e.folder()
	e.process(ctx)
	e.space()
	last := e.database(ctx)
	e.clock(last)
	e.authority()
	e.browser()
	e.updates(ctx)
	e.port(ctx)
	return e.checks, nil
}

func (e *examination) say(name string, v Verdict, format string, args ...any) {
	e.checks = append(e.checks, Check{Name: name, Verdict: v, Text: fmt.Sprintf(format, args...)})
}

func (e *examination) folder() {
	const name = "data folder"
	info, err := os.Stat(e.cfg.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.say(name, Warning, "%s does not exist; the first start makes it", e.cfg.DataDir)
		return
	case err != nil:
		e.say(name, Bad, "%v", err)
		return
	case !info.IsDir():
		e.say(name, Bad, "%s is no folder", e.cfg.DataDir)
		return
	case info.Mode().Perm()&0o077 != 0:
		e.say(name, Bad, "%s is open to others (%v); close it: chmod 700", e.cfg.DataDir, info.Mode().Perm())
		return
	}
	probe, err := os.CreateTemp(e.cfg.DataDir, ".doctor-*")
	if err != nil {
		e.say(name, Bad, "not writable: %v", err)
		return
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		e.say(name, Bad, "%v", err)
		return
	}
	e.say(name, Good, "%s, writable, closed to others", e.cfg.DataDir)
}

// process finds out whether a collector runs here, and of which version.
func (e *examination) process(ctx context.Context) {
	const name = "collector"
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var status admin.Status
	err := admin.NewClient(e.cfg.SocketPath()).Do(ctx, "status", admin.None{}, &status)
	var refused *admin.Error
	switch {
	case err == nil && status.Version != e.cfg.Version:
		e.live = &status
		e.say(name, Warning, "running (process %d) is version %s, this program is %s; restart it", status.PID, status.Version, e.cfg.Version)
	case err == nil:
		e.live = &status
		e.say(name, Good, "running, process %d, version %s", status.PID, status.Version)
	case !errors.As(err, &refused) || refused.Code != admin.CodeNotRunning:
		e.say(name, Bad, "runs but does not answer: %v", err)
	case e.locked():
		e.say(name, Bad, "another process holds the data folder but does not answer at its socket")
	default:
		e.say(name, Warning, "not running")
	}
}

func (e *examination) locked() bool {
	if _, err := os.Stat(e.cfg.lockPath()); err != nil {
		return false
	}
	lock, err := layout.Lock(e.cfg.lockPath())
	if err == nil {
		lock.Close()
	}
	return errors.Is(err, layout.ErrLocked)
}

func (e *examination) space() {
	const name = "disk space"
	dir := e.cfg.DataDir
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, total, err := sysinfo.SpaceAt(dir)
	switch {
	case err != nil:
		e.say(name, Bad, "%v", err)
	case free < noSpace:
		e.say(name, Bad, "%d MB free at %s: the database cannot grow; devices keep their reports meanwhile", free>>20, dir)
	case free < lowSpace:
		e.say(name, Warning, "%d MB free at %s", free>>20, dir)
	default:
		e.say(name, Good, "%d of %d GB free", free>>30, total>>30)
	}
}

// database reads all of it and gives the time of the last audit entry.
func (e *examination) database(ctx context.Context) (last time.Time) {
	const name, chain = "database", "audit chain"
	if _, err := os.Stat(e.cfg.databasePath()); e.cfg.Database == "" && errors.Is(err, fs.ErrNotExist) {
		e.say(name, Warning, "none yet; the first start makes it")
		return last
	}
	d, err := db.OpenReadOnly(ctx, e.cfg.database())
	if err != nil {
		e.say(name, Bad, "%v", err)
		return last
	}
	defer d.Close()
	if err := d.Check(ctx); err != nil {
		e.say(name, Bad, "%v", err)
		return last
	}
	e.say(name, Good, "%s, schema %d, store %x, every page read", d.Name(), d.Version(), d.StoreID())
	head, err := audit.Verify(ctx, d)
	if err != nil {
		e.say(chain, Bad, "%v", err)
		return last
	}
	if head.Seq == 0 {
		e.say(chain, Good, "no entries yet")
		return last
	}
	e.say(chain, Good, "%d entries, ends in %x", head.Seq, head.Hash)
	d.Read(ctx, func(tx *db.Tx) error {
		entries, err := audit.List(ctx, tx, audit.Filter{Limit: 1})
		if err == nil && len(entries) == 1 {
			last = time.UnixMilli(entries[0].AtMS)
		}
		return err
	})
	return last
}

// clock compares the clock with what was written down before. Whether it is
// right to the second only a time server knows.
func (e *examination) clock(last time.Time) {
	const name = "clock"
	now := e.cfg.Now()
	first, _ := time.Parse(time.DateOnly, firstRelease)
	switch {
	case now.Before(first):
		e.say(name, Bad, "stands at %s: certificates would not be valid", now.UTC().Format(time.RFC3339))
	case now.Add(time.Minute).Before(last):
		e.say(name, Bad, "stands at %s, before the last audit entry (%s)", now.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339))
	default:
		e.say(name, Good, "%s", now.UTC().Format(time.RFC3339))
	}
}

func (e *examination) authority() {
	const name = "device authority"
	dir := e.cfg.authorityDir()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		e.say(name, Warning, "none yet; the first start makes it")
		return
	}
	if err != nil {
		e.say(name, Bad, "%v", err)
		return
	}
	rootKey := false
	for _, entry := range entries {
		rootKey = rootKey || entry.Name() == "root.key"
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && strings.HasSuffix(entry.Name(), ".key") {
			e.say(name, Bad, "%s is open to others (%v): whoever read it can speak for the collector; see %s/README", entry.Name(), info.Mode().Perm(), dir)
			return
		}
	}
	for _, file := range []string{"root.crt", "intermediate.crt"} {
		if !e.certificate(name, filepath.Join(dir, file)) {
			return
		}
	}
	if rootKey {
		e.say(name, Warning, "root.key is on this machine; it is safer elsewhere, see %s/README", dir)
	}
}

func (e *examination) browser() {
	const name = "browser certificate"
	path := e.cfg.Certificate
	if path == "" {
		path = e.cfg.file(browserChain)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			e.say(name, Warning, "none yet; the first start makes one for localhost")
			return
		}
	}
	key := e.cfg.Key
	if key == "" {
		key = e.cfg.file(browserKey)
	}
	if _, err := tls.LoadX509KeyPair(path, key); err != nil {
		e.say(name, Bad, "%v", err)
		return
	}
	e.certificate(name, path)
}

// certificate says how long the first certificate of a file is good.
func (e *examination) certificate(name, path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		e.say(name, Bad, "%v", err)
		return false
	}
	block, _ := pem.Decode(text)
	if block == nil {
		e.say(name, Bad, "%s holds no certificate", path)
		return false
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		e.say(name, Bad, "%s: %v", path, err)
		return false
	}
	now, until := e.cfg.Now(), c.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.After(c.NotAfter):
		e.say(name, Bad, "%s ended on %s", filepath.Base(path), until)
	case now.Before(c.NotBefore):
		e.say(name, Bad, "%s begins only on %s; is the clock right?", filepath.Base(path), c.NotBefore.UTC().Format(time.DateOnly))
	case now.Add(certSoon).After(c.NotAfter):
		e.say(name, Warning, "%s ends on %s", filepath.Base(path), until)
	default:
		e.say(name, Good, "%s is good until %s", filepath.Base(path), until)
		return true
	}
	return false
}

// port talks to the running collector as a device and as a browser would, or
// finds out whether its port is free.
func (e *examination) port(ctx context.Context) {
	const name = "port"
	if e.live == nil {
		p, err := listenPorts(e.cfg.Listen)
		if err != nil {
			e.say(name, Bad, "%v", err)
			return
		}
		p.close()
		e.say(name, Good, "%s is free, UDP and TCP", e.cfg.Listen)
		return
	}
	_, port, err := net.SplitHostPort(e.live.Listen)
	if err != nil {
		e.say(name, Bad, "the collector listens on %q", e.live.Listen)
		return
	}
	address := net.JoinHostPort("localhost", port)
	for _, side := range []string{wire.ALPN, "h2"} {
		if err := probeTCP(ctx, address, side); err != nil {
			e.say(name, Bad, "TCP %s does not answer for %s: %v", address, side, err)
			return
		}
	}
	if err := probeQUIC(ctx, address); err != nil {
		e.say(name, Bad, "UDP %s does not answer: %v", address, err)
		return
	}
	e.say(name, Good, "%s answers devices over UDP and TCP, and browsers", address)
}

// unverified: the probe asks whether somebody answers; who it is, the data
// folder's own socket has said.
func unverified(protocol string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, ServerName: "localhost", InsecureSkipVerify: true}
}

func probeTCP(ctx context.Context, address, protocol string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	dialer := tls.Dialer{Config: unverified(protocol)}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != protocol {
		return fmt.Errorf("it speaks %q", got)
	}
	return nil
}

func probeQUIC(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return err
	}
	endpoint := wire.NewEndpoint(socket, wire.EndpointConfig{})
	defer endpoint.Close()
	session, err := endpoint.Dial(ctx, addr, unverified(wire.ALPN))
	if err != nil {
		return err
	}
	return session.Close(codeNormal, "doctor")
}

// Worst is the worst verdict of all.
func Worst(checks []Check) Verdict {
	for _, v := range []Verdict{Bad, Warning} {
		if slices.ContainsFunc(checks, func(c Check) bool { return c.Verdict == v }) {
			return v
		}
	}
	return Good
}
