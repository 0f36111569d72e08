package config_test

import (
	"errors"
	"testing"
	"time"

	"hausmeister/agent/config"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/fakes"
)

const policy30, policy40 = `{"hausmeister_policy": 1, "keep_alive_s": 30}`, `{"hausmeister_policy": 1, "keep_alive_s": 40, "state_interval_s": 120}`

// keepAlive is what an agent that starts now goes by.
func keepAlive(t *testing.T, files config.Files) (*config.Policies, time.Duration) {
	t.Helper()
	p := config.OpenPolicies(files)
	s, err := config.ReadSettingsOver(files, p.Begin())
	if err != nil {
		t.Fatal(err)
	}
	return p, s.KeepAlive
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAttack48_LastGoodPolicy: a policy with which the agent does not stay alive is left
// for the last good one after three starts, and not taken again.
func TestAttack48_LastGoodPolicy(t *testing.T) {
	d := fakes.NewDisk()
	p, got := keepAlive(t, d)
	if got != config.Defaults.KeepAlive || p.Version() != "" {
		t.Fatalf("without any: %v, %q", got, p.Version())
	}
	must(t, p.Take("1.0.0", "sum-1", []byte(policy30)))
	if p, got = keepAlive(t, d); got != 30*time.Second {
		t.Fatalf("at the next start: %v", got)
	}
	must(t, p.Proved())
	must(t, p.Take("1.1.0", "sum-2", []byte(policy40)))
	for n := range 6 { // switched off by its owner: nobody's failure
		if p, got = keepAlive(t, d); got != 40*time.Second {
			t.Fatalf("start %d: %v", n, got)
		}
		must(t, p.Ended())
	}
	for n := range 3 { // it ends by itself each time
		if _, got = keepAlive(t, d); got != 40*time.Second {
			t.Fatalf("start %d that fails: %v", n, got)
		}
	}
	if p, got = keepAlive(t, d); got != 30*time.Second || p.Version() != "1.0.0" || !p.Barred("sum-2") || p.Left() != "1.1.0" {
		t.Fatalf("after three that failed: %v by %s, barred %t, left %q", got, p.Version(), p.Barred("sum-2"), p.Left())
	}
	if s, err := config.ReadSettingsOver(d, p.Begin()); err != nil || s.StateInterval != config.Defaults.StateInterval {
		t.Errorf("something of the bad one is left: %+v, %v", s, err)
	}
	if err := p.Take("1.2.0", "sum-3", []byte(`{"hausmeister_policy": 1, "unknown": 1}`)); err == nil || !p.Barred("sum-3") || p.Version() != "1.0.0" || p.Left() != "1.2.0" {
		t.Errorf("one that is not of the schema: %v, %s, left %q", err, p.Version(), p.Left())
	}
}

// TestAttack48_PolicyOnABrokenDisk: a trial that cannot be counted is none.
func TestAttack48_PolicyOnABrokenDisk(t *testing.T) {
	d := fakes.NewDisk()
	p, _ := keepAlive(t, d)
	must(t, p.Take("1.0.0", "sum-1", []byte(policy30)))
	full := &fullFiles{d}
	if _, got := keepAlive(t, full); got != config.Defaults.KeepAlive {
		t.Errorf("on a full disk: %v, want the policy not tried", got)
	}
	must(t, d.Write("signed-policy", []byte("hausmeister signed-policy 1\n{")))
	if p, got := keepAlive(t, d); got != config.Defaults.KeepAlive || p.Version() != "" {
		t.Errorf("with a torn file: %v, %q", got, p.Version())
	}
}

// fullFiles can be read.
type fullFiles struct{ *fakes.Disk }

func (fullFiles) Write(string, []byte) error { return errors.New("no space left on device") }

// TestWhoSaysWhat: the signed policy is what holds where nobody who is nearer says
// otherwise.
func TestWhoSaysWhat(t *testing.T) {
	d := fakes.NewDisk()
	must(t, d.Write(config.SettingsFile, []byte("state_interval_s = 90\n")))
	p := config.OpenPolicies(d)
	must(t, p.Take("1.0.0", "sum", []byte(policy40)))
	s, err := config.ReadSettingsOver(d, p.Begin())
	must(t, err)
	if s.StateInterval != 90*time.Second || s.KeepAlive != 40*time.Second {
		t.Errorf("settings %+v, want the file over the policy", s)
	}
	keep := uint32(10)
	if s = s.Policy(hmpb.Settings_builder{KeepAliveS: &keep}.Build()); s.KeepAlive != 10*time.Second {
		t.Errorf("settings %+v, want the collector over the policy", s)
	}
}
