package scenario

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/installer/bundle"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/machine"
	"hausmeister/testenv/need"
)

func schoolsCSV() []byte { return fakes.SchoolsCSV }

// TestUpdates has real devices take real releases, from the person's key to the
// committed program: keys, signatures, publication, collector, package, service,
// launcher and agent are the real ones, and each device is a Debian of its own. Only
// the launcher's patience is shorter. Rows of the table of attacks and faults stand
// in the names.
func TestUpdates(t *testing.T) {
	t.Parallel()
	if err := machine.Available(); err != nil {
		need.Skip(t, "%v", strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	for _, tool := range []string{"bash", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			need.Skip(t, "the program %s", tool)
		}
	}
	f := newForge(t)
	lanes := []lane{
		{"Good", patience{}, good},
		{"Attack31_NoWayToTheCollector", patience{}, silenced},
		{"Attack30_CrashesAtItsStart", patience{}, failing("crashes", "crashed", 3)},
		{"Attack33_Hangs", patience{aliveWithin: 6 * time.Second}, failing("hangs", "hung", 3)},
		// Beside other tests nobody gets much of a core.
		{"Attack32_EatsACore", patience{cpuPermille: 80}, failing("hog", "cpu", 3)},
		{"Attack23_PowerCut", cutPatience, powerCuts},
	}
	// Devices boot and enrol while the releases are packed.
	published := make(chan struct{})
	var running, ready sync.WaitGroup
	for _, l := range lanes {
		ready.Add(1)
		running.Go(func() {
			done := sync.OnceFunc(ready.Done)
			defer done()
			t.Run(l.name, func(t *testing.T) {
				b := newBench(t, f, l.patience)
				done()
				<-published
				if f.published.IsZero() {
					t.Fatal("nothing was published")
				}
				l.run(b)
			})
		})
	}
	defer running.Wait()
	defer close(published)
	f.stageAll(t)
	ready.Wait()
	began := time.Now()
	f.publish(t)
	f.published = began
}

// TestUpdatesCutOften cuts the power of more devices, three times each.
func TestUpdatesCutOften(t *testing.T) {
	if os.Getenv("HAUSMEISTER_LONG") != "1" {
		t.Skip("three cuts are in TestUpdates; this is for make test-long")
	}
	if err := machine.Available(); err != nil {
		need.Skip(t, "%v", strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	f := newForge(t)
	f.stageAll(t)
	f.publish(t)
	const devices, atOnce = 17, 3 // 51 cuts
	seats := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for n := range devices {
		running.Go(func() {
			seats <- struct{}{}
			defer func() { <-seats }()
			t.Run(fmt.Sprintf("Attack23_Device%d", n+1), func(t *testing.T) { powerCuts(newBench(t, f, cutPatience)) })
		})
	}
	running.Wait()
}

// lane is what happens at one device.
type lane struct {
	name     string
	patience patience
	run      func(b *bench)
}

// good is an update as it should be.
func good(b *bench) {
	id := b.rollout(goodVersion)
	started := time.Since(b.f.published)
	seen := b.until(goodVersion+" is committed", 3*time.Minute, b.f.published, committed(goodVersion))
	b.current(id, goodVersion)
	known := time.Since(b.f.published)
	b.t.Logf("from publish: rollout started by hand after %.1f s, armed %.1f s, on trial %.1f s, committed %.1f s (5 s of bounds in it), known to the collector %.1f s",
		started.Seconds(), seen[journal.Armed].Seconds(), seen[journal.Trial].Seconds(), seen[journal.Committed].Seconds(), known.Seconds())
	b.refreshCost(b.browser())
	if got, err := b.runs(); got != goodVersion {
		b.t.Errorf("%s runs, %v", got, err)
	}
	eventually(b.t, time.Minute, "who sits at the device sees it", func() (bool, error) {
		out, err := b.Exec(b.t.Context(), "hausmeister-agent", "update", "status", "--json")
		return strings.Contains(out, `"state": "committed"`) && strings.Contains(out, `"previous_version": "`+baseVersion+`"`), err
	})
	// Its exit code also speaks of keys that lie beside this collector.
	out, _ := b.s.Run(b.t.Context(), "", "doctor", "--updates-online", b.f.socket())
	if !strings.Contains(string(out), "as imported") {
		b.t.Errorf("the doctor says nothing of the online process:\n%s", out)
	}
	b.nothingLost()
}

// browser trusts the collector's page.
func (b *bench) browser() *http.Client {
	b.t.Helper()
	pem, err := os.ReadFile(b.s.CAFile())
	must(b.t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// failing is a release that must be undone: after so many starts, for a reason that the
// device and the collector know, and for good.
func failing(how, reason string, starts int) func(b *bench) {
	return func(b *bench) {
		b.undone(how, reason, baseVersion, starts)
		b.nothingLost()
	}
}

func (b *bench) undone(how, reason, before string, starts int) {
	b.t.Helper()
	must(b.t, b.WriteFile("/opt/hausmeister/state/badbuild", []byte(how), 0o600))
	id := b.rollout(badVersion)
	began := time.Now()
	most := 0
	seen := b.until(badVersion+" is undone", 5*time.Minute, began, func(j journal.Journal) bool {
		most = max(most, j.Starts)
		return j.State == journal.RolledBack
	})
	eventually(b.t, time.Minute, before+" runs again", func() (bool, error) {
		got, err := b.runs()
		return got == before, err
	})
	back := time.Since(began)
	eventually(b.t, 2*time.Minute, "the collector knows why", func() (bool, error) {
		r, err := b.row(id)
		return err == nil && r.Why == "rolled_back" && r.Reason == reason, errors.Join(err, fmt.Errorf("its row: %+v", r))
	})
	known := time.Since(began)
	swapped := seen[journal.Swapped]
	if swapped == 0 {
		swapped = seen[journal.Trial]
	}
	b.t.Logf("%s: swapped in after %.1f s; undone %.1f s after that, the old agent runs after %.1f s, the collector knows why (%s) after %.1f s",
		how, swapped.Seconds(), (seen[journal.RolledBack] - swapped).Seconds(), (back - swapped).Seconds(), reason, (known - swapped).Seconds())
	j, err := b.store.Load()
	must(b.t, err)
	barred := false
	for _, bar := range j.Barred {
		barred = barred || b.f.sums[bar.Sum] == badVersion && bar.Reason.String() == reason
	}
	if !barred || j.Good.Version != before {
		b.t.Errorf("%s is not barred for %s, or %s is not good: %+v", badVersion, reason, before, j)
	}
	if starts > 0 && most > starts {
		b.t.Errorf("it was started %d times, want %d at most", most, starts)
	}
}

// silenced: a device without any network stays on trial, and goes on when the cable is
// in again; a release that finds no way where the old one finds one is undone.
func silenced(b *bench) {
	id := b.rollout(goodVersion)
	began := time.Now()
	b.until(goodVersion+" is armed", 3*time.Minute, began, func(j journal.Journal) bool {
		return j.State == journal.Armed || j.State == journal.Swapped || j.State == journal.Trial
	})
	must(b.t, b.Unplug(b.t.Context()))
	var onTrial time.Time
	b.until(goodVersion+" is long on trial without a network", time.Minute, began, func(j journal.Journal) bool {
		switch {
		case j.State == journal.Trial && onTrial.IsZero() && j.Alive:
			onTrial = time.Now()
		case j.State != journal.Trial && !onTrial.IsZero():
			b.t.Fatalf("without a network it is %s (heard %t)", j.State, j.Heard)
		}
		return !onTrial.IsZero() && time.Since(onTrial) > 12*time.Second // twice what a silent one is given up after
	})
	must(b.t, b.Plug(b.t.Context()))
	plugged := time.Now()
	b.until(goodVersion+" is committed", 3*time.Minute, plugged, committed(goodVersion))
	b.t.Logf("12 s on trial without a network; committed %.1f s after the cable is in", time.Since(plugged).Seconds())
	b.current(id, goodVersion)
	b.undone("mute", "no_collector", goodVersion, 1)
	b.nothingLost()
}

// cutPatience lets an update be over soon, since there are three of them.
var cutPatience = patience{boundFor: 2 * time.Second}

// cutWithin is about how long an update takes from its offer to its commit.
const cutWithin = 6 * time.Second

// powerCuts cuts the power once in each of three updates, at a moment that nobody
// chose, and then holds that something known runs, and that the update goes on.
func powerCuts(b *bench) {
	ctx := b.t.Context()
	for _, version := range cutVersions {
		id := b.rollout(version)
		began := time.Now()
		b.until(version+" is offered", 2*time.Minute, began, func(j journal.Journal) bool { return j.Next.Version == version || j.Good.Version == version })
		wait := time.Duration(rand.Int64N(int64(cutWithin)))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		j, _ := b.store.Load() // it may be written just now
		must(b.t, b.PowerCut())
		must(b.t, b.PowerOn(ctx))
		up := time.Now()
		var runs string
		eventually(b.t, time.Minute, "an agent runs after the cut", func() (ok bool, err error) {
			runs, err = b.runs()
			return err == nil, err
		})
		first := time.Since(up)
		b.until(version+" is committed", 4*time.Minute, began, committed(version))
		b.t.Logf("cut %.1f s after the offer of %s, while %s; %s runs %.1f s after the boot, %s is committed %.1f s after the boot",
			wait.Seconds(), version, j.State, runs, first.Seconds(), version, time.Since(up).Seconds())
		b.current(id, version)
	}
	b.exec("systemctl", "is-active", bundle.Unit)
	b.nothingLost()
}
