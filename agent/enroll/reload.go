package enroll

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"hausmeister/platform/keystore"
)

// ErrReplaced: another process gave this device another identity since this one
// read it. Nothing was written; Reload takes it over.
var ErrReplaced = errors.New("the identity was replaced by another process")

// Reload takes over an identity that another process stored since this Keeper read
// or wrote it, and says whether there was one. One that cannot be used is an error,
// and the present one stays. While an enrolment or a renewal of this Keeper is
// under way it does nothing: that finds out by itself.
func (k *Keeper) Reload() (changed bool, err error) {
	if !k.asking.TryLock() {
		return false, nil
	}
	defer k.asking.Unlock()
	return k.reload()
}

// reload is Reload for who holds asking.
func (k *Keeper) reload() (changed bool, err error) {
	data, err := k.identityOnDisk()
	if err != nil {
		return false, &Error{Word: WordState, Err: err}
	}
	// That it is gone is no other identity. A device is not forgotten while it runs.
	if data == nil || bytes.Equal(data, k.onDisk) {
		return false, nil
	}
	var s identityState
	if err := decode(data, identityFile, &s); err != nil {
		return false, &Error{Word: WordDamaged, Err: err}
	}
	key, err := k.cfg.Keys.Signer(s.Key)
	if errors.Is(err, keystore.ErrDamaged) || errors.Is(err, keystore.ErrExposed) || errors.Is(err, keystore.ErrNoKey) {
		return false, &Error{Word: WordDamaged, Err: err}
	}
	if err != nil {
		return false, &Error{Word: WordState, Err: err}
	}
	if err := k.adopt(&s, key); err != nil {
		return false, &Error{Word: WordDamaged, Err: err}
	}
	k.onDisk = data
	k.mu.Lock()
	defer k.mu.Unlock()
	k.damage = nil // who replaced the identity mended the rest
	k.mergeConnectionLocked()
	return true, nil
}

// identityOnDisk is the file as it is, nil when there is none.
func (k *Keeper) identityOnDisk() ([]byte, error) {
	data, err := k.cfg.Files.Read(identityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// exclusive keeps other processes from changing the identity until release is
// called, and makes sure that none has since this Keeper last saw it. Caller holds
// asking.
func (k *Keeper) exclusive() (release func(), err error) {
	release = func() {}
	if k.cfg.Exclusive != nil {
		end, err := k.cfg.Exclusive()
		if err != nil {
			return nil, &Error{Word: WordState, Err: fmt.Errorf("keeping the identity to ourselves: %w", err)}
		}
		release = func() {
			if err := end(); err != nil {
				k.cfg.Log.Warn("identity not given free", "error", err)
			}
		}
	}
	data, err := k.identityOnDisk()
	if err == nil && !bytes.Equal(data, k.onDisk) {
		err = ErrReplaced
	}
	if err != nil {
		release()
		return nil, &Error{Word: WordState, Err: err}
	}
	return release, nil
}

// mergeConnectionLocked takes over what another process made of the connection
// file. Neither number may ever go back; a file that cannot be read changes none.
func (k *Keeper) mergeConnectionLocked() {
	var s connectionState
	if found, err := load(k.cfg.Files, connectionFile, &s); err == nil && found {
		k.connection.Epoch = max(k.connection.Epoch, s.Epoch)
		k.connection.TrustedMS = max(k.connection.TrustedMS, s.TrustedMS)
	}
}
