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
		"with all taken in": regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(collector.DefaultFile, "$1"),
	} {
		got, err := load(t, text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(collector.DefaultConfig(), got, opts); diff != "" {
			t.Errorf("%s (-defaults +file):\n%s", name, diff)
		}
	}
	for _, line := range []string{"data_dir", "listen", "public", "names", "database", "certificate", "key", "keep_days", "silent_days", "metrics_open", "updates_repository", "updates_online", "updates_spread", "log_level", "log_format"} {
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
