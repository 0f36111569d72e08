package collector_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hausmeister/collector"
	"hausmeister/collector/pace"
	"hausmeister/collector/rollout"
)

func load(t *testing.T, text string) (collector.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "collector.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return collector.LoadConfig(path)
}

// The file that `config` prints shows each setting, and its default truly.
func TestDefaultFile(t *testing.T) {
	opts := cmpopts.EquateEmpty()
	for name, text := range map[string]string{
		"as printed":        collector.DefaultFile,
		"with all taken in": regexp.MustCompile(`(?m)^#([a-z_]+ = |  \{|\]$)`).ReplaceAllString(collector.DefaultFile, "$1"),
	} {
		got, err := load(t, text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(collector.DefaultConfig(), got, opts); diff != "" {
			t.Errorf("%s (-defaults +file):\n%s", name, diff)
		}
	}
	for _, line := range []string{"data_dir", "listen", "public", "names", "database", "certificate", "key", "keep_days", "silent_days", "metrics_open", "updates_repository", "updates_online", "updates_spread", "log_level", "log_format",
		"rings", "under_way", "under_way_percent", "per_school", "lease", "silent", "overdue", "look_every", "bytes_per_second", "school_bytes_per_second", "school_parallel"} {
		if !strings.Contains(collector.DefaultFile, "\n#"+line+" = ") {
			t.Errorf("the file does not show %s", line)
		}
	}
}

func TestConfigFileRefused(t *testing.T) {
	for text, word := range map[string]string{
		"lisen = ':1'":             "lisen",
		"[server]\nlisten = ':1'":  "server",
		"keep_days = 'many'":       "keep_days",
		"listen = ":                "line 1",
		"data_dir = ''\nfoo = 1\n": "foo",
		"[updates]\nring = []":     "updates.ring",
		"[updates]\nrings = [{ percent = 100, wait = '1h' }]": "wait",
		"[updates]\nlease = 'a day'":                          `"14d"`,
		"[updates]\nlease = '1.5d'":                           `"14d"`,
		"[updates]\nlease = 5":                                "lease",
	} {
		_, err := load(t, text)
		if !errors.Is(err, collector.ErrConfig) || !strings.Contains(err.Error(), word) {
			t.Errorf("LoadConfig(%q) = %v, want ErrConfig that names %q", text, err, word)
		}
	}
	if _, err := collector.LoadConfig("/nonexistent.toml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("LoadConfig of no file = %v", err)
	}
}

func TestSettingsRefused(t *testing.T) {
	tests := map[string]func(*collector.Config){
		"data_dir":    func(c *collector.Config) { c.DataDir = "" },
		"listen":      func(c *collector.Config) { c.Listen = "8443" },
		"listen ":     func(c *collector.Config) { c.Listen = ":99999" },
		"public":      func(c *collector.Config) { c.Public = "https://x/" },
		"public ":     func(c *collector.Config) { c.Public = "host:port" },
		"certificate": func(c *collector.Config) { c.Certificate = "a.pem" },
		"keep_days":   func(c *collector.Config) { c.KeepDays = 0 },
		"silent_days": func(c *collector.Config) { c.SilentDays = 500 },

		"updates_repository": func(c *collector.Config) { c.UpdatesRepository = "repository" },
		"updates_online":     func(c *collector.Config) { c.UpdatesOnline = "online.sock" },
		"updates_spread":     func(c *collector.Config) { c.UpdatesSpread = 5 * time.Hour },
	}
	for setting, change := range tests {
		cfg := collector.DefaultConfig()
		change(&cfg)
		_, err := collector.New(cfg)
		if setting = strings.TrimSpace(setting); !errors.Is(err, collector.ErrConfig) || !strings.Contains(err.Error(), setting) {
			t.Errorf("New with a bad %s = %v, want ErrConfig that names it", setting, err)
		}
	}
	for _, change := range []func(*collector.Config){
		func(c *collector.Config) { c.LogLevel = "loud" }, func(c *collector.Config) { c.LogFormat = "xml" },
	} {
		cfg := collector.DefaultConfig()
		change(&cfg)
		if _, err := cfg.Logger(); !errors.Is(err, collector.ErrConfig) {
			t.Errorf("Logger = %v, want ErrConfig", err)
		}
	}
}

func TestPublic(t *testing.T) {
	for _, tt := range []struct{ public, want string }{
		{"desk.example", "desk.example:8443"}, {"desk.example:443", "desk.example:443"},
		{"192.0.2.1", "192.0.2.1:8443"}, {"2001:db8::1", "[2001:db8::1]:8443"}, {"[2001:db8::1]:443", "[2001:db8::1]:443"},
	} {
		if got, err := collector.PublicOf(tt.public); err != nil || got != tt.want {
			t.Errorf("public %q = %q, %v, want %q", tt.public, got, err, tt.want)
		}
	}
	if got, err := collector.PublicOf(""); err != nil || !strings.HasSuffix(got, ":8443") || strings.HasPrefix(got, ":") {
		t.Errorf("without public = %q, %v, want this machine's name", got, err)
	}
}

// Each line says what is wrong in the words of the file.
func TestUpdatesRefused(t *testing.T) {
	for text, words := range map[string]string{
		"rings = []":                 "want 1 to 20",
		"rings = [{ devices = 20 }]": "percent = 100",
		"rings = [{ devices = 20 }, { soak = '1h' }, { percent = 100 }]":  "ring 2: says neither",
		"rings = [{ devices = 20 }, { devices = 20 }, { percent = 100 }]": "ring 2: is no larger",
		"rings = [{ percent = 100 }, { devices = 20, percent = 100 }]":    "ring 1: is the whole fleet",
		"rings = [{ devices = -1 }, { percent = 100 }]":                   "ring 1: devices is 0 or more",
		"rings = [{ percent = nan }, { percent = 100 }]":                  "ring 1: devices is 0 or more",
		"rings = [{ devices = 20, soak = '31d' }, { percent = 100 }]":     "ring 1: soak 31d",
		"lease = '15d'":                      "updates.lease: 15d is not within",
		"lease = '10m'":                      "updates.lease: 10m is not within 30m, which is updates_spread, to 14d",
		"silent = '0s'":                      "updates.silent",
		"overdue = '1s'":                     "updates.overdue: 1s is not within 1h to 366d",
		"look_every = '1ms'":                 "updates.look_every",
		"per_school = 0":                     "updates.per_school: 0 is not within 1 to 1000",
		"under_way = 0":                      "updates.under_way",
		"under_way_percent = 0":              "updates.under_way_percent",
		"under_way_percent = nan":            "updates.under_way_percent",
		"bytes_per_second = 100":             "updates.bytes_per_second: 100 is not within 8192",
		"school_bytes_per_second = 9e9":      "school_bytes_per_second",
		"school_bytes_per_second = 60000000": "to 50000000, which is bytes_per_second of all schools together",
		"school_parallel = 5000":             "updates.school_parallel",
	} {
		cfg, err := load(t, "[updates]\n"+text)
		if err == nil {
			cfg.DataDir = t.TempDir()
			_, err = collector.New(cfg)
		}
		if !errors.Is(err, collector.ErrConfig) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s = %v, want ErrConfig with %q", text, err, words)
		}
	}
}

// What the file says is what rollouts and lines get.
func TestUpdatesTaken(t *testing.T) {
	def := collector.DefaultConfig()
	if diff := cmp.Diff(rollout.DefaultPace(), collector.PaceOf(def)); diff != "" {
		t.Errorf("the defaults are not those of rollouts (-rollout +file):\n%s", diff)
	}
	cfg, err := load(t, `updates_spread = "1s"
[updates]
rings = [{ devices = 3, percent = 0.5, soak = "2s", school_day = true }, { percent = 33.3333 }, { percent = 100, soak = "2d" }]
lease = "1m"
silent = "30s"
overdue = "3d"
look_every = "100ms"
per_school = 40
under_way = 50
under_way_percent = 50
bytes_per_second = 100000000
school_bytes_per_second = 10000000
school_parallel = 40
`)
	if err != nil {
		t.Fatal(err)
	}
	want := rollout.DefaultPace()
	want.Rings = []rollout.Ring{{Devices: 3, Millions: 5000, Soak: 2 * time.Second, SchoolDay: true}, {Millions: 333_333}, {Millions: rollout.Whole, Soak: 48 * time.Hour}}
	want.Lease, want.Spread, want.Silent, want.Overdue, want.Every = time.Minute, time.Second, 30*time.Second, 72*time.Hour, 100*time.Millisecond
	want.PerSchool, want.Gate.InFlight, want.Gate.InFlightShare = 40, 50, 0.5
	if diff := cmp.Diff(want, collector.PaceOf(cfg)); diff != "" {
		t.Errorf("pace (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(pace.Config{Rate: 100_000_000, LineRate: 10_000_000, LineParallel: 40}, collector.LinesOf(cfg)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
