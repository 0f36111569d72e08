package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent"
	"hausmeister/agent/config"
	"hausmeister/agent/enroll"
	"hausmeister/agent/update"
	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
)

// updates is a part that prepares updates, as far as the agent knows it.
type updates struct {
	means  agent.Means
	signed time.Time
	swap   chan struct{}
	off    string
	status update.Status

	mu sync.Mutex
	// below is guarded by mu
	heard int
	offer *hmpb.Offer
	gone  []string
}

func (u *updates) Heard(string, []byte)        { u.mu.Lock(); u.heard++; u.mu.Unlock() }
func (u *updates) Repository(*hmpb.Repository) {}
func (u *updates) Offered(o *hmpb.Offer)       { u.mu.Lock(); u.offer = o; u.mu.Unlock() }
func (u *updates) Withdrawn(lease string)      { u.mu.Lock(); u.gone = append(u.gone, lease); u.mu.Unlock() }
func (u *updates) SignedTime() time.Time       { return u.signed }
func (u *updates) Status() update.Status {
	return update.Status{Off: u.off, State: "offered", Version: "2.0.0", Postponable: 3, Launcher: u.status.Launcher, LauncherLeft: u.status.LauncherLeft}
}

func (u *updates) Run(ctx context.Context, ready func()) error {
	ready()
	select {
	case <-u.swap:
		return supervise.Permanent(update.ErrSwap)
	case <-ctx.Done():
		return nil
	}
}

// TestHelloForUpdates: the collector hears for which system and channel it may offer,
// and where it need not.
func TestHelloForUpdates(t *testing.T) {
	for name, c := range map[string]struct {
		settings string
		off      string
		none     bool
		status   update.Status
		policies [2]string // the good one, and one that is not of the schema
		want     string
	}{
		"stable":              {want: "channel:stable system:linux/amd64"},
		"canary":              {settings: `update_channel = "canary"`, want: "channel:canary system:linux/amd64"},
		"without a launcher":  {off: update.NoLauncher, want: "channel:stable system:linux/amd64 updates:off"},
		"without such a part": {none: true, want: "channel:stable system:linux/amd64 updates:off"},
		"below a launcher":    {status: update.Status{Launcher: "1.2.0"}, want: "channel:stable system:linux/amd64 launcher:1.2.0"},
		"with a launcher that failed": {status: update.Status{Launcher: "1.2.0", LauncherLeft: "1.3.0"},
			want: "channel:stable system:linux/amd64 launcher:1.2.0 launcher-left:1.3.0"},
		"with policies": {policies: [2]string{"1.0.0", "1.1.0"}, want: "channel:stable system:linux/amd64 policy:1.0.0 policy-left:1.1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				w.config.System = "linux/amd64"
				if !c.none {
					w.config.Updates = func(agent.Means) agent.Updates {
						return &updates{off: c.off, status: c.status, swap: make(chan struct{})}
					}
				}
				if c.policies[0] != "" {
					p := config.OpenPolicies(w.config.Files)
					if err := p.Take(c.policies[0], "sum-1", []byte(`{"hausmeister_policy": 1}`)); err != nil {
						t.Fatal(err)
					}
					if err := p.Take(c.policies[1], "sum-2", []byte(`{"hausmeister_policy": 1, "unknown": 1}`)); err == nil {
						t.Fatal("a policy that is not of the schema is taken")
					}
				}
				if c.settings != "" {
					if err := w.config.Files.Write(config.SettingsFile, []byte(c.settings)); err != nil {
						t.Fatal(err)
					}
				}
				w.enrol()
				w.run()
				time.Sleep(20 * time.Second)
				w.mu.Lock()
				got := strings.Join(w.capabilities, " ")
				w.mu.Unlock()
				if got != c.want {
					t.Errorf("Hello says %q, want %q", got, c.want)
				}
			})
		})
	}
}

func TestUpdatesHearAndAreShown(t *testing.T) {
	in(t, func(w *world) {
		u := &updates{signed: time.Now().Add(-time.Minute), swap: make(chan struct{})}
		w.config.Updates = func(m agent.Means) agent.Updates { u.means = m; return u }
		w.enrol()
		w.run()
		time.Sleep(20 * time.Second)
		w.mu.Lock()
		control := w.control
		w.mu.Unlock()
		control.WriteMsg(hmpb.ControlDown_builder{Offer: hmpb.Offer_builder{Lease: proto.String("lease-1")}.Build()}.Build())
		control.WriteMsg(hmpb.ControlDown_builder{Withdrawn: hmpb.Withdrawn_builder{Lease: proto.String("lease-0")}.Build()}.Build())
		time.Sleep(5 * time.Second)
		u.mu.Lock()
		if u.heard != 1 || u.offer.GetLease() != "lease-1" || strings.Join(u.gone, " ") != "lease-0" {
			t.Errorf("heard %d times, offered %v, withdrawn %v", u.heard, u.offer, u.gone)
		}
		u.mu.Unlock()
		if s := w.status().Update; s == nil || s.Version != "2.0.0" || !s.Coming() {
			t.Errorf("status shows %+v", s)
		}
		if u.means.Address() != "collector.example:443" {
			t.Errorf("session with %q", u.means.Address())
		}
		e := &hmpb.Entry{}
		e.SetUpdate(hmpb.Update_builder{Lease: proto.String("lease-1"), State: new(hmpb.UpdateState_UPDATE_STATE_OFFERED)}.Build())
		if _, err := u.means.Sink.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		told := 0
		for _, e := range w.stored() {
			if e.GetUpdate().GetLease() == "lease-1" {
				told++
			}
		}
		if told != 1 {
			t.Errorf("a step reached the collector %d times", told)
		}
		var report agent.Report
		w.mu.Lock()
		err := json.Unmarshal(w.public[agent.LastReportFile], &report)
		w.mu.Unlock()
		if err != nil || len(report.Updates) != 1 || report.Updates[0].Lease != "lease-1" || report.Updates[0].State != "offered" {
			t.Errorf("the last report shows %+v, %v", report.Updates, err)
		}
		// What is armed ends the agent, in order.
		close(u.swap)
		err = <-w.ended
		w.cancel()
		w.cancel = nil
		if !errors.Is(err, update.ErrSwap) {
			t.Errorf("Run = %v, want ErrSwap", err)
		}
	})
}

// TestAttack13_SignedTimeForTLS: a clock of 1970 does not cut the device off from a
// collector whose certificate begins later, when something was signed since.
func TestAttack13_SignedTimeForTLS(t *testing.T) {
	in(t, func(w *world) {
		u := &updates{signed: time.Now().Add(30 * 24 * time.Hour), swap: make(chan struct{})}
		w.config.Updates = func(agent.Means) agent.Updates { return u }
		var told time.Time
		open := func() (*enroll.Keeper, error) { // built three days from now, by the clock of this device
			return enroll.Open(enroll.Config{Files: w.files, Keys: w.keys, BuildTime: time.Now().Add(72 * time.Hour), Log: slog.New(slog.DiscardHandler)})
		}
		w.enrol()
		w.config.Open = open
		w.run()
		time.Sleep(20 * time.Second)
		k, err := open()
		if err == nil {
			told = k.Trusted()
		}
		if told.Before(u.signed) {
			t.Errorf("the time for TLS is %v (%v), signed was %v", told, err, u.signed)
		}
	})
}
