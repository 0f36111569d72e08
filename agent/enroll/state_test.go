package enroll_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"hausmeister/agent/enroll"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
)

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

// TestAttack13_CollectorAhead: a collector whose clock is ahead for a moment locks no
// device out, however often it says so, and whatever was stored meanwhile.
func TestAttack13_CollectorAhead(t *testing.T) {
	for _, ahead := range []time.Duration{40 * day, 400 * day, 20_000 * day} {
		c, d := newCollector(t), newDisk()
		own := begin
		at := func() *enroll.Keeper {
			cfg := config(d)
			cfg.Now = func() time.Time { return own }
			k, err := enroll.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		k := at()
		id, err := k.Enroll(t.Context(), c.claim())
		if err != nil {
			t.Fatal(err)
		}
		for _, by := range []time.Duration{10 * time.Minute, -30 * time.Second, 10 * time.Minute, -20 * time.Hour, 20 * time.Hour} {
			own = own.Add(by) // set by its network meanwhile
			k.Trust(begin.Add(ahead))
			k = at()
		}
		c.advance(t, c.ca, own)
		s, err := dial(t.Context(), id.Address, k.TLSConfig())
		if err != nil {
			t.Errorf("after a clock that was %v ahead: %v", ahead, err)
			continue
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
	}
}

// TestOwnClockBehind: where the device's own clock is known to be behind it bounds nothing,
// and one that is months behind from the start keeps no device from renewing.
func TestOwnClockBehind(t *testing.T) {
	c, d := newCollector(t), newDisk()
	own := time.Unix(0, 0)
	cfg := config(d)
	cfg.Now = func() time.Time { return own }
	k, err := enroll.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Enroll(t.Context(), c.claim()); err != nil {
		t.Fatal(err)
	}
	k.Trust(begin.Add(3 * time.Hour))
	if got := k.Trusted(); !got.Equal(begin.Add(3 * time.Hour)) {
		t.Errorf("with a clock of 1970 the trusted time is %v, want what the collector said", got)
	}
	own = begin // it stands still
	k.Trust(begin.Add(90 * day))
	if got := k.Trusted(); got.After(begin.Add(day)) || !k.NeedsRenewal() {
		t.Errorf("with a clock that is behind: trusted is %v, needs renewal %v; want a day beyond it, and yes", got, k.NeedsRenewal())
	}
}
