package scenario

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/spool"
	"hausmeister/installer/bundle"
	"hausmeister/testenv/ledger"
	"hausmeister/testenv/machine"
	"hausmeister/testenv/need"
	"hausmeister/testenv/programs"
	"hausmeister/testenv/site"
)

// device is a real Debian with the agent's package, and a collector beside it.
type device struct {
	*machine.Machine
	t *testing.T
}

// TestService is the life of the real service on a real system: installed by
// its package, enrolled, held against the system's own tools, rebooted, killed, unplugged, its power cut, upgraded,
// and removed. It comes back each time, and the collector has every report.
func TestService(t *testing.T) {
	t.Parallel()
	if err := machine.Available(); err != nil {
		need.Skip(t, "%v", strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	ctx := t.Context()
	m, err := machine.Start(ctx)
	must(t, err)
	d := device{m, t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("journal of the service:\n%s", m.Journal(context.WithoutCancel(ctx), bundle.Unit))
		}
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := newSite(t, m.HostAddr().String())

	d.install(programs.Version)
	d.exec("systemctl", "is-enabled", bundle.Unit)
	if got := d.status().State; got != "not_enrolled" {
		t.Errorf("state after installing is %s, want not_enrolled", got)
	}
	// While it waits, the service is up, or systemd would restart it for ever.
	d.exec("systemctl", "is-active", bundle.Unit)
	d.exec("hausmeister-agent", "enroll", newClaim(t, s, 1))
	d.reports("after enrolment", 1)
	identity := d.status().Device
	d.againstTools()

	had := d.status().Entries
	must(t, m.Reboot(ctx))
	d.reports("after a reboot", had+1)

	before := d.mainPID()
	had = d.status().Entries
	must(t, m.KillAgent(ctx))
	d.reports("after kill -9", had+1)
	if after := d.mainPID(); after == before {
		t.Errorf("the service's process is %s before and after kill -9", before)
	}

	must(t, m.Unplug(ctx))
	had = d.status().Entries
	d.exec("systemctl", "restart", bundle.Unit) // each start makes a report soon
	eventually(t, time.Minute, "a report in the spool while the cable is out", func() (bool, error) {
		st, err := d.ask()
		return st.Entries > had && st.Waiting > 0, err
	})
	d.looked(s, "looked at while the cable was out")
	must(t, m.Plug(ctx))
	d.reports("after the cable was out", had+1)
	d.showsLook("looked at while the cable was out")

	had = d.status().Entries
	must(t, m.PowerCut())
	must(t, m.PowerOn(ctx))
	d.reports("after a power cut", had+1)

	const next = "0.0.2-test.1"
	had = d.status().Entries
	d.install(next)
	if got := d.exec("readlink", "/opt/hausmeister/launcher/current"); got != next {
		t.Errorf("after the upgrade, the launcher is %s", got)
	}
	d.exec("cmp", bundle.Agent, "/opt/hausmeister/versions/"+next+"/hausmeister-agent")
	if got := d.exec("ls", "/opt/hausmeister/versions"); got != next {
		t.Errorf("after the upgrade, versions/ holds %s", got)
	}
	d.reports("after the upgrade", had+1)
	if got := d.status().Device; got != identity {
		t.Errorf("the device is %s, was %s", got, identity)
	}

	d.badLauncher(next)
	d.reports("after a launcher that did not come up", had+1)

	d.exec("systemctl", "stop", bundle.Unit)
	must(t, s.Stop(10*time.Second))
	copied := filepath.Join(t.TempDir(), "spool")
	must(t, os.CopyFS(copied, os.DirFS(m.Path("/opt/hausmeister/spool"))))
	produced, stored := ledger.Book{}, ledger.Book{}
	must(t, produced.Produced(spool.Dir(copied)))
	must(t, stored.Stored(ctx, database(s)))
	for _, diff := range ledger.Differences(produced, stored) {
		t.Error(diff)
	}
	t.Logf("%d reports produced, %d stored", produced.Count(), stored.Count())

	d.exec("dpkg", "--remove", "hausmeister-agent")
	d.exec("test", "-d", "/opt/hausmeister/state") // a repair must not make the device unknown
	d.exec("dpkg", "--purge", "hausmeister-agent")
	if out, err := m.Exec(ctx, "ls", "/opt/hausmeister"); err == nil {
		t.Errorf("after purge, /opt/hausmeister still holds %q", out)
	}
}

// install makes the package of a version and has dpkg install it.
func (d device) install(version string) {
	d.t.Helper()
	deb, err := bundle.Deb(bundle.Config{
		Agent:    filepath.Join(programs.Build(d.t), "hausmeister-agent"),
		Launcher: filepath.Join(programs.Build(d.t), "hausmeister-launcher"),
		Arch:     runtime.GOARCH,
		Version:  version,
		Unit:     bundle.AgentUnit(),
		Modified: time.Unix(1_790_000_000, 0),
	})
	must(d.t, err)
	must(d.t, d.WriteFile("/root/agent.deb", deb, 0o600))
	d.exec("dpkg", "-i", "/root/agent.deb")
	eventually(d.t, time.Minute, "the service is up", func() (bool, error) {
		_, err := d.Exec(d.t.Context(), "systemctl", "is-active", bundle.Unit)
		return err == nil, err
	})
}

// badLauncher leaves a launcher on trial that cannot run, as its train does, stops and
// restarts the service, and lets the timer's own unit find out (row 41 of the table of attacks
// and faults).
func (d device) badLauncher(good string) {
	d.t.Helper()
	d.exec("systemctl", "is-active", bundle.Unit+"-mend.timer")
	must(d.t, d.WriteFile("/opt/hausmeister/state/launcher.json", []byte(`{"mend_patience": "3s", "mend_steady": "1s", "mend_every": "200ms"}`), 0o600))
	const bad = "#!/bin/sh\nexit 1\n"
	d.exec("mkdir", "/opt/hausmeister/launcher/9.9.9")
	must(d.t, d.WriteFile("/opt/hausmeister/launcher/9.9.9/hausmeister-launcher", []byte(bad), 0o755))
	trial := fmt.Sprintf(`{"from": %q, "to": "9.9.9", "sum": "%x"}`, good, sha256.Sum256([]byte(bad)))
	must(d.t, d.WriteFile("/opt/hausmeister/launcher/trial", []byte(trial), 0o644))
	d.exec("ln", "-sfn", "9.9.9", "/opt/hausmeister/launcher/current")
	// While somebody keeps the service stopped nothing is known of it.
	d.exec("systemctl", "stop", bundle.Unit)
	d.exec("systemctl", "start", bundle.Unit+"-mend.service")
	if got := d.exec("readlink", "/opt/hausmeister/launcher/current"); got != "9.9.9" {
		d.t.Errorf("a launcher is left for %s because somebody stopped the service", got)
	}
	if _, err := d.Exec(d.t.Context(), "systemctl", "restart", bundle.Unit); err == nil {
		d.t.Error("a launcher that only ends could be started")
	}
	d.exec("systemctl", "start", bundle.Unit+"-mend.service")
	if got := d.exec("readlink", "/opt/hausmeister/launcher/current"); got != good {
		d.t.Errorf("after the repair, the launcher is %s, want %s", got, good)
	}
	d.exec("systemctl", "is-active", bundle.Unit)
	d.exec("rm", "/opt/hausmeister/state/launcher.json")
}

// looked has somebody at the collector look at the device.
func (d device) looked(s *site.Site, reason string) {
	d.t.Helper()
	token, err := s.AddToken(d.t.Context(), strings.ReplaceAll(reason, " ", "-"), "support")
	must(d.t, err)
	body := map[string]string{"reason": reason}
	must(d.t, s.Client().Post(d.t.Context(), token, "/api/v1/devices/"+d.status().Device+"/looks", body, nil))
}

// showsLook waits until the device shows everybody who looked, and why.
func (d device) showsLook(reason string) {
	d.t.Helper()
	eventually(d.t, 2*time.Minute, "the device shows the look "+reason, func() (bool, error) {
		var list struct {
			Looks []struct{ Name, Role, Reason string }
		}
		out, err := d.Exec(d.t.Context(), "setpriv", "--reuid=nobody", "--clear-groups", "hausmeister-agent", "looks", "--json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &list)
		}
		if err != nil || len(list.Looks) == 0 || list.Looks[0].Reason != reason {
			return false, err
		}
		if got := list.Looks[0]; got.Role != "support" || got.Name != strings.ReplaceAll(reason, " ", "-") {
			d.t.Errorf("the device shows the look %+v", got)
		}
		return true, nil
	})
}

func (d device) exec(args ...string) string {
	d.t.Helper()
	out, err := d.Exec(d.t.Context(), args...)
	must(d.t, err)
	return strings.TrimSpace(out)
}

func (d device) mainPID() string {
	d.t.Helper()
	return d.exec("systemctl", "show", "--property=MainPID", "--value", bundle.Unit)
}

// agentStatus is a part of what `hausmeister-agent status --json` says.
type agentStatus struct {
	State   string `json:"state"`
	Device  string `json:"device"`
	Entries uint64 `json:"spool_entries"`
	Waiting uint64 `json:"spool_waiting"`
}

func (d device) ask() (st agentStatus, err error) {
	// Its exit code says how the agent is; only the words count here.
	out, runErr := d.Exec(d.t.Context(), "hausmeister-agent", "status", "--json")
	if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(&st); err != nil && err != io.EOF {
		return st, err
	} else if err == io.EOF {
		return st, runErr
	}
	return st, nil
}

func (d device) status() (st agentStatus) {
	d.t.Helper()
	eventually(d.t, time.Minute, "status", func() (ok bool, err error) {
		st, err = d.ask()
		return err == nil && st.State != "", err
	})
	return st
}

// reports waits until the agent is connected, at least so many reports are in
// its spool, and the collector has acknowledged all. What was there has to be
// counted before what happens: a first report afterwards may come at once.
func (d device) reports(when string, atLeast uint64) {
	d.t.Helper()
	eventually(d.t, 3*time.Minute, "a report has arrived "+when, func() (bool, error) {
		st, err := d.ask()
		if err != nil {
			return false, err
		}
		return st.State == "connected" && st.Waiting == 0 && st.Entries >= atLeast, nil
	})
	d.t.Logf("%s: connected, all acknowledged", when)
}
