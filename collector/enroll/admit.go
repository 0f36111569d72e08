package enroll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// claimRefused is the one answer to claims that do not admit; reason is for the log.
func claimRefused(reason string, args ...any) error {
	return refuse(hmpb.Code_CODE_CLAIM_REFUSED, "claim refused, "+reason, args...)
}

// admit decides about an enrolment whose CSR was found in order, and makes the
// decision durable.
func (e *Enroll) admit(ctx context.Context, key ident.Fingerprint, request *hmpb.EnrollRequest) (admission, error) {
	// A secret that cannot be read goes the whole way with the zero secret,
	// which no claim has, so that it costs what every other refusal costs.
	secret, err := ident.ParseSecret(request.GetClaimSecret())
	if err != nil {
		secret = ident.Secret{}
	}
	q := &entry{e: e, key: key, hash: secret.Hash(), hardware: ident.HardwareOf(request.GetHardware())}
	// First without the writer: strangers shall not be able to occupy it.
	if err := e.cfg.DB.Read(ctx, func(tx *db.Tx) error { return q.read(ctx, tx) }); err != nil {
		return admission{}, storeError(fmt.Errorf("enrolling: %w", err))
	}
	if err := q.judge(); err != nil {
		return admission{}, err
	}
	var refused error
	err = e.cfg.DB.Write(ctx, func(tx *db.Tx) (err error) {
		refused, err = q.write(ctx, tx)
		return err
	})
	if err != nil {
		return admission{}, storeError(fmt.Errorf("enrolling: %w", err))
	}
	return q.admission, refused
}

// entry is one try to get in. Its fields from claim on are set anew by each read.
type entry struct {
	e        *Enroll
	key      ident.Fingerprint
	hash     [32]byte
	hardware ident.Hardware

	now        time.Time
	known      bool // the secret is that of a claim
	claim      Claim
	revoked    bool   // the claim
	serialUse  string // device that used the claim for this serial; "-" = serial not in the list
	seen       bool   // the key has a credential
	credential credential
	admission  admission
}

// serialForeign marks a serial that a per-serial claim does not list.
const serialForeign = "-"

// read loads what the decision needs: always the same three questions.
func (q *entry) read(ctx context.Context, tx *db.Tx) error {
	q.now, q.known, q.seen, q.serialUse = q.e.cfg.Now(), true, true, serialForeign
	var perSerial, expires int64
	var revoked *int64
	c := &q.claim
	err := tx.QueryRow(ctx, `SELECT id, owner, school, cap, used, per_serial, expires_ms, revoked_ms FROM claims WHERE secret_hash = $1`, q.hash[:]).
		Scan(&c.ID, &c.Owner, &c.School, &c.Cap, &c.Used, &perSerial, &expires, &revoked)
	if errors.Is(err, db.ErrNoRows) {
		q.known, q.claim, err = false, Claim{}, nil
	}
	if err != nil {
		return err
	}
	c.PerSerial, c.Expires, q.revoked = perSerial != 0, time.UnixMilli(expires), revoked != nil
	err = tx.QueryRow(ctx, `SELECT device FROM claim_serials WHERE claim = $1 AND serial = $2`, c.ID, ident.SerialKey(q.hardware.Serial)).
		Scan(&q.serialUse)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return err
	}
	q.credential, err = readCredential(ctx, tx, q.key)
	if errors.Is(err, db.ErrNoRows) {
		q.seen, err = false, nil
	}
	return err
}

// again reports that this key was admitted by this claim before: its answer may
// have been lost, and it uses nothing up.
func (q *entry) again() bool {
	return q.seen && !q.credential.revoked && q.credential.claim == q.claim.ID
}

// judge returns nil when the claim admits the machine, as far as claim, key and
// machine alone can tell.
func (q *entry) judge() error {
	switch {
	case !q.known:
		return claimRefused("unknown secret")
	case q.revoked:
		return claimRefused("claim %s is revoked", q.claim.ID)
	case !q.now.Before(q.claim.Expires):
		return claimRefused("claim %s has expired", q.claim.ID)
	case q.again():
		return nil
	case q.seen:
		return claimRefused("key %s was used before, device %s", q.key, q.credential.device)
	case q.hardware.Key() == "":
		return claimRefused("machine without serial and install id")
	case q.claim.PerSerial && (!q.hardware.UsableSerial() || q.serialUse == serialForeign):
		return claimRefused("claim %s does not list serial %q", q.claim.ID, q.hardware.Serial)
	case q.claim.PerSerial && q.serialUse != "":
		return claimRefused("claim %s was used for this serial by device %s", q.claim.ID, q.serialUse)
	case q.claim.Used >= q.claim.Cap:
		return claimRefused("claim %s is used up", q.claim.ID)
	}
	return nil
}

// write decides again, now that nobody else writes, and stores the decision. It
// returns refusals apart from errors: see connect.
func (q *entry) write(ctx context.Context, tx *db.Tx) (refused, err error) {
	if err := q.read(ctx, tx); err != nil {
		return nil, err
	}
	if refused := q.judge(); refused != nil {
		return refused, nil
	}
	q.admission = admission{owner: q.claim.Owner, at: q.now}
	if q.again() {
		q.admission.device = q.credential.device
		return nil, prolong(ctx, tx, q.e.newCredential(q.key, q.credential.device, q.now))
	}
	caller := access.System("enroll")
	device, known, err := q.e.cfg.Records.Admit(ctx, tx, caller, q.claim.Owner, q.claim.School, q.hardware)
	if errors.Is(err, ident.ErrOtherOwner) {
		return claimRefused("claim %s of another owner than the machine's", q.claim.ID),
			q.e.audit(ctx, tx, caller, "device.refused_other_owner", "claim:"+q.claim.ID, q.claim.Owner,
				map[string]string{"hardware": q.hardware.Key()})
	}
	if err != nil {
		return nil, err
	}
	q.admission.device = device
	return nil, q.store(ctx, tx, caller, known)
}

// store uses up the claim, ends earlier credentials and notes the new one.
func (q *entry) store(ctx context.Context, tx *db.Tx, caller access.Caller, known bool) error {
	device := q.admission.device
	n, err := tx.Exec(ctx, `UPDATE claims SET used = used + 1 WHERE id = $1 AND used < cap`, q.claim.ID)
	if err != nil {
		return err
	}
	if n == 0 {
		// Only another collector on the same database can have come between.
		return claimRefused("claim %s is used up", q.claim.ID)
	}
	if q.claim.PerSerial {
		_, err := tx.Exec(ctx, `UPDATE claim_serials SET device = $3 WHERE claim = $1 AND serial = $2`,
			q.claim.ID, ident.SerialKey(q.hardware.Serial), device)
		if err != nil {
			return err
		}
	}
	action := "device.enrolled"
	if known {
		action = "device.reimaged"
		if q.admission.gone, err = q.e.revokeOthers(ctx, tx, device, q.key, reasonReimaged); err != nil {
			return err
		}
		if q.e.cfg.Reimaged != nil {
			if err := q.e.cfg.Reimaged(ctx, tx, device); err != nil {
				return err
			}
		}
	}
	c := q.e.newCredential(q.key, device, q.now)
	c.claim = q.claim.ID
	if err := insertCredential(ctx, tx, c); err != nil {
		return err
	}
	return q.e.audit(ctx, tx, caller, action, "device:"+device, q.claim.Owner, map[string]string{"claim": q.claim.ID})
}

// renew decides about a renewal whose CSR was found in order, and makes the
// decision durable. key is that of the CSR, p.Credential that of the session.
func (e *Enroll) renew(ctx context.Context, p Peer, key ident.Fingerprint) (admission, error) {
	caller := p.Caller()
	if err := caller.Allow(access.RenewOwn); err != nil {
		return admission{}, refuse(hmpb.Code_CODE_STREAM_NOT_ALLOWED, "%s", err)
	}
	if !p.RenewDue {
		return admission{}, refuse(hmpb.Code_CODE_STREAM_NOT_ALLOWED, "device %s renews before its half-life", p.Device)
	}
	var refused error
	a := admission{device: p.Device, owner: p.Owner}
	err := e.cfg.DB.Write(ctx, func(tx *db.Tx) (err error) {
		a.at = e.cfg.Now()
		refused, err = e.writeRenewal(ctx, tx, p, e.newCredential(key, p.Device, a.at))
		return err
	})
	if err != nil {
		return admission{}, storeError(fmt.Errorf("renewing device %s: %w", p.Device, err))
	}
	return a, refused
}

func (e *Enroll) writeRenewal(ctx context.Context, tx *db.Tx, p Peer, next credential) (refused, err error) {
	old, err := readCredential(ctx, tx, p.Credential)
	if errors.Is(err, db.ErrNoRows) && p.adopt {
		old, err = e.adoptCredential(ctx, tx, p)
	}
	switch {
	case wire.CodeOf(err) != hmpb.Code_CODE_UNSPECIFIED: // not adopted
		return err, nil
	case errors.Is(err, db.ErrNoRows):
		return refuse(hmpb.Code_CODE_UNKNOWN_DEVICE, "key of device %s is unknown", p.Device), nil
	case err != nil:
		return nil, err
	case old.revoked:
		return refuse(hmpb.Code_CODE_REVOKED, "credential of device %s is revoked (%s)", p.Device, old.reason), nil
	}
	known, err := readCredential(ctx, tx, next.key)
	switch {
	case errors.Is(err, db.ErrNoRows):
		next.replaces = old.key[:]
		// Of the keys that this one was to be replaced by and that were never
		// used only the newest stays: a device cannot fill the table.
		_, err = tx.Exec(ctx, `DELETE FROM credentials WHERE device = $1 AND replaces = $2 AND epoch_store = $3 AND revoked_ms IS NULL`,
			p.Device, old.key[:], []byte{})
		if err != nil {
			return nil, err
		}
		err = insertCredential(ctx, tx, next)
	case err != nil:
		return nil, err
	case known.device != p.Device || known.revoked:
		return refuse(hmpb.Code_CODE_CSR_REFUSED, "key %s was used before, device %s", next.key, known.device), nil
	default: // the same key again, or an answer that was lost
		err = prolong(ctx, tx, next)
	}
	if err != nil {
		return nil, err
	}
	return nil, e.audit(ctx, tx, p.Caller(), "device.renewed", "device:"+p.Device, p.Owner, nil)
}
