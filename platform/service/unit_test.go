package service_test

import (
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hausmeister/platform/service"
	"hausmeister/testenv/need"
)

func config(t *testing.T) service.Config {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return service.Config{
		Name: "example-agent", DisplayName: "Example", Description: "does 100% of it",
		Executable: exe, Arguments: []string{"run", "--dir", `/srv/a b"c`}, WritePaths: []string{"/opt/example", "/srv/a b"},
	}
}

func TestUnit(t *testing.T) {
	c := config(t)
	c.Executable = "/opt/example/versions/1/example agent"
	unit := service.Unit(c)
	for _, want := range []string{
		"Description=Example: does 100%% of it\n",
		`ExecStart="/opt/example/versions/1/example agent" run --dir "/srv/a b\"c"` + "\n",
		`ReadWritePaths=-/opt/example "-/srv/a b"` + "\n",
		"Type=notify\n", "Restart=always\n", "WatchdogSec=3min\n", "ProtectSystem=strict\n", "NoNewPrivileges=yes\n",
		"StartLimitIntervalSec=0\n", "WantedBy=multi-user.target\n",
	} {
		if !strings.Contains(unit, want) {
			t.Errorf("Unit lacks %q:\n%s", want, unit)
		}
	}
	// A missing program must count as a failure, which is tried again, and not
	// as a condition, which is not.
	if strings.Contains(unit, "Condition") {
		t.Errorf("Unit has a condition:\n%s", unit)
	}
}

// TestMendTexts: what Windows and macOS are given is XML that says what it should,
// whatever stands in a name.
func TestMendTexts(t *testing.T) {
	c := config(t)
	c.Mend = []string{`C:\a & b\x.exe`, "mend", "--dir", `C:\<b>`}
	for what, text := range map[string]string{
		"task": strings.Replace(service.MendTask(c, `mend --dir "C:\<b>"`), "UTF-16", "UTF-8", 1), "job": service.MendJob(c),
	} {
		var said []string
		for d := xml.NewDecoder(strings.NewReader(text)); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v in\n%s", what, err, text)
			}
			if data, ok := token.(xml.CharData); ok && strings.TrimSpace(string(data)) != "" {
				said = append(said, string(data))
			}
		}
		for _, want := range map[string][]string{
			"task": {`C:\a & b\x.exe`, `mend --dir "C:\<b>"`, "PT30M", "S-1-5-18"},
			"job":  {"example-agent-mend", `C:\a & b\x.exe`, "mend", "--dir", `C:\<b>`, "1800"},
		}[what] {
			if !slices.Contains(said, want) {
				t.Errorf("the %s does not say %q: %q", what, want, said)
			}
		}
	}
}

// TestUnitVerified has systemd itself read the unit.
func TestUnitVerified(t *testing.T) {
	analyze := need.Programs(t, "systemd-analyze")[0]
	c := config(t)
	c.WritePaths = []string{t.TempDir()}
	file := filepath.Join(t.TempDir(), "example-agent.service")
	if err := os.WriteFile(file, []byte(service.Unit(c)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "example-agent.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*service.Config)
	}{
		{"no name", func(c *service.Config) { c.Name = "" }},
		{"a path as name", func(c *service.Config) { c.Name = "../x" }},
		{"a relative program", func(c *service.Config) { c.Executable = "agent" }},
		{"a new line in an argument", func(c *service.Config) { c.Arguments = []string{"run\nUser=x"} }},
		{"the library's template in an argument", func(c *service.Config) { c.Arguments = []string{"{{Path}}"} }},
	} {
		cfg := config(t)
		c.change(&cfg)
		if _, err := service.New(cfg); err == nil {
			t.Errorf("New took %s", c.name)
		}
	}
}

// TestMendUnits: what repairs the service does not need it, and comes at each start
// of the machine, by the clock, and so also when it wakes.
func TestMendUnits(t *testing.T) {
	c := config(t)
	c.Mend = []string{"/opt/example/bin/example agent", "mend", "--dir", "/srv/$a"}
	service, timer := service.MendUnits(c)
	for _, want := range []string{`ExecStart="/opt/example/bin/example agent" mend --dir /srv/$$a` + "\n", "Type=oneshot\n"} {
		if !strings.Contains(service, want) {
			t.Errorf("the service lacks %q:\n%s", want, service)
		}
	}
	for _, never := range []string{"Requires=", "BindsTo=", "PartOf=", "After=example"} {
		if strings.Contains(service+timer, never) {
			t.Errorf("it depends on something: %s", never)
		}
	}
	for _, want := range []string{"OnCalendar=*:00/30\n", "OnBootSec=5min\n", "WantedBy=timers.target\n"} {
		if !strings.Contains(timer, want) {
			t.Errorf("the timer lacks %q:\n%s", want, timer)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"example-agent-mend.service": strings.ReplaceAll(service, "/opt/example/bin/example agent", "/bin/true"), "example-agent-mend.timer": timer} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(analyze, "verify", filepath.Join(dir, "example-agent-mend.timer")).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
