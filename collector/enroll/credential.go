package enroll

import (
	"context"
	"errors"
	"strconv"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

// Why a credential is revoked. Operators give reasons of their own beside them.
const (
	reasonReimaged   = "reimaged"   // the machine was enrolled again with a new key
	reasonSuperseded = "superseded" // its renewal was used
)

// credential is a row of the table.
type credential struct {
	key        ident.Fingerprint
	device     string
	claim      string
	replaces   []byte
	issuedMS   int64
	expiresMS  int64
	epoch      int64
	epochStore []byte
	revoked    bool
	reason     string
}

func readCredential(ctx context.Context, tx *db.Tx, key ident.Fingerprint) (credential, error) {
	c := credential{key: key}
	var revokedMS *int64
	err := tx.QueryRow(ctx, `SELECT device, claim, replaces, issued_ms, expires_ms, epoch, epoch_store, revoked_ms, reason
		FROM credentials WHERE spki = $1`, key[:]).
		Scan(&c.device, &c.claim, &c.replaces, &c.issuedMS, &c.expiresMS, &c.epoch, &c.epochStore, &revokedMS, &c.reason)
	c.revoked = revokedMS != nil
	return c, err
}

// insertCredential adds a row for a key that was never seen, and lifts the
// device's revocation.
func insertCredential(ctx context.Context, tx *db.Tx, c credential) error {
	if c.replaces == nil {
		c.replaces = []byte{}
	}
	_, err := tx.Exec(ctx, `INSERT INTO credentials (spki, device, claim, replaces, issued_ms, expires_ms, epoch, epoch_store, reason)
		VALUES ($1, $2, $3, $4, $5, $6, 0, $7, '')`, c.key[:], c.device, c.claim, c.replaces, c.issuedMS, c.expiresMS, []byte{})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO enrolled (device) VALUES ($1) ON CONFLICT (device) DO UPDATE SET revoked_ms = NULL`, c.device)
	return err
}

// prolong notes that a certificate was made anew for a key that had one.
func prolong(ctx context.Context, tx *db.Tx, c credential) error {
	_, err := tx.Exec(ctx, `UPDATE credentials SET issued_ms = $2, expires_ms = $3 WHERE spki = $1`, c.key[:], c.issuedMS, c.expiresMS)
	return err
}

// adoptCredential takes in a key that a restore made unknown. It asks again whether
// it may: the device may have been revoked since Authenticate.
func (e *Enroll) adoptCredential(ctx context.Context, tx *db.Tx, p Peer) (credential, error) {
	if err := e.adoptable(ctx, tx, p.peer); err != nil {
		return credential{}, err
	}
	c := credential{
		key: p.Credential, device: p.Device,
		issuedMS: p.peer.NotBefore.UnixMilli(), expiresMS: p.peer.NotAfter.UnixMilli(),
	}
	if err := insertCredential(ctx, tx, c); err != nil {
		return c, err
	}
	return c, e.audit(ctx, tx, p.Caller(), "credential.adopted", "device:"+p.Device, p.Owner, nil)
}

// supersede revokes the device's earlier keys when a later one is first used: the
// device has stored it by now, and whoever still has the old one is not the device.
func (e *Enroll) supersede(ctx context.Context, tx *db.Tx, p Peer, c credential) error {
	n, err := tx.Exec(ctx, `UPDATE credentials SET revoked_ms = $3, reason = $4
		WHERE device = $1 AND spki <> $2 AND issued_ms <= $5 AND revoked_ms IS NULL`,
		p.Device, p.Credential[:], e.cfg.Now().UnixMilli(), reasonSuperseded, c.issuedMS)
	if err != nil || n == 0 {
		return err
	}
	return e.audit(ctx, tx, p.Caller(), "credential.superseded", "device:"+p.Device, p.Owner, nil)
}

// revokeOthers revokes all good keys of a device but one, and returns them.
func (e *Enroll) revokeOthers(ctx context.Context, tx *db.Tx, device string, keep ident.Fingerprint, reason string) (revoked []ident.Fingerprint, err error) {
	rows, err := tx.Query(ctx, `SELECT spki FROM credentials WHERE device = $1 AND spki <> $2 AND revoked_ms IS NULL`, device, keep[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var spki []byte
		if err := rows.Scan(&spki); err != nil {
			return nil, err
		}
		var key ident.Fingerprint
		copy(key[:], spki)
		revoked = append(revoked, key)
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	for _, key := range revoked {
		_, err := tx.Exec(ctx, `UPDATE credentials SET revoked_ms = $2, reason = $3 WHERE spki = $1`,
			key[:], e.cfg.Now().UnixMilli(), reason)
		if err != nil {
			return nil, err
		}
	}
	return revoked, nil
}

// RevokeDevice ends all credentials of a device, on live sessions too. The device
// comes back only with a new claim of its owner. Revoking twice is no error. The
// record says how long what it told is kept yet; collector/health deletes that.
func (e *Enroll) RevokeDevice(ctx context.Context, caller access.Caller, device, reason string) error {
	if err := caller.Allow(access.RevokeDevices); err != nil {
		return err
	}
	var owner string
	var revoked []ident.Fingerprint
	err := e.cfg.DB.Write(ctx, func(tx *db.Tx) (err error) {
		owner, err = e.ownerSeenBy(ctx, tx, caller, device)
		if err != nil {
			return err
		}
		revoked, err = e.revokeOthers(ctx, tx, device, ident.Fingerprint{}, reason)
		if err != nil || len(revoked) == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE enrolled SET revoked_ms = $2 WHERE device = $1`, device, e.cfg.Now().UnixMilli())
		if err != nil {
			return err
		}
		return e.audit(ctx, tx, caller, "device.revoked", "device:"+device, owner, map[string]string{"reason": reason, "days": strconv.Itoa(int(reading.KeepRetired / (24 * time.Hour)))})
	})
	if err != nil {
		return err
	}
	// Also when nothing was left to revoke: an earlier notice may have been lost
	// with the process that should have sent it.
	e.cfg.Bus.Publish(bus.Event{Kind: bus.Revoked, Device: device, Owner: owner})
	return nil
}

// ownerSeenBy returns a device's owner, or access.ErrNotFound when there is no
// such device for this caller.
func (e *Enroll) ownerSeenBy(ctx context.Context, tx *db.Tx, caller access.Caller, device string) (string, error) {
	owner, err := e.cfg.Records.Owner(ctx, tx, device)
	if errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(owner) {
		return "", access.ErrNotFound
	}
	return owner, err
}

// announceRevoked tells live sessions that these keys of a device are good no more.
func (e *Enroll) announceRevoked(device, owner string, keys []ident.Fingerprint) {
	for _, key := range keys {
		e.cfg.Bus.Publish(bus.Event{Kind: bus.Revoked, Device: device, Owner: owner, Credential: key.String()})
	}
}

func (e *Enroll) audit(ctx context.Context, tx *db.Tx, caller access.Caller, action, subject, owner string, details map[string]string) error {
	return audit.Append(ctx, tx, audit.Entry{
		AtMS: e.cfg.Now().UnixMilli(), Actor: caller.Actor(), Action: action, Subject: subject, Owner: owner, Details: details,
	})
}

// newCredential is a credential whose certificate is made at this moment.
func (e *Enroll) newCredential(key ident.Fingerprint, device string, now time.Time) credential {
	return credential{key: key, device: device, issuedMS: now.UnixMilli(), expiresMS: e.ca.deviceUntil(now).UnixMilli()}
}
