package collector

import (
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"hausmeister/proto/reading"
)

// Config is every setting of a collector. The same words are the keys of the
// config file and, with dashes, the flags; those of a table are in the file only. Flags win over the environment, that
// over the file, and the file over the defaults.
type Config struct {
	DataDir     string   `toml:"data_dir"`
	Listen      string   `toml:"listen"`
	Public      string   `toml:"public"`
	Names       []string `toml:"names"`
	Database    string   `toml:"database"`
	Certificate string   `toml:"certificate"`
	Key         string   `toml:"key"`
	KeepDays    int      `toml:"keep_days"`
	SilentDays  int      `toml:"silent_days"`
	MetricsOpen bool     `toml:"metrics_open"`

	UpdatesRepository string        `toml:"updates_repository"`
	UpdatesOnline     string        `toml:"updates_online"`
	UpdatesSpread     time.Duration `toml:"updates_spread"`

	LogLevel  string `toml:"log_level"`
	LogFormat string `toml:"log_format"`

	Updates Updates `toml:"updates"`

	Version string           `toml:"-"` // of the program
	Now     func() time.Time `toml:"-"` // nil = time.Now
	Log     *slog.Logger     `toml:"-"` // nil = slog.Default
	// Ready is called once everybody can be served, with the address taken.
	Ready func(listen string) `toml:"-"` // may be nil
}

// DefaultFile is the config file with every setting, its meaning and its
// default; `hausmeister-collector config` prints it.
//
//go:embed collector.toml
var DefaultFile string

// maxKeepDays is how long the field catalogue says that reports are kept.
const maxKeepDays = int(reading.KeepReports / (24 * time.Hour))

// maxSpread leaves a device most of its lease to fetch in.
const maxSpread = 4 * time.Hour

// DefaultConfig is what holds where nobody says otherwise.
func DefaultConfig() Config {
	return Config{DataDir: "/var/lib/hausmeister", Listen: ":8443", KeepDays: maxKeepDays, SilentDays: 14,
		UpdatesOnline: "/run/hausmeister-online/online.sock", UpdatesSpread: 30 * time.Minute, LogLevel: "info", LogFormat: "text", Updates: defaultUpdates()}
}

// ErrConfig: a setting that cannot be; the text says which and why.
var ErrConfig = errors.New("configuration")

// LoadConfig reads a config file on top of the defaults. A key that is not
// known is an error: a misspelt one would silently be the default.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	c.Updates.Rings = nil // the decoder lays a list over the one that is there, item by item
	meta, err := toml.DecodeFile(path, &c)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	if !meta.IsDefined("updates", "rings") {
		c.Updates.Rings = defaultUpdates().Rings
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		names := make([]string, len(unknown))
		for i, key := range unknown {
			names[i] = key.String()
		}
		return Config{}, fmt.Errorf("%w: %s: no such setting: %s", ErrConfig, path, strings.Join(names, ", "))
	}
	return c, nil
}

// check fills what follows from other settings and refuses what cannot be.
func (c *Config) check() error {
	bad := func(setting, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrConfig, setting, fmt.Sprintf(format, args...))
	}
	if c.DataDir == "" {
		return bad("data_dir", "want a folder")
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return bad("data_dir", "%v", err)
	}
	c.DataDir = abs
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil || !validPort(port, true) {
		return bad("listen", "%q is no ADDRESS:PORT or :PORT", c.Listen)
	}
	if err := c.checkPublic(port); err != nil {
		return bad("public", "%v", err)
	}
	if (c.Certificate == "") != (c.Key == "") {
		return bad("certificate", "certificate and key go together")
	}
	if c.KeepDays < 1 || c.KeepDays > maxKeepDays {
		return bad("keep_days", "%d is not within 1 to %d", c.KeepDays, maxKeepDays)
	}
	if c.SilentDays < 1 || c.SilentDays > 400 {
		return bad("silent_days", "%d is not within 1 to 400", c.SilentDays)
	}
	for setting, path := range map[string]string{"updates_repository": c.UpdatesRepository, "updates_online": c.UpdatesOnline} {
		if path != "" && !filepath.IsAbs(path) {
			return bad(setting, "%q does not begin with /", path)
		}
	}
	if c.UpdatesSpread < 0 || c.UpdatesSpread > maxSpread {
		return bad("updates_spread", "%v is not within 0s to %v", c.UpdatesSpread, maxSpread)
	}
	if err := c.Updates.check(c.UpdatesSpread); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// checkPublic makes public a HOST:PORT: this machine's name and the port that
// is listened on stand in for what is missing.
func (c *Config) checkPublic(port string) error {
	host := c.Public
	if h, p, err := net.SplitHostPort(c.Public); err == nil {
		host, port = h, p
	}
	if host == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("give a HOST; this machine's own name is not known: %w", err)
		}
		host = name
	}
	host = strings.Trim(host, "[]")
	if !validPort(port, true) || strings.ContainsAny(host, " /@#?") {
		return fmt.Errorf("%q is no HOST or HOST:PORT", c.Public)
	}
	c.Public = net.JoinHostPort(host, port)
	return nil
}

func validPort(port string, zero bool) bool {
	n, err := strconv.Atoi(port)
	return err == nil && n <= 65535 && (n > 0 || zero && n == 0)
}

// Logger makes the log that the settings ask for.
func (c Config) Logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("%w: log_level: %q, want debug, info, warn or error", ErrConfig, c.LogLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch c.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	}
	return nil, fmt.Errorf("%w: log_format: %q, want text or json", ErrConfig, c.LogFormat)
}

// The files of a data folder, all of them for the owner only.
func (c Config) file(name string) string { return filepath.Join(c.DataDir, name) }

// SocketPath is where the command line's verbs find the running collector.
func (c Config) SocketPath() string { return c.file("admin.sock") }

func (c Config) lockPath() string     { return c.file("lock") }
func (c Config) databasePath() string { return c.file("hausmeister.db") }
func (c Config) authorityDir() string { return c.file("ca") }
func (c Config) updatesDir() string   { return c.file("updates") }
func (c Config) keysPath() string     { return c.file("transport.keys") }
