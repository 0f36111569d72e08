package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/platform/sysinfo"
	"hausmeister/testenv/need"
	"hausmeister/testenv/programs"
)

// wine is a Windows of its own, in the test's folder.
type wine struct {
	t    *testing.T
	dir  string
	root string // of the repository
	env  []string
}

// newWine makes the Windows. Wine is not installed by testenv/setup.sh test: it
// takes longer than all else together ("testenv/setup.sh wine" does it).
func newWine(t *testing.T) *wine {
	t.Helper()
	need.Programs(t, "wine", "wineserver", "x86_64-w64-mingw32-gcc")
	root, err := programs.Root()
	must(t, err)
	w := &wine{t: t, dir: t.TempDir(), root: root}
	w.env = append(os.Environ(),
		"WINEPREFIX="+filepath.Join(w.dir, "prefix"), "WINEDEBUG=-all", "DISPLAY=",
		"WINEDLLOVERRIDES=mscoree,mshtml=", // else it asks whether to fetch them
		"HAUSMEISTER_OWN_REGISTRY=1",
	)
	t.Cleanup(func() {
		// The server of this prefix, and no other's.
		cmd := exec.Command("wineserver", "-k")
		cmd.Env = w.env
		_ = cmd.Run()
	})
	w.run(2*time.Minute, w.dir, "wine", "wineboot", "-i")
	dll := filepath.Join(w.dir, "prefix/drive_c/windows/system32/bcryptprimitives.dll")
	w.run(time.Minute, w.dir, "x86_64-w64-mingw32-gcc", "-shared", "-o", dll,
		filepath.Join(root, "testenv/scenario/testdata/bcryptprimitives.c"), "-ladvapi32")
	return w
}

// run runs a program to its end and gives what it printed. The output goes to a
// file: Wine's server outlives the program and would keep a pipe open.
func (w *wine) run(within time.Duration, dir string, args ...string) []byte {
	w.t.Helper()
	b, err := w.try(within, dir, args...)
	if err != nil {
		w.t.Fatalf("%v: %v\n%s", args, err, b)
	}
	return b
}

// try is run, for what may fail.
func (w *wine) try(within time.Duration, dir string, args ...string) ([]byte, error) {
	w.t.Helper()
	out, err := os.CreateTemp(w.dir, "out")
	must(w.t, err)
	defer out.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, w.env, out, out
	err = cmd.Run()
	b, _ := os.ReadFile(out.Name())
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return b, err
}

// build cross-compiles with go; args are those of the go command.
func (w *wine) build(args ...string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "go", args...)
	cmd.Dir = w.root
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("go %v: %v\n%s", args, err, b)
	}
}

// TestReadInWine reads a Windows, as far as Wine is one: the program ends, tells
// what there is, and says of the rest why not.
func TestReadInWine(t *testing.T) {
	// Up to two minutes beside tests that mind their time: make test-long runs it.
	if os.Getenv("HAUSMEISTER_LONG") != "1" {
		need.Skip(t, "HAUSMEISTER_LONG=1, as make test-long sets it, for what Windows' readings do in Wine")
	}
	t.Parallel()
	w := newWine(t)

	unit := filepath.Join(w.dir, "sysinfo.test.exe")
	w.build("test", "-c", "-trimpath", "-o", unit, "./platform/sysinfo")
	// Those for every system and for Windows; the others read recorded Linux trees.
	const own = "^Test(WMI|Registry|Windows|NVMe|BootEvent|Kept|SMBIOS|Darwin|HangingGroup|SeldomRead)"
	t.Logf("sysinfo's own tests:\n%s", w.run(2*time.Minute, filepath.Join(w.root, "platform/sysinfo"), "wine", unit, "-test.v", "-test.run", own))

	read := filepath.Join(w.dir, "read.exe")
	w.build("build", "-trimpath", "-o", read, "./testenv/cmd/hausmeister-read")
	out := filepath.Join(w.dir, "snapshot.json")
	// Updates are not looked for in the first five minutes.
	w.run(8*time.Minute, w.dir, "wine", read, "-within", "20s", "-pause", "305s", "-o", `Z:`+out)
	b, err := os.ReadFile(out)
	must(t, err)
	var a struct {
		Snapshot sysinfo.Snapshot
		CouldNot map[string]string
	}
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	s := a.Snapshot
	t.Logf("what Wine tells:\n%s", b)
	if s.Identity.OS != "windows" || s.Identity.OSName.Why != sysinfo.Present || s.Identity.OSPatch.Why != sysinfo.Present {
		t.Errorf("identity is %+v", s.Identity)
	}
	if total, ok := s.Memory.Total.Get(); !ok || total < 1<<28 {
		t.Errorf("memory is %+v", s.Memory)
	}
	drives, _ := s.Volumes.Get()
	if !slices.ContainsFunc(drives, func(v sysinfo.Volume) bool {
		total, ok := v.Total.Get()
		return v.Name == "C:" && ok && total > 0 && v.ReadOnly == sysinfo.Some(false)
	}) {
		t.Errorf("volumes are %+v", s.Volumes)
	}
	if cores, ok := s.CPU.CoreUsed.Get(); !ok || len(cores) == 0 {
		t.Errorf("cores are %+v", s.CPU.CoreUsed)
	}
	if len(s.CutOff) > 0 || len(a.CouldNot) > 0 {
		t.Errorf("cut off %v, could not %v: what Wine lacks has a name of its own", s.CutOff, a.CouldNot)
	}
	for what, why := range map[string]sysinfo.Absence{
		"updates": s.Updates.Pending.Why, "encryption": s.Protection.Encryption.Why, "firewall": s.Protection.Firewall.Why,
		"antivirus": s.Protection.Antivirus.Why, "secure boot": s.Protection.SecureBoot.Why, "TPM": s.Protection.TPM.Why,
		"crashes": s.Crashes.System.Why, "boot duration": s.BootDuration.Why, "disks": s.Disks.Why,
		"printers": s.Printers.Why, "restart": s.Restart.Why, "metered": s.Metered.Why,
	} {
		if why == sysinfo.Unread || why == sysinfo.Failed {
			t.Errorf("%s: absence %d, which says nothing", what, why)
		}
	}
}

// TestUpdateInWine runs what replaces programs on a Windows, as far as Wine is one:
// rights, held and running files, and the real launcher with an update. What
// real NTFS and its scanners do is not shown by it.
func TestUpdateInWine(t *testing.T) {
	if os.Getenv("HAUSMEISTER_LONG") != "1" {
		need.Skip(t, "HAUSMEISTER_LONG=1, as make test-long sets it, for updates in Wine")
	}
	t.Parallel()
	w := newWine(t)
	for pkg, tests := range map[string]string{
		"layout": "^TestWindows", "process": "^TestHandles", "swap": "^Test(Swap|OtherBytes|Attack24_Windows)", // the rest is in memory, the same everywhere
	} {
		unit := filepath.Join(w.dir, pkg+".test.exe")
		w.build("test", "-c", "-trimpath", "-o", unit, "./platform/"+pkg)
		out := w.run(4*time.Minute, filepath.Join(w.root, "platform", pkg), "wine", unit, "-test.v", "-test.run", tests)
		if !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("%s: no test ran:\n%s", pkg, out)
		}
		t.Logf("%s:\n%s", pkg, out)
	}
	w.build("build", "-trimpath", "-ldflags", "-X main.version=1.0.0", "-o", filepath.Join(w.dir, "hausmeister-launcher.exe"), "./agent/cmd/hausmeister-launcher")
	root := filepath.Join(w.dir, "root")
	l := layout.Layout{Root: root}
	// Not the real agent: Wine 8 lacks what Go needs for a UDP socket (WSAIoctl).
	keep := func(version string) (p journal.Program) {
		program := filepath.Join(root, "versions", version, "hausmeister-agent.exe")
		w.build("build", "-trimpath", "-ldflags", "-X main.version="+version, "-o", program, "./testenv/scenario/testdata/agent")
		b, err := os.ReadFile(program)
		must(t, err)
		p.Version = version
		p.Sum, err = layout.SumOf(bytes.NewReader(b))
		must(t, err)
		must(t, os.WriteFile(program+".sha256", []byte(p.Sum.String()+"\n"), 0o644))
		return p
	}
	first := keep("1.0.0")
	must(t, os.MkdirAll(l.State(), 0o755))
	must(t, os.WriteFile(filepath.Join(l.State(), launcher.SettingsFile), []byte(`{"bound_for": "500ms", "cpu_permille": 10000, "again": "100ms"}`), 0o600))
	cmd := exec.CommandContext(t.Context(), "wine", filepath.Join(w.dir, "hausmeister-launcher.exe"), "run", "-dir", `Z:`+root)
	cmd.Env = w.env
	out, err := os.Create(filepath.Join(w.dir, "launcher.log"))
	must(t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	must(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(out.Name())
			t.Logf("launcher:\n%s", b)
		}
	}()
	store := journal.NewStore(journal.Config{Dir: l.Update(), Disk: layout.Plain()})
	eventually(t, 2*time.Minute, "the first agent is alive and measured", func() (bool, error) {
		j, err := store.Load()
		return j.Good == first && j.Alive && j.Checked && j.Baseline > 0, err
	})
	next := keep("1.1.0")
	for _, k := range []journal.Kind{journal.Offer, journal.Download, journal.Stage, journal.Arm} {
		_, _, err := store.Do(t.Context(), journal.Event{Kind: k, At: time.Now().UnixMilli(), Program: next, Lease: "lease"})
		must(t, err)
	}
	must(t, os.WriteFile(filepath.Join(root, "go-1.0.0"), nil, 0o600))
	eventually(t, 2*time.Minute, "the update is committed", func() (bool, error) {
		j, err := store.Load()
		return j.Good == next && j.Previous == first && j.State == journal.Committed, err
	})
	if sum, err := layout.SumFile(layout.Plain(), filepath.Join(root, "bin/hausmeister-agent.exe")); err != nil || sum != next.Sum {
		t.Errorf("bin/ holds %s, %v; want %s", sum, err, next.Sum)
	}
}

// TestAttack41_ServiceInWine has Wine's service manager and task scheduler take what the
// agent installs, and leaves launchers that hang. Two things are not as on a Windows:
// nothing is run by the task or by the service's recovery, so that the test does what
// they would, and the launchers are stand-ins (testdata/launcher).
func TestAttack41_ServiceInWine(t *testing.T) {
	if os.Getenv("HAUSMEISTER_LONG") != "1" {
		need.Skip(t, "HAUSMEISTER_LONG=1, as make test-long sets it, for the service in Wine")
	}
	t.Parallel()
	w := newWine(t)
	w.stays()
	root := filepath.Join(w.dir, "root")
	l := layout.Layout{Root: root}
	launchers := filepath.Join(root, "launcher")
	read := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(launchers, name))
		return strings.TrimSpace(string(b))
	}
	building := func(version, hangs, to string) {
		w.build("build", "-trimpath", "-ldflags", "-X main.version="+version+" -X 'main.hangs="+hangs+"'", "-o", filepath.Join(to, "hausmeister-launcher.exe"), "./testenv/scenario/testdata/launcher")
	}
	agent := filepath.Join(w.dir, "hausmeister-agent.exe")
	w.build("build", "-trimpath", "-ldflags", "-X main.version=1.0.0", "-o", agent, "./agent/cmd/hausmeister-agent")
	building("1.0.0", "", w.dir)
	do := func(args ...string) string {
		t.Helper()
		command := append(append([]string{"wine", agent}, args...), "--json", "--dir", "Z:"+root)
		// A busy machine's service manager is slow; then the agent asks to try again.
		for tries := 1; ; tries++ {
			out, err := w.try(3*time.Minute, w.dir, command...)
			if err == nil {
				return string(out)
			}
			if tries == 5 || !bytes.Contains(out, []byte(`"code": "slow"`)) {
				t.Fatalf("%v: %v\n%s", command, err, out)
			}
			t.Logf("%v was slow", args)
		}
	}
	mends := func(want train.Outcome) {
		t.Helper()
		if out := do("mend"); !strings.Contains(out, `"mend.`+string(want)+`"`) {
			t.Fatalf("mend = %s, want %s", out, want)
		}
	}
	// runs waits until a launcher has begun, other than the one that had before.
	runs := func(version, before string) (now string) {
		t.Helper()
		eventually(t, 3*time.Minute, "launcher "+version+" runs", func() (bool, error) {
			now = read("running")
			return strings.HasPrefix(now, version+" ") && now != before, fmt.Errorf("running: %q", now)
		})
		return now
	}
	do("install")
	must(t, os.WriteFile(filepath.Join(l.State(), launcher.SettingsFile), []byte(`{"mend_patience": "5s", "mend_steady": "500ms", "mend_every": "100ms"}`), 0o600))
	task := filepath.Join(w.dir, "prefix/drive_c/windows/system32/tasks/hausmeister-agent-mend")
	if _, err := os.Stat(task); err != nil {
		t.Errorf("the task scheduler has no task: %v", err)
	}
	do("start")
	first := runs("1.0.0", "")
	do("start") // again is no harm
	mends(train.Nothing)

	// From here on as from its own place, without a launcher beside it.
	must(t, os.Mkdir(filepath.Join(w.dir, "own"), 0o755))
	must(t, os.Rename(agent, filepath.Join(w.dir, "own/hausmeister-agent.exe")))
	agent = filepath.Join(w.dir, "own/hausmeister-agent.exe")
	// tries does what the agent does with a launcher of its own train.
	tries := func(version, hangs string) layout.Sum {
		t.Helper()
		building(version, hangs, filepath.Join(launchers, version))
		sum, err := layout.SumFile(layout.Plain(), filepath.Join(launchers, version, "hausmeister-launcher.exe"))
		must(t, err)
		text, err := json.Marshal(train.Trial{From: "1.0.0", To: version, Sum: sum})
		must(t, err)
		must(t, os.WriteFile(filepath.Join(launchers, "trial"), text, 0o644))
		must(t, os.WriteFile(filepath.Join(launchers, "current"), []byte(version+"\n"), 0o644))
		do("stop")
		do("install") // sets the service's command
		return sum
	}
	left := func(sum layout.Sum) {
		t.Helper()
		if !strings.Contains(read("barred"), sum.String()) || read("current") != "1.0.0" || read("trial") != "" {
			t.Errorf("barred %q, current %q, trial %q", read("barred"), read("current"), read("trial"))
		}
	}

	sum := tries("1.1.0", "at its start")
	cmd := exec.CommandContext(t.Context(), "wine", agent, "start", "--json", "--dir", "Z:"+root)
	cmd.Env = w.env
	if out, err := cmd.Output(); err == nil {
		t.Errorf("a launcher that hangs was started: %s", out)
	}
	mends(train.Back)
	runs("1.0.0", first)
	left(sum)

	// One that hangs later is left, too. Wine's manager goes on taking a service for one
	// that runs whose process was ended, so that what comes then is not shown here: the
	// start of the one before, and of one that crashed.
	sum = tries("1.2.0", "later")
	do("start")
	runs("1.2.0", "")
	mends(train.Waiting)
	mends(train.Waiting)
	out, err := w.try(3*time.Minute, w.dir, "wine", agent, "mend", "--json", "--dir", "Z:"+root)
	if now := read("current"); now != "1.0.0" || !strings.Contains(read("barred"), sum.String()) {
		t.Errorf("mend: %v\n%s\nleaves current %q, barred %q", err, out, now, read("barred"))
	}
}

// stays keeps this Windows up between two programs: with the last of them its services
// end.
func (w *wine) stays() {
	w.t.Helper()
	w.run(2*time.Minute, w.dir, "wineserver", "-w") // what goes down now would take it along
	cmd := exec.Command("wine", "cmd.exe")          // until its input ends
	cmd.Env = w.env
	in, err := cmd.StdinPipe()
	must(w.t, err)
	must(w.t, cmd.Start())
	w.t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
}
