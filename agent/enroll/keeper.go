package enroll

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"hausmeister/platform/keystore"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// Keys is where private keys lie; keystore.Store is one. A missing key is
// keystore.ErrNoKey.
type Keys interface {
	Create(name string) (crypto.Signer, error)
	Signer(name string) (crypto.Signer, error)
	Delete(name string) error
	Names() ([]string, error)
}

// Config is what a Keeper needs.
type Config struct {
	Files Files
	Keys  Keys
	// Hardware identifies the machine; the install id is filled in here.
	Hardware func(context.Context) ident.Hardware
	// BuildTime is the first trusted time: this program did not run before it.
	BuildTime time.Time
	// Dial opens the session of an enrolment, over whichever transport works.
	Dial func(ctx context.Context, address string, conf *tls.Config) (wire.Session, error)
	// Exclusive keeps other processes from replacing the identity until it is
	// released; an error when one is about to. nil = nobody else does.
	Exclusive func() (release func() error, err error)
	Now       func() time.Time // this device's own clock; nil = time.Now
	Log       *slog.Logger     // nil = slog.Default
}

// Identity is who the agent is and whom it belongs to.
type Identity struct {
	Device     string // record id
	Address    string // HOST:PORT of the collector
	ServerName string // name that the collector's certificate must have
	NotBefore  time.Time
	NotAfter   time.Time
}

// Keeper keeps the identity. Its methods may be called by several goroutines.
type Keeper struct {
	cfg Config

	// asking is held through a whole enrolment or renewal; it is taken before mu.
	asking sync.Mutex
	// below is guarded by asking
	install [16]byte // zero until it is needed
	onDisk  []byte   // the identity's file as last read or written

	mu sync.Mutex
	// below is guarded by mu
	damage      error          // why the identity on the disk cannot be used
	state       *identityState // nil before enrolment; replaced, never changed
	identity    Identity
	certificate *tls.Certificate
	pins        []ident.Fingerprint
	connection  connectionState
	storedMS    int64     // connection.TrustedMS as it is on the disk
	told        time.Time // by the collector last
}

// trustedStep is how far the trusted time may run ahead of the disk: a crash
// costs that much, and a device writes one small file an hour for it.
const trustedStep = time.Hour

// ownLead is how far the trusted time may run ahead of this device's own clock, unless
// that is known to be behind: by more than surelyBehind, or a step back by seconds would
// make one of it that is a lead ahead already.
const (
	ownLead      = 24 * time.Hour
	surelyBehind = 2 * ownLead
)

// Open reads the state. That there is no identity yet is no error, and one that
// is damaged is told by Damage: such a device can still be enrolled anew.
func Open(cfg Config) (*Keeper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Keeper{cfg: cfg}
	for _, read := range []func() error{k.readInstall, k.readConnection, k.readIdentity} {
		err := read()
		if errors.Is(err, ErrDamaged) || errors.Is(err, keystore.ErrDamaged) ||
			errors.Is(err, keystore.ErrExposed) || errors.Is(err, keystore.ErrNoKey) {
			k.damage = errors.Join(k.damage, err)
			continue
		}
		if err != nil {
			return nil, &Error{Word: WordState, Err: err}
		}
	}
	return k, nil
}

func (k *Keeper) readInstall() error {
	var s installState
	found, err := load(k.cfg.Files, installFile, &s)
	if err == nil && found {
		k.install = s.ID
	}
	return err
}

// makeInstall draws the id of this installation, at the first enrolment: one of
// them runs at a time, while agents may be started beside it.
func (k *Keeper) makeInstall() error {
	if err := k.readInstall(); err == nil && k.install != [16]byte{} {
		return nil // drawn since Open
	}
	var s installState
	rand.Read(s.ID[:]) // never fails (Go 1.24)
	if _, err := save(k.cfg.Files, installFile, s); err != nil {
		return err
	}
	k.install = s.ID
	return nil
}

func (k *Keeper) readConnection() error {
	_, err := load(k.cfg.Files, connectionFile, &k.connection)
	if err != nil {
		k.connection = connectionState{} // and not the half that could be read
	}
	k.storedMS = k.connection.TrustedMS
	k.connection.TrustedMS = max(k.connection.TrustedMS, k.cfg.BuildTime.UnixMilli())
	return err
}

func (k *Keeper) readIdentity() error {
	data, err := k.identityOnDisk()
	if err != nil || data == nil {
		return err
	}
	k.onDisk = data
	var s identityState
	if err := decode(data, identityFile, &s); err != nil {
		return err
	}
	key, err := k.cfg.Keys.Signer(s.Key)
	if err != nil {
		return err
	}
	return k.adopt(&s, key)
}

// Damage is why the identity on the disk cannot be used; nil when it can, or when
// there is none. Reenroll mends it.
func (k *Keeper) Damage() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.damage
}

// adopt makes s the identity in memory.
func (k *Keeper) adopt(s *identityState, key crypto.Signer) error {
	leaf, err := s.leaf()
	if err != nil {
		return err
	}
	pins, err := ident.Pins(s.Roots)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, identityFile, err)
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return fmt.Errorf("%w: certificate and key %s do not belong together", ErrDamaged, s.Key)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.pins = s, pins
	k.identity = Identity{
		Device: s.Device, Address: s.Address, ServerName: s.Host,
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
	k.certificate = &tls.Certificate{Certificate: s.Chain, PrivateKey: key, Leaf: leaf}
	return nil
}

// Enrolled returns the identity, if there is one.
func (k *Keeper) Enrolled() (Identity, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.identity, k.state != nil && k.damage == nil
}

// TLSConfig is that of the next session to the collector. It is made anew for
// each, because certificate and roots change. Before enrolment it is nil.
func (k *Keeper) TLSConfig() *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == nil || k.damage != nil {
		return nil
	}
	return ident.AgentConfig(ident.AgentTLS{
		Pins:        k.pins,
		ServerName:  k.identity.ServerName,
		Trusted:     k.Trusted,
		Certificate: k.certificate,
	})
}

// RaiseEpoch returns the connection epoch for the next session. It is on the disk
// before it is used, so that no two sessions of this disk ever have the same.
func (k *Keeper) RaiseEpoch() (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mergeConnectionLocked()
	next := k.connection
	next.Epoch++
	if _, err := save(k.cfg.Files, connectionFile, next); err != nil {
		return 0, &Error{Word: WordState, Err: err}
	}
	k.connection, k.storedMS = next, next.TrustedMS
	return next.Epoch, nil
}

// Trusted is the highest time that the agent knows to have passed.
func (k *Keeper) Trusted() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fromMillis(k.connection.TrustedMS)
}

// Trust raises the trusted time to what the collector said on an authenticated
// session. It is stored from time to time and with each RaiseEpoch; that storing
// fails is logged only, for nothing is wrong with the time.
//
// A collector's clock that is ahead for a moment must not lock devices out: its
// certificates live for a month, and all of them would have ended until that time has
// come. So it is believed beyond the device's own clock only by a day, and wholly where
// that is more than two days behind what was trusted before, as one of 1970 is.
func (k *Keeper) Trust(t time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = t
	own := k.cfg.Now()
	behind := own.Add(surelyBehind).UnixMilli() < k.connection.TrustedMS
	if bound := own.Add(ownLead); !behind && t.After(bound) {
		t = bound
	}
	k.connection.TrustedMS = max(k.connection.TrustedMS, t.UnixMilli())
	if k.connection.TrustedMS-k.storedMS < trustedStep.Milliseconds() {
		return
	}
	k.mergeConnectionLocked()
	// Not tried again before the next step, whether it works or not.
	k.storedMS = k.connection.TrustedMS
	if _, err := save(k.cfg.Files, connectionFile, k.connection); err != nil {
		k.cfg.Log.Warn("trusted time not stored", "error", err)
	}
}

// SetRoots replaces the set of roots by the one that a Welcome announced on the
// session of cs. A set that the session itself would not pass is refused: it
// would lock the device out for good.
func (k *Keeper) SetRoots(roots [][]byte, cs tls.ConnectionState) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	state, key := k.current()
	if state == nil || slices.EqualFunc(state.Roots, roots, slices.Equal) {
		return nil
	}
	pins, err := ident.Pins(roots)
	if err != nil {
		return fmt.Errorf("announced roots: %w", err)
	}
	if _, err := ident.VerifyCollector(cs.PeerCertificates, pins, state.Host, k.Trusted()); err != nil {
		return fmt.Errorf("announced roots: %w", err)
	}
	release, err := k.exclusive()
	if err != nil {
		return err
	}
	defer release()
	next := *state
	next.Roots = roots
	return k.replace(&next, key)
}

// RenewAt is when the certificate is half through its life.
func (k *Keeper) RenewAt() time.Time {
	i, _ := k.Enrolled()
	return ident.RenewAt(i.NotBefore, i.NotAfter)
}

// NeedsRenewal reports whether the certificate is past its half-life, by the trusted
// time or what the collector says now, which judges it: an own clock of 2099 must not make
// the agent ask at each connection, and one that is months behind not keep it from asking.
func (k *Keeper) NeedsRenewal() bool {
	_, enrolled := k.Enrolled()
	k.mu.Lock()
	now := later(k.told, fromMillis(k.connection.TrustedMS))
	k.mu.Unlock()
	return enrolled && !now.Before(k.RenewAt())
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (k *Keeper) current() (*identityState, crypto.Signer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == nil {
		return nil, nil
	}
	return k.state, k.certificate.PrivateKey.(crypto.Signer)
}

// replace stores an identity and then makes it ours. Caller holds asking and is
// exclusive.
func (k *Keeper) replace(s *identityState, key crypto.Signer) error {
	data, err := save(k.cfg.Files, identityFile, s)
	if err != nil {
		return &Error{Word: WordState, Err: err}
	}
	k.onDisk = data
	if err := k.adopt(s, key); err != nil {
		return err
	}
	return k.mend()
}

// mend rewrites the connection file if something was damaged, once a new identity
// is there. Before that it would send the old one's epoch back to the beginning.
func (k *Keeper) mend() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.damage == nil {
		return nil
	}
	if _, err := save(k.cfg.Files, connectionFile, k.connection); err != nil {
		return &Error{Word: WordState, Err: err}
	}
	k.damage = nil
	return nil
}

// keyPrefix begins the names of all keys that this package makes.
const keyPrefix = "device-"

// keyName gives the name of the key that answers seed: the claim's secret, or the
// certificate that it replaces. The same question gets the same key.
func keyName(seed []byte) string {
	sum := sha256.Sum256(seed)
	return keyPrefix + hex.EncodeToString(sum[:8])
}

// openKey opens a key or makes it. One that others could have read is replaced:
// nothing was issued for it yet, or it would be named by the identity.
func (k *Keeper) openKey(name string) (crypto.Signer, error) {
	key, err := k.cfg.Keys.Signer(name)
	if errors.Is(err, keystore.ErrExposed) || errors.Is(err, keystore.ErrDamaged) {
		k.cfg.Log.Warn("key not usable, making another", "key", name, "error", err)
		if err := k.cfg.Keys.Delete(name); err != nil {
			return nil, &Error{Word: WordState, Err: err}
		}
		err = keystore.ErrNoKey
	}
	if errors.Is(err, keystore.ErrNoKey) {
		key, err = k.cfg.Keys.Create(name)
	}
	if err != nil {
		return nil, &Error{Word: WordState, Err: err}
	}
	return key, nil
}

// dropKeys deletes every key of ours but the identity's. One that stays behind
// harms nobody; the next success deletes it.
func (k *Keeper) dropKeys(keep string) {
	names, err := k.cfg.Keys.Names()
	for _, name := range names {
		if strings.HasPrefix(name, keyPrefix) && name != keep {
			err = errors.Join(err, k.cfg.Keys.Delete(name))
		}
	}
	if err != nil {
		k.cfg.Log.Warn("old keys not deleted", "error", err)
	}
}
