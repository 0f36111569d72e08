package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"hausmeister/collector"
	"hausmeister/collector/admin"
)

const defaultConfigFile = "/etc/hausmeister/collector.toml"

// settings are the flags that stand for keys of the config file.
type settings struct {
	Listen      string   `help:"Address and port, UDP and TCP." env:"HAUSMEISTER_LISTEN" placeholder:":8443"`
	Public      string   `help:"HOST or HOST:PORT under which devices find this collector." aliases:"name" env:"HAUSMEISTER_PUBLIC" placeholder:"HOST:PORT"`
	Names       []string `help:"Further names under which devices may meet it." env:"HAUSMEISTER_NAMES" placeholder:"NAME"`
	Database    string   `help:"PostgreSQL instead of the embedded database." env:"HAUSMEISTER_DATABASE" placeholder:"URL"`
	Certificate string   `help:"Certificate chain for browsers (PEM)." env:"HAUSMEISTER_CERTIFICATE" placeholder:"FILE"`
	Key         string   `help:"Its key (PEM)." env:"HAUSMEISTER_KEY" placeholder:"FILE"`
	KeepDays    int      `help:"How long single reports are kept." env:"HAUSMEISTER_KEEP_DAYS" placeholder:"30"`
	SilentDays  int      `help:"Days without contact after which a device counts as silent." env:"HAUSMEISTER_SILENT_DAYS" placeholder:"14"`
	MetricsOpen bool     `help:"Programs on this machine may read /metrics without a token." env:"HAUSMEISTER_METRICS_OPEN"`

	UpdatesRepository string        `help:"Folder that hausmeister-release publishes to." env:"HAUSMEISTER_UPDATES_REPOSITORY" placeholder:"DIR"`
	UpdatesOnline     string        `help:"Socket of the process that signs what is the newest metadata." env:"HAUSMEISTER_UPDATES_ONLINE" placeholder:"PATH"`
	UpdatesSpread     time.Duration `help:"Within how long a device begins when it is its turn for an update." env:"HAUSMEISTER_UPDATES_SPREAD" placeholder:"30m"`

	LogLevel  string `help:"debug, info, warn or error." env:"HAUSMEISTER_LOG_LEVEL" placeholder:"info"`
	LogFormat string `help:"text or json." env:"HAUSMEISTER_LOG_FORMAT" placeholder:"text"`
}

// load reads the config file and lays flags and environment over it.
func (c *cli) load(s settings) (collector.Config, error) {
	cfg := collector.DefaultConfig()
	path := c.Config
	if _, err := os.Stat(defaultConfigFile); path == "" && !errors.Is(err, fs.ErrNotExist) {
		path = defaultConfigFile
	}
	if path != "" {
		var err error
		if cfg, err = collector.LoadConfig(path); err != nil {
			return cfg, err
		}
	}
	over(&cfg.DataDir, c.DataDir)
	over(&cfg.Listen, s.Listen)
	over(&cfg.Public, s.Public)
	over(&cfg.Database, s.Database)
	over(&cfg.Certificate, s.Certificate)
	over(&cfg.Key, s.Key)
	over(&cfg.KeepDays, s.KeepDays)
	over(&cfg.SilentDays, s.SilentDays)
	over(&cfg.MetricsOpen, s.MetricsOpen)
	over(&cfg.UpdatesRepository, s.UpdatesRepository)
	over(&cfg.UpdatesOnline, s.UpdatesOnline)
	over(&cfg.UpdatesSpread, s.UpdatesSpread)
	over(&cfg.LogLevel, s.LogLevel)
	over(&cfg.LogFormat, s.LogFormat)
	if len(s.Names) > 0 {
		cfg.Names = s.Names
	}
	cfg.Version = version
	log, err := cfg.Logger()
	cfg.Log = log
	return cfg, err
}

func over[T comparable](setting *T, flag T) {
	var unset T
	if flag != unset {
		*setting = flag
	}
}

type serveCmd struct {
	settings `embed:""`
}

func (s *serveCmd) Run(c *cli) error {
	cfg, err := c.load(s.settings)
	if err != nil {
		return err
	}
	slog.SetDefault(cfg.Log)
	server, err := collector.New(cfg)
	if err != nil {
		return err
	}
	collector.TuneMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the second ends us at once, in case we hang.
	defer context.AfterFunc(ctx, stop)()
	return server.Run(ctx)
}

type restoreCmd struct {
	settings `embed:""`
	File     string `arg:"" help:"The backup." type:"existingfile"`
}

func (r *restoreCmd) Run(c *cli) error {
	cfg, err := c.load(r.settings)
	if err != nil {
		return err
	}
	if err := collector.Restore(context.Background(), cfg, r.File); err != nil {
		return err
	}
	return c.show(map[string]string{"restored": r.File}, "Restored from %s. Devices send again what the backup does not hold.\n", r.File)
}

type backupCmd struct {
	File string `arg:"" help:"Where to; must not exist." type:"path"`
}

func (b *backupCmd) Run(c *cli) error {
	path, err := filepath.Abs(b.File)
	if err != nil {
		return err
	}
	var done admin.Backup
	if err := c.do("backup", admin.Backup{Path: path}, &done); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil {
		done.Bytes = info.Size()
	}
	return c.show(done, "Backup written and read back: %s (%d bytes, schema %d, %d audit entries).\nThe authority of the devices is not in it: keep the folder ca apart.\n",
		done.Path, done.Bytes, done.Schema, done.Audited)
}

type printCmd struct{}

func (printCmd) Run(c *cli) error {
	_, err := fmt.Fprint(c.stdout, collector.DefaultFile)
	return err
}

var errUnhealthy = errors.New("something is wrong")

type doctorCmd struct {
	settings `embed:""`
}

func (d *doctorCmd) Run(c *cli) error {
	cfg, err := c.load(d.settings)
	if err != nil {
		return err
	}
	checks, err := collector.Doctor(context.Background(), cfg)
	if err != nil {
		return err
	}
	text := ""
	for _, check := range checks {
		text += fmt.Sprintf("%-5s %-20s %s\n", check.Verdict, check.Name, check.Text)
	}
	if err := c.show(checks, "%s", text); err != nil {
		return err
	}
	if collector.Worst(checks) == collector.Bad {
		return errUnhealthy
	}
	return nil
}
