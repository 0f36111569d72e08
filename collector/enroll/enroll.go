package enroll

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of this package.
var Migrations = db.Migrations{Name: "enroll", FS: files}

// Records is the keeper of device records, collector/fleet. All run in the
// transaction of the enrolment.
type Records interface {
	// Admit finds the record of this hardware or makes one; known says that it
	// was there, with this owner. A record of another owner is
	// ident.ErrOtherOwner, and then nothing was written.
	Admit(ctx context.Context, tx *db.Tx, caller access.Caller, owner, school string, hw ident.Hardware) (device string, known bool, err error)
	// Owner of a device; db.ErrNoRows when there is none.
	Owner(ctx context.Context, tx *db.Tx, device string) (string, error)
	// CheckPlace returns access.ErrNotFound unless owner and school (which may
	// be empty) exist, belong together and may be seen by the caller.
	CheckPlace(ctx context.Context, tx *db.Tx, caller access.Caller, owner, school string) error
}

// Config is what the package needs.
type Config struct {
	DB      *db.DB
	Bus     *bus.Bus
	Records Records
	// Reimaged is told of each device that enrolled again, in the transaction of
	// that; nil = nobody wants to know.
	Reimaged func(ctx context.Context, tx *db.Tx, device string) error
	Dir      string           // the folder "ca"
	Address  string           // HOST:PORT that devices connect to, as it stands in claims
	Names    []string         // further names and addresses under which devices may meet us
	Now      func() time.Time // nil = time.Now
	Log      *slog.Logger     // nil = slog.Default
}

// Enroll is the subject; see the package comment.
type Enroll struct {
	cfg  Config
	host string
	port uint16
	ca   *authority
	// restored is when this store was last restored from a backup; zero = never.
	restored time.Time
}

// New opens the authority, making it at the first start, and notes the store's id.
func New(ctx context.Context, cfg Config) (*Enroll, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	e := &Enroll{cfg: cfg}
	host, port, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("address for devices: %w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || !ident.ValidHost(host) {
		return nil, fmt.Errorf("address for devices %q: want HOST:PORT", cfg.Address)
	}
	e.host, e.port = host, uint16(n)
	names := append([]string{host}, cfg.Names...)
	slices.Sort(names)
	if e.ca, err = openAuthority(cfg.Dir, slices.Compact(names), cfg.Now, cfg.Log); err != nil {
		return nil, fmt.Errorf("opening device authority: %w", err)
	}
	if err := e.noteStore(ctx); err != nil {
		return nil, fmt.Errorf("noting the store's id: %w", err)
	}
	return e, nil
}

// Run keeps the authority's certificates fresh until ctx ends.
func (e *Enroll) Run(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(refreshStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			e.ca.current()
		}
	}
}

// TLSConfig is that of the listeners for devices.
func (e *Enroll) TLSConfig() *tls.Config { return ident.CollectorConfig(e.ca.serverCertificate) }

// TrustRoots is the set of roots that devices shall pin, for Welcome.
func (e *Enroll) TrustRoots() [][]byte { return e.ca.roots() }

// noteStore learns from the store's id whether it came from a backup.
func (e *Enroll) noteStore(ctx context.Context) error {
	id := e.cfg.DB.StoreID()
	return e.cfg.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO enroll_stores (store, since_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
			id, e.cfg.Now().UnixMilli())
		if err != nil {
			return err
		}
		var stores, since int64
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM enroll_stores`).Scan(&stores); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT since_ms FROM enroll_stores WHERE store = $1`, id).Scan(&since); err != nil {
			return err
		}
		e.restored = time.Time{}
		if stores > 1 {
			e.restored = time.UnixMilli(since)
		}
		return nil
	})
}

// May is what a peer may do on its session.
type May int

const (
	MayEnroll May = iota + 1 // no certificate: the enrolment stream only
	MayRenew                 // ended at most 400 days ago: the renewal stream only
	MayAll
)

// Peer is the other end of a session.
type Peer struct {
	May        May
	Device     string
	Owner      string
	Credential ident.Fingerprint
	RenewDue   bool // past its half-life

	peer  ident.Peer
	adopt bool // known to our authority, not yet to this store
}

// Caller is the device as one who asks.
func (p Peer) Caller() access.Caller { return access.ForDevice(p.Device, p.Owner) }

// refuse is an error that ends a session with a code. The text goes to the peer;
// reason stays in our log.
func refuse(code hmpb.Code, reason string, args ...any) error {
	return fmt.Errorf(reason+": %w", append(args, &wire.Error{Code: code})...)
}

// storeError gives an error of the database its code: the device shall come back.
func storeError(err error) error {
	code := hmpb.Code_CODE_INTERNAL
	if errors.Is(err, db.ErrFull) || errors.Is(err, db.ErrUnavailable) {
		code = hmpb.Code_CODE_STORE_UNAVAILABLE
	}
	if wire.CodeOf(err) != hmpb.Code_CODE_UNSPECIFIED {
		return err
	}
	return &wire.Error{Code: code, Cause: err}
}

// Authenticate judges the other end of a session. Its errors carry the code to
// end the session with (wire.CodeOf).
func (e *Enroll) Authenticate(ctx context.Context, cs tls.ConnectionState) (Peer, error) {
	now := e.cfg.Now()
	p := Peer{peer: e.ca.trust().VerifyDevice(cs.PeerCertificates, now)}
	p.Device, p.Credential = p.peer.Device, p.peer.Key
	switch p.peer.Verdict {
	case ident.VerdictNone:
		p.May = MayEnroll
		return p, nil
	case ident.VerdictTooOld:
		return Peer{}, refuse(hmpb.Code_CODE_CERTIFICATE_EXPIRED, "certificate of device %s ended on %s, too long ago to renew",
			p.Device, p.peer.NotAfter.Format(time.DateOnly))
	case ident.VerdictExpired:
		p.May = MayRenew
	case ident.VerdictValid:
		p.May = MayAll
	default:
		return Peer{}, refuse(hmpb.Code_CODE_FOREIGN_CERTIFICATE, "certificate with key %s is not ours", p.Credential)
	}
	p.RenewDue = !now.Before(p.peer.RenewAt())
	err := e.cfg.DB.Read(ctx, func(tx *db.Tx) error { return e.lookUp(ctx, tx, &p) })
	if err != nil {
		return Peer{}, storeError(err)
	}
	return p, nil
}

// lookUp finds the peer's owner and refuses keys that are revoked or unknown.
func (e *Enroll) lookUp(ctx context.Context, tx *db.Tx, p *Peer) error {
	c, err := readCredential(ctx, tx, p.Credential)
	p.adopt = errors.Is(err, db.ErrNoRows)
	switch {
	case p.adopt:
		if err := e.adoptable(ctx, tx, p.peer); err != nil {
			return err
		}
	case err != nil:
		return err
	case c.revoked:
		return refuse(hmpb.Code_CODE_REVOKED, "credential of device %s is revoked (%s)", c.device, c.reason)
	case c.device != p.Device:
		return refuse(hmpb.Code_CODE_UNKNOWN_DEVICE, "certificate names device %s, its key belongs to %s", p.Device, c.device)
	}
	p.Owner, err = e.cfg.Records.Owner(ctx, tx, p.Device)
	if errors.Is(err, db.ErrNoRows) {
		return refuse(hmpb.Code_CODE_UNKNOWN_DEVICE, "device %s has no record", p.Device)
	}
	return err
}

// adoptable decides about a key that our authority signed and this store does not
// know. Only a restore explains that: otherwise the row is durable before the
// certificate exists.
func (e *Enroll) adoptable(ctx context.Context, tx *db.Tx, p ident.Peer) error {
	var revoked *int64
	err := tx.QueryRow(ctx, `SELECT revoked_ms FROM enrolled WHERE device = $1`, p.Device).Scan(&revoked)
	switch {
	case errors.Is(err, db.ErrNoRows):
		return refuse(hmpb.Code_CODE_UNKNOWN_DEVICE, "device %s is unknown", p.Device)
	case err != nil:
		return err
	case revoked != nil:
		return refuse(hmpb.Code_CODE_REVOKED, "device %s is revoked, its key unknown", p.Device)
	case p.NotBefore.After(e.restored):
		return refuse(hmpb.Code_CODE_UNKNOWN_DEVICE, "key of device %s is unknown and was issued after the last restore", p.Device)
	}
	return nil
}

// Connect notes that a peer with a valid certificate comes in with this connection
// epoch (wire.md 10), before it gets its Welcome. Errors carry their code.
func (e *Enroll) Connect(ctx context.Context, p Peer, epoch uint64) error {
	if p.May != MayAll {
		return refuse(hmpb.Code_CODE_STREAM_NOT_ALLOWED, "connecting device %s", p.Device)
	}
	if epoch > math.MaxInt64 {
		return refuse(hmpb.Code_CODE_MALFORMED_FRAME, "connection epoch %d of device %s", epoch, p.Device)
	}
	var refused error
	err := e.cfg.DB.Write(ctx, func(tx *db.Tx) (err error) {
		refused, err = e.connect(ctx, tx, p, int64(epoch))
		return err
	})
	if err != nil {
		return storeError(fmt.Errorf("connecting device %s: %w", p.Device, err))
	}
	return refused
}

// connect returns refusals apart from errors: an error would make every other
// write of the same group run again.
func (e *Enroll) connect(ctx context.Context, tx *db.Tx, p Peer, epoch int64) (refused, err error) {
	c, err := readCredential(ctx, tx, p.Credential)
	if errors.Is(err, db.ErrNoRows) && p.adopt {
		c, err = e.adoptCredential(ctx, tx, p)
	}
	switch {
	case wire.CodeOf(err) != hmpb.Code_CODE_UNSPECIFIED: // not adopted
		return err, nil
	case errors.Is(err, db.ErrNoRows):
		return refuse(hmpb.Code_CODE_UNKNOWN_DEVICE, "key of device %s is unknown", p.Device), nil
	case err != nil:
		return nil, err
	case c.revoked:
		return refuse(hmpb.Code_CODE_REVOKED, "credential of device %s is revoked (%s)", p.Device, c.reason), nil
	}
	store := e.cfg.DB.StoreID()
	if slices.Equal(c.epochStore, store) {
		// n and n-1 are legal: a crash may come between the device's write and ours.
		if epoch < c.epoch-1 {
			return refuse(hmpb.Code_CODE_EPOCH_REPLAY, "device %s came with connection epoch %d after %d: two machines with one key",
				p.Device, epoch, c.epoch), nil
		}
		epoch = max(epoch, c.epoch)
	}
	if len(c.epochStore) == 0 {
		if err := e.supersede(ctx, tx, p, c); err != nil {
			return nil, err
		}
	}
	_, err = tx.Exec(ctx, `UPDATE credentials SET epoch = $2, epoch_store = $3 WHERE spki = $1`, p.Credential[:], epoch, store)
	return nil, err
}
