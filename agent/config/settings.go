package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"hausmeister/platform/netpath"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// SettingsFile is the name of the file, in the state folder.
const SettingsFile = "settings.toml"

// Settings of an agent.
type Settings struct {
	StateInterval   time.Duration // least time between two state messages
	BatteryInterval time.Duration // the same on battery
	KeepAlive       time.Duration
	SpoolBytes      int64
	LogLevel        slog.Level
	// Proxy is "" for what the system says, "none", or a URL.
	Proxy string
	// PortalProbe is an http address that answers 204 wherever there is no
	// captive portal; "" asks the collector's own host.
	PortalProbe string
	// Channel of updates: "stable" or, for devices of those who try them first,
	// "canary".
	Channel string
}

// Defaults hold where nobody says otherwise.
var Defaults = Settings{
	StateInterval:   time.Minute,
	BatteryInterval: 5 * time.Minute,
	KeepAlive:       25 * time.Second, // home routers forget UDP after 30 s
	SpoolBytes:      20 << 20,
	LogLevel:        slog.LevelInfo,
	Channel:         stable,
}

// The channels of updates.
const stable, canary = "stable", "canary"

// Bounded moves each value into its bounds.
func (s Settings) Bounded() Settings {
	s.StateInterval = clamp(s.StateInterval, 10*time.Second, time.Hour)
	s.BatteryInterval = clamp(s.BatteryInterval, time.Minute, 2*time.Hour)
	s.KeepAlive = clamp(s.KeepAlive, 5*time.Second, time.Minute)
	s.SpoolBytes = clamp(s.SpoolBytes, 1<<20, 200<<20)
	s.LogLevel = clamp(s.LogLevel, slog.LevelDebug, slog.LevelError)
	return s
}

// Policy lays what the collector says over s; what it does not say stays.
func (s Settings) Policy(p *hmpb.Settings) Settings {
	for _, v := range []struct {
		says    bool
		seconds uint32
		to      *time.Duration
	}{
		{p.HasStateIntervalS(), p.GetStateIntervalS(), &s.StateInterval},
		{p.HasStateIntervalBatteryS(), p.GetStateIntervalBatteryS(), &s.BatteryInterval},
		{p.HasKeepAliveS(), p.GetKeepAliveS(), &s.KeepAlive},
	} {
		if v.says && v.seconds > 0 {
			*v.to = time.Duration(v.seconds) * time.Second
		}
	}
	return s.Bounded()
}

// file is the settings file; seconds and megabytes because people write them.
type file struct {
	StateIntervalS        *uint32     `toml:"state_interval_s"`
	StateIntervalBatteryS *uint32     `toml:"state_interval_battery_s"`
	KeepAliveS            *uint32     `toml:"keep_alive_s"`
	SpoolMB               *int64      `toml:"spool_mb"`
	LogLevel              *slog.Level `toml:"log_level"`
	Proxy                 string      `toml:"proxy"`
	PortalProbe           string      `toml:"portal_probe"`
	Channel               string      `toml:"update_channel"`
}

// ReadSettings gives defaults and file. The error says what is wrong with the
// file; the settings returned beside it are good to use, without that file.
func ReadSettings(files Files) (Settings, error) { return ReadSettingsOver(files, manifest.Policy{}) }

// ReadSettingsOver has a signed policy between the defaults and the file.
func ReadSettingsOver(files Files, signed manifest.Policy) (Settings, error) {
	base := under(Defaults, signed)
	data, err := files.Read(SettingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return base, nil
	}
	if err != nil {
		return base, fmt.Errorf("reading %s: %w", SettingsFile, err)
	}
	var f file
	md, err := toml.Decode(string(data), &f)
	if err != nil {
		return base, fmt.Errorf("reading %s: %w", SettingsFile, err)
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		var names []string
		for _, key := range unknown {
			names = append(names, key.String())
		}
		return base, fmt.Errorf("reading %s: unknown settings %s", SettingsFile, strings.Join(names, ", "))
	}
	if err := f.check(); err != nil {
		return base, fmt.Errorf("reading %s: %w", SettingsFile, err)
	}
	return f.over(base), nil
}

// check judges what has no bounds to be moved into. An error does not hold the
// value: that of proxy may have a password in it.
func (f file) check() error {
	if p := f.Proxy; p != "" && p != netpath.None {
		if _, err := netpath.Parse(p); err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	if p := f.PortalProbe; p != "" {
		if u, err := url.Parse(p); err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil {
			return errors.New("portal_probe: not an http address")
		}
	}
	if c := f.Channel; c != "" && c != stable && c != canary {
		return errors.New("update_channel: neither stable nor canary")
	}
	return nil
}

// over lays the file's values over s.
func (f file) over(s Settings) Settings {
	for _, v := range []struct {
		seconds *uint32
		to      *time.Duration
	}{
		{f.StateIntervalS, &s.StateInterval},
		{f.StateIntervalBatteryS, &s.BatteryInterval},
		{f.KeepAliveS, &s.KeepAlive},
	} {
		if v.seconds != nil {
			*v.to = time.Duration(*v.seconds) * time.Second
		}
	}
	if f.SpoolMB != nil {
		s.SpoolBytes = clamp(*f.SpoolMB, 0, 1<<20) << 20 // clamped first: the shift must not overflow
	}
	if f.LogLevel != nil {
		s.LogLevel = *f.LogLevel
	}
	s.Proxy, s.PortalProbe = f.Proxy, f.PortalProbe
	if f.Channel != "" {
		s.Channel = f.Channel
	}
	return s.Bounded()
}

func clamp[T ~int | ~int64](v, low, high T) T { return min(max(v, low), high) }
