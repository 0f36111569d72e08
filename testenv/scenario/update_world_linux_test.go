package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/spool"
	"hausmeister/agent/update/journal"
	"hausmeister/installer/bundle"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/child"
	"hausmeister/testenv/ledger"
	"hausmeister/testenv/machine"
	"hausmeister/testenv/programs"
	"hausmeister/testenv/site"
	"hausmeister/testenv/tufrepo"
)

// Versions of the real agent that this test makes. The one that fails passes its own
// test first, and does what a file on its device says (agent/cmd, tag badbuild).
const (
	baseVersion = "1.0.0"
	goodVersion = "1.1.0"
	badVersion  = "2.0.0"
)

// cutVersions are what a device goes through while its power is cut.
var cutVersions = []string{goodVersion, "1.2.0", "1.3.0"}

// forge is where releases are made: keys, repository, programs, and the online process.
type forge struct {
	dir, bin string
	online   *child.Child
	sums     map[layout.Sum]string // versions by their programs
	// published is when all releases were about to be.
	published time.Time
}

func (f *forge) repo() string   { return filepath.Join(f.dir, "repository") }
func (f *forge) root() string   { return filepath.Join(f.repo(), "metadata/1.root.json") }
func (f *forge) socket() string { return filepath.Join(f.dir, "online.sock") }
func (f *forge) program(version string) string {
	return filepath.Join(f.dir, "build", version, "hausmeister-agent_linux_"+runtime.GOARCH)
}

// forgeScript makes builds and releases as the walk-through does, but for this: a build
// is of the working tree and once, and all is packed quickly: a size says nothing here.
const forgeScript = `
build() { # VERSION TAGS
  mkdir -p "build/$1"
  file="$PWD/build/$1/hausmeister-agent_linux_$ARCH"
  (cd "$SOURCE" && go build -trimpath -buildvcs=false -tags "$2" -overlay "$OVERLAY" -ldflags "-s -w -buildid= -X main.version=$1" -o "$file" ./agent/cmd/hausmeister-agent)
  # A release is for two systems or more; of the other no device is here.
  echo "agent $1 of another system" > "build/$1/hausmeister-agent_linux_$OTHER"
  parts=
  for arch in $ARCH $OTHER; do
    file="build/$1/hausmeister-agent_linux_$arch"
    parts="$parts${parts:+, }$(printf '{"file": "%s", "name": "hausmeister-agent", "os": "linux", "arch": "%s", "size": %s, "sha256": "%s", "sha512": "%s"}' \
      "${file##*/}" "$arch" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d' ' -f1)" "$(sha512sum "$file" | cut -d' ' -f1)")"
  done
  printf '{"hausmeister_build": 1, "version": "%s", "commit": "%s", "time": "2026-11-29T00:00:00Z", "root": 1, "builders": [], "programs": [%s]}' "$1" "$COMMIT" "$parts" > "build/$1/build.json"
}
stage() { # VERSION MORE...
  version=$1; shift
  hausmeister-release stage "build/$version" --role stable --begin "$BEGIN" --permille 1000 --soak 0,0,0,0 --keep 10 --deltas 1 --zstd "$PWD/quick-zstd" --reason "release $version" "$@"
}
`

// newForge holds the first ceremony of the walk-through, word for word, and then makes
// five builds of the agent, of which the oldest is published.
func newForge(t *testing.T) *forge {
	t.Helper()
	source, err := programs.Root()
	must(t, err)
	// Not t.TempDir: its path is too long for a socket's.
	dir, err := os.MkdirTemp("", "hmf")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &forge{dir: dir, bin: filepath.Join(dir, "bin"), sums: map[layout.Sum]string{}}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", f.bin+"/", "./installer/cmd/hausmeister-release")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(source, "proto/manifest/root.json"): f.root()}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "quick-zstd"), []byte("#!/bin/sh\nshift\nexec zstd -3 \"$@\"\n"), 0o755))

	blocks := shellBlocks(t, filepath.Join(source, "installer/release/README.md"))
	const ceremony = 4 // keys, the online process's own, the root, its publication
	script := strings.Join(blocks[:ceremony], "\n") + forgeScript + `
build ` + baseVersion + ` '' # compiles what the others only link
for version in ` + strings.Join(cutVersions, " ") + `; do build "$version" '' & builds="${builds:-} $!"; done
build ` + badVersion + ` badbuild & builds="$builds $!"
for one in $builds; do wait "$one"; done
stage ` + baseVersion + `
why='release ` + baseVersion + `'
sign stable jana lena
hausmeister-release publish --platforms linux/$ARCH,linux/$OTHER --reason 'release ` + baseVersion + `'
`
	began := time.Now()
	f.sh(t, script)
	t.Logf("keys, root, five builds and the first release: %v", time.Since(began).Round(time.Second))
	f.online, err = child.Start(child.Config{Program: filepath.Join(f.bin, "hausmeister-release"), Log: filepath.Join(dir, "online.log"),
		Args: []string{"online", "serve", "--repo", f.repo(), "--state", filepath.Join(dir, "online"), "--socket", f.socket()}})
	must(t, err)
	t.Cleanup(func() {
		if err := f.online.Stop(10 * time.Second); err != nil {
			t.Errorf("stopping the online process: %v", err)
		}
	})
	for _, version := range append([]string{baseVersion, badVersion}, cutVersions...) {
		sum, err := layout.SumFile(layout.Plain(), f.program(version))
		must(t, err)
		f.sums[sum] = version
	}
	return f
}

// stageAll drafts and signs everything else; nothing is published yet.
func (f *forge) stageAll(t *testing.T) {
	t.Helper()
	began := time.Now()
	f.sh(t, forgeScript+signScript+`
for version in `+strings.Join(cutVersions, " ")+` `+badVersion+`; do stage "$version"; done
sign stable jana karl
`)
	t.Logf("four more releases staged and signed: %v", time.Since(began).Round(time.Second))
}

const signScript = `
sign() { # ROLE PERSON...
  role=$1; shift
  digest=$(hausmeister-release digest "drafts/$role.json")
  for person in "$@"; do
    hausmeister-release --record "sticks/$person.jsonl" sign "drafts/$role.json" --digest "$digest" --key "sticks/$person.key" --passphrase-file sticks/passphrase --reason releases
  done
}
`

func (f *forge) publish(t *testing.T) {
	t.Helper()
	f.sh(t, `hausmeister-release publish --platforms linux/$ARCH,linux/$OTHER --reason 'all that is staged'`)
}

// sh runs a script at the desk. What runs in its background ends with it.
func (f *forge) sh(t *testing.T, script string) string {
	t.Helper()
	source, err := programs.Root()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"+script)
	cmd.Dir = f.dir
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	cmd.Env = append(os.Environ(), "PATH="+f.bin+":"+os.Getenv("PATH"), "CGO_ENABLED=0", "HAUSMEISTER_WHO=desk", "SOURCE="+source, "ARCH="+runtime.GOARCH, "OTHER="+other,
		"OVERLAY="+filepath.Join(f.dir, "overlay.json"), "COMMIT="+strings.Repeat("0", 40), "BEGIN="+time.Now().Add(-48*time.Hour).Format(time.RFC3339))
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("at the desk: %v\n%s", err, out[max(0, len(out)-4000):])
	}
	return string(out)
}

// patience is a launcher's in these tests: a trial takes seconds. Zero values are
// what does on a machine that runs other tests beside it.
type patience struct {
	aliveWithin time.Duration
	boundFor    time.Duration
	cpuPermille int
}

func (p patience) file() []byte {
	if p.aliveWithin == 0 {
		p.aliveWithin = 30 * time.Second
	}
	if p.boundFor == 0 {
		p.boundFor = 5 * time.Second
	}
	if p.cpuPermille == 0 {
		p.cpuPermille = 250 // as in life
	}
	return fmt.Appendf(nil, `{"alive_within": "%v", "bound_for": "%v", "cpu_permille": %d, "probe_every": "1s", "give_up_after": "5s", "again": "500ms", "again_most": "2s", "stop_within": "5s"}`,
		p.aliveWithin, p.boundFor, p.cpuPermille)
}

// bench is a device with its own collector, at which it enrolled with the oldest
// version, installed by its package.
type bench struct {
	device
	s     *site.Site
	f     *forge
	token string
	id    string
	store *journal.Store
}

func newBench(t *testing.T, f *forge, p patience) *bench {
	t.Helper()
	ctx := t.Context()
	m, err := machine.Start(ctx)
	must(t, err)
	b := &bench{device: device{m, t}, f: f}
	t.Cleanup(func() {
		if t.Failed() {
			log := m.Journal(context.WithoutCancel(ctx), bundle.Unit)
			t.Logf("journal of the service:\n%s", log[max(0, len(log)-8000):])
		}
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	b.s, err = site.New(site.Config{Bin: programs.Build(t), Dir: t.TempDir(), Host: m.HostAddr().String(), Port: freePort(t),
		Args: []string{"--updates-online", f.socket(), "--updates-repository", f.repo(), "--updates-spread", "1ns"}})
	must(t, err)
	t.Cleanup(func() {
		if err := b.s.Stop(10 * time.Second); err != nil {
			t.Errorf("stopping the collector: %v", err)
		}
		if t.Failed() && b.s.Server() != nil {
			t.Logf("end of the collector's log:\n%s", b.s.Server().LogTail())
		}
	})
	must(t, b.s.Start(ctx))
	must(t, b.s.ImportSchools(ctx, schoolsCSV()))
	_, err = b.s.Run(ctx, "", "release", "import", f.repo(), "--root", f.root())
	must(t, err)
	b.token, err = b.s.AddToken(ctx, "bench", "admin")
	must(t, err)
	b.noLessons()

	must(t, m.WriteFile("/opt/hausmeister/state/"+launcher.SettingsFile, p.file(), 0o600))
	b.installed()
	b.exec("hausmeister-agent", "enroll", newClaim(t, b.s, 1))
	b.reports("after enrolment", 1)
	b.id = b.status().Device
	b.store = journal.NewStore(journal.Config{Dir: m.Path("/opt/hausmeister/state/update"), Disk: layout.Plain()})
	return b
}

// installed installs the package of the oldest version.
func (b *bench) installed() {
	b.t.Helper()
	deb, err := bundle.Deb(bundle.Config{
		Agent: b.f.program(baseVersion), Launcher: filepath.Join(programs.Build(b.t), "hausmeister-launcher"), LauncherVersion: programs.Version,
		Arch: runtime.GOARCH, Version: baseVersion, Unit: bundle.AgentUnit(), Modified: time.Unix(1_790_000_000, 0),
	})
	must(b.t, err)
	must(b.t, b.WriteFile("/root/agent.deb", deb, 0o600))
	b.exec("dpkg", "-i", "/root/agent.deb")
}

// noLessons lets devices of all owners begin at any time of the day, over lines on
// which a whole program takes two seconds or three instead of ten.
func (b *bench) noLessons() {
	b.t.Helper()
	var owners struct{ Items []struct{ ID string } }
	must(b.t, b.s.Client().Get(b.t.Context(), b.token, "/api/v1/owners", &owners))
	if len(owners.Items) == 0 {
		b.t.Fatal("the collector has no owners")
	}
	for _, o := range owners.Items {
		must(b.t, b.s.Client().Post(b.t.Context(), b.token, "/api/v1/owners/"+o.ID+"/updates", map[string]any{"lessons_from": "00:00", "lessons_to": "00:00", "bytes_per_second": 2_000_000}, nil))
	}
}

// rollout starts one as soon as the collector has taken over its release.
func (b *bench) rollout(version string) (id string) {
	b.t.Helper()
	eventually(b.t, time.Minute, "the collector has release "+version, func() (bool, error) {
		out, err := b.s.Run(b.t.Context(), "", "release", "list", "--json")
		return strings.Contains(string(out), `"`+version+`"`), err
	})
	out, err := b.s.Run(b.t.Context(), "", "rollout", "start", version, "--reason", "a test of "+version, "--json")
	must(b.t, err)
	var made struct{ ID string }
	must(b.t, json.Unmarshal(out, &made))
	return made.ID
}

// deviceUpdate is what the collector says of the device.
type deviceUpdate struct {
	Version, Why, Reason string
}

func (b *bench) row(rollout string) (deviceUpdate, error) {
	var list struct{ Items []deviceUpdate }
	err := b.s.Client().Get(b.t.Context(), b.token, "/api/v1/rollouts/"+rollout+"/devices", &list)
	if err == nil && len(list.Items) != 1 {
		err = fmt.Errorf("the rollout has %d devices", len(list.Items))
	}
	if err != nil {
		return deviceUpdate{}, err
	}
	return list.Items[0], nil
}

// runs is the version of the agent that runs, by the bytes of its process.
func (b *bench) runs() (string, error) {
	out, err := b.Exec(b.t.Context(), "sh", "-c", `for p in /proc/[0-9]*; do case "$(readlink "$p/exe")" in /opt/hausmeister/bin/*) sha256sum <"$p/exe"; esac; done`)
	if err != nil {
		return "", err
	}
	lines := strings.Fields(strings.ReplaceAll(out, "-", ""))
	if len(lines) != 1 {
		return "", fmt.Errorf("%d agents run", len(lines))
	}
	sum, err := layout.ParseSum(lines[0])
	if err != nil {
		return "", err
	}
	version, known := b.f.sums[sum]
	if !known {
		b.t.Errorf("an agent runs that nobody made: %s", sum)
	}
	return version, nil
}

// moments are when the journal was first seen in each state, since begin.
type moments map[journal.State]time.Duration

// until watches the journal until ok says so.
func (b *bench) until(what string, within time.Duration, begin time.Time, ok func(j journal.Journal) bool) moments {
	b.t.Helper()
	seen := moments{}
	eventually(b.t, within, what, func() (bool, error) {
		j, err := b.store.Load()
		if err != nil {
			return false, err
		}
		if _, known := seen[j.State]; !known {
			seen[j.State] = time.Since(begin)
		}
		return ok(j), fmt.Errorf("journal: %s, good %s, next %s, waits %s", j.State, j.Good.Version, j.Next.Version, j.Waits)
	})
	return seen
}

func committed(version string) func(journal.Journal) bool {
	return func(j journal.Journal) bool { return j.State == journal.Committed && j.Good.Version == version }
}

// current waits until the collector knows that the device runs a version.
func (b *bench) current(rollout, version string) {
	b.t.Helper()
	eventually(b.t, 2*time.Minute, "the collector knows that the device runs "+version, func() (bool, error) {
		r, err := b.row(rollout)
		return err == nil && r.Why == "current" && r.Version == version, errors.Join(err, fmt.Errorf("its row: %+v", r))
	})
}

// nothingLost compares the spool with what the collector stored.
func (b *bench) nothingLost() {
	b.t.Helper()
	st := b.status()
	b.reports("at the end", st.Entries)
	b.exec("systemctl", "stop", bundle.Unit)
	must(b.t, b.s.Stop(10*time.Second))
	copied := filepath.Join(b.t.TempDir(), "spool")
	must(b.t, os.CopyFS(copied, os.DirFS(b.Path("/opt/hausmeister/spool"))))
	produced, stored := ledger.Book{}, ledger.Book{}
	must(b.t, produced.Produced(spool.Dir(copied)))
	must(b.t, stored.Stored(b.t.Context(), database(b.s)))
	for _, diff := range ledger.Differences(produced, stored) {
		b.t.Error(diff)
	}
	b.t.Logf("%d reports produced, %d stored", produced.Count(), stored.Count())
}

// counted counts what a refresh costs over HTTPS; over a session it is the same files.
type counted struct {
	tufrepo.HTTP
	requests, bytes atomic.Int64
}

func (c *counted) Fetch(ctx context.Context, name string) (io.ReadCloser, error) {
	c.requests.Add(1)
	body, err := c.HTTP.Fetch(ctx, name)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	c.bytes.Add(int64(len(data)))
	return io.NopCloser(bytes.NewReader(data)), err
}

// refreshCost says what metadata a device fetches that comes for the first time, and
// one that has the newest.
func (b *bench) refreshCost(client *http.Client) {
	b.t.Helper()
	root, err := os.ReadFile(b.f.root())
	must(b.t, err)
	store := tufrepo.NewMem()
	path := "agent/stable/" + goodVersion + "/linux-" + runtime.GOARCH + "/hausmeister-agent"
	for _, when := range []string{"first", "again, nothing new"} {
		c := &counted{HTTP: tufrepo.HTTP{Base: b.s.URL() + "/updates/metadata/", Client: client}}
		m, err := manifest.New(manifest.Config{Fetch: c, Store: store, Root: root, Now: time.Now})
		must(b.t, err)
		_, state, err := m.Lookup(b.t.Context(), path)
		must(b.t, err)
		b.t.Logf("metadata, %s: %d requests, %d bytes (timestamp %d)", when, c.requests.Load(), c.bytes.Load(), state.Timestamp)
	}
}
