package main

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/enroll"
	"hausmeister/agent/link/path"
	"hausmeister/proto/hmpb"
)

// dialWithin bounds the one connection that a selftest tries.
const dialWithin = 20 * time.Second

// tested is what selftest prints.
type tested struct {
	OK       bool   `json:"ok"`
	Version  string `json:"version"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	SHA256   string `json:"sha256"`
	Settings string `json:"settings"` // "ok", or what is wrong with the file; the agent then goes by its own
	State    string `json:"state"`    // "ok", "not_enrolled", or why it cannot be read: then it cannot run here
	Dial     string `json:"dial"`     // "not_tried", "ok", or why not
}

// selftest says whether this program can run here: it is what runs before an update
// is armed, and, with --dial, what the launcher asks the old program while the new
// one is silent. It changes nothing and opens no session of the device.
func (p *program) selftest(ctx context.Context) error {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the answer is all that is said
	t := tested{OK: true, Version: version, Arch: runtime.GOARCH, Settings: "ok", State: "not_enrolled", Dial: "not_tried"}
	hash, err := programHash()
	if err != nil {
		return err
	}
	t.SHA256 = hex.EncodeToString(hash)
	if _, err := config.ReadSettings(enroll.Dir(p.layout.State())); err != nil {
		t.Settings = err.Error()
	}
	m, err := openMachine(p.layout)
	if err != nil {
		return err
	}
	defer m.Close()
	t.OS = m.hardware(ctx).OS
	k, err := p.readIdentity(m)
	switch {
	case err != nil:
		t.State, t.OK = err.Error(), false
	case k != nil:
		t.State = "ok"
	}
	if p.dial {
		t.Dial = "ok"
		if err := dialOnly(ctx, m, k); err != nil {
			t.Dial, t.OK = err.Error(), false
		}
	}
	if err := p.print(t); err != nil {
		return err
	}
	if !t.OK {
		return silent(exitFailed)
	}
	return nil
}

// readIdentity is nil where there is none.
func (p *program) readIdentity(m *machine) (*enroll.Keeper, error) {
	if _, err := os.Stat(filepath.Join(p.layout.State(), "identity")); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	k, err := m.keeper(nil)
	if err != nil {
		return nil, err
	}
	if _, ok := k.Enrolled(); !ok {
		return nil, nil
	}
	return k, nil
}

// dialOnly gets as far as a connection with the device's own collector, and no
// further: a session would take the place of the one that runs.
func dialOnly(ctx context.Context, m *machine, k *enroll.Keeper) error {
	if k == nil {
		return errors.New("not enrolled")
	}
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	id, _ := k.Enrolled()
	conf := k.TLSConfig()
	conf.GetClientCertificate = nil
	x, err := path.New(m.ways).Examine(ctx, id.Address, conf)
	if err != nil {
		return err
	}
	if x.Session == nil {
		return errors.Join(errors.New("no way leads to the collector"), x.UDP.Err, x.TCP.Err)
	}
	x.Session.Close(hmpb.Code_CODE_NORMAL, "only a test")
	return nil
}
