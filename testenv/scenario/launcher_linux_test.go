package scenario

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/testenv/need"
	"hausmeister/testenv/programs"
)

// launched is an installation in a folder, whose agents are scripts: they write down
// that they run, tell what an agent tells, and end with their input or as told.
type launched struct {
	layout.Layout
	t     *testing.T
	store *journal.Store
}

// agentScript is an agent; what it does once it is alive is do. It is as large as
// an agent is, so that times are those of one.
func agentScript(root, version, do string, size int) string {
	text := fmt.Sprintf(`#!/bin/sh
echo "$(date +%%s%%N) %s" >>"%s/starts"
%s
`, version, root, do)
	if pad := size - len(text); pad > 0 {
		text += "exit 0\n" + strings.Repeat("#", pad)
	}
	return text
}

const wellScript = `echo alive 1; echo checked ok; echo reached; echo heard $VERSION $(sha256sum "$0" | cut -d' ' -f1)
read line; cat >/dev/null; exit 0`

func newLaunched(t *testing.T, size int) *launched {
	t.Helper()
	r := &launched{Layout: layout.Layout{Root: filepath.Join(t.TempDir(), "hausmeister")}, t: t}
	must(t, r.Create())
	r.store = journal.NewStore(journal.Config{Dir: r.Update(), Disk: layout.Plain(), Lock: journal.FileLock(r.Update())})
	const settings = `{"again": "100ms", "bound_for": "500ms", "cpu_permille": 10000, "stop_within": "2s", "alive_within": "2s"}`
	must(t, os.WriteFile(filepath.Join(r.State(), launcher.SettingsFile), []byte(settings), 0o600))
	p := r.keep("1.0.0", wellScript, size)
	must(t, os.WriteFile(r.Packaged(), []byte(launcher.Note(p)), 0o644))
	return r
}

func (r *launched) versions() *layout.Versions {
	return r.VersionsOn(layout.Plain(), layout.AgentName())
}

func (r *launched) keep(version, do string, size int) journal.Program {
	r.t.Helper()
	text := agentScript(r.Root, version, strings.ReplaceAll(do, "$VERSION", version), size)
	sum, err := layout.SumOf(strings.NewReader(text))
	must(r.t, err)
	must(r.t, r.versions().Put(version, sum, strings.NewReader(text)))
	return journal.Program{Version: version, Sum: sum}
}

func (r *launched) arm(p journal.Program) {
	r.t.Helper()
	for _, k := range []journal.Kind{journal.Offer, journal.Download, journal.Stage, journal.Arm} {
		_, _, err := r.store.Do(r.t.Context(), journal.Event{Kind: k, At: time.Now().UnixMilli(), Program: p, Lease: "lease"})
		must(r.t, err)
	}
}

// starts are the versions that were started, and when.
func (r *launched) starts() (versions []string, times []time.Time) {
	b, _ := os.ReadFile(filepath.Join(r.Root, "starts"))
	for line := range strings.Lines(string(b)) {
		ns, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		versions, times = append(versions, version), append(times, time.Unix(0, n))
	}
	return versions, times
}

// run runs the launcher until done says so, and then stops it as a service
// manager does. With a tracer it may end by itself.
func (r *launched) run(within time.Duration, tracer []string, done func() bool) (ended bool, log string) {
	r.t.Helper()
	exe := filepath.Join(programs.Build(r.t), "hausmeister-launcher")
	args := append(append([]string{}, tracer...), exe, "run", "-dir", r.Root)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	must(r.t, cmd.Start())
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(within); time.Now().Before(end) && !done(); {
		select {
		case <-over:
			return true, out.String()
		case <-tick.C:
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-over
	}
	return false, out.String()
}

func (r *launched) state() journal.State {
	j, err := r.store.Load()
	if err != nil {
		return journal.Waiting
	}
	return j.State
}

// TestRealLauncher has the real launcher run real processes: an update that is
// good, and one that crashes, with the times that it takes.
func TestRealLauncher(t *testing.T) {
	const size = 12 << 20 // as the agent is
	exe := filepath.Join(programs.Build(t), "hausmeister-launcher")
	info, err := os.Stat(exe)
	must(t, err)
	r := newLaunched(t, size)
	var rss string
	_, log := r.run(30*time.Second, nil, func() bool {
		j, _ := r.store.Load()
		if j.Baseline == 0 || !j.Reached {
			return false
		}
		rss = memoryOf(exe, r.Root)
		return true
	})
	if v, _ := r.starts(); len(v) != 1 || rss == "" {
		t.Fatalf("started %v, memory %q\n%s", v, rss, log)
	}
	t.Logf("launcher: %d bytes, %s", info.Size(), rss)

	// The agent ends with 75, and the next one runs.
	old := r.keep("1.0.1", `echo alive 1; echo reached; echo heard $VERSION $(sha256sum "$0" | cut -d' ' -f1)
while [ ! -e "$(dirname "$0")/../go" ]; do sleep 0.02; done; date +%s%N >"$(dirname "$0")/../left"; exit 75`, size)
	must(t, os.WriteFile(r.Packaged(), []byte(launcher.Note(old)), 0o644))
	next := r.keep("1.1.0", wellScript, size)
	armed := false
	_, log = r.run(30*time.Second, nil, func() bool {
		if v, _ := r.starts(); !armed && v[len(v)-1] == "1.0.1" && r.state() == journal.Committed {
			r.arm(next)
			must(t, os.WriteFile(filepath.Join(r.Root, "go"), nil, 0o600))
			armed = true
		}
		j, _ := r.store.Load()
		return j.Good == next
	})
	v, times := r.starts()
	if r.state() != journal.Committed || v[len(v)-1] != "1.1.0" {
		t.Fatalf("%s, started %v\n%s", r.state(), v, log)
	}
	b, err := os.ReadFile(filepath.Join(r.Root, "left"))
	must(t, err)
	ns, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	must(t, err)
	t.Logf("from exit code 75 to the new agent: %v", times[len(times)-1].Sub(time.Unix(0, ns)).Round(time.Millisecond))

	// One that crashes, and leaves somebody behind who holds its pipe: three starts, and
	// back. (What nobody armed was pruned.)
	r.arm(r.keep("1.2.0", "setsid sleep 30 & sleep 0.1; exit 3", size))
	began := time.Now()
	_, log = r.run(30*time.Second, nil, func() bool {
		v, _ := r.starts()
		return r.state() == journal.RolledBack && v[len(v)-1] == "1.1.0"
	})
	v, times = r.starts()
	if n := len(v); r.state() != journal.RolledBack || strings.Join(v[n-4:], " ") != "1.2.0 1.2.0 1.2.0 1.1.0" {
		t.Fatalf("%s, started %v\n%s", r.state(), v, log)
	}
	t.Logf("a build that crashes at once: back after %v, with 100 ms instead of 5 s between starts", times[len(times)-1].Sub(began).Round(time.Millisecond))
	if entries, _ := os.ReadDir(r.Bin()); len(entries) != 1 {
		t.Errorf("left in bin/: %v", entries)
	}
}

// memoryOf finds the launcher's resident memory.
func memoryOf(exe, root string) string {
	pids, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range pids {
		b, _ := os.ReadFile(p)
		if bytes.HasPrefix(b, []byte(exe+"\x00run")) && bytes.Contains(b, []byte(root)) {
			status, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "status"))
			for line := range strings.Lines(string(status)) {
				if strings.HasPrefix(line, "VmRSS") {
					return strings.Join(strings.Fields(line), " ")
				}
			}
		}
	}
	return ""
}

// TestAttack26_TwoLaunchers: a second one ends, and takes nothing from the first.
func TestAttack26_TwoLaunchers(t *testing.T) {
	r := newLaunched(t, 0)
	r.run(30*time.Second, nil, func() bool {
		if v, _ := r.starts(); len(v) == 0 {
			return false
		}
		exe := filepath.Join(programs.Build(t), "hausmeister-launcher")
		out, err := exec.Command(exe, "run", "-dir", r.Root).CombinedOutput()
		if err == nil || !strings.Contains(string(out), layout.ErrLocked.Error()) {
			t.Errorf("a second launcher: %v, %s", err, out)
		}
		return true
	})
	// The first was killed, or stopped: its lock is gone with it.
	if _, log := r.run(30*time.Second, nil, func() bool { v, _ := r.starts(); return len(v) == 2 }); strings.Contains(log, layout.ErrLocked.Error()) {
		t.Errorf("after the first one's end: %s", log)
	}
}

// TestAttack17_FolderOpenForAll: a launcher mends what it can, and runs nothing
// from where others may write.
func TestAttack17_FolderOpenForAll(t *testing.T) {
	need.Root(t)
	r := newLaunched(t, 0)
	must(t, os.Chmod(r.Bin(), 0o777))
	must(t, os.WriteFile(r.Program(), []byte("#!/bin/sh\ntouch \"$(dirname \"$0\")/../evil\"\n"), 0o755))
	r.run(30*time.Second, nil, func() bool { v, _ := r.starts(); return len(v) > 0 })
	if v, _ := r.starts(); len(v) != 1 {
		t.Errorf("started %v", v)
	}
	if _, err := os.Stat(filepath.Join(r.Root, "evil")); err == nil {
		t.Error("a planted program was run")
	}
	if info, err := os.Stat(r.Bin()); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("bin/ has mode %v, %v", info.Mode(), err)
	}
	must(t, os.Chown(r.Bin(), 65534, 65534))
	must(t, os.Remove(filepath.Join(r.Root, "starts")))
	if ended, log := r.run(5*time.Second, nil, func() bool { return false }); !ended || !strings.Contains(log, layout.ErrForeign.Error()) {
		t.Errorf("in another user's folder it ended: %t\n%s", ended, log)
	}
	if v, _ := r.starts(); len(v) != 0 {
		t.Errorf("from another user's folder it started %v", v)
	}
}

// TestAttack23_RealLauncherCutAnywhere ends the real launcher at its system calls
// while it swaps a program, on a real disk, and starts it again.
func TestAttack23_RealLauncherCutAnywhere(t *testing.T) {
	strace := need.Programs(t, "strace")[0]
	long := os.Getenv("HAUSMEISTER_LONG") == "1"
	points, missing := 0, 0
	for _, call := range []string{"/^rename", "/^unlink", "/^fsync", "/^write", "/^close"} {
		for _, how := range []string{"signal=KILL", "error=EIO", "error=ENOSPC"} {
			for n := 1; n <= 200; n++ {
				if !long && n > 2 { // a sample, with the moment between the two renames
					break
				}
				r := newLaunched(t, 0)
				p := r.keep("1.1.0", wellScript, 0)
				_, _, err := r.store.Do(t.Context(), journal.Event{Kind: journal.Adopt, At: time.Now().UnixMilli(), Program: r.program("1.0.0"), Note: strings.TrimSpace(launcher.Note(r.program("1.0.0")))})
				must(t, err)
				must(t, copyProgram(r.versions().Path("1.0.0"), r.Program()))
				r.arm(p)
				out := filepath.Join(t.TempDir(), "strace")
				tracer := []string{strace, "-f", "-q", "-o", out}
				for _, f := range []string{
					r.Bin(), r.Program(), r.Bin() + "/.hausmeister-agent.new", r.Bin() + "/.hausmeister-agent.old-1",
					r.Update(), r.Update() + "/journal.a", r.Update() + "/journal.b", r.Update() + "/journal.a.tmp-new", r.Update() + "/journal.b.tmp-new",
				} {
					tracer = append(tracer, "-P", f)
				}
				tracer = append(tracer, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, how, n))
				var since time.Time
				_, _ = r.run(20*time.Second, tracer, func() bool {
					v, _ := r.starts()
					switch {
					case len(v) == 0:
						return false
					case since.IsZero():
						since = time.Now()
					}
					// What comes after the start is cut too, until the commit, if there is to be one.
					return r.good() == p || time.Since(since) > 800*time.Millisecond
				})
				b, err := os.ReadFile(out)
				must(t, err)
				if !bytes.Contains(b, []byte("(INJECTED)")) && !bytes.Contains(b, []byte("killed by SIGKILL")) {
					break
				}
				points++
				if _, err := os.Stat(r.Program()); err != nil {
					missing++
				}
				_ = os.Remove(filepath.Join(r.Root, "starts"))
				_, log := r.run(20*time.Second, nil, func() bool { v, _ := r.starts(); return len(v) > 0 })
				v, _ := r.starts()
				sum, err := layout.SumFile(layout.Plain(), r.Program())
				if len(v) == 0 || err != nil || sum != p.Sum && sum != r.program("1.0.0").Sum {
					t.Errorf("%s %s at %d: afterwards started %v, bin/ holds %s, %v\n%s", call, how, n, v, sum, err, log)
				}
			}
		}
	}
	// A sample may pass by the one moment in which there is no program.
	if points == 0 || missing == 0 && os.Getenv("HAUSMEISTER_LONG") == "1" {
		t.Errorf("%d points, %d without a program", points, missing)
	}
	t.Logf("%d points, %d of them left no program in bin/", points, missing)
}

func (r *launched) good() journal.Program {
	j, _ := r.store.Load()
	return j.Good
}

// program is what is noted of a version.
func (r *launched) program(version string) journal.Program {
	kept, err := r.versions().Kept()
	must(r.t, err)
	for _, k := range kept {
		if k.Version == version {
			return journal.Program{Version: k.Version, Sum: k.Sum}
		}
	}
	return journal.Program{}
}

func copyProgram(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return layout.WriteFile(to, b, 0o755)
}

// TestAttack41_RealLauncherOnTrial: the real launcher ends its own trial once an agent
// was alive under it; a program that does not come up in its place is left by the real
// agent's repair, which needs neither of them. (Under systemd, with the timer's unit:
// TestService.)
func TestAttack41_RealLauncherOnTrial(t *testing.T) {
	r := newLaunched(t, 0)
	line := train.New(r.Layout, layout.Plain())
	code, err := os.ReadFile(filepath.Join(programs.Build(t), "hausmeister-launcher"))
	must(t, err)
	put := func(version string, code []byte) layout.Sum {
		sum, err := layout.SumOf(bytes.NewReader(code))
		must(t, err)
		must(t, line.Put(version, sum, bytes.NewReader(code)))
		return sum
	}
	put("0.0.0", []byte("the one before"))
	must(t, r.PointLauncher(layout.Plain(), "0.0.0"))
	must(t, line.Try("0.0.0", programs.Version, put(programs.Version, code)))
	_, log := r.run(30*time.Second, nil, func() bool {
		_, on, err := line.OnTrial()
		return err == nil && !on
	})
	if _, on, err := line.OnTrial(); on || err != nil {
		t.Fatalf("the trial goes on, %v:\n%s", err, log)
	}
	mend := func() (string, error) {
		t.Helper()
		cmd := exec.Command(filepath.Join(programs.Build(t), "hausmeister-agent"), "mend", "--json", "--dir", r.Root)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := mend(); err != nil || !strings.Contains(out, "mend.nothing") {
		t.Fatalf("mend of what is well: %v\n%s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(r.State(), launcher.SettingsFile), []byte(`{"mend_patience": "300ms", "mend_steady": "100ms", "mend_every": "20ms"}`), 0o600))
	bad := put("9.9.9", []byte("#!/bin/sh\nexit 1\n"))
	must(t, line.Try(programs.Version, "9.9.9", bad))
	out, err := mend() // on a machine without a service manager it then says that there is none
	if now, perr := line.Current(); perr != nil || now != programs.Version {
		t.Errorf("after mend the launcher is %s, %v\n%v %s", now, perr, err, out)
	}
	if barred, err := line.Barred(bad); err != nil || !barred {
		t.Errorf("Barred = %v, %v", barred, err)
	}
}
