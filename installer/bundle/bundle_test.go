package bundle_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/installer/bundle"
	"hausmeister/platform/layout"
	"hausmeister/testenv/need"
)

func config(t *testing.T) bundle.Config {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "hausmeister-agent")
	if err := os.WriteFile(agent, bytes.Repeat([]byte("program"), 1000), 0o700); err != nil {
		t.Fatal(err)
	}
	launcher := filepath.Join(t.TempDir(), "hausmeister-launcher")
	if err := os.WriteFile(launcher, []byte("launcher"), 0o700); err != nil {
		t.Fatal(err)
	}
	return bundle.Config{
		Agent:    agent,
		Launcher: launcher,
		Arch:     "amd64",
		Version:  "1.2.3-rc.1",
		Unit:     bundle.AgentUnit(),
		Modified: time.Date(2026, 11, 24, 7, 45, 0, 0, time.UTC),
	}
}

func deb(t *testing.T, c bundle.Config) []byte {
	t.Helper()
	b, err := bundle.Deb(c)
	if err != nil {
		t.Fatalf("Deb: %v", err)
	}
	return b
}

func TestRepeatsByteForByte(t *testing.T) {
	first := config(t)
	second := config(t) // the same bytes in another folder, written later
	if err := os.Chtimes(second.Agent, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(second.Agent, 0o775); err != nil { // another umask
		t.Fatal(err)
	}
	second.Modified = second.Modified.In(time.FixedZone("elsewhere", 3600))
	if !bytes.Equal(deb(t, first), deb(t, second)) {
		t.Error("the same agent, version and time gave two different packages")
	}
	third := first
	third.Version = "1.2.3"
	if bytes.Equal(deb(t, first), deb(t, third)) {
		t.Error("two versions gave the same package")
	}
}

func TestContents(t *testing.T) {
	dpkg := need.Programs(t, "dpkg-deb", "sh")
	c := config(t)
	name := filepath.Join(t.TempDir(), bundle.DebName(c))
	if want := "hausmeister-agent_1.2.3~rc.1_amd64.deb"; filepath.Base(name) != want {
		t.Errorf("DebName = %s, want %s", filepath.Base(name), want)
	}
	if err := os.WriteFile(name, deb(t, c), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(dpkg[0], args...).CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg-deb %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	var got []string
	for line := range strings.Lines(run("-c", name)) {
		f := strings.Fields(line)
		if strings.HasPrefix(f[0], "d") {
			continue
		}
		got = append(got, strings.Join(append([]string{f[0], f[1]}, f[5:]...), " "))
	}
	want := []string{
		"-rwxr-xr-x root/root ./opt/hausmeister/launcher/1.2.3-rc.1/hausmeister-launcher",
		"-rwxr-xr-x root/root ./opt/hausmeister/versions/1.2.3-rc.1/hausmeister-agent",
		"-rw-r--r-- root/root ./opt/hausmeister/versions/1.2.3-rc.1/hausmeister-agent.sha256",
		"lrwxrwxrwx root/root ./usr/bin/hausmeister-agent -> /opt/hausmeister/bin/hausmeister-agent",
		"-rw-r--r-- root/root ./usr/lib/systemd/system/hausmeister-agent-mend.service",
		"-rw-r--r-- root/root ./usr/lib/systemd/system/hausmeister-agent-mend.timer",
		"-rw-r--r-- root/root ./usr/lib/systemd/system/hausmeister-agent.service",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files of the package (-want +got):\n%s", d)
	}
	if got := strings.TrimSpace(run("-f", name, "Version")); got != "1.2.3~rc.1" {
		t.Errorf("Version = %s, want 1.2.3~rc.1 (older than 1.2.3 for dpkg)", got)
	}

	control := t.TempDir()
	run("-e", name, control)
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		path := filepath.Join(control, script)
		if out, err := exec.Command(dpkg[1], "-n", path).CombinedOutput(); err != nil {
			t.Errorf("sh -n %s: %v\n%s", script, err, out)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsRune(text, '@') {
			t.Errorf("%s still has a placeholder", script)
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*bundle.Config){
		"no version":        func(c *bundle.Config) { c.Version = "" },
		"version of a path": func(c *bundle.Config) { c.Version = "1.2.3/../../etc" },
		"version with v":    func(c *bundle.Config) { c.Version = "v1.2.3" },
		"architecture":      func(c *bundle.Config) { c.Arch = "mips" },
		"no launcher":       func(c *bundle.Config) { c.Launcher += ".missing" },
		"launcher version":  func(c *bundle.Config) { c.LauncherVersion = "../1" },
		"no agent":          func(c *bundle.Config) { c.Agent += ".missing" },
		"folder as agent":   func(c *bundle.Config) { c.Agent = filepath.Dir(c.Agent) },
		"other unit":        func(c *bundle.Config) { c.Unit = "ExecStart=/bin/true" },
		"no time":           func(c *bundle.Config) { c.Modified = time.Time{} },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			spoil(&c)
			if b, err := bundle.Deb(c); err == nil {
				t.Errorf("Deb made a package of %d bytes, want an error", len(b))
			}
		})
	}
}

// TestSumIsTheAgents: the launcher takes the package's program for whole by what
// the package says of it, on three places.
func TestSumIsTheAgents(t *testing.T) {
	dpkg := need.Programs(t, "dpkg-deb")
	c := config(t)
	name := filepath.Join(t.TempDir(), "agent.deb")
	if err := os.WriteFile(name, deb(t, c), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, flag := range []string{"-x", "-e"} {
		if out, err := exec.Command(dpkg[0], flag, name, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	v := layout.Layout{Root: filepath.Join(dir, bundle.Root)}.VersionsOn(layout.Plain(), "hausmeister-agent")
	sum, err := layout.SumFile(layout.Plain(), v.Path(c.Version))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := v.Kept(); err != nil || len(kept) != 1 || kept[0].Version != c.Version || kept[0].Sum != sum {
		t.Errorf("Kept = %v, %v; want %s %s", kept, err, c.Version, sum)
	}
	text, err := os.ReadFile(filepath.Join(dir, "postinst"))
	if err != nil || !strings.Contains(string(text), c.Version+" "+sum.String()) {
		t.Errorf("postinst notes another program, %v:\n%s", err, text)
	}
}

func TestRootIsTheAgents(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Debian's layout is Linux's")
	}
	if got := layout.Default().Root; got != bundle.Root {
		t.Errorf("layout.Default().Root = %s, but the package installs to %s", got, bundle.Root)
	}
	if got := layout.Default().Program(); got != bundle.Agent {
		t.Errorf("layout.Default().Program() = %s, but the package's link leads to %s", got, bundle.Agent)
	}
}
